"""What the subjects share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_wasmedge.model import Invocation, Outcome
from pytest_wasmedge.portability.compare import assert_same
from pytest_wasmedge.portability.corpus import Case, write_golden
from pytest_wasmedge.portability.leaks import assert_no_leaks
from pytest_wasmedge.runtimes.base import Host
from pytest_wasmedge.session import Reference, WasmSession


@pytest.fixture
def ruby(host: Host, wasm_session: WasmSession) -> Host:
    """The host, if its guest speaks Ruby."""
    if not wasm_session.speaks_ruby(host):
        pytest.skip(
            f"{wasm_session.artifact.name} does not answer `puts 1+1` with 2: not a Ruby, cases for Ruby skip"
        )
    return host


@pytest.fixture
def check_case(ruby: Host, reference: Reference, wasm_session: WasmSession) -> Callable[[Case], Outcome]:
    """Run a case and hold it against its reference; nothing internal may show."""

    def check(case: Case) -> Outcome:
        outcome = ruby.invoke(Invocation(case.source, timeout_s=case.timeout_s))
        if wasm_session.options.update_golden:
            write_golden(case, outcome)
            return outcome
        expected = reference.of_case(case)
        if expected is None:
            pytest.fail(
                f"{case.name} has no golden file; read what it prints, then write it with "
                f"`pytest --runtimes=wasmtime --wasm-update-golden -k {case.path.stem}`",
                pytrace=False,
            )
        assert_same(outcome, expected)
        assert_no_leaks(outcome, case.source)
        return outcome

    return check
