"""The fixtures that tests ask for. Wiring only; imported at every pytest start, so kept light."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from pytest_wasmedge.plugin import stash

if TYPE_CHECKING:
    from pytest_wasmedge.latency.measurement import Finding, Measurement
    from pytest_wasmedge.model import Artifact, Host
    from pytest_wasmedge.plugin.measuring import Measuring
    from pytest_wasmedge.plugin.session import WasmSession
    from pytest_wasmedge.portability.reference import Reference
    from pytest_wasmedge.portability.testsuite import Program

T = TypeVar("T")
#: A test that asks for one of these has the machine for itself.
MEASURING = frozenset({"cold_start", "cold_floor", "warm_latency", "slowdown", "instance_memory"})


@pytest.fixture(scope="session")
def wasm_session(pytestconfig: pytest.Config) -> WasmSession:
    """What this run is about: artifact, runtimes, reference, contract."""
    return stash.session(pytestconfig)


@pytest.fixture(scope="session")
def artifact(wasm_session: WasmSession) -> Artifact:
    """The artifact under test: path, sha256, size_bytes, name."""
    return wasm_session.artifact


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest, wasm_session: WasmSession) -> Iterator[Host]:
    """A started host; the test runs once for each runtime of --runtimes."""
    yield from _hold(wasm_session, request.param)


@pytest.fixture(scope="session")
def hosts(wasm_session: WasmSession) -> Iterator[dict[str, Host]]:
    """All selected hosts that can run here, by runtime name."""
    yield {runtime.name: wasm_session.pool.acquire(runtime) for runtime in wasm_session.available}
    for runtime in wasm_session.available:
        wasm_session.pool.release(runtime)


@pytest.fixture
def program_host(
    request: pytest.FixtureRequest, wasm_program: Program, wasm_session: WasmSession
) -> Iterator[Host]:
    """A started host that holds a program of --wasm-corpus, for this test alone."""
    from pytest_wasmedge.errors import RuntimeUnavailableError

    with ExitStack() as starting:
        try:
            runtime = wasm_session.known[request.param]
            started = starting.enter_context(wasm_session.program_host(wasm_program, runtime))
        except RuntimeUnavailableError as error:
            from pytest_wasmedge.portability.excerpt import printable

            pytest.skip(printable(str(error)))
        yield started


@pytest.fixture(scope="session")
def baseline_host(host: Host, wasm_session: WasmSession) -> Iterator[Host]:
    """A started host of the same runtime that holds the artifact of --wasm-against."""
    if wasm_session.baseline_pool is None:
        pytest.skip("no baseline to compare with: give one with --wasm-against=PATH")
    if host.runtime.deployed:
        pytest.skip(f"{host.runtime.name} is deployed: it holds one artifact, and not the baseline")
    yield wasm_session.baseline_pool.acquire(host.runtime)
    wasm_session.baseline_pool.release(host.runtime)


@pytest.fixture(scope="session")
def reference(wasm_session: WasmSession) -> Reference:
    """What outcomes are held against: golden files, or another runtime."""
    return wasm_session.reference


@pytest.fixture
def cold_start(request: pytest.FixtureRequest, host: Host, measuring: Measuring) -> Measurement:
    """Cold starts of the runtime, each from before its start to its first full response.

    `assert cold_start.median < ms(25)` takes more of them until it is decided. The mark
    `cache_state("evicted", samples=5)` chooses what is at hand when they start.
    """
    mark = request.node.get_closest_marker("cache_state")
    if mark is None:
        return _measured(request, lambda: measuring.cold(host))
    from pytest_wasmedge.plugin.measuring import COLD_SAMPLES

    samples = mark.kwargs.get("samples", COLD_SAMPLES)
    return _measured(request, lambda: measuring.cold(host, mark.args[0], samples))


@pytest.fixture
def cold_floor(request: pytest.FixtureRequest, host: Host, measuring: Measuring) -> Measurement:
    """Cold starts of the runtime with an artifact that does nothing."""
    return _measured(request, lambda: measuring.floor(host))


@pytest.fixture
def warm_latency(request: pytest.FixtureRequest, host: Host, measuring: Measuring) -> Measurement:
    """Invocations of a host that already served one; the mark `workload("heavy", samples=5)` chooses of what."""
    mark = request.node.get_closest_marker("workload")
    if mark is None:
        return _measured(request, lambda: measuring.warm(host))
    from pytest_wasmedge.plugin.measuring import WARM_SAMPLES

    samples = mark.kwargs.get("samples", WARM_SAMPLES)
    return _measured(request, lambda: measuring.warm(host, mark.args[0], samples))


@pytest.fixture
def instance_memory(request: pytest.FixtureRequest, host: Host, measuring: Measuring) -> int:
    """What one more live guest costs this host in memory, in bytes."""
    from pytest_wasmedge.reports import record

    density_bytes = measuring.density_bytes(host)
    if density_bytes is None:
        name = host.runtime.name
        if "concurrent" in host.runtime.capabilities:
            pytest.skip(
                f"{name} was not seen with several Ruby guests alive at once, so the cost of one is not told"
            )
        pytest.skip(f"{name} holds one live guest at a time")
    note(request.node, record.DENSITY_BYTES, density_bytes)
    return density_bytes


@pytest.fixture
def slowdown(
    request: pytest.FixtureRequest, host: Host, measuring: Measuring, wasm_session: WasmSession
) -> Finding:
    """How cold starts compare with those of the artifact of --wasm-against: `.verdict` and `.sentence`."""
    if wasm_session.baseline is None:
        pytest.skip("no baseline to compare with: give one with --wasm-against=PATH")
    baseline = wasm_session.baseline
    finding = _or_skip(lambda: measuring.against(host, baseline))
    request.node.stash.setdefault(stash.FINDINGS, []).append(finding)
    return finding


@pytest.fixture(scope="session")
def measuring(pytestconfig: pytest.Config) -> Measuring:
    """What this run measures with: rules, seed, journal."""
    return stash.measuring(pytestconfig)


@pytest.fixture
def report_hazard(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Call it with one sentence on what is dangerous about the artifact; the closing table shows it."""
    from pytest_wasmedge.reports import record

    return lambda hazard: note(request.node, record.HAZARD, hazard)


@pytest.fixture
def report_change(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Call it with the name of what behaves otherwise than in the baseline; the closing table lists it."""
    from pytest_wasmedge.reports import record

    return lambda change: note(request.node, record.CHANGED, change)


def note(item: pytest.Item, key: str, value: object) -> None:
    """Say something about the running test; it travels with its report.

    Not pytest's own `record_property`, which warns whoever also writes a JUnit file.
    """
    item.user_properties.append((key, value))


def _measured(request: pytest.FixtureRequest, measure: Callable[[], Measurement]) -> Measurement:
    """Measure, and remember the measurement, which may grow until the test ends."""
    measurement = _or_skip(measure)
    request.node.stash.setdefault(stash.MEASUREMENTS, []).append(measurement)
    return measurement


def _or_skip(measure: Callable[[], T]) -> T:
    """Skip a test that asks of a host what it does not have."""
    from pytest_wasmedge.errors import UnsupportedError

    try:
        return measure()
    except UnsupportedError as error:
        from pytest_wasmedge.portability.excerpt import printable

        pytest.skip(printable(str(error)))


def named(names: dict[str, str]) -> ModuleType:
    """Return a module with one fixture per runtime: `deno_host`, `wasmtime_cli_host` …"""

    def fixture_for(fixture: str, name: str) -> Any:
        def named_host(wasm_session: WasmSession) -> Iterator[Host]:
            yield from _hold(wasm_session, name)

        named_host.__doc__ = f"A started {name} host, whatever --runtimes selects."
        return pytest.fixture(scope="session", name=fixture)(named_host)

    holder = ModuleType("pytest_wasmedge.named_fixtures")
    for fixture, name in names.items():
        setattr(holder, f"_{fixture}", fixture_for(fixture, name))
    return holder


def _hold(wasm_session: WasmSession, name: str) -> Iterator[Host]:
    from pytest_wasmedge.errors import RuntimeUnavailableError

    runtime = wasm_session.known[name]
    try:
        started = wasm_session.pool.acquire(runtime)
    except RuntimeUnavailableError as error:
        from pytest_wasmedge.portability.excerpt import printable

        pytest.skip(printable(str(error)))
    yield started
    wasm_session.pool.release(runtime)
