"""Programs of --wasm-corpus=wasi-testsuite:PATH, each on every runtime that can give it what it needs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.model import Host
from pytest_wasmedge.portability.compare import assert_same, compare
from pytest_wasmedge.portability.excerpt import printable
from pytest_wasmedge.portability.testsuite import Program


def test_program(wasm_program: Program, wasm_program_host: Host, tmp_path: Path) -> None:
    """A program ends and writes as its description says, byte for byte."""
    try:
        outcome = wasm_program_host.invoke(wasm_program.invocation(tmp_path))
    except UnsupportedError as error:
        pytest.skip(str(error))

    unchecked = wasm_program.unchecked | wasm_program_host.runtime.unchecked
    if compare(outcome, wasm_program.expected, unchecked):
        # What is not compared may be the one clue that there is: pytest shows it with a failure.
        for name in sorted(unchecked & {"stdout", "stderr"}):
            said = getattr(outcome, f"{name}_text")[:2000]
            sys.stdout.write(f"{name}, not compared: {printable(said)}\n")
    assert_same(outcome, wasm_program.expected, unchecked)
