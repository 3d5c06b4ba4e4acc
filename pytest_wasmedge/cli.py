"""The console script ``pytest-wasmedge``: doctor, install, build, compare."""

from __future__ import annotations

import argparse
import difflib
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pytest_wasmedge import __version__, doctor
from pytest_wasmedge.doctor import folder_bytes, size_text
from pytest_wasmedge.errors import ProvisionError, WasmEdgeError
from pytest_wasmedge.provision import build_tools, install, installed
from pytest_wasmedge.provision.cache import ENV_CACHE
from pytest_wasmedge.provision.pins import in_order, pin, tool_names
from pytest_wasmedge.runtimes import builtin_names, builtin_runtimes

if TYPE_CHECKING:
    from rich.console import Console

#: The variants of the recipe, which is imported only to build.
VARIANTS = ("raw", "wizer", "O2", "Oz", "O2+wizer", "Oz+wizer", "wizer+O2", "wizer+Oz", "stdlib")
#: What is compared by default; the library is another artifact, not another way to build this one.
COMPARED = VARIANTS[:-1]

#: The shell's usual status for SIGTERM.
_TERMINATED = 143


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

    look = commands.add_parser(
        "doctor",
        help="show which runtimes can run here, and how to get the rest",
        description="Ask every built-in runtime whether it can start here. Installs nothing; ends with 0.",
    )
    look.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    look.set_defaults(action=_doctor)

    get = commands.add_parser(
        "install",
        help="fetch pinned runtimes, verified, into your cache folder",
        description="Fetch what runtimes need, each at a pinned version: checked against its pinned digest, "
        "and started once before it counts as installed. What is already there is left alone.",
        epilog=f"Runtimes: {', '.join(builtin_names())}. Single tools: {', '.join(_other_tools())}.",
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
        "O2, Oz: raw, through wasm-opt; with a plus: both, in that order (O2+wizer: optimised, then "
        "pre-initialised); stdlib: pre-initialised, with Ruby's standard library",
    )
    make.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="the file to write (default: ruby-worker.wasm or ruby-worker-VARIANT.wasm in this folder)",
    )
    make.set_defaults(action=_build)

    rank = commands.add_parser(
        "compare",
        help="hold the cold starts of variants against each other, on each runtime",
        description="Start each VARIANT once on each runtime in every round, in a drawn order, and print "
        "size and cold start of each, with the ratio to the first one named: that is the baseline. Variants "
        "that are not in your cache folder yet are built first, which takes minutes for optimised ones.",
        epilog=f"Variants: {', '.join(VARIANTS)}.",
    )
    rank.add_argument(
        "variants",
        nargs="*",
        metavar="VARIANT",
        help="variants of the built-in artifact, or paths of .wasm files; the first one is the baseline "
        "(default: raw, then every other variant but stdlib)",
    )
    rank.add_argument(
        "--runtimes", default="all", metavar="NAME,…", help="runtimes (default: all that can run here)"
    )
    rank.add_argument(
        "--rounds", type=_count, default=20, metavar="N", help="rounds; intervals need 8 (default: 20)"
    )
    rank.add_argument(
        "--seed", type=int, metavar="N", help="what the order is drawn from (default: another one each time)"
    )
    rank.add_argument(
        "--json", type=Path, metavar="FILE", help="append the raw samples to this file, as JSON lines"
    )
    rank.set_defaults(action=_compare)
    return top


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{count} is too few")
    return count


# -- doctor --------------------------------------------------------------------------------------------------


def _doctor(options: argparse.Namespace) -> int:
    findings = doctor.examine(builtin_runtimes())
    if options.json:
        print(json.dumps(findings, indent=2))
    else:
        console = _console()
        for line, style in doctor.lines(findings):
            console.print(line, style=style, markup=False)
    return 0


# -- install -------------------------------------------------------------------------------------------------


def _install(options: argparse.Namespace) -> int:
    names: list[str] = options.names or builtin_names()
    tools = _tools_for(names, options.usage_error)
    console = _console()
    if options.names:
        for name in (
            runtime.name for runtime in builtin_runtimes() if runtime.name in names and not runtime.tools
        ):
            console.print(
                f"{name}: nothing to install, it is a Python package that came with pytest-wasmedge"
            )
    failed: list[str] = []
    for tool in tools:
        failed += [] if _install_one(tool, failed, console) else [tool]
    return 1 if failed else 0


def _tools_for(names: Sequence[str], usage_error: Callable[[str], NoReturn]) -> list[str]:
    """Return the tools that these runtimes and tools need, what they depend on first."""
    tools_of = {runtime.name: runtime.tools for runtime in builtin_runtimes()}
    known = [*tools_of, *_other_tools()]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f" Did you mean {close[0]}?" if close else ""
            usage_error(f"unknown name {name!r}.{hint} Known: {', '.join(known)}.")
    return in_order([tool for name in names for tool in tools_of.get(name, (name,))])


def _other_tools() -> list[str]:
    return [tool for tool in tool_names() if tool not in builtin_names()]


def _install_one(tool: str, failed: Sequence[str], console: Console) -> bool:
    """Install one tool and print what became of it; True unless it failed."""
    try:
        wanted = pin(tool)
        lacking = [need for need in wanted.needs if need in failed]
        if lacking:
            raise ProvisionError(f"{tool}: not installed, because it needs {' and '.join(lacking)}.")
        label = f"{tool} {wanted.version}"
        if place := installed(tool):
            console.print(f"{label}: already there ({size_text(folder_bytes(place))})")
            return True
        started = time.monotonic()
        with _progress(console) as progress:
            place = install(tool, progress)
    except ProvisionError as error:
        _complain(str(error))
        return False
    elapsed_s = time.monotonic() - started
    console.print(f"{label}: installed ({size_text(folder_bytes(place))}, {elapsed_s:.1f} s)", style="green")
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
    console.print(f"{place}: {size_text(artifact.size_bytes)}, sha256 {artifact.sha256}", style="green")
    return 0


# -- compare -------------------------------------------------------------------------------------------------


def _compare(options: argparse.Namespace) -> int:
    from pytest_wasmedge import comparison
    from pytest_wasmedge.ablation import Ablation, lines

    console = _console()
    seed: int = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    runtimes, availability = comparison.runtimes(options.runtimes, builtin_runtimes())
    keep = comparison.writer(options.json, seed, availability)
    status = 0
    with _progress(console) as progress:
        entries = comparison.entries(options.variants or COMPARED, VARIANTS, progress, console.print)
        ablation = Ablation(entries, runtimes, seed, keep)
        try:
            comparison.take(ablation, options.rounds, progress)
        except KeyboardInterrupt:
            status = 130
        except SystemExit:
            status = _TERMINATED
    for line, style in lines(entries, ablation.results(), availability, seed):
        console.print(line, style=style, markup=False)
    if status:
        _complain("interrupted; the table shows what was measured until then.")
    return status or (1 if ablation.faults else 0)


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
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _complain(text: str) -> None:
    print(f"pytest-wasmedge: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
