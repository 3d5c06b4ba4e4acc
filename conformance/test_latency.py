"""How long the artifact takes to answer, first and afterwards: measured, shown, and held against the contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_wasmedge.latency.measurement import Measurement
from pytest_wasmedge.latency.units import Limit
from pytest_wasmedge.model import Host

Ceiling = Callable[[str], tuple[Limit, ...]]


def hold(measurement: Measurement, limits: tuple[Limit, ...]) -> None:
    """Take the usual number of samples, or as many as it needs to hold them against a ceiling, of one or two limits."""
    if not limits:
        measurement.take()
    else:
        assert measurement.median < limits


def test_cold_start(wasm_cold_start: Measurement, ceiling: Ceiling) -> None:
    """A cold start ends with a full response, within its ceiling if the contract has one."""
    hold(wasm_cold_start, ceiling(wasm_cold_start.kind))


@pytest.mark.cache_state("evicted", samples=3)
def test_cold_start_evicted(wasm_cold_start: Measurement, ceiling: Ceiling) -> None:
    """So does one whose files are on disk, but no longer in memory."""
    hold(wasm_cold_start, ceiling(wasm_cold_start.kind))


def test_floor(wasm_cold_floor: Measurement) -> None:
    """A start with an artifact that does nothing is answered: it is what the runtime itself costs."""
    assert wasm_cold_floor.take().median_ns > 0


def test_warm_latency(wasm_warm_latency: Measurement, ceiling: Ceiling) -> None:
    """A further invocation ends with a full response, within its ceiling if the contract has one."""
    hold(wasm_warm_latency, ceiling(wasm_warm_latency.kind))


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(name, marks=pytest.mark.workload(name, samples=3))
        for name in ("smoke", "heavy", "html", "hello")
    ],
)
def test_workload(ruby: Host, program: str, wasm_warm_latency: Measurement, ceiling: Ceiling) -> None:
    """So does one that runs a page of Ruby, a loop of 1,000,000 iterations, an HTML parser, a greeting."""
    hold(wasm_warm_latency, ceiling(wasm_warm_latency.kind))


@pytest.mark.workload("isolate", samples=3)
def test_fresh_isolate(wasm_warm_latency: Measurement, ceiling: Ceiling) -> None:
    """So does one in a fresh isolate, where a host keeps isolates from one guest to the next."""
    hold(wasm_warm_latency, ceiling(wasm_warm_latency.kind))


def test_one_more_guest(ruby: Host, instance_memory: int) -> None:
    """What one more live guest costs in memory can be told where a host holds several."""
    assert instance_memory > 0
