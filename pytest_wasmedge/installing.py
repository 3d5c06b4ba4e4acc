"""What the names mean that ``pytest-wasmedge install`` takes: runtimes, tools, and exact versions of both."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from pytest_wasmedge.provision.install import Progress
from pytest_wasmedge.provision.pins import in_order, tool_names
from pytest_wasmedge.provision.versions import Resolver, install_version, installed_version
from pytest_wasmedge.runtimes import builtin_names, builtin_runtimes
from pytest_wasmedge.runtimes.base import base_name


def other_tools() -> list[str]:
    """Return the pinned tools that are not called like a runtime."""
    return [tool for tool in tool_names() if tool not in builtin_names()]


def tools_for(names: Sequence[str], usage_error: Callable[[str], NoReturn]) -> list[str]:
    """Return the pinned tools that these runtimes and tools need, what they depend on first.

    Of ``deno@2.7``, those beside its program, which comes in another version. ``usage_error`` ends the program.
    """
    runtimes = {runtime.name: runtime for runtime in builtin_runtimes()}
    known = [*runtimes, *other_tools()]
    tools: list[str] = []
    for name in names:
        base, at, version = name.partition("@")
        if base not in known:
            close = difflib.get_close_matches(base, known, 1)
            hint = f" Did you mean {close[0]}{at}{version}?" if close else ""
            usage_error(f"unknown name {name!r}.{hint} Known: {', '.join(known)}.")
        needed = runtimes[base].tools if base in runtimes else (base,)
        program = runtimes[base].tool if base in runtimes else base
        tools += [tool for tool in needed if not at or tool != program]
    return in_order(tools)


def install_exact(name: str, progress: Progress, note: Callable[[str], None]) -> tuple[str, Path, bool]:
    """Install ``NAME@VERSION`` of a runtime or tool; return its label, its folder, and whether it was there.

    ``note`` is told what the user should know of how the version was found. Raises WasmEdgeError.
    """
    base, wanted = base_name(name), name.partition("@")[2]
    tool = base
    for runtime in builtin_runtimes():
        if runtime.name == base:
            # Raises for a runtime that has no versions.
            tool = runtime.at(wanted).tool
    resolver = Resolver(progress=progress)
    version = resolver.resolve(tool, wanted)
    for each in resolver.notes:
        note(each)
    there = installed_version(tool, version)
    return f"{tool} {version}", there or install_version(tool, version, progress), there is not None
