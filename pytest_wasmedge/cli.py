"""The console script ``pytest-wasmedge``: doctor, install, build."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import platform
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_wasmedge import __version__
from pytest_wasmedge.errors import ProvisionError, WasmEdgeError
from pytest_wasmedge.provision import TOOLS_OF_RUNTIME, build_tools, install, install_command, installed
from pytest_wasmedge.provision.cache import ENV_CACHE, cache_root
from pytest_wasmedge.provision.pins import in_order, pin, this_platform, tool_names

if TYPE_CHECKING:
    from rich.console import Console

    from pytest_wasmedge.runtimes.base import Availability, Runtime

#: The variants of the recipe, which is imported only to build.
VARIANTS = ("wizer", "raw", "stdlib")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the console script and return its exit status: 0, 1 for our errors, 2 for usage, 130 for Ctrl-C."""
    options = parser().parse_args(argv)
    action: Callable[[argparse.Namespace], int] = options.action
    with _terminable():
        try:
            return action(options)
        except WasmEdgeError as error:
            _complain(str(error))
            return 1
        except KeyboardInterrupt:
            _complain("interrupted; nothing half-done was kept.")
            return 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="pytest-wasmedge",
        description="Get the host runtimes that pytest-wasmedge runs artifacts on, and see which are here.",
        epilog=f"Installed tools live in a cache folder of yours; {ENV_CACHE}=DIR moves it.",
    )
    top.add_argument("--version", action="version", version=f"pytest-wasmedge {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    doctor = commands.add_parser(
        "doctor",
        help="show which runtimes can run here, and how to get the rest",
        description="Ask every built-in runtime whether it can start here. Installs nothing; ends with 0.",
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    doctor.set_defaults(action=_doctor)

    get = commands.add_parser(
        "install",
        help="fetch pinned runtimes, verified, into your cache folder",
        description="Fetch what runtimes need, each at a pinned version: checked against its pinned digest, "
        "and started once before it counts as installed. What is already there is left alone.",
        epilog=f"Runtimes: {', '.join(TOOLS_OF_RUNTIME)}. Single tools: {', '.join(_other_tools())}.",
    )
    get.add_argument("names", nargs="*", metavar="NAME", help="runtimes or tools (default: every runtime)")
    get.set_defaults(action=_install, usage_error=get.error)

    make = commands.add_parser(
        "build",
        help="build the built-in Ruby artifact from its pinned parts",
        description="Build the built-in artifact, or a variant of it, from pinned parts; installs the build "
        "tools first. Running the suite does not need this: the artifact ships with the package.",
    )
    make.add_argument(
        "--variant",
        choices=VARIANTS,
        default="wizer",
        help="wizer: pre-initialised, as shipped (default); raw: not pre-initialised; "
        "stdlib: with Ruby's standard library",
    )
    make.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="the file to write (default: ruby-worker.wasm or ruby-worker-VARIANT.wasm in this folder)",
    )
    make.set_defaults(action=_build)
    return top


# -- doctor --------------------------------------------------------------------------------------------------


def _doctor(options: argparse.Namespace) -> int:
    from pytest_wasmedge.runtimes import builtin_runtimes

    findings = examine(builtin_runtimes())
    if options.json:
        print(json.dumps(findings, indent=2))
    else:
        console = _console()
        for line, style in doctor_lines(findings):
            console.print(line, style=style, markup=False)
    return 0


def examine(runtimes: Sequence[Runtime]) -> dict[str, Any]:
    """Return what ``doctor --json`` prints: this machine, our cache and artifact, each runtime's probe."""
    cache: dict[str, Any]
    try:
        root = cache_root()
        cache = {"path": str(root), "size_bytes": _size_bytes(root)}
    except ProvisionError as error:
        cache = {"error": str(error)}
    return {
        "pytest_wasmedge": __version__,
        "python": platform.python_version(),
        "python_path": sys.executable,
        "platform": this_platform(),
        "cache": cache,
        "artifact": _builtin_artifact(),
        "runtimes": [
            {"name": runtime.name, "engine": runtime.engine, **asdict(_probe(runtime))}
            for runtime in runtimes
        ],
    }


def doctor_lines(findings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the lines of ``doctor`` and the style of each."""
    cache, artifact, runtimes = findings["cache"], findings["artifact"], findings["runtimes"]
    yield f"pytest-wasmedge {findings['pytest_wasmedge']}", "bold"
    yield f"Python    {findings['python']}  {findings['python_path']}", ""
    yield f"Platform  {findings['platform']}", ""
    if "error" in cache:
        yield f"Cache     {cache['error']}", "red"
    else:
        yield f"Cache     {cache['path']}  {_size(cache['size_bytes'])}", ""
    if "error" in artifact:
        yield f"Artifact  {artifact['error']}", "red"
    else:
        size = _size(artifact["size_bytes"])
        yield f"Artifact  {artifact['name']} (built in)  {size}  sha256 {artifact['sha256'][:16]}…", ""
    yield "", ""

    rows = [("runtime", "version", "engine", "where from")]
    for runtime in runtimes:
        here = runtime["available"]
        # An engine that is a program of its own name has one version only; some versions are commits.
        extra = runtime["engine_version"] if runtime["engine_version"] != runtime["version"] else ""
        extra = f"{extra[:12]}…" if len(extra) > 24 else extra
        engine = f"{runtime['engine']} {extra}".rstrip() if here else runtime["engine"]
        origin = runtime["path"] if here else f"not here: {runtime['reason']}"
        rows.append((runtime["name"], runtime["version"] if here else "-", engine, origin))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    styles = ["bold", *("green" if runtime["available"] else "yellow" for runtime in runtimes)]
    for row, style in zip(rows, styles, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)]
        yield "  ".join(cells).rstrip(), style
    yield "", ""

    missing = [runtime for runtime in runtimes if not runtime["available"]]
    yield f"{len(runtimes) - len(missing)} of {len(runtimes)} runtimes can run here.", ""
    remedies = list(dict.fromkeys(runtime["install"] for runtime in missing if runtime["install"]))
    ours = [remedy for remedy in remedies if remedy.startswith(install_command(""))]
    if ours:
        names = " ".join(remedy.removeprefix(install_command("")) for remedy in ours)
        yield f"To get what is missing: {install_command(names)}", ""
    for remedy in remedies:
        if remedy not in ours:
            names = ", ".join(runtime["name"] for runtime in missing if runtime["install"] == remedy)
            yield f"To get {names}: {remedy}", ""


def _probe(runtime: Runtime) -> Availability:
    from pytest_wasmedge.runtimes.base import Availability

    try:
        return runtime.probe()
    except Exception as error:  # one broken runtime must not hide the others
        return Availability(False, reason=f"its probe failed: {type(error).__name__}: {error}")


def _builtin_artifact() -> dict[str, Any]:
    from pytest_wasmedge.options import BUILTIN_ARTIFACT
    from pytest_wasmedge.session import open_artifact

    try:
        artifact = open_artifact(BUILTIN_ARTIFACT, Path.cwd())
    except WasmEdgeError as error:
        return {"error": str(error)}
    return {"name": artifact.name, "sha256": artifact.sha256, "size_bytes": artifact.size_bytes}


# -- install -------------------------------------------------------------------------------------------------


def _install(options: argparse.Namespace) -> int:
    names: list[str] = options.names or list(TOOLS_OF_RUNTIME)
    tools = _tools_for(names, options.usage_error)
    console = _console()
    if options.names:
        for name in (name for name in names if TOOLS_OF_RUNTIME.get(name) == ()):
            console.print(
                f"{name}: nothing to install, it is a Python package that came with pytest-wasmedge"
            )
    failed: list[str] = []
    for tool in tools:
        failed += [] if _install_one(tool, failed, console) else [tool]
    return 1 if failed else 0


def _tools_for(names: Sequence[str], usage_error: Callable[[str], NoReturn]) -> list[str]:
    """Return the tools that these runtimes and tools need, what they depend on first."""
    known = [*TOOLS_OF_RUNTIME, *_other_tools()]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f" Did you mean {close[0]}?" if close else ""
            usage_error(f"unknown name {name!r}.{hint} Known: {', '.join(known)}.")
    return in_order([tool for name in names for tool in TOOLS_OF_RUNTIME.get(name, (name,))])


def _other_tools() -> list[str]:
    return [tool for tool in tool_names() if tool not in TOOLS_OF_RUNTIME]


def _install_one(tool: str, failed: Sequence[str], console: Console) -> bool:
    """Install one tool and print what became of it; True unless it failed."""
    try:
        wanted = pin(tool)
        lacking = [need for need in wanted.needs if need in failed]
        if lacking:
            raise ProvisionError(f"{tool}: not installed, because it needs {' and '.join(lacking)}.")
        label = f"{tool} {wanted.version}"
        if place := installed(tool):
            console.print(f"{label}: already there ({_size(_size_bytes(place))})")
            return True
        started = time.monotonic()
        with _progress(console) as progress:
            place = install(tool, progress)
    except ProvisionError as error:
        _complain(str(error))
        return False
    elapsed_s = time.monotonic() - started
    console.print(f"{label}: installed ({_size(_size_bytes(place))}, {elapsed_s:.1f} s)", style="green")
    return True


# -- build ---------------------------------------------------------------------------------------------------


def _build(options: argparse.Namespace) -> int:
    from pytest_wasmedge.artifacts.recipe import Tools, build
    from pytest_wasmedge.wasm import load_artifact

    output: Path | None = options.output
    folder = output.parent if output else Path()
    if not folder.is_dir() or (output and output.is_dir()):
        raise ProvisionError(
            f"--output {output} is no place for a file; give the path of the .wasm to write."
        )
    console = _console()
    # Beside the output, so that a finished artifact takes its place in one step.
    with tempfile.TemporaryDirectory(prefix=".pytest-wasmedge-", dir=folder) as work:
        with _progress(console) as progress:
            tools = Tools(**build_tools(progress))
            built = build(options.variant, Path(work), tools, progress)
        artifact = load_artifact(built)
        place = built.replace(output or folder / built.name)
    console.print(f"{place}: {_size(artifact.size_bytes)}, sha256 {artifact.sha256}", style="green")
    return 0


# -- what the commands share ---------------------------------------------------------------------------------


def _console() -> Console:
    from rich.console import Console

    # soft_wrap: lines that go into a file or a pipe must stay lines.
    return Console(highlight=False, soft_wrap=True)


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is going on and for how long; elsewhere say nothing until it is done."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda _: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda text: bar.update(task, description=text)


@contextmanager
def _terminable() -> Iterator[None]:
    """Make SIGTERM unwind like Ctrl-C does, so that children end and temporary folders go."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _complain(text: str) -> None:
    print(f"pytest-wasmedge: {text}", file=sys.stderr)


def _size_bytes(folder: Path) -> int:
    # A file that another process deletes meanwhile counts for nothing.
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sum(file.lstat().st_size for file in files if file.is_file())


def _size(size_bytes: int) -> str:
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1e3:.0f} kB"
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes < 10_000_000 else f"{size_bytes / 1e6:.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
