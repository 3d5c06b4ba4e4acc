"""Hands what was measured to pytest-benchmark, so that its storage, comparisons and histograms work on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_wasmedge.latency.journal import machine
from pytest_wasmedge.reports.record import RunRecord

# pytest-benchmark's options that ask for something to be made of the measurements. Without one of them it
# would only print its table, below ours, in every run.
_OUTPUTS = (
    "benchmark_json",
    "benchmark_save",
    "benchmark_autosave",
    "benchmark_compare",
    "benchmark_compare_fail",
    "benchmark_histogram",
    "benchmark_only",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one test measured of one kind on one runtime.

    ``fullname`` is the test's node id, ``name`` is shown in tables, such as ``cold_start[node]``; ``kind`` is
    such as ``cold/no-cache``. ``elapsed_ns`` are the raw samples, in the order taken. ``extra`` goes into the
    storage, without what is None.
    """

    fullname: str
    name: str
    runtime: str
    kind: str
    elapsed_ns: tuple[int, ...]
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Fixture:
    """What pytest-benchmark reads of its `benchmark` fixture after a test."""

    name: str
    fullname: str
    group: str
    param: str
    params: dict[str, str]
    extra_info: object
    cprofile_stats: None = None
    has_error: bool = False


def measured(record: RunRecord) -> list[Measured]:
    """Return all that the tests of a run measured."""
    return [
        Measured(
            each.test,
            each.test.rpartition("::")[2],
            each.runtime,
            each.kind,
            each.elapsed_ns,
            {
                "artifact_sha256": record.artifact.sha256,
                "runtime_version": record.runtimes[each.runtime].availability.version,
                "phases_ns": each.phases_ns,
                "cpu_ns": each.cpu_ns,
                "peak_memory_bytes": each.peak_memory_bytes,
                "machine": machine(),
            },
        )
        for each in record.measured
    ]


def wanted(config: Any) -> bool:
    """True if the user asked pytest-benchmark for an output and did not switch benchmarks off.

    ``config`` is pytest's. pytest-benchmark calls itself disabled under xdist too; what counts here is what
    the user said.
    """
    session = getattr(config, "_benchmarksession", None)
    if session is None or session.skip or hasattr(config, "workerinput"):
        return False
    if config.getoption("benchmark_disable", False) and not config.getoption("benchmark_enable", False):
        return False
    return any(config.getoption(option, None) for option in _OUTPUTS)


def add_record(config: Any, record: RunRecord) -> None:
    """Add all that the tests of a run measured, if that is `wanted`: nothing is asked or imported for it otherwise."""
    if wanted(config):
        add(config, measured(record))


def add(config: Any, measured: Sequence[Measured]) -> None:
    """Add measurements to those that pytest-benchmark saves, compares and shows, if that is `wanted`.

    To be called before pytest-benchmark's own `pytest_sessionfinish`, which is a wrapper and saves before it
    yields: so by a wrapper as well, and tryfirst.
    """
    if not wanted(config):
        return
    from pytest_benchmark.stats import Metadata

    seen: Counter[str] = Counter()
    for each in measured:
        if not each.elapsed_ns:
            continue
        # Saved runs are compared by this name. A test may measure several kinds, and on several runtimes.
        fullname = f"{each.fullname}::{each.kind}[{each.runtime}]"
        seen[fullname] += 1
        if seen[fullname] > 1:
            fullname = f"{fullname}#{seen[fullname]}"
        fixture = _Fixture(
            name=each.name,
            fullname=fullname,
            # The same kind of different runtimes stands in one table.
            group=each.kind,
            param=each.runtime,
            params={"runtime": each.runtime},
            extra_info=_plain({"runtime": each.runtime, "kind": each.kind, **each.extra}),
        )
        options = {"timer": "perf_counter_ns", "disable_gc": False, "warmup": False}
        benchmark = Metadata(fixture, 1, options)  # type: ignore[no-untyped-call]
        for elapsed_ns in each.elapsed_ns:
            benchmark.update(elapsed_ns / 1e9)  # type: ignore[no-untyped-call]
        config._benchmarksession.benchmarks.append(benchmark)


def _plain(value: object) -> object:
    """Return a value as JSON can hold it; what is None in a mapping is left out."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | None) else str(value)
