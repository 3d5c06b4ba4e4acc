"""The record of one run, filled while pytest reports its tests."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from pytest_wasmedge.model import Artifact
from pytest_wasmedge.runtimes.base import Availability, Runtime

# Keys of the `user_properties` that carry facts from a test, wherever it ran, to the record.
DIVERGENCES = "wasm_divergences"
COLD_NS = "wasm_cold_ns"
COLD_KIND = "wasm_cold_kind"
WARM_NS = "wasm_warm_ns"
HAZARD = "wasm_hazard"


@dataclass(slots=True)
class RuntimeRecord:
    """What became of one runtime's tests; latencies are medians in nanoseconds, None if not measured."""

    name: str
    engine: str
    availability: Availability
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    divergences: int = 0
    cold_ns: int | None = None
    cold_kind: str = ""
    warm_ns: int | None = None

    @property
    def ran(self) -> bool:
        """True if at least one test of it came to a verdict."""
        return bool(self.passed or self.failed)


@dataclass(slots=True)
class RunRecord:
    """One pytest run over one artifact."""

    artifact: Artifact
    reference: str
    runtimes: dict[str, RuntimeRecord] = field(default_factory=dict)
    hazards: dict[str, list[str]] = field(default_factory=dict)

    @property
    def ran(self) -> bool:
        """True if at least one test came to a verdict on at least one runtime."""
        return any(row.ran for row in self.runtimes.values())

    def add_runtime(self, runtime: Runtime, availability: Availability) -> None:
        """List a runtime, whether it can run or not."""
        self.runtimes[runtime.name] = RuntimeRecord(runtime.name, runtime.engine, availability)

    def add_test(self, name: str, verdict: str, properties: dict[str, object]) -> None:
        """Count one finished test of a runtime; ``verdict`` is passed, failed or skipped."""
        row = self.runtimes.get(name)
        # Other plugins have verdicts of their own, such as a rerun, which is none yet.
        if row is None or verdict not in ("passed", "failed", "skipped"):
            return
        setattr(row, verdict, getattr(row, verdict) + 1)
        divergences = properties.get(DIVERGENCES)
        if isinstance(divergences, int):
            row.divergences += divergences
        row.cold_ns = _median(properties.get(COLD_NS), row.cold_ns)
        row.warm_ns = _median(properties.get(WARM_NS), row.warm_ns)
        row.cold_kind = str(properties.get(COLD_KIND, row.cold_kind))
        if HAZARD in properties:
            self.hazards.setdefault(str(properties[HAZARD]), []).append(name)


def _median(samples: object, otherwise: int | None) -> int | None:
    # Under xdist the samples come as a list, in process as a tuple.
    return round(statistics.median(samples)) if isinstance(samples, list | tuple) and samples else otherwise
