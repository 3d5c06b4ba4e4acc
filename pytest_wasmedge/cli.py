"""The console script ``pytest-wasmedge``: doctor, install, build, export, compare, bisect."""

from __future__ import annotations

import argparse
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
from typing import TYPE_CHECKING

from pytest_wasmedge import __version__, doctor
from pytest_wasmedge.doctor import folder_bytes, size_text
from pytest_wasmedge.errors import ProvisionError, WasmEdgeError
from pytest_wasmedge.installing import install_exact, other_tools, tools_for
from pytest_wasmedge.provision import Progress, build_tools, install, install_command, installed, no_source
from pytest_wasmedge.provision.cache import ENV_CACHE
from pytest_wasmedge.provision.pins import pin
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
        "and started once before it counts as installed. What is already there is left alone. NAME@VERSION "
        "fetches another version beside it, checked against what the registry states.",
        epilog=f"Runtimes: {', '.join(builtin_names())}. Single tools: {', '.join(other_tools())}.",
    )
    get.add_argument(
        "names",
        nargs="*",
        metavar="NAME[@VERSION]",
        help="runtimes or tools (default: every runtime that can be had here); deno@2.7 is the newest deno 2.7",
    )
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

    ship = commands.add_parser(
        "export",
        help="write a folder with our glue and an artifact that can be deployed as it is",
        description="Write a folder that can be deployed as it is, and say how it stands against the platform's "
        "published limits. Deployed, it takes stdin as the body of a POST and answers stdout; "
        "`pytest --wasm-remote=URL` checks all of it. Other files in the folder stay.",
    )
    ship.add_argument("target", choices=("cloudflare", "deno", "workerd"), help="where to deploy to")
    ship.add_argument("--artifact", metavar="PATH", help="the .wasm file (default: the built-in Ruby)")
    ship.add_argument("--output", type=Path, metavar="DIR", help="the folder (default: ./ARTIFACT-TARGET)")
    ship.add_argument("--force", action="store_true", help="also write into what is not an earlier export")
    ship.set_defaults(action=_export)

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

    seek = commands.add_parser(
        "bisect",
        help="find the version of a runtime in which an outcome changed",
        description="Run one program on published versions of a runtime, half of what is left at a time, and name "
        "the first whose outcome is not that of --good. Installs the versions that it tries; one that cannot be "
        "installed or started is skipped.",
    )
    seek.add_argument("--runtime", required=True, metavar="NAME", help="the runtime, without a version")
    seek.add_argument("--good", required=True, metavar="VERSION", help="the older version, or its beginning")
    seek.add_argument("--bad", required=True, metavar="VERSION", help="the newer version, or its beginning")
    program = seek.add_mutually_exclusive_group()
    program.add_argument("--case", metavar="NAME", help="a case of the bundled corpus: errors/stack_overflow")
    program.add_argument("--source", type=Path, metavar="FILE", help="a program to run: it becomes stdin")
    seek.add_argument("--artifact", metavar="PATH", help="the .wasm file to run (default: the built-in Ruby)")
    seek.add_argument("--json", action="store_true", help="print one JSON object instead of the steps")
    seek.set_defaults(action=_bisect, usage_error=seek.error)
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
    console = _console()
    failed: dict[str, str] = {}

    def pinned(tool: str, progress: Progress) -> tuple[str, Path, bool]:
        wanted, there = pin(tool), installed(tool)
        if lacking := [need for need in wanted.needs if need in failed]:
            raise ProvisionError(f"{tool}: not installed, because it needs {' and '.join(lacking)}.")
        return f"{tool} {wanted.version}", there or install(tool, progress), there is not None

    def exact(name: str, progress: Progress) -> tuple[str, Path, bool]:
        return install_exact(name, progress, lambda note: console.print(note, style="yellow", markup=False))

    for tool in tools_for(names, options.usage_error):
        # Of what nobody asked for by its name, what this system has no source of is no failure.
        if not options.names and (reason := no_source(tool)) and not installed(tool):
            console.print(f"left out: {reason}", style="yellow", markup=False)
        elif error := _install_one(pinned, tool, console):
            failed[tool] = error
    for name in (name for name in names if "@" in name):
        if error := _install_one(exact, name, console):
            failed[name] = error
    for runtime in (each for each in builtin_runtimes() if each.name in options.names):
        found = runtime.probe()
        if found.install and not found.install.startswith(install_command("")):
            console.print(
                f"{runtime.name}: {found.reason}; get it with `{found.install}`", style="yellow", markup=False
            )
        elif not runtime.tools:
            console.print(f"{runtime.name}: nothing to install ({found.path})", markup=False)
    # Last, where they are seen: between many that were installed nobody looks for one that was not.
    for error in failed.values():
        _complain(error)
    return 1 if failed else 0


def _install_one(get: Callable[[str, Progress], tuple[str, Path, bool]], name: str, console: Console) -> str:
    """Install what is called so and print what became of it; return what went wrong, empty if nothing.

    ``get`` does it, and returns label, folder, and whether it was there.
    """
    started = time.monotonic()
    try:
        with _progress(console) as progress:
            label, place, was_there = get(name, progress)
    except WasmEdgeError as error:
        return str(error)
    size = size_text(folder_bytes(place))
    if was_there:
        console.print(f"{label}: already there ({size})")
    else:
        console.print(f"{label}: installed ({size}, {time.monotonic() - started:.1f} s)", style="green")
    return ""


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


# -- export --------------------------------------------------------------------------------------------------


def _export(options: argparse.Namespace) -> int:
    from pytest_wasmedge import export
    from pytest_wasmedge.options import BUILTIN_ARTIFACT
    from pytest_wasmedge.session import open_artifact

    artifact = open_artifact(options.artifact or BUILTIN_ARTIFACT, Path.cwd())
    console = _console()
    with _progress(console) as progress:
        exported = export.export(
            options.target, artifact, options.output, force=options.force, progress=progress
        )
    for line, style in export.lines(exported):
        console.print(line, style=style, markup=False)
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


# -- bisect --------------------------------------------------------------------------------------------------


def _bisect(options: argparse.Namespace) -> int:
    from pytest_wasmedge import bisecting
    from pytest_wasmedge.options import BUILTIN_ARTIFACT
    from pytest_wasmedge.session import open_artifact

    if not (options.case or options.source or options.artifact):
        options.usage_error("say what to run: --case NAME, --source FILE, or --artifact PATH")
    runtime = bisecting.runtime_named(options.runtime, builtin_runtimes())
    program = bisecting.find_case(options.case) if options.case else options.source
    artifact = open_artifact(options.artifact or BUILTIN_ARTIFACT, Path.cwd())
    console = _console()
    say = (lambda _: None) if options.json else (lambda text: console.print(text, markup=False))
    with _progress(console) as progress:
        report = bisecting.bisect(runtime, artifact, program, (options.good, options.bad), say, progress)
    if options.json:
        print(json.dumps(report.as_json(), indent=2))
    for line, style in [] if options.json else bisecting.lines(report):
        console.print(line, style=style, markup=False)
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
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _complain(text: str) -> None:
    print(f"pytest-wasmedge: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
