"""What the subjects share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_wasmedge.contract.limits import ArtifactLimits
from pytest_wasmedge.latency.units import Limit
from pytest_wasmedge.model import Host, Invocation, Outcome
from pytest_wasmedge.plugin import stash
from pytest_wasmedge.plugin.session import WasmSession
from pytest_wasmedge.portability.compare import assert_same
from pytest_wasmedge.portability.corpus import Case, write_golden
from pytest_wasmedge.portability.leaks import assert_no_leaks
from pytest_wasmedge.portability.reference import Reference

Ceiling = Callable[[str], tuple[Limit, ...]]
_STDOUT_IS_ENOUGH = ("test_stdout", "test_latency", "test_baseline", "test_contract")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what was not asked for: a comparison without a baseline, limits that no contract sets, programs."""
    if parts := config.stash.get(stash.PARTS, []):
        return True if collection_path.suffix == ".py" and collection_path.name not in parts else None
    if collection_path.name == "test_wasi_testsuite.py":
        return None if config.option.wasm_corpus else True
    if collection_path.name == "test_contract.py":
        # Where the suite runs, test_latency.py judges the same.
        return True
    if collection_path.name not in ("test_baseline.py", "test_compiling.py", "test_artifact.py"):
        return None
    session = stash.session(config)
    if collection_path.name == "test_baseline.py":
        return None if session.baseline else True
    if collection_path.name == "test_artifact.py":
        return None if session.held.contract and session.held.contract.limits != ArtifactLimits() else True
    return None if any(session.held.compiling_ceiling(each) for each in session.selection.selected) else True


@pytest.fixture(autouse=True)
def told_by_host(request: pytest.FixtureRequest) -> None:
    """Skip what asks for more than the host tells."""
    host = request.getfixturevalue("wasm_host") if "wasm_host" in request.fixturenames else None
    if host and host.runtime.unchecked and request.path.stem not in _STDOUT_IS_ENOUGH:
        untold = " and ".join(sorted(host.runtime.unchecked))
        pytest.skip(f"{host.runtime.name} does not tell {untold}")


@pytest.fixture
def ceiling(wasm_host: Host, wasm_session: WasmSession) -> Ceiling:
    """Tells the contract's ceiling of a kind on this runtime: one or two limits; none if it has none."""
    return lambda kind: wasm_session.held.ceiling(wasm_host.runtime, kind)


@pytest.fixture
def ruby(wasm_host: Host, wasm_session: WasmSession) -> Host:
    """The host, if its guest speaks Ruby."""
    if not wasm_session.speaks_our_language(wasm_host):
        pytest.skip(
            f"{wasm_session.artifact.name} does not answer `puts 1+1` with 2: not a Ruby, cases for Ruby skip"
        )
    return wasm_host


@pytest.fixture
def check_case(ruby: Host, wasm_reference: Reference, wasm_session: WasmSession) -> Callable[[Case], Outcome]:
    """Run a case and hold it against its reference; nothing internal may show."""

    def check(case: Case) -> Outcome:
        outcome = ruby.invoke(Invocation(case.source, timeout_s=case.timeout_s))
        if wasm_session.options.update_golden:
            write_golden(case, outcome)
            return outcome
        expected = wasm_reference.of_case(case)
        if expected is None:
            pytest.fail(
                f"{case.name} has no golden file; read what it prints, then write it with "
                f"`pytest --runtimes=wasmtime --wasm-update-golden -k {case.path.stem}`",
                pytrace=False,
            )
        assert_same(outcome, expected, ruby.runtime.unchecked)
        assert_no_leaks(outcome, case.source)
        return outcome

    return check
