"""What ``pytest-wasmedge bisect`` does: finds the first version of a runtime in which an outcome changed."""

from __future__ import annotations

import argparse
import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pytest_wasmedge.artifacts.floor import floor_artifact
from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.commands.console import Subparsers, open_console, progress_on
from pytest_wasmedge.drivers.pool import explain
from pytest_wasmedge.errors import CorpusError, HostStartError, RuntimeUnavailableError, WasmEdgeError
from pytest_wasmedge.latency.quiet import Quiet
from pytest_wasmedge.model import (
    Artifact,
    Divergence,
    Host,
    Invocation,
    Limits,
    Outcome,
    Runtime,
    host_failed,
)
from pytest_wasmedge.portability import bundled
from pytest_wasmedge.portability.compare import compare
from pytest_wasmedge.portability.corpus import Case, load_corpus
from pytest_wasmedge.portability.excerpt import cut, visible
from pytest_wasmedge.provision.cache import folder
from pytest_wasmedge.provision.versions import Resolver, in_order, install_others, install_version, published
from pytest_wasmedge.runtimes import builtin_runtimes, select

Say = Callable[[str], None]
#: Runs one exact version. Raises WasmEdgeError if it cannot be had or started.
Try = Callable[[str], Outcome]

#: How many names an error lists.
_MOST_NAMES = 12
#: How much is shown of what a host says that fails.
_MOST_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Step:
    """One version that was tried; ``detail`` says how it ended, or why it was skipped."""

    version: str
    verdict: Literal["good", "bad", "same", "differs", "skipped"]
    detail: str


@dataclass(frozen=True, slots=True)
class Change:
    """Where the outcome changed: in ``first``, ``before`` being still like the good one.

    ``unknown`` lie between the two and could not be tried, so each of them may have been the first.
    """

    before: str
    first: str
    unknown: tuple[str, ...] = ()


@dataclass(slots=True)
class Report:
    """What was searched, what was tried and what was found."""

    runtime: str
    program: str
    artifact: str
    artifact_sha256: str
    steps: list[Step] = field(default_factory=list)
    change: Change | None = None
    divergences: tuple[Divergence, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return asdict(self)


def search(versions: Sequence[str], differs: Callable[[str], bool | None]) -> Change:
    """Return where the outcome changes between the first of the versions and the last, which differs.

    ``differs`` is asked about as few of the others as possible; None: this one cannot be tried.
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
    """True if two outcomes are the same; here a host that fails is like another one that fails."""
    if "host_failed" in (outcome.ending.kind, reference.ending.kind):
        return outcome.ending == reference.ending
    return not compare(outcome, reference)


def find_change(
    versions: Sequence[str], attempt: Try, say: Say, steps: list[Step]
) -> tuple[Change, tuple[Divergence, ...]]:
    """Try versions, from the good one to the bad one, until the first that differs from the good one is found.

    Raises WasmEdgeError if one of the ends cannot be tried, or both have the same outcome.
    """

    def took(
        version: str, verdict: Literal["good", "bad", "same", "differs", "skipped"], detail: str
    ) -> None:
        steps.append(Step(version, verdict, detail))
        say(f"{version.ljust(width)}  {_WORDS[verdict]}{detail}")

    width = max(map(len, versions))
    ends = []
    for version, verdict in ((versions[0], "good"), (versions[-1], "bad")):
        try:
            ends.append(attempt(version))
        except WasmEdgeError as error:
            raise WasmEdgeError(f"--{verdict} {version} cannot be tried: {error}") from error
        took(version, verdict, _told(ends[-1]))  # type: ignore[arg-type]
    good, bad = ends
    if same(bad, good):
        raise WasmEdgeError(
            f"{versions[0]} and {versions[-1]} have the same outcome, {_told(good)}: there is no change between them "
            "to be found."
        )
    differing = {versions[-1]: bad}

    def differs(version: str) -> bool | None:
        try:
            outcome = attempt(version)
        except WasmEdgeError as error:
            took(version, "skipped", str(error))
            return None
        if same(outcome, good):
            took(version, "same", _told(outcome))
            return False
        differing[version] = outcome
        took(version, "differs", _told(outcome))
        return True

    change = search(versions, differs)
    return change, compare(differing[change.first], good)


_WORDS: Mapping[str, str] = {
    "good": "--good: ",
    "bad": "--bad: ",
    "same": "same as --good: ",
    "differs": "differs: ",
    "skipped": "skipped: ",
}


def _told(outcome: Outcome) -> str:
    if outcome.ending.kind == "host_failed":
        return f"host_failed ({cut(visible(outcome.ending.detail.encode()), _MOST_CHARACTERS)})"
    return f"{outcome.ending}, {len(outcome.stdout)} B of stdout, {len(outcome.stderr)} B of stderr"


def lines(report: Report) -> list[tuple[str, str]]:
    """Return the closing lines and the style of each."""
    change = report.change
    if change is None:
        return []
    told = [
        ("", ""),
        (f"first version that differs: {report.runtime}@{change.first}", "bold"),
        (f"the one before it:          {report.runtime}@{change.before}", ""),
    ]
    if change.unknown:
        told.append(
            (f"or one of these in between, which could not be tried: {', '.join(change.unknown)}", "yellow")
        )
    return [*told, *((line, "") for each in report.divergences for line in str(each).splitlines())]


def find_case(name: str) -> Case:
    """Return the case of this name in the bundled corpus. Raises CorpusError, which helps to complete it."""
    cases = {case.name: case for case in load_corpus(bundled.corpus())}
    if name in cases:
        return cases[name]
    found = [each for each in cases if each.startswith(name)] if name else []
    found = found or difflib.get_close_matches(name, cases, _MOST_NAMES)
    if not found:
        topics = dict.fromkeys(case.topic for case in cases.values())
        found = [f"{topic}/…" for topic in topics]
    shown = ", ".join(found[:_MOST_NAMES]) + (", …" if len(found) > _MOST_NAMES else "")
    raise CorpusError(f"there is no case {name!r}; there are {shown}.")


def between(runtime: Runtime, good: str, bad: str, progress: Say) -> list[str]:
    """Return the versions from the good to the bad one, both included. Raises WasmEdgeError."""
    if not runtime.tool:
        runtime.at(bad)
    resolver = Resolver(progress=progress)
    there = published(runtime.tool, progress)
    ends = [resolver.resolve(runtime.tool, wanted) for wanted in (good, bad)]
    versions = in_order([*there, *ends])
    first, last = (versions.index(end) for end in ends)
    if first >= last:
        relation = "the same version as" if first == last else "newer than"
        raise WasmEdgeError(
            f"--good {ends[0]} is {relation} --bad {ends[1]}: give the older one as --good. Which of the two is right "
            "does not matter; what is searched is where the outcome changes."
        )
    return versions[first : last + 1]


class Trial:
    """Runs one program on one version after the other of a runtime; each host is closed before the next starts."""

    def __init__(self, runtime: Runtime, artifact: Artifact, invocation: Invocation, progress: Say) -> None:
        self._runtime, self._artifact, self._invocation = runtime, artifact, invocation
        self._progress = progress
        self._quiet = Quiet(folder("locks"))

    def __call__(self, version: str) -> Outcome:
        """Return the outcome on this version, installed if need be. Raises WasmEdgeError.

        A version that starts well, but not with this artifact, has an outcome too: it failed.
        """
        install_version(self._runtime.tool, version, self._progress)
        install_others(self._runtime.tool, self._runtime.tools, self._progress)
        runtime = self._runtime.at(version)
        self._progress(f"running on {runtime.name}")
        with self._quiet.testing():
            availability = runtime.probe()
            if not availability.available:
                raise RuntimeUnavailableError(explain(runtime, availability))
            try:
                host = runtime.start(self._artifact, Limits())
            except HostStartError as error:
                if not _starts(runtime):
                    raise
                return Outcome(b"", b"", host_failed(str(error)), runtime=runtime.name)
            return self._run(host)

    def _run(self, host: Host) -> Outcome:
        with host:
            outcome = host.invoke(self._invocation)
            again = host.invoke(self._invocation)
        if not same(again, outcome):
            raise WasmEdgeError(
                f"{host.runtime.name} did it in two ways in a row ({_told(outcome)}; {_told(again)}): of a program "
                "whose outcome is not always the same, no change can be found."
            )
        return outcome


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
    say: Say,
    progress: Say,
) -> Report:
    """Find the first version whose outcome differs from that of the good end. Raises WasmEdgeError.

    ``program`` is a case, a file that becomes stdin, or None: the artifact runs with an empty stdin.
    """
    if isinstance(program, Case):
        name, source, timeout_s = program.name, program.source, program.timeout_s
    else:
        name, source, timeout_s = str(program or "empty stdin"), _read(program) if program else b"", None
    report = Report(runtime.name, name, artifact.name, artifact.sha256)
    versions = between(runtime, *ends, progress)
    most = math.ceil(math.log2(len(versions) - 1)) if len(versions) > 2 else 0
    say(f"{runtime.name}, {name}, {artifact.name}, sha256 {artifact.sha256[:16]}")
    say(f"{len(versions)} versions from {versions[0]} to {versions[-1]}: {2 + most} of them are to be tried")
    attempt = Trial(runtime, artifact, Invocation(source, timeout_s=timeout_s), progress)
    report.change, report.divergences = find_change(versions, attempt, say, report.steps)
    return report


def runtime_named(name: str, known: Sequence[Runtime]) -> Runtime:
    """Return the runtime of this name. Raises WasmEdgeError."""
    if "@" in name or "," in name or name == "all":
        raise WasmEdgeError(f"--runtime {name}: name one runtime, without a version.")
    return select(name, {runtime.name: runtime for runtime in known})[0]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WasmEdgeError(f"--source {path} cannot be read: {error.strerror}.") from error


def add_to(commands: Subparsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "bisect",
        help="find the version of a runtime in which an outcome changed",
        description="Run one program on published versions of a runtime, half of what is left at a time, and name "
        "the first whose outcome is not that of --good. Installs the versions that it tries; one that cannot be "
        "installed or started is skipped.",
    )
    parser.add_argument("--runtime", required=True, metavar="NAME", help="the runtime, without a version")
    parser.add_argument(
        "--good", required=True, metavar="VERSION", help="the older version, or its beginning"
    )
    parser.add_argument("--bad", required=True, metavar="VERSION", help="the newer version, or its beginning")
    program = parser.add_mutually_exclusive_group()
    program.add_argument("--case", metavar="NAME", help="a case of the bundled corpus: errors/stack_overflow")
    program.add_argument("--source", type=Path, metavar="FILE", help="a program to run: it becomes stdin")
    parser.add_argument(
        "--artifact", metavar="PATH", help="the .wasm file to run (default: the built-in Ruby)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the steps")
    parser.set_defaults(action=run, usage_error=parser.error)


def run(options: argparse.Namespace) -> int:
    """Do it and return the exit status. Raises WasmEdgeError."""
    if not (options.case or options.source or options.artifact):
        options.usage_error("say what to run: --case NAME, --source FILE, or --artifact PATH")
    runtime = runtime_named(options.runtime, builtin_runtimes())
    program = find_case(options.case) if options.case else options.source
    artifact = open_artifact(options.artifact or BUILTIN_ARTIFACT, Path.cwd())
    console = open_console()
    say = (lambda _: None) if options.json else (lambda text: console.print(text, markup=False))
    with progress_on(console) as progress:
        report = bisect(runtime, artifact, program, (options.good, options.bad), say, progress)
    if options.json:
        print(json.dumps(report.as_json(), indent=2))
    for line, style in [] if options.json else lines(report):
        console.print(line, style=style, markup=False)
    return 0
