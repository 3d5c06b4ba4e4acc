"""``pytest-wasmedge bisect``: finds the first version of a runtime in which an outcome changed."""

from __future__ import annotations

import argparse
import difflib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pytest_wasmedge.artifacts.floor import floor_artifact
from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.commands.console import Subparsers, open_console, progress_on, show
from pytest_wasmedge.drivers.pool import explain
from pytest_wasmedge.errors import CorpusError, HostStartError, RuntimeUnavailableError, WasmEdgeError
from pytest_wasmedge.latency.quiet import Quiet
from pytest_wasmedge.model import Artifact, Divergence, Invocation, Limits, Outcome, Runtime, host_failed
from pytest_wasmedge.portability import bundled
from pytest_wasmedge.portability.compare import compare
from pytest_wasmedge.portability.corpus import Case, load_corpus
from pytest_wasmedge.portability.excerpt import cut, visible
from pytest_wasmedge.provision import Progress
from pytest_wasmedge.provision.cache import folder
from pytest_wasmedge.provision.versions import Resolver, in_order, install_others, install_version, published
from pytest_wasmedge.runtimes import builtin_runtimes, select

#: Runs one exact version. Raises WasmEdgeError if it cannot be installed or started.
Attempt = Callable[[str], Outcome]
Verdict = Literal["good", "bad", "same", "differs", "skipped"]

#: An error lists at most this many names.
_MOST_NAMES = 12
#: The reason of a failed host is cut after this many characters.
_MOST_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Step:
    """One version that was tried; ``detail`` says how it ended, or why it was skipped."""

    version: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True, slots=True)
class Change:
    """Where the outcome changed: in ``first``, while ``before`` is still like the good one.

    ``unknown`` are the versions between the two that could not be tried; each of them may be the first.
    """

    before: str
    first: str
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What was searched, what was tried and what was found, as ``--json`` prints it."""

    runtime: str
    program: str
    artifact: str
    artifact_sha256: str
    steps: Sequence[Step] = ()
    divergences: tuple[Divergence, ...] = ()
    change: Change = field(kw_only=True)


def search(versions: Sequence[str], differs: Callable[[str], bool | None]) -> Change:
    """Return where the outcome changes between the first version and the last, which differ.

    ``differs`` is called for as few of the others as possible; it returns None for one that cannot be tried.
    """
    low, high = 0, len(versions) - 1
    skipped: set[int] = set()
    while between := [at for at in range(low + 1, high) if at not in skipped]:
        at = min(between, key=lambda index: abs(2 * index - low - high))
        verdict = differs(versions[at])
        if verdict is None:
            skipped.add(at)
        elif verdict:
            high = at
        else:
            low = at
    return Change(versions[low], versions[high], tuple(versions[low + 1 : high]))


def same(outcome: Outcome, reference: Outcome) -> bool:
    """True if two outcomes are the same; for a search, all failed hosts are the same."""
    if "host_failed" in (outcome.ending.kind, reference.ending.kind):
        return outcome.ending == reference.ending
    return not compare(outcome, reference)


def find_change(
    versions: Sequence[str], attempt: Attempt, say: Progress, steps: list[Step]
) -> tuple[Change, tuple[Divergence, ...]]:
    """Find the first version that differs from the good one; the versions go from the good one to the bad one.

    Raises WasmEdgeError if one of these two cannot be tried, or if both have the same outcome.
    """
    width = max(map(len, versions))
    outcomes: dict[str, Outcome] = {}

    def note(version: str, verdict: Verdict, detail: str) -> None:
        steps.append(Step(version, verdict, detail))
        label = {"good": "--good", "bad": "--bad", "same": "same as --good"}.get(verdict, verdict)
        say(f"{version.ljust(width)}  {label}: {detail}")

    def differs(version: str) -> bool | None:
        try:
            outcome = outcomes[version] = attempt(version)
        except WasmEdgeError as error:
            note(version, "skipped", str(error))
            return None
        different = not same(outcome, good)
        note(version, "differs" if different else "same", _summary(outcome))
        return different

    ends: tuple[tuple[str, Verdict], ...] = ((versions[0], "good"), (versions[-1], "bad"))
    for version, verdict in ends:
        try:
            outcomes[version] = attempt(version)
        except WasmEdgeError as error:
            raise WasmEdgeError(f"--{verdict} {version} cannot be tried: {error}") from error
        note(version, verdict, _summary(outcomes[version]))
    good = outcomes[versions[0]]
    if same(outcomes[versions[-1]], good):
        raise WasmEdgeError(
            f"{versions[0]} and {versions[-1]} have the same outcome, {_summary(good)}: there is no change between "
            "them to find."
        )
    change = search(versions, differs)
    return change, compare(outcomes[change.first], good)


def _summary(outcome: Outcome) -> str:
    if outcome.ending.kind == "host_failed":
        return f"host_failed ({cut(visible(outcome.ending.detail.encode()), _MOST_CHARACTERS)})"
    return f"{outcome.ending}, {len(outcome.stdout)} B of stdout, {len(outcome.stderr)} B of stderr"


def lines(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the closing lines with their styles."""
    yield "", ""
    yield f"first version that differs: {report.runtime}@{report.change.first}", "bold"
    yield f"the one before it:          {report.runtime}@{report.change.before}", ""
    if unknown := ", ".join(report.change.unknown):
        yield f"or one of these in between, which could not be tried: {unknown}", "yellow"
    for each in report.divergences:
        yield from ((line, "") for line in str(each).splitlines())


def find_case(name: str) -> Case:
    """Return the case of this name in the bundled corpus. Raises CorpusError, which lists similar names."""
    cases = {case.name: case for case in load_corpus(bundled.corpus())}
    if name in cases:
        return cases[name]
    found = [each for each in cases if name and each.startswith(name)]
    found = found or difflib.get_close_matches(name, cases, _MOST_NAMES)
    found = found or [f"{topic}/…" for topic in dict.fromkeys(case.topic for case in cases.values())]
    shown = ", ".join(found[:_MOST_NAMES]) + (", …" if len(found) > _MOST_NAMES else "")
    raise CorpusError(f"there is no case {name!r}; there are {shown}.")


def between(runtime: Runtime, good: str, bad: str, progress: Progress) -> list[str]:
    """Return the versions from the good one to the bad one, both included. Raises WasmEdgeError."""
    if not runtime.tool:
        runtime.at(bad)  # raises
    resolver = Resolver(progress=progress)
    known = published(runtime.tool, progress)
    ends = [resolver.resolve(runtime.tool, wanted) for wanted in (good, bad)]
    versions = in_order([*known, *ends])
    first, last = (versions.index(end) for end in ends)
    if first >= last:
        relation = "the same version as" if first == last else "newer than"
        raise WasmEdgeError(
            f"--good {ends[0]} is {relation} --bad {ends[1]}: give the older one as --good. Which of the two is right "
            "does not matter: the search is for the version in which the outcome changes."
        )
    return versions[first : last + 1]


def attempts_on(runtime: Runtime, artifact: Artifact, invocation: Invocation, progress: Progress) -> Attempt:
    """Return a function that runs one program on a version of this runtime, installed if missing.

    It raises WasmEdgeError. A version that starts, but not with this artifact, has an outcome: a failed host.
    """
    quiet = Quiet(folder("locks"))

    def attempt(version: str) -> Outcome:
        install_version(runtime.tool, version, progress)
        install_others(runtime.tool, runtime.tools, progress)
        exact = runtime.at(version)
        progress(f"running on {exact.name}")
        with quiet.testing():
            availability = exact.probe()
            if not availability.available:
                raise RuntimeUnavailableError(explain(exact, availability))
            try:
                host = exact.start(artifact, Limits())
            except HostStartError as error:
                if not _starts(exact):
                    raise
                return Outcome(b"", b"", host_failed(str(error)), runtime=exact.name)
            with host:
                outcome, again = host.invoke(invocation), host.invoke(invocation)
        if not same(again, outcome):
            raise WasmEdgeError(
                f"{exact.name} did it in two ways in a row ({_summary(outcome)}; {_summary(again)}): the search needs "
                "a program whose outcome is always the same."
            )
        return outcome

    return attempt


def _starts(runtime: Runtime) -> bool:
    """True if this runtime starts with the artifact that does nothing."""
    try:
        runtime.start(floor_artifact(folder("artifacts")), Limits()).close()
    except HostStartError:
        return False
    return True


def bisect(
    runtime: Runtime,
    artifact: Artifact,
    program: Case | Path | None,
    ends: tuple[str, str],
    say: Progress,
    progress: Progress,
) -> Report:
    """Find the first version whose outcome differs from that of the good end. Raises WasmEdgeError.

    ``program`` is a case, a file for stdin, or None for an empty stdin.
    """
    if isinstance(program, Case):
        name, invocation = program.name, program.invocation()
    else:
        name, invocation = str(program or "empty stdin"), Invocation(_read(program) if program else b"")
    versions = between(runtime, *ends, progress)
    most = math.ceil(math.log2(len(versions) - 1)) if len(versions) > 2 else 0
    say(f"{runtime.name}, {name}, {artifact.name}, sha256 {artifact.sha256[:16]}")
    say(f"{len(versions)} versions from {versions[0]} to {versions[-1]}; at most {2 + most} will be tried")
    steps: list[Step] = []
    attempt = attempts_on(runtime, artifact, invocation, progress)
    change, found = find_change(versions, attempt, say, steps)
    return Report(runtime.name, name, artifact.name, artifact.sha256, steps, found, change=change)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WasmEdgeError(
            f"--source {path} cannot be read: {error.strerror}. Check the path and its permissions."
        ) from error


def add_to(commands: Subparsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "bisect",
        help="find the version of a runtime in which an outcome changed",
        description="Run one program on published versions of a runtime, by bisection, and name the first version "
        "whose outcome differs from that of --good. Installs the versions that it tries; one that cannot be installed "
        "or started is skipped.",
    )
    parser.add_argument("--runtime", required=True, metavar="NAME", help="the runtime, without a version")
    parser.add_argument("--good", required=True, metavar="VERSION", help="the older version, or its start")
    parser.add_argument("--bad", required=True, metavar="VERSION", help="the newer version, or its start")
    program = parser.add_mutually_exclusive_group()
    program.add_argument("--case", metavar="NAME", help="a case of the corpus, such as errors/stack_overflow")
    program.add_argument("--source", type=Path, metavar="FILE", help="a file for stdin: the program to run")
    parser.add_argument("--artifact", metavar="PATH", help="the .wasm file (default: the built-in Ruby)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the steps")
    parser.set_defaults(action=run, usage_error=parser.error)


def run(options: argparse.Namespace) -> int:
    """Search, and return the exit status. Raises WasmEdgeError."""
    if not (options.case or options.source or options.artifact):
        options.usage_error("say what to run: --case NAME, --source FILE, or --artifact PATH")
    if "@" in options.runtime or "," in options.runtime or options.runtime == "all":
        raise WasmEdgeError(f"--runtime {options.runtime}: name one runtime, without a version.")
    runtime = select(options.runtime, {each.name: each for each in builtin_runtimes()})[0]
    program = find_case(options.case) if options.case else options.source
    artifact = open_artifact(options.artifact or BUILTIN_ARTIFACT, Path.cwd())
    console = open_console()
    say: Progress = (lambda _: None) if options.json else console.print
    with progress_on(console) as progress:
        report = bisect(runtime, artifact, program, (options.good, options.bad), say, progress)
    if options.json:
        print(json.dumps(asdict(report), indent=2))
    else:
        show(lines(report), console)
    return 0
