"""What the subjects share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from conformance.asking import Asking, refused
from pytest_wasmedge.contract.limits import ArtifactLimits
from pytest_wasmedge.drivers.pool import explain
from pytest_wasmedge.errors import RuntimeUnavailableError
from pytest_wasmedge.latency.units import Limit
from pytest_wasmedge.model import Host, Limits, Outcome, Runtime
from pytest_wasmedge.plugin import stash
from pytest_wasmedge.plugin.session import WasmSession
from pytest_wasmedge.portability import checking
from pytest_wasmedge.portability.compare import assert_same
from pytest_wasmedge.portability.corpus import Case
from pytest_wasmedge.portability.golden import format_golden
from pytest_wasmedge.portability.reference import Reference
from pytest_wasmedge.reports import record

Ceiling = Callable[[str], tuple[Limit, ...]]
_STDOUT_IS_ENOUGH = ("test_stdout", "test_cases", "test_latency", "test_baseline", "test_contract")
#: Limits that are soon reached; the witness alone is held to them. Not a whole second, which a host might round to.
NARROW = Limits(timeout_s=0.65, memory_bytes=64 << 20, output_bytes=1 << 20)
#: Of what is not about its time limit: an interpreter may take longer than that.
PATIENT_S = 60.0


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what was not asked for: a comparison without a baseline, limits that no contract sets, programs."""
    if parts := config.stash.get(stash.PARTS, []):
        return True if collection_path.suffix == ".py" and collection_path.name not in parts else None
    if collection_path.name == "test_wasi_testsuite.py":
        return None if stash.session(config).programs else True
    if collection_path.name == "test_cases.py":
        return None if stash.session(config).given_cases else True
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
def run(ruby: Host) -> Asking:
    """Runs a program of Ruby, and holds its whole outcome against what is expected."""
    return Asking(ruby)


@pytest.fixture(scope="session")
def own_runtime(wasm_runtime: str, wasm_session: WasmSession) -> Runtime:
    """The runtime, if it can hold a guest of ours and tells everything of it."""
    runtime = wasm_session.selection.find(wasm_runtime)
    # A test double has no engine.
    if runtime.deployed or runtime.yardstick or runtime.engine == "none":
        pytest.skip(f"{runtime.name} cannot hold a guest of ours")
    if runtime.unchecked:
        pytest.skip(f"{runtime.name} does not tell {' and '.join(sorted(runtime.unchecked))}")
    return runtime


@pytest.fixture(scope="session")
def ask(own_runtime: Runtime, wasm_session: WasmSession) -> Iterator[Asking]:
    """Asks the witness, a small guest of ours beside the artifact, what this host gives to a guest of any kind."""
    yield from _held(own_runtime, wasm_session, None)


@pytest.fixture(scope="session")
def ask_narrow(own_runtime: Runtime, wasm_session: WasmSession) -> Iterator[Asking]:
    """Asks a witness whose host has limits that are soon reached."""
    yield from _held(own_runtime, wasm_session, NARROW, PATIENT_S)


def _held(
    runtime: Runtime, session: WasmSession, limits: Limits | None, timeout_s: float | None = None
) -> Iterator[Asking]:
    pool = session.witness_pool(limits)
    try:
        host = pool.acquire(runtime)
    except RuntimeUnavailableError:
        pytest.skip(explain(runtime, pool.availability(runtime)))
    yield Asking(host, timeout_s)
    pool.release(runtime)


@pytest.fixture
def known_of_host(request: pytest.FixtureRequest) -> Callable[[Host], NoReturn]:
    """Ends the test as a known divergence: the runtime itself says that it refuses what was asked."""

    def end(host: Host) -> NoReturn:
        request.node.stash.setdefault(stash.FACTS, {})[record.KNOWN] = []
        pytest.xfail(f"known of {host.runtime.name}: {host.runtime.statuses}")

    return end


@pytest.fixture
def note_answer(request: pytest.FixtureRequest) -> Callable[[Case, Host, Outcome | None], None]:
    """Puts what a runtime answered, None if it cannot, into the report; golden files are written once all have."""

    def note(case: Case, host: Host, outcome: Outcome | None) -> None:
        told = format_golden(checking.seen(case, outcome)) if outcome else ""
        stash.add_fact(request.config, record.GOLDENS, [case.name, host.runtime.name, told])

    return note


@pytest.fixture
def check_case(
    wasm_host: Host,
    wasm_reference: Reference,
    wasm_session: WasmSession,
    known_of_host: Callable[[Host], NoReturn],
    note_answer: Callable[[Case, Host, Outcome | None], None],
) -> Callable[[Case], Outcome]:
    """Run a case and hold it against its reference; nothing internal may show."""

    def check(case: Case) -> Outcome:
        invocation = case.invocation()
        outcome = wasm_host.invoke(invocation)
        if wasm_session.updates(case):
            note_answer(case, wasm_host, outcome)
            return outcome
        expected = wasm_reference.of_case(case)
        if expected is None:
            pytest.fail(
                f"{case.name} has no golden file; read what it prints, then write it with "
                f"`pytest --runtimes=wasmtime --wasm-update-golden=new -k {case.path.stem}`",
                pytrace=False,
            )
        if refused(wasm_host, outcome, expected.ending):
            known_of_host(wasm_host)
        assert_same(outcome, expected, wasm_host.runtime.unchecked, invocation=invocation)
        return outcome

    return check
