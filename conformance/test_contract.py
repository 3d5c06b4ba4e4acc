"""The ceilings of the contract, for runs that do not collect the subjects, which hold their measurements to them."""

from __future__ import annotations

import pytest

from conformance.test_latency import Ceiling, hold
from pytest_wasmedge.latency.measurement import Measurement
from pytest_wasmedge.plugin import stash


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the test once for each ceiling that can be judged."""
    session = stash.session(metafunc.config)
    params = []
    for runtime in session.selection.selected:
        for kind in session.held.ceilings(runtime):
            start, name = kind.split("/")
            mark = pytest.mark.workload(name) if start == "warm" else pytest.mark.cache_state(name)
            marks = [] if kind == f"cold/{runtime.cache_state}" else [mark]
            test = f"{runtime.name}-{start}-{name}"
            params.append(pytest.param(runtime.name, kind, marks=marks, id=test))
    metafunc.parametrize(("wasm_runtime", "kind"), params, indirect=["wasm_runtime"], scope="session")


def test_ceiling(
    request: pytest.FixtureRequest,
    kind: str,
    wasm_cold_start: Measurement,
    wasm_warm_latency: Measurement,
    ceiling: Ceiling,
) -> None:
    """A cold start, or a further invocation, is under its ceiling; nothing else is measured."""
    if kind.startswith("warm/") and kind != "warm/tiny":
        request.getfixturevalue("ruby")
    hold(wasm_cold_start if kind.startswith("cold/") else wasm_warm_latency, ceiling(kind))
