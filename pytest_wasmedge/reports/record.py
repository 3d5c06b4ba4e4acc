"""The record of one pytest run, filled as its tests are reported."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pytest_wasmedge.errors import HostFailedError
from pytest_wasmedge.latency.journal import machine
from pytest_wasmedge.latency.measurement import Finding, Measurement
from pytest_wasmedge.model import Artifact, Availability, Runtime
from pytest_wasmedge.portability.compare import DivergenceError
from pytest_wasmedge.portability.leaks import LeakError
from pytest_wasmedge.provision import Provenance, provenances
from pytest_wasmedge.work.counts import Count

# The facts that a report carries from its test to the record: numbers, strings, lists and dicts of them, since
# pytest-xdist has to send them.
DIVERGENCES = "divergences"
MEASURED = "measured"
FINDINGS = "findings"
CASE = "case"
#: The test failed because this machine is short of something (ShortageError): no verdict on the artifact.
SHORT = "short"
KNOWN = "known_lines"
#: What diverges and no entry of the contract explains: its fields, and what a draft says of them.
NEW = "new"
#: The outcomes that were compared with the baseline's, those that changed, and those that vary from run to run: each a
#: pair of the runtime (empty for those of the test) and its name.
COMPARED, CHANGED, VARYING = "compared", "changed", "varying"
#: What an invocation counted: the runtime, the name, the invocation's digest, the counts of the artifact, those of
#: the baseline, each by name as the lowest and the highest, and why there are none.
WORK = "work"
DENSITY_BYTES = "density_bytes"
#: Why a test was skipped, and what its outcomes were compared with.
SKIPPED, REFERENCE = "skipped", "reference"
HAZARDS = "hazards"
#: What runtimes answered to a case (case, runtime, digest), and to one whose golden file is to be written (case,
#: runtime, its text, empty if the runtime cannot tell); cases that do not print what they declare.
ANSWERS, GOLDENS, UNDECLARED = "answers", "goldens", "undeclared"
#: What a failure is told with (portability/sides.py).
TOLD = "told"
#: The digest of a guest whose answers vary, and what is called a runtime where a golden file has answered.
VARIES, GOLDEN_FILE = "varies", "the golden file"

#: The counts of the artifact, and those of the baseline, empty if there is none.
CountedPair = tuple[Mapping[str, Count], Mapping[str, Count]]

#: The verdicts of a test; of several on one case, the last of these counts.
FROM_BEST = ("skipped", "passed", "known", "failed")
# A deployed edge decides itself whether an invocation is cold or warm.
_COLD = ("cold/", "edge/cold")
_WARM = ("warm/tiny", "edge/warm", "edge/unknown")


@dataclass(frozen=True, slots=True)
class Latency:
    """The samples of one kind on one runtime, and the medians of what its host reported; None if it did not."""

    runtime: str
    kind: str
    elapsed_ns: tuple[int, ...]
    phases_ns: Mapping[str, int] = field(default_factory=dict)
    cpu_ns: int | None = None
    peak_memory_bytes: int | None = None
    test: str = ""
    interval_ns: tuple[float, float] | None = None

    @property
    def median_ns(self) -> int:
        """The median, in nanoseconds."""
        return round(statistics.median(self.elapsed_ns))


@dataclass(slots=True)
class RuntimeRecord:
    """The results of one runtime's tests; ``slow`` are those of the failed ones that failed for a latency."""

    name: str
    runtime: Runtime
    availability: Availability
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    known: int = 0
    slow: int = 0
    divergences: int = 0
    density_bytes: int | None = None
    latencies: dict[str, Latency] = field(default_factory=dict)

    @property
    def tools(self) -> tuple[Provenance, ...]:
        """Where its tools came from."""
        return provenances(self.runtime.tools)

    @property
    def ran(self) -> bool:
        """True if at least one of its tests had a verdict."""
        return bool(self.passed or self.failed or self.known)

    @property
    def cold(self) -> Latency | None:
        """Its cold start in its own cache state, or as a deployed edge decides; None if none was measured."""
        own = self.latencies.get(f"cold/{self.runtime.cache_state}")
        return own or next((one for kind, one in self.latencies.items() if kind.startswith(_COLD)), None)

    @property
    def warm(self) -> Latency | None:
        """The smallest warm invocation; None if none was measured."""
        return next((self.latencies[kind] for kind in _WARM if kind in self.latencies), None)


@dataclass(slots=True)
class RunRecord:
    """One pytest run over one artifact.

    ``shard`` is the number of this part of the tests, and how many parts there are, unless the run had all of them.
    ``machine`` is the one that latency is measured on.
    ``measured`` is every measurement, in the order of the tests. ``cases`` holds the verdict of each (case, runtime),
    ``known`` each (line of the contract, runtime) that diverged as expected. ``compared`` counts the outcomes that
    were compared with the baseline's, by runtime; ``changed`` and ``varying`` name what differs from the baseline, and
    what differs from run to run, with the runtimes. ``work`` has the counts of each invocation of a test, by its name,
    runtime and the invocation's digest, ``uncounted`` why some have none, and
    ``totals`` the sums of each name, known once the run has ended. ``again`` lists the tests that another
    plugin ran again, ``skips`` counts skipped tests by reason, ``answers`` and ``goldens`` hold what each runtime
    answered to a case, and ``references`` what outcomes were compared with: golden files, another runtime,
    or the runtime itself. ``broken`` are the breaches of the contract, ``closing`` the last lines to show,
    each with its mood. ``status`` is pytest's exit status, and ``stopped`` says why the run did not come to its end.
    """

    artifact: Artifact
    reference: str
    baseline: Artifact | None = None
    shard: tuple[int, int] | None = None
    machine: Mapping[str, object] = field(default_factory=machine)
    runtimes: dict[str, RuntimeRecord] = field(default_factory=dict)
    hazards: dict[str, list[str]] = field(default_factory=dict)
    measured: list[Latency] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    cases: dict[tuple[str, str], str] = field(default_factory=dict)
    known: set[tuple[int, str]] = field(default_factory=set)
    compared: dict[str, int] = field(default_factory=dict)
    changed: dict[str, list[str]] = field(default_factory=dict)
    varying: dict[str, list[str]] = field(default_factory=dict)
    work: dict[str, dict[str, dict[str, CountedPair]]] = field(default_factory=dict)
    uncounted: dict[str, str] = field(default_factory=dict)
    totals: dict[str, CountedPair] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)
    skips: Counter[str] = field(default_factory=Counter)
    references: set[str] = field(default_factory=set)
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    goldens: dict[str, dict[str, str]] = field(default_factory=dict)
    undeclared: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)
    closing: list[tuple[str, str]] = field(default_factory=list)
    status: int = 0
    stopped: str = ""

    @property
    def ran(self) -> bool:
        """True if at least one test had a verdict on at least one runtime."""
        return any(row.ran for row in self.runtimes.values())

    @property
    def latencies(self) -> list[Latency]:
        """The measurements to show: one for each kind on each runtime."""
        return [latency for row in self.runtimes.values() for latency in row.latencies.values()]

    def add_runtime(self, runtime: Runtime, availability: Availability) -> None:
        """Add a runtime, whether it can run or not."""
        self.runtimes[runtime.name] = RuntimeRecord(runtime.name, runtime, availability)

    def add_test(self, name: str, verdict: str, facts: dict[str, Any], test: str = "") -> None:
        """Count one finished test; ``verdict`` is passed, failed, skipped or known, or another plugin's own."""
        row = self.runtimes.get(name)
        if row is None:
            return
        if verdict not in ("passed", "failed", "skipped", "known"):
            # Such as a rerun: the verdict comes later, and the table says that there was an earlier attempt.
            if test not in self.again:
                self.again.append(test)
            return
        setattr(row, verdict, getattr(row, verdict) + 1)
        row.slow += verdict == "failed" and is_slow(facts)
        row.divergences += facts.get(DIVERGENCES, 0)
        row.density_bytes = facts.get(DENSITY_BYTES, row.density_bytes)
        for raw in facts.get(MEASURED, ()):
            # pytest-xdist turns tuples into lists.
            pairs = {key: tuple(raw[key]) for key in ("elapsed_ns", "interval_ns") if raw.get(key)}
            latency = Latency(**{**raw, **pairs, "test": test})
            self.measured.append(latency)
            # If several tests measure the same, the measurement with the most samples is shown.
            pair = (latency, row.latencies.get(latency.kind, latency))
            row.latencies[latency.kind] = max(pair, key=lambda each: len(each.elapsed_ns))
        self.findings += [Finding(**raw) for raw in facts.get(FINDINGS, ())]
        if case := facts.get(CASE):
            # All parameters of a test share one name: the worst verdict counts.
            earlier = self.cases.get((case, name), verdict)
            self.cases[case, name] = max(earlier, verdict, key=FROM_BEST.index)
        if SKIPPED in facts:
            self.skips[facts[SKIPPED]] += 1
        self.references |= {facts[REFERENCE]} if REFERENCE in facts else set()
        self.known |= {(line, name) for line in facts.get(KNOWN, ())}
        for hazard in facts.get(HAZARDS, ()):
            _note(self.hazards, hazard, name)
        for told, key in ((self.answers, ANSWERS), (self.goldens, GOLDENS)):
            for answered, runtime, answer in facts.get(key, ()):
                told.setdefault(answered, {})[runtime] = answer
        self.undeclared.update(facts.get(UNDECLARED, ()))

    def add_comparisons(self, facts: dict[str, Any], names: Sequence[str]) -> None:
        """Add what one test compared with the baseline, on whichever runtime, and counted; it ran on these."""
        for runtime, name, digest, head, baseline, problem in facts.get(WORK, ()):
            if problem:
                self.uncounted[name] = problem
            else:
                pair = _counts(head), _counts(baseline)
                self.work.setdefault(name, {}).setdefault(runtime, {})[digest] = pair
        for runtime, _ in facts.get(COMPARED, ()):
            self.compared[runtime] = self.compared.get(runtime, 0) + 1
        for seen, key in ((self.changed, CHANGED), (self.varying, VARYING)):
            for runtime, what in facts.get(key, ()):
                for name in [runtime] if runtime else names:
                    _note(seen, what, name)


def _counts(raw: Mapping[str, Sequence[int]]) -> dict[str, Count]:
    return {name: Count(lowest, highest) for name, (lowest, highest) in raw.items()}


def _note(seen: dict[str, list[str]], what: str, name: str) -> None:
    if name not in seen.setdefault(what, []):
        seen[what].append(name)


def is_slow(facts: Mapping[str, Any]) -> bool:
    """Return whether a test that failed with these facts failed for a latency, and nothing diverged."""
    judged = {finding["verdict"] for finding in facts.get(FINDINGS, ())}
    return bool(judged & {"fail", "undecided"}) and not facts.get(DIVERGENCES) and TOLD not in facts


def measured_facts(measurements: Sequence[Measurement], findings: Sequence[Finding]) -> dict[str, object]:
    """Return a test's measurements and findings as facts of its report."""
    facts = {
        MEASURED: [_raw(measurement) for measurement in measurements if measurement.samples],
        FINDINGS: [asdict(finding) for finding in findings],
    }
    return {key: values for key, values in facts.items() if values}


def fields_of(error: BaseException | None) -> list[str]:
    """Return the field of each divergence, and ``leak`` for each leak, in this error."""
    if isinstance(error, DivergenceError):
        return [divergence.field for divergence in error.divergences] + ["leak"] * len(error.leaks)
    if isinstance(error, HostFailedError):
        return ["ending"]
    return ["leak"] * len(error.leaks) if isinstance(error, LeakError) else []


def _raw(measurement: Measurement) -> dict[str, object]:
    cpu_ns = [sample.cpu_ns for sample in measurement.samples if sample.cpu_ns is not None]
    peaks = [each.peak_memory_bytes for each in measurement.samples if each.peak_memory_bytes is not None]
    between = measurement.interval
    return {
        "runtime": measurement.runtime,
        "kind": measurement.kind,
        "elapsed_ns": list(measurement.elapsed_ns),
        "phases_ns": measurement.phases_ns,
        "cpu_ns": round(statistics.median(cpu_ns)) if cpu_ns else None,
        "peak_memory_bytes": max(peaks) if peaks else None,
        "interval_ns": [between.low, between.high] if between else None,
    }
