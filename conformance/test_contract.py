"""The ceilings of the contract, for runs that do not collect the subjects, which hold their measurements to them."""

from __future__ import annotations

import pytest

from conformance.test_latency import Ceiling, hold
from pytest_wasmedge.latency.measurement import Measurement
from pytest_wasmedge.plugin import stash


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test once for each ceiling that it can judge."""
    session = stash.session(metafunc.config)
    begin = "cold/" if "wasm_cold_start" in metafunc.fixturenames else "warm/"
    params = []
    for runtime in session.selection.selected:
        for kind in session.held.ceilings(runtime):
            name = kind.partition("/")[2]
            if not kind.startswith(begin):
                continue
            mark = pytest.mark.cache_state(name) if begin == "cold/" else pytest.mark.workload(name)
            own = [] if kind == f"cold/{runtime.cache_state}" else [mark]
            params.append(pytest.param(runtime.name, marks=own, id=f"{runtime.name}-{name}"))
    metafunc.parametrize("wasm_runtime", params, indirect=True, scope="session")


def test_cold_start_ceiling(wasm_cold_start: Measurement, ceiling: Ceiling) -> None:
    """A cold start is under its ceiling."""
    hold(wasm_cold_start, ceiling(wasm_cold_start.kind))


def test_warm_latency_ceiling(
    request: pytest.FixtureRequest, wasm_warm_latency: Measurement, ceiling: Ceiling
) -> None:
    """So is a further invocation."""
    if wasm_warm_latency.kind != "warm/tiny":
        request.getfixturevalue("ruby")
    hold(wasm_warm_latency, ceiling(wasm_warm_latency.kind))
