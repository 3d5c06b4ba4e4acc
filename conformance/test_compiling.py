"""How long a start takes that has to compile first: only where the contract names the runtime, for it is long."""

from __future__ import annotations

import pytest

from pytest_wasmedge.latency.measurement import Measurement
from pytest_wasmedge.model import Host
from pytest_wasmedge.plugin.session import WasmSession


@pytest.mark.cache_state("no-cache")
def test_cold_start_compiling(
    wasm_host: Host, wasm_session: WasmSession, wasm_cold_start: Measurement
) -> None:
    """A cold start with no compiled code at hand is within its ceiling."""
    own = wasm_session.held.compiling_ceiling(wasm_host.runtime)
    if not own:
        pytest.skip(
            f"{wasm_host.runtime.name} keeps no compiled code, or the contract does not name it for cold/no-cache"
        )

    assert wasm_cold_start.median < own
