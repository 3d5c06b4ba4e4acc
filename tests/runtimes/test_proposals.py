"""What WasmEdge and the wasmtime command have of the proposals is turned on for an artifact that needs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.artifacts.proposals import LEGACY, PROPOSALS, example
from pytest_wasmedge.drivers.pool import HostPool
from pytest_wasmedge.runtimes import builtin_runtimes
from tests import wat

RUNTIMES = {runtime.name: runtime for runtime in builtin_runtimes()}
#: What an engine, or its wrapper, does not have.
LACKS = {
    "wasmedge": {"wide arithmetic", "custom page sizes", LEGACY.name},
    "wasmtime-cli": {LEGACY.name},
    "node": {"wide arithmetic", "custom page sizes"},
    "wasmtime-serve": {"64-bit memory", "threads", "custom page sizes", LEGACY.name},
    "bun": {"64-bit memory", "custom page sizes"},
    "wasmer": {
        "garbage collection",
        "typed function references",
        "tail calls",
        "64-bit memory",
        "custom page sizes",
        LEGACY.name,
    },
}


@pytest.mark.parametrize("name", LACKS)
def test_what_a_runtime_lacks(name: str, tmp_path: Path) -> None:
    """Each proposal that is not named here works."""
    lacks = set()
    for index, proposal in enumerate((*PROPOSALS, LEGACY)):
        artifact = load_artifact(wat.write(tmp_path / f"{index}.wasm", example(proposal.name) or b""))
        lacks |= set(HostPool(artifact).availability(RUNTIMES[name]).lacks)

    assert lacks == LACKS[name]
