"""The user's own cases, of --wasm-cases and --wasm-corpus: the same answer on every runtime, whatever the guest is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pytest_wasmedge.drivers.pool import HostPool, explain
from pytest_wasmedge.errors import RuntimeUnavailableError, UnsupportedError
from pytest_wasmedge.model import Host, Limits, Outcome
from pytest_wasmedge.plugin import stash
from pytest_wasmedge.plugin.session import WasmSession
from pytest_wasmedge.portability import checking
from pytest_wasmedge.portability.corpus import Case
from pytest_wasmedge.portability.reference import Reference
from pytest_wasmedge.reports import record


@pytest.fixture
def case_pool(wasm_case: Case, wasm_session: WasmSession) -> HostPool:
    """The started hosts that the case runs on: those of all, or others with its memory limit."""
    if wasm_case.memory_mib is None:
        return wasm_session.pool
    return wasm_session.pool_with(Limits(memory_bytes=wasm_case.memory_mib << 20))


@pytest.fixture
def case_host(
    wasm_case: Case,
    wasm_host: Host,
    case_pool: HostPool,
    wasm_session: WasmSession,
    note_answer: Callable[[Case, Host, Outcome | None], None],
) -> Iterator[Host]:
    """The host of the case; skips what the case is not for."""
    runtime = wasm_host.runtime
    if reason := wasm_case.reason_not_for(runtime.name):
        pytest.skip(f"not for {runtime.name}: {reason}")
    if case_pool is wasm_session.pool:
        yield wasm_host
        return
    if "memory_limit" not in runtime.capabilities:
        note_answer(wasm_case, wasm_host, None)
        pytest.skip(f"{runtime.name} has no memory limit")
    try:
        host = case_pool.acquire(runtime)
    except RuntimeUnavailableError:
        pytest.skip(explain(runtime, case_pool.availability(runtime)))
    yield host
    case_pool.release(runtime)


@pytest.mark.wasm_cases(given=True)
def test_case(
    wasm_case: Case,
    case_host: Host,
    case_pool: HostPool,
    wasm_session: WasmSession,
    wasm_reference: Reference,
    note_answer: Callable[[Case, Host, Outcome | None], None],
    request: pytest.FixtureRequest,
) -> None:
    """A case gives what its golden file says; without one, what the reference runtime gives."""
    needs_folder = None in wasm_case.folders.values()
    invocation = wasm_case.invocation(request.getfixturevalue("tmp_path") if needs_folder else None)
    try:
        outcome = case_host.invoke(invocation)
    except UnsupportedError as error:
        note_answer(wasm_case, case_host, None)
        pytest.skip(str(error))
    if wasm_session.updates(wasm_case):
        # What varies from run to run is no golden outcome.
        checking.check(wasm_case, case_host, case_host.invoke(invocation), outcome, invocation)
        note_answer(wasm_case, case_host, outcome)
        return
    late = outcome.ending.kind == "timed_out"
    expected = wasm_reference.of_given(wasm_case, invocation, case_pool, late=late)
    shown = checking.seen(wasm_case, outcome)
    if outcome.ending.kind != "host_failed" and not case_host.runtime.unchecked:
        # Once all runtimes have answered, the run says which of them stands alone.
        for each in (checking.seen(wasm_case, expected), shown):
            answer = [wasm_case.name, each.runtime or record.GOLDEN_FILE, checking.digest_of(wasm_case, each)]
            stash.add_fact(request.config, record.ANSWERS, answer)
    if not wasm_reference.asked[wasm_case.name]:
        for leak in checking.suspicious(wasm_case, shown):
            stash.add_fact(request.config, record.HAZARDS, f"{wasm_case.name}: {leak}")
    if wasm_case.declared is not None and outcome.stdout != wasm_case.declared:
        stash.add_fact(request.config, record.UNDECLARED, wasm_case.name)
    try:
        checking.check(wasm_case, case_host, outcome, expected, invocation)
    except checking.NondeterministicError:
        stash.add_fact(request.config, record.ANSWERS, [wasm_case.name, outcome.runtime, record.VARIES])
        raise
