"""The file itself keeps the limits of the contract: sizes, functions, imports, memory."""

from __future__ import annotations

from pytest_wasmedge.contract.limits import check_artifact
from pytest_wasmedge.model import Artifact
from pytest_wasmedge.plugin.session import WasmSession


def test_limits(wasm_artifact: Artifact, wasm_session: WasmSession) -> None:
    """The artifact keeps every limit that the contract sets, its own and those of published platforms."""
    assert wasm_session.held.contract is not None
    violations = check_artifact(wasm_artifact, wasm_session.held.contract.limits)

    assert not violations, "\n".join(map(str, violations))
