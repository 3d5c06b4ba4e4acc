"""``pytest-wasmedge install``: gets the tools behind runtimes, tries all of them, and ends with a summary."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pytest_wasmedge.commands.console import (
    Subparsers,
    complain,
    open_console,
    print_lines,
    progress_on,
    table,
)
from pytest_wasmedge.commands.doctor import folder_bytes, size_text
from pytest_wasmedge.drivers.pool import explain
from pytest_wasmedge.errors import WasmEdgeError, did_you_mean
from pytest_wasmedge.model import base_name
from pytest_wasmedge.provision import Progress, install, install_command, installed, no_source, provenance
from pytest_wasmedge.provision.cache import cache_root
from pytest_wasmedge.provision.pins import in_order, needs_of, pin, tool_names
from pytest_wasmedge.provision.versions import Resolver, install_version, installed_version
from pytest_wasmedge.runtimes import builtin_names, builtin_runtimes

if TYPE_CHECKING:
    from rich.console import Console


NOT_HERE = "not here"
LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one tool; ``reason`` says why it is not here, empty if it is."""

    tool: str
    version: str
    state: str
    size: str = ""
    reason: str = ""


def add_to(commands: Subparsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "install",
        help="fetch pinned runtimes, verified, into your cache folder",
        description="Fetch what runtimes need, each at a pinned version: checked against its pinned digest or its "
        "archive's signature, and started once before it counts as installed. What is already there is left alone. "
        "NAME@VERSION fetches another version beside it, checked against what the registry states. Everything is "
        "tried; the end is a summary of what is here and what is not. The exit status is 0 unless --strict or names "
        "ask for more.",
        epilog=f"Runtimes: {', '.join(builtin_names())}. Single tools: {', '.join(other_tools())}.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME[@VERSION]",
        help="runtimes or tools, each of which must be had (default: every runtime that can be had here); "
        "deno@2.7 is the newest deno 2.7",
    )
    parser.add_argument("--strict", action="store_true", help="end with 1 if anything is missing in the end")
    parser.set_defaults(action=run, usage_error=parser.error)


def run(options: argparse.Namespace) -> int:
    """Install what is asked for; return 1 if something is missing that was named, or anything under --strict.

    Raises ProvisionError if the cache folder cannot be used at all.
    """
    names: list[str] = options.names or builtin_names()
    tools = tools_for(names, options.usage_error)
    demanded = bool(options.names or options.strict)
    cache_root()
    console = open_console()
    results: list[Result] = []
    for tool in tools:
        absent = {result.tool for result in results if result.reason}
        results.append(_result(tool, demanded, absent, console))
    for name in (name for name in names if "@" in name):
        results.append(_install_one(name, _exact(console), console))
    _tell_of_others(options.names, console)
    if results:
        _summarise(results, console)
    # Last, where they are seen; a fault that many tools share (no network, a full disk) is told once.
    failed = [result.reason for result in results if result.state == NOT_HERE]
    for reason in dict.fromkeys(failed):
        complain(reason)
    return 1 if failed and demanded else 0


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
            hint = did_you_mean(base, known, f"{at}{version}")
            usage_error(f"unknown name {name!r}.{hint} Known: {', '.join(known)}.")
        needed = runtimes[base].tools if base in runtimes else (base,)
        program = runtimes[base].tool if base in runtimes else base
        tools += [tool for tool in needed if not at or tool != program]
    return in_order(tools)


def _result(tool: str, demanded: bool, absent: Collection[str], console: Console) -> Result:
    """Install this pinned tool, unless what it needs is absent or this system has no source of it."""
    if not installed(tool):
        if (reason := no_source(tool)) and not demanded:
            # Nobody demands it: that this system has no source of it is no failure.
            console.print(f"left out: {reason}", style="yellow", markup=False)
            return Result(tool, "-", LEFT_OUT, reason=reason)
        if lacking := [need for need in needs_of(tool) if need in absent]:
            reason = f"{tool}: not installed, because it needs {' and '.join(lacking)}."
            return Result(tool, "-", NOT_HERE, reason=reason)
    return _install_one(tool, _pinned, console)


def _pinned(tool: str, progress: Progress) -> tuple[str, str, Path, bool]:
    there = installed(tool)
    place = there or install(tool, progress)
    came = provenance(tool)
    return tool, came.version if came else pin(tool).version, place, there is not None


def _exact(console: Console) -> Callable[[str, Progress], tuple[str, str, Path, bool]]:
    """Return what installs ``NAME@VERSION`` of a runtime or tool and says how the version was found."""

    def get(name: str, progress: Progress) -> tuple[str, str, Path, bool]:
        base, wanted = base_name(name), name.partition("@")[2]
        tool = base
        for runtime in builtin_runtimes():
            if runtime.name == base:
                # Raises for a runtime that has no versions.
                tool = runtime.at(wanted).tool
        resolver = Resolver(progress=progress)
        version = resolver.resolve(tool, wanted)
        for each in resolver.notes:
            console.print(each, style="yellow", markup=False)
        there = installed_version(tool, version)
        return tool, version, there or install_version(tool, version, progress), there is not None

    return get


def _install_one(
    name: str, get: Callable[[str, Progress], tuple[str, str, Path, bool]], console: Console
) -> Result:
    """Install what is called so, and say so once it is done; the summary tells the rest.

    ``get`` does it, and returns tool, version, folder, and whether it was there.
    """
    began_s = time.monotonic()
    try:
        with progress_on(console) as progress:
            tool, version, place, was_there = get(name, progress)
    except WasmEdgeError as error:
        return Result(name, "-", NOT_HERE, reason=str(error))
    size = size_text(folder_bytes(place))
    if was_there:
        return Result(tool, version, "already there", size)
    console.print(f"{tool} {version}: installed ({size}, {time.monotonic() - began_s:.1f} s)", style="green")
    return Result(tool, version, "installed", size)


def _tell_of_others(names: Sequence[str], console: Console) -> None:
    """Say of runtimes that need nothing of ours, or something that is not ours, where they stand.

    Without names only those are told of that this system could have.
    """
    for runtime in builtin_runtimes():
        # Whose program is ours can be told without asking it.
        if runtime.name not in names if names else runtime.tool:
            continue
        found = runtime.probe()
        if not found.available and not found.install.startswith(install_command("")):
            console.print(explain(runtime, found), style="yellow", markup=False)
        elif names and not runtime.tools:
            console.print(f"{runtime.name}: nothing to install ({found.path})", markup=False)


def _summarise(results: Sequence[Result], console: Console) -> None:
    """Print a table of all tools, and which runtimes cannot run for want of one."""
    rows: list[tuple[Sequence[str], str]] = [(("tool", "version", "state", "size"), "bold")]
    for result in results:
        style = "yellow" if result.reason else "green"
        rows.append(((result.tool, result.version, result.state, result.size), style))
    console.print()
    print_lines(table(rows), console)
    absent = {result.tool for result in results if result.reason}
    here = len(results) - len(absent)
    without = [runtime.name for runtime in builtin_runtimes() if absent & set(runtime.tools)]
    console.print(
        f"{here} of {len(results)} tools are here"
        + (f"; without the others, runs leave out: {', '.join(without)}" if without else ""),
        style="yellow" if without else "green",
    )
