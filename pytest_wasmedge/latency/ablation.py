"""Measures cold starts of an artifact's variants on several runtimes, in paired rounds, and makes a table."""

from __future__ import annotations

import gzip
import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from pytest_wasmedge.artifacts.loading import inspect
from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.latency.sampling import Sample, cold_once, refresh_code
from pytest_wasmedge.latency.statistics import Interval, ratio_estimate, ratio_interval
from pytest_wasmedge.model import Artifact, Availability, Invocation, Limits, Runtime
from pytest_wasmedge.portability.excerpt import aligned, printable
from pytest_wasmedge.portability.language import RUBY

#: The invocation for every variant, and its answer; a start with another answer is a failure.
QUESTION, ANSWER = Invocation(RUBY.smallest), RUBY.answer
#: How often an interval may miss the true ratio.
ALPHA = 0.01

_FACTS_HEAD = ("variant", "bytes", "gzip bytes", "functions", "sha256")
_RESULTS_HEAD = ("runtime", "variant", "kind", "n", "cold ms", "ratio", "99 % interval", "verdict")

#: One cell of the table: the runtime's name and the variant's index.
Cell = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant under the name that the user gave it, with facts that need no run."""

    name: str
    artifact: Artifact
    gzip_bytes: int
    function_count: int

    @classmethod
    def of(cls, name: str, artifact: Artifact) -> Self:
        """Return the artifact as a variant of this name; compressing it takes a second or two."""
        data = artifact.path.read_bytes()
        gzip_bytes = len(gzip.compress(data, compresslevel=9, mtime=0))
        return cls(name, artifact, gzip_bytes, inspect(data, name).function_count)


@dataclass(frozen=True, slots=True)
class Result:
    """The cold starts of one variant on one runtime, compared with those of the first variant.

    ``count`` is the number of samples; ``fault`` says in one sentence why there are none, or no more. Without pairs
    the ratio is None, with too few the interval.
    """

    runtime: str
    name: str
    kind: str
    count: int = 0
    median_ns: int | None = None
    ratio: float | None = None
    interval: Interval | None = None
    fault: str = ""
    is_baseline: bool = False

    @property
    def verdict(self) -> str:
        """The verdict of the interval: faster, slower, no difference seen; or why there is no interval."""
        if self.is_baseline or not self.count:
            return "baseline" if self.count else "not measured"
        if self.ratio is None:
            return "no baseline"
        if self.interval is None:
            return "too few rounds to say"
        if 1 in self.interval:
            return "no difference seen"
        return "faster" if self.interval.high < 1 else "slower"


class Ablation:
    """Starts every variant on every runtime, once in each round, in random order.

    A runtime's variants follow each other, so that compared starts are seconds apart. ``keep`` gets each sample as it
    is taken, with its round (from 1) and its variant.
    """

    def __init__(
        self,
        variants: Sequence[Variant],
        runtimes: Sequence[Runtime],
        seed: int,
        keep: Callable[[Sample, int, Variant], None] = lambda sample, number, variant: None,
    ) -> None:
        self._variants, self._runtimes = tuple(variants), tuple(runtimes)
        self.rounds: list[dict[Cell, Sample]] = []
        self.faults: dict[Cell, str] = {}
        self._rng = random.Random(seed)
        self._keep = keep

    def check(self, progress: Callable[[str], None]) -> None:
        """Start each variant on each runtime without measuring, and check its answer; this also compiles it."""
        for runtime in self._runtimes:
            for index, each in enumerate(self._variants):
                progress(f"checking {each.name} on {runtime.name}, which may compile it first")
                if fault := _fault(runtime, each.artifact):
                    self.faults[runtime.name, index] = fault
                else:
                    refresh_code(runtime, each.artifact)

    def take_round(self, progress: Callable[[str], None]) -> None:
        """Take one sample of each; a variant whose start fails is not started on that runtime again."""
        taken: dict[Cell, Sample] = {}
        # Before the first sample, so that an interrupted round keeps its samples.
        self.rounds.append(taken)
        for runtime in self._rng.sample(self._runtimes, len(self._runtimes)):
            for index in self._rng.sample(range(len(self._variants)), len(self._variants)):
                cell, each = (runtime.name, index), self._variants[index]
                if cell in self.faults:
                    continue
                progress(f"round {len(self.rounds)}: {each.name} on {runtime.name}")
                try:
                    _compile_if_missing(runtime, each.artifact)
                    taken[cell] = cold_once(runtime, each.artifact, Limits(), QUESTION)
                except WasmEdgeError as error:
                    self.faults[cell] = _one_line(str(error))
                    continue
                self._keep(taken[cell], len(self.rounds), each)

    def results(self) -> list[Result]:
        """Return the results so far, by runtime and variant in the given order."""
        numbers = range(len(self._variants))
        return [self._result(runtime, index) for runtime in self._runtimes for index in numbers]

    def _result(self, runtime: Runtime, index: int) -> Result:
        cell, base = (runtime.name, index), (runtime.name, 0)
        times_ns = [taken[cell].elapsed_ns for taken in self.rounds if cell in taken]
        pairs = [
            (taken[base].elapsed_ns, taken[cell].elapsed_ns)
            for taken in self.rounds
            if index and cell in taken and base in taken
        ]
        return Result(
            runtime.name,
            self._variants[index].name,
            f"cold/{runtime.cache_state}",
            len(times_ns),
            round(statistics.median(times_ns)) if times_ns else None,
            ratio_estimate(pairs) if pairs else None,
            ratio_interval(pairs, ALPHA) if pairs else None,
            self.faults.get(cell, ""),
            is_baseline=index == 0,
        )


def lines(
    variants: Sequence[Variant],
    results: Sequence[Result],
    availability: Mapping[str, Availability],
    seed: int,
) -> Iterator[tuple[str, str]]:
    """Yield the lines of the table, and the style of each.

    ``availability`` has every requested runtime, by name; the table also lists those that cannot run here.
    """
    facts = []
    for variant in variants:
        numbers = (variant.artifact.size_bytes, variant.gzip_bytes, variant.function_count)
        facts.append((variant.name, *map("{:,}".format, numbers), f"{variant.artifact.sha256[:16]}…"))
    yield from zip(aligned([_FACTS_HEAD, *facts], "<>>><"), ["bold", *("" for _ in facts)], strict=True)
    yield "", ""
    table = aligned([_RESULTS_HEAD, *map(_cells, results)], "<<<>>>><")
    colors = {"faster": "green", "slower": "red"}
    styles = ["yellow" if each.fault else colors.get(each.verdict, "") for each in results]
    yield from zip(table, ["bold", *styles], strict=True)
    yield "", ""
    here = [f"{name} {each.version}" for name, each in availability.items() if each.available]
    if here:
        yield f"Runtimes: {', '.join(here)}.", ""
    for name, each in availability.items():
        if not each.available:
            remedy = f"; get it with `{each.install}`" if each.install else ""
            yield f"{name}  NOT RUN: {printable(each.reason)}{remedy}", "yellow"
    if variants:
        yield (
            f"Ratios are to {variants[0].name} in the same round (Hodges and Lehmann, of log ratios; interval "
            f"of Wilcoxon's signed-rank test); seed {seed}.",
            "",
        )


def _cells(result: Result) -> tuple[str, ...]:
    median = f"{result.median_ns / 1e6:.1f}" if result.median_ns is not None else ""
    ratio = "1" if result.is_baseline and result.count else ""
    if result.ratio is not None:
        ratio = f"{result.ratio:.3f}"
    interval = f"[{result.interval.low:.3f}, {result.interval.high:.3f}]" if result.interval else ""
    verdict = result.verdict
    if result.fault:
        verdict += f"{'; then it failed' if result.count else ''}: {printable(result.fault)}"
    return result.runtime, result.name, result.kind, str(result.count), median, ratio, interval, verdict


def _compile_if_missing(runtime: Runtime, artifact: Artifact) -> None:
    """Let the runtime compile the artifact again if its code was evicted from the cache meanwhile."""
    kept = runtime.kept_code(artifact)
    if kept and not kept.exists():
        runtime.start(artifact, Limits()).close()


def _fault(runtime: Runtime, artifact: Artifact) -> str:
    """Return in one sentence what is wrong with this artifact on this runtime; empty if nothing is."""
    try:
        with runtime.start(artifact, Limits()) as host:
            outcome = host.invoke(QUESTION)
    except WasmEdgeError as error:
        return _one_line(str(error))
    if outcome.ending.ok and outcome.stdout == ANSWER:
        return ""
    detail = f" ({_one_line(outcome.ending.detail)})" if outcome.ending.detail else ""
    return (
        f"asked for `{QUESTION.stdin.decode().strip()}` it wrote {outcome.stdout[:40]!r} and ended as "
        f"{outcome.ending}{detail}, expected {ANSWER!r} and exited(0)"
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
