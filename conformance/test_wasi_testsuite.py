"""Programs of --wasm-corpus=wasi-testsuite:PATH, each on every runtime that can give it folders of its own."""

from __future__ import annotations

from pathlib import Path

from pytest_wasmedge.model import Host
from pytest_wasmedge.portability.compare import assert_same
from pytest_wasmedge.portability.testsuite import Program


def test_program(wasm_program: Program, wasm_program_host: Host, tmp_path: Path) -> None:
    """A program ends and writes as its description says, byte for byte."""
    outcome = wasm_program_host.invoke(wasm_program.invocation(tmp_path))

    assert_same(outcome, wasm_program.expected, wasm_program.unchecked | wasm_program_host.runtime.unchecked)
