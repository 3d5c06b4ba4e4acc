"""``pytest-wasmedge install``: installs the tools of runtimes, and ends with a summary."""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from pytest_wasmedge.commands.console import Subparsers, complain, open_console, progress_on, show, table
from pytest_wasmedge.commands.doctor import folder_bytes, size_text
from pytest_wasmedge.drivers.pool import explain
from pytest_wasmedge.errors import ProvisionError, WasmEdgeError, did_you_mean
from pytest_wasmedge.provision import install, install_command, installed, no_source, provenance
from pytest_wasmedge.provision.cache import cache_root
from pytest_wasmedge.provision.pins import in_order, needs_of, pin, tool_names
from pytest_wasmedge.provision.versions import Resolver, install_version, installed_version
from pytest_wasmedge.runtimes import builtin_names, builtin_runtimes

NOT_HERE = "not here"
LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class Result:
    """The result for one tool; ``reason`` says why it is not installed, and is empty if it is."""

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
        description="Install the tools that runtimes need, each at its pinned version: checked against the pinned "
        "digest or the archive's signature, and started once before it counts as installed. Installed tools are "
        "checked byte by byte and left alone; one that is damaged is fetched anew. NAME@VERSION installs another "
        "version beside the pinned one, checked against what the registry states. A failure does not stop the others; "
        "a summary lists what is here and what is not. The exit status is 1 if a tool that you named is missing, or "
        "any tool with --strict.",
        epilog=f"Runtimes: {', '.join(builtin_names())}. Single tools: {', '.join(other_tools())}.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME[@VERSION]",
        help="runtimes or tools (default: those of every runtime that this system can have); deno@2.7 is the newest "
        "deno 2.7",
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if any tool is missing at the end")
    parser.set_defaults(action=run, usage_error=parser.error)


def run(options: argparse.Namespace) -> int:
    """Install the tools and return 1 if one is missing that was named, or any with --strict; else 0.

    Raises ProvisionError if the cache folder cannot be used at all.
    """
    names: list[str] = options.names or builtin_names()
    tools = tools_for(names, options.usage_error)
    demanded = bool(options.names or options.strict)
    cache_root()
    console = open_console()
    results: list[Result] = []
    exact = [name for name in names if "@" in name]
    for number, name in enumerate([*tools, *exact], start=1):
        absent = {result.tool for result in results if result.reason}
        excused = None if "@" in name else _excuse(name, demanded, absent, console)
        where = f"{number} of {len(tools) + len(exact)}"
        results.append(excused or _install(name, where, console))
    _report_others(options.names, console)
    if results:
        _summarise(results, console)
    # At the end, where users see them; many tools may share one fault, such as a full disk.
    failed = [result.reason for result in results if result.state == NOT_HERE]
    complain(*failed)
    return 1 if failed and demanded else 0


def other_tools() -> list[str]:
    """Return the pinned tools that do not share the name of a runtime."""
    return [tool for tool in tool_names() if tool not in builtin_names()]


def tools_for(names: Sequence[str], usage_error: Callable[[str], NoReturn]) -> list[str]:
    """Return the pinned tools for these runtimes and tools, dependencies first.

    For ``deno@2.7``, its program is left out: it comes in another version. ``usage_error`` ends the program for an
    unknown name.
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


def _excuse(tool: str, demanded: bool, absent: Collection[str], console: Console) -> Result | None:
    """Return why this tool is not worth a try: no source here, or a missing dependency; None if it is."""
    with suppress(ProvisionError):
        if installed(tool):
            return None
    if not demanded and (reason := no_source(tool)):
        console.print(f"left out: {reason}", style="yellow")
        return Result(tool, "-", LEFT_OUT, reason=reason)
    if missing := [need for need in needs_of(tool) if need in absent]:
        reason = f"{tool}: not installed, because it needs {' and '.join(missing)}."
        return Result(tool, "-", NOT_HERE, reason=reason)
    return None


def _install(name: str, where: str, console: Console) -> Result:
    """Install a pinned tool, or NAME@VERSION of a runtime or tool, and print a line if that succeeds.

    ``where`` says on a terminal how far all is.
    """
    began_s = time.monotonic()
    tool, at, wanted = name.partition("@")
    try:
        with progress_on(console) as show_step:

            def progress(text: str) -> None:
                show_step(f"{where}: {text}")

            if at:
                resolver = Resolver(progress=progress)
                # A runtime without versions raises.
                named = [each for each in builtin_runtimes() if each.name == tool]
                tool = named[0].at(wanted).tool if named else tool
                version = resolver.resolve(tool, wanted)
                for note in resolver.notes:
                    console.print(note, style="yellow")
                before = _whole(functools.partial(installed_version, tool, version), console)
                place = before or install_version(tool, version, progress)
            else:
                before = _whole(functools.partial(installed, tool), console)
                place = before or install(tool, progress)
                came = provenance(tool)
                version = came.version if came else pin(tool).version
    except WasmEdgeError as error:
        return Result(name, "-", NOT_HERE, reason=str(error))
    size = size_text(folder_bytes(place))
    if before:
        return Result(tool, version, "already there", size)
    console.print(f"{tool} {version}: installed ({size}, {time.monotonic() - began_s:.1f} s)", style="green")
    return Result(tool, version, "installed", size)


def _whole(look: Callable[..., Path | None], console: Console) -> Path | None:
    """Return the folder of a tool that is there with all its bytes; say what is wrong with one that is not."""
    try:
        return look(all_bytes=True)
    except ProvisionError as error:
        console.print(str(error), style="yellow")
        return None


def _report_others(names: Sequence[str], console: Console) -> None:
    """Print a line about each runtime whose program we do not install, or that needs none.

    Without names, only about those whose program this system could have.
    """
    for runtime in builtin_runtimes():
        # A runtime with a tool is in the summary.
        if runtime.name not in names if names else runtime.tool:
            continue
        found = runtime.probe()
        if not found.available and not found.install.startswith(install_command("")):
            console.print(explain(runtime, found), style="yellow")
        elif names and not runtime.tools:
            console.print(f"{runtime.name}: nothing to install ({found.path})")


def _summarise(results: Sequence[Result], console: Console) -> None:
    """Print a table of all tools, and the runtimes that lack one."""
    rows = [
        ((each.tool, each.version, each.state, each.size), "yellow" if each.reason else "green")
        for each in results
    ]
    console.print()
    show(table(("tool", "version", "state", "size"), rows), console)
    absent = {result.tool for result in results if result.reason}
    here = len(results) - len(absent)
    without = [each.name for each in builtin_runtimes() if each.in_all and absent & set(each.tools)]
    console.print(
        f"{here} of {len(results)} tools are here"
        + (f"; without the others, runs leave out: {', '.join(without)}" if without else ""),
        style="yellow" if without else "green",
    )
