"""Our fixtures, each under its prefixed name; everyday.py adds the names that README uses.

Wiring only; imported at every pytest start, so kept light.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_wasmedge.plugin import stash

if TYPE_CHECKING:
    from pytest_wasmedge.latency.measurement import Finding, Measurement
    from pytest_wasmedge.model import Artifact, Host
    from pytest_wasmedge.plugin.measuring import Measuring
    from pytest_wasmedge.plugin.session import WasmSession
    from pytest_wasmedge.portability.reference import Reference
    from pytest_wasmedge.portability.testsuite import Program
    from pytest_wasmedge.work.counting import CountedArtifact

#: A test that asks for one of these has the machine to itself.
MEASURING = frozenset(
    {"wasm_cold_start", "wasm_cold_floor", "wasm_warm_latency", "wasm_slowdown", "wasm_instance_memory"}
)
#: Needed by our `wasm_runtime` alone: a project that redefines it, or sets its value, does not need this one.
SELECTED = "_wasm_selected"


@pytest.fixture(scope="session")
def wasm_session(pytestconfig: pytest.Config) -> WasmSession:
    """What this run is about: artifact, runtimes, reference, contract."""
    return stash.session(pytestconfig)


@pytest.fixture(scope="session")
def wasm_measuring(pytestconfig: pytest.Config) -> Measuring:
    """What makes the measurements of this run: rules, seed, journal."""
    return stash.measuring(pytestconfig, skip)


@pytest.fixture(scope="session")
def wasm_artifact(wasm_session: WasmSession) -> Artifact:
    """The artifact under test: path, sha256, size_bytes, name."""
    return wasm_session.artifact


@pytest.fixture(scope="session")
def wasm_work(wasm_session: WasmSession) -> CountedArtifact:
    """The work of the artifact, in exact counts: `assert work.fuel < 2_000_000` is about its start.

    Also `functions`, `code_bytes`, `pages_grown`, `pages_changed`, `wasi`; `work.of("puts 1")` has those of any
    program, and `work.file` what stands in the file.
    """
    return wasm_session.working.counted


@pytest.fixture(scope="session", name=SELECTED)
def _selected(wasm_session: WasmSession) -> Callable[[], str]:
    """The runtime of a run that selects only one."""
    return lambda: wasm_session.selection.only().name


@pytest.fixture(scope="session")
def wasm_runtime(request: pytest.FixtureRequest, _wasm_selected: Callable[[], str]) -> str:
    """The name of a runtime; a test that needs it, directly or through `host`, runs once for each of --runtimes."""
    from pytest_wasmedge.errors import WasmEdgeError

    try:
        return str(request.param) if hasattr(request, "param") else _wasm_selected()
    except WasmEdgeError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def wasm_host(wasm_runtime: str, wasm_session: WasmSession, pytestconfig: pytest.Config) -> Iterator[Host]:
    """A started host; the test runs once for each of --runtimes."""
    yield from hold(wasm_session, wasm_runtime, pytestconfig)


@pytest.fixture(scope="session")
def wasm_hosts(wasm_session: WasmSession, pytestconfig: pytest.Config) -> Iterator[dict[str, Host]]:
    """All selected hosts that can run here, by runtime name."""
    with ExitStack() as held:
        holding = contextmanager(hold)
        names = [runtime.name for runtime in wasm_session.available]
        yield {name: held.enter_context(holding(wasm_session, name, pytestconfig)) for name in names}


@pytest.fixture
def wasm_program_host(wasm_program: Program, wasm_runtime: str, wasm_session: WasmSession) -> Iterator[Host]:
    """A started host that holds a program of --wasm-corpus, for this test alone."""
    from pytest_wasmedge.artifacts.loading import load_artifact
    from pytest_wasmedge.drivers.compiled import discard
    from pytest_wasmedge.drivers.pool import explain
    from pytest_wasmedge.model import Limits

    runtime = wasm_session.selection.find(wasm_runtime)
    availability = wasm_session.pool.availability(runtime)
    if not availability.available:
        skip(explain(runtime, availability))
    artifact = load_artifact(wasm_program.path, name=wasm_program.short_name)
    kept = runtime.kept_code(artifact)
    had_code = kept is not None and kept.exists()
    try:
        with runtime.start(artifact, Limits()) as host:
            artifact.verify()
            yield host
    finally:
        # A program is run once: its compiled code would only take room in the cache.
        if kept is not None and not had_code:
            discard(kept)


@pytest.fixture(scope="session")
def wasm_baseline_host(wasm_host: Host, wasm_session: WasmSession) -> Host:
    """A started host of the same runtime that holds the artifact of --wasm-against."""
    from pytest_wasmedge.plugin.compared import ComparedHost

    _require_baseline(wasm_session)
    if not isinstance(wasm_host, ComparedHost):
        pytest.skip(f"{wasm_host.runtime.name} is deployed: it holds one artifact, and not the baseline")
    return wasm_host.baseline


@pytest.fixture
def wasm_reference(request: pytest.FixtureRequest, wasm_session: WasmSession) -> Reference:
    """What outcomes are compared with: golden files, or another runtime."""
    reference = wasm_session.reference.for_one_test()
    request.node.stash[stash.ASKED] = reference.asked
    return reference


@pytest.fixture
def wasm_cold_start(
    request: pytest.FixtureRequest, wasm_host: Host, wasm_measuring: Measuring
) -> Measurement:
    """Cold starts of the runtime, each timed from before its start to the end of its first response.

    `assert cold_start.median < ms(25)` takes as many as it needs, `cold_start.take()` the usual number. The mark
    `cache_state("evicted", samples=5)` chooses the cache state.
    """
    state, more = _marked(request, "cache_state", None)
    return _remembered(request, lambda: wasm_measuring.cold(wasm_host, state, **more))


@pytest.fixture
def wasm_cold_floor(
    request: pytest.FixtureRequest, wasm_host: Host, wasm_measuring: Measuring
) -> Measurement:
    """Cold starts of the runtime with an artifact that does nothing."""
    return _remembered(request, lambda: wasm_measuring.floor(wasm_host))


@pytest.fixture
def wasm_warm_latency(
    request: pytest.FixtureRequest, wasm_host: Host, wasm_measuring: Measuring
) -> Measurement:
    """Invocations of a host that has already served one; the mark `workload("heavy", samples=5)` sets the program."""
    workload, more = _marked(request, "workload", "tiny")
    return _remembered(request, lambda: wasm_measuring.warm(wasm_host, workload, **more))


@pytest.fixture
def wasm_instance_memory(request: pytest.FixtureRequest, wasm_host: Host, wasm_measuring: Measuring) -> int:
    """The memory that one more live guest costs this host, in bytes."""
    from pytest_wasmedge.reports import record

    density_bytes = wasm_measuring.density_bytes(wasm_host)
    if density_bytes is None:
        reason = "holds one live guest at a time"
        if "concurrent" in wasm_host.runtime.capabilities:
            reason = "was not seen with several such guests alive at once, so the memory of one is not known"
        pytest.skip(f"{wasm_host.runtime.name} {reason}")
    request.node.stash.setdefault(stash.FACTS, {})[record.DENSITY_BYTES] = density_bytes
    return density_bytes


@pytest.fixture
def wasm_slowdown(request: pytest.FixtureRequest, wasm_runtime: str, wasm_session: WasmSession) -> Finding:
    """How cold starts compare with those of the artifact of --wasm-against: `.verdict` and `.sentence`.

    The first test that asks for it compares on all runtimes that tests of this run ask about, by turns. It needs no
    host that stays.
    """
    from pytest_wasmedge.errors import UnsupportedError
    from pytest_wasmedge.reports import record

    baseline = _require_baseline(wasm_session)
    rounds = stash.rounds(request.config, skip)
    named = request.fixturename
    asking = [each.nodeid for each in request.session.items if named in getattr(each, "fixturenames", ())]
    runtime = wasm_session.selection.find(wasm_runtime)
    try:
        with _unless_unavailable(wasm_session, wasm_runtime):
            finding, same = rounds.finding(runtime, asking, baseline)
    except UnsupportedError as error:
        skip(error)
    request.node.stash.setdefault(stash.FINDINGS, []).append(finding)
    stash.add_fact(request.config, record.COMPARED, [finding.runtime, "cold start"])
    if not same:
        stash.add_fact(request.config, record.CHANGED, [finding.runtime, "cold start (stdout)"])
    return finding


@pytest.fixture
def wasm_report_hazard(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A function that takes one sentence on a hazard of the artifact; the closing table shows it."""
    from pytest_wasmedge.reports import record

    return lambda hazard: stash.add_fact(request.config, record.HAZARDS, hazard)


@pytest.fixture
def wasm_report_change(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A function that takes the name of what differs from the baseline; the closing table lists it."""
    from pytest_wasmedge.reports import record

    return lambda change: stash.add_fact(request.config, record.CHANGED, ["", change])


def skip(reason: object) -> NoReturn:
    """Skip the running test; the reason may contain control characters."""
    from pytest_wasmedge.portability.excerpt import printable

    pytest.skip(printable(str(reason)))


def hold(session: WasmSession, name: str, config: pytest.Config) -> Iterator[Host]:
    """Yield the host of a runtime, and release it afterwards; skip the test if the runtime cannot run here.

    If there is a baseline, the host also compares with it; it counts its work if that is asked for. Raises
    HostStartError if the runtime could run when the run began.
    """
    runtime = session.selection.find(name)
    with _unless_unavailable(session, name):
        started = session.pool.acquire(runtime)
    baselines = None if runtime.deployed else session.baseline_pool
    host = started
    if session.working.asked_for:
        from pytest_wasmedge.plugin.compared import ComparedHost, CountedHost
        from pytest_wasmedge.plugin.facts import label_of

        def label() -> str:
            return label_of(config.stash[stash.CURRENT])

        add_fact = partial(stash.add_fact, config)
        host = CountedHost(started, session.working.count, label, add_fact)
        if baselines is not None:
            host = ComparedHost(host, baselines.acquire(runtime), label, add_fact)
    yield host
    if baselines is not None:
        baselines.release(runtime)
    session.pool.release(runtime)


@contextmanager
def _unless_unavailable(session: WasmSession, name: str) -> Iterator[None]:
    """Skip the test if its runtime cannot run here. Raises HostStartError if it could when the run began."""
    from pytest_wasmedge.errors import HostStartError, RuntimeUnavailableError

    try:
        yield
    except RuntimeUnavailableError as error:
        if name in session.promised:
            raise HostStartError(f"{name} could run when this run began, and cannot now: {error}") from error
        skip(error)


def _require_baseline(session: WasmSession) -> Artifact:
    if session.baseline is None:
        pytest.skip("no baseline to compare with: give one with --wasm-against=PATH")
    return session.baseline


def _marked(request: pytest.FixtureRequest, name: str, default: str | None) -> tuple[Any, dict[str, int]]:
    """Return what a mark chooses, and the first number of samples if it gives one."""
    mark = request.node.get_closest_marker(name)
    if mark is None:
        return default, {}
    return mark.args[0], {"first": mark.kwargs["samples"]} if "samples" in mark.kwargs else {}


def _remembered(request: pytest.FixtureRequest, make: Callable[[], Measurement]) -> Measurement:
    """Return a measurement, and keep it for the report of the test; it may still grow until the test ends."""
    from pytest_wasmedge.errors import UnsupportedError

    try:
        measurement = make()
    except UnsupportedError as error:
        skip(error)
    request.node.stash.setdefault(stash.MEASUREMENTS, []).append(measurement)
    return measurement
