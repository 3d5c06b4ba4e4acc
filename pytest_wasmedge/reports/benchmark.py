"""Passes measurements to pytest-benchmark, for its storage, comparisons and histograms."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from pytest_wasmedge.reports.record import RunRecord

# The ``--benchmark-…`` options that ask for an output. Without one, its table is not printed after our table.
_OUTPUTS = ("json", "save", "autosave", "compare", "compare_fail", "histogram", "only")


def wanted(config: Any) -> bool:
    """True if the user asked pytest-benchmark for an output and did not switch benchmarks off.

    ``config`` is pytest's. pytest-xdist disables pytest-benchmark, so only the user's own options are looked at.
    """
    session = getattr(config, "_benchmarksession", None)
    if session is None or session.skip or hasattr(config, "workerinput"):
        return False
    if config.getoption("benchmark_disable", False) and not config.getoption("benchmark_enable", False):
        return False
    return any(config.getoption(f"benchmark_{name}", None) for name in _OUTPUTS)


def add_record(config: Any, record: RunRecord) -> None:
    """Add all measurements of a run to those that pytest-benchmark saves, compares and shows, if `wanted`.

    Call it from a `pytest_sessionfinish` that is a wrapper with tryfirst: pytest-benchmark's is a wrapper too, and
    saves before it yields.
    """
    if not wanted(config):
        return
    from pytest_benchmark.stats import Metadata

    seen: Counter[str] = Counter()
    for each in record.measured:
        if not each.elapsed_ns:
            continue
        # Saved runs are compared by this name. One test may measure several kinds on several runtimes.
        fullname = f"{each.test}::{each.kind}[{each.runtime}]"
        seen[fullname] += 1
        if seen[fullname] > 1:
            fullname = f"{fullname}#{seen[fullname]}"
        extra = {
            "runtime": each.runtime,
            "kind": each.kind,
            "artifact_sha256": record.artifact.sha256,
            "runtime_version": record.runtimes[each.runtime].availability.version,
            "phases_ns": dict(each.phases_ns),
            "cpu_ns": each.cpu_ns,
            "peak_memory_bytes": each.peak_memory_bytes,
            "machine": dict(record.machine),
        }
        # The attributes of its `benchmark` fixture that pytest-benchmark reads after a test.
        fixture = SimpleNamespace(
            name=each.test.rpartition("::")[2],
            fullname=fullname,
            # One table per kind, with all its runtimes.
            group=each.kind,
            param=each.runtime,
            params={"runtime": each.runtime},
            cprofile_stats=None,
            has_error=False,
            extra_info={key: value for key, value in extra.items() if value is not None},
        )
        options = {"timer": "perf_counter_ns", "disable_gc": False, "warmup": False}
        benchmark = Metadata(fixture, 1, options)  # type: ignore[no-untyped-call]
        for elapsed_ns in each.elapsed_ns:
            benchmark.update(elapsed_ns / 1e9)  # type: ignore[no-untyped-call]
        config._benchmarksession.benchmarks.append(benchmark)
