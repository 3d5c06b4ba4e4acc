"""``pytest-wasmedge profile``: the functions that an artifact spends its work in."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_wasmedge.artifacts.counting import UNNAMED
from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.commands.console import Subparsers, open_console, progress_on, show, table
from pytest_wasmedge.errors import CorpusError, did_you_mean
from pytest_wasmedge.model import Invocation
from pytest_wasmedge.portability import bundled
from pytest_wasmedge.portability.corpus import load_corpus
from pytest_wasmedge.portability.excerpt import printable
from pytest_wasmedge.provision.files import whole
from pytest_wasmedge.work.counting import CountingHost, unit
from pytest_wasmedge.work.counts import Work
from pytest_wasmedge.work.profile import Profile, profile

_HEAD = ("function", "fuel itself", "fuel within", "calls", "bytes")


def add_to(commands: Subparsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "profile",
        help="show which functions an artifact spends its work in",
        description="Count what the guest does on the way to its answer, exactly, and show the functions that it does "
        "it in. The same artifact gives the same numbers on every machine (docs/work.md).",
    )
    parser.add_argument(
        "case",
        nargs="?",
        metavar="CASE",
        help="a case by its name (load/hash_4k), or a file, which is given on stdin (default: the smallest program)",
    )
    parser.add_argument(
        "--artifact", default=BUILTIN_ARTIFACT, metavar="PATH|NAME", help="default: the built-in Ruby"
    )
    parser.add_argument(
        "--cases",
        type=Path,
        metavar="DIR",
        help="the folder that CASE is in (default: the cases that come with the plugin)",
    )
    parser.add_argument(
        "--by", choices=("fuel", "calls"), default="fuel", help="the order of the table (default: fuel)"
    )
    parser.add_argument(
        "--top", type=int, default=30, metavar="N", help="how many functions to show (default: 30)"
    )
    parser.add_argument(
        "--looks",
        type=int,
        default=200,
        metavar="N",
        help="how often to look what runs, at even distances of fuel (default: 200)",
    )
    parser.add_argument(
        "--collapsed",
        type=Path,
        metavar="PATH",
        help="write the stacks there, for tools that draw flame graphs",
    )
    parser.set_defaults(action=run)


def run(options: argparse.Namespace) -> int:
    """Profile, and return the exit status. Raises WasmEdgeError."""
    artifact = open_artifact(options.artifact, Path())
    given = invocation(options.case, options.cases) if options.case else None
    console = open_console()
    with progress_on(console) as progress:
        progress(f"compiling a copy of {artifact.name} that counts")
        with CountingHost(artifact) as host:
            if given is None:
                given = host.smallest
            progress("looking what runs")
            found = profile(host, given, max(1, options.looks))
    what = options.case or "the start"
    console.print(
        printable(f"{artifact.name}, {what}: {Work((found.run,))} ({unit()}); ended: {found.run.ending}")
    )
    if found.run.out_of_fuel:
        console.print("it was stopped at the limit of fuel: it may never end", style="yellow")
    if all(row.name.startswith(UNNAMED) for row in found.rows):
        console.print("the file has no names of functions: profile a build that keeps them", style="yellow")
    show(lines(found, options.by, max(1, options.top)), console)
    if options.collapsed:
        with whole(options.collapsed) as part:
            part.write_text("".join(f"{line}\n" for line in found.collapsed()), encoding="utf-8")
        console.print(
            f"{options.collapsed}: {len(found.stacks)} stacks of {found.looks} looks", style="green"
        )
    return 0


def invocation(case: str, folder: Path | None) -> Invocation:
    """Return what a case, or a file on stdin, gives to the guest. Raises CorpusError."""
    if folder is None and Path(case).is_file():
        return Invocation(Path(case).read_bytes())
    cases = {each.name: each for each in load_corpus(folder or bundled.corpus())}
    if case not in cases:
        where = folder or "the cases that come with the plugin"
        raise CorpusError(
            f"{case} is no file, and no case of {where}.{did_you_mean(case, cases)} Name a case as its golden file is "
            "named, with --cases=DIR for a folder of your own."
        )
    return cases[case].invocation()


def lines(found: Profile, by: str, number: int) -> list[tuple[str, str]]:
    """Return the table of the functions with the most work, each line with its style."""
    rows = [
        (
            (
                printable(row.name),
                _percent(row.itself, found.looks),
                _percent(row.within, found.looks),
                f"{row.calls:,}",
                f"{row.code_bytes:,}",
            ),
            "",
        )
        for row in found.most(by, number)
    ]
    left = len(found.rows) - len(rows)
    return [*table(_HEAD, rows), *([(f"and {left:,} more functions", "dim")] if left else [])]


def _percent(looks: int, of: int) -> str:
    return f"{100 * looks / of:.1f} %" if looks else "-"
