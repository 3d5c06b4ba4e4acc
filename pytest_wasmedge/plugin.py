"""pytest's side of it: options, hooks, fixtures. Wiring only; imported at every pytest start, so kept light."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_wasmedge import hookspecs, options

if TYPE_CHECKING:
    from pytest_wasmedge.latency.quiet import Quiet
    from pytest_wasmedge.latency.sampling import Samples
    from pytest_wasmedge.model import Artifact
    from pytest_wasmedge.reports.record import RunRecord
    from pytest_wasmedge.runtimes.base import Host
    from pytest_wasmedge.session import Reference, WasmSession

_SESSION = pytest.StashKey["WasmSession"]()
#: The key of the `user_properties` that says which runtimes a test ran on; record.py has those of what it found.
_RUNTIMES = "wasm_runtimes"
#: The runtime of each named fixture: ``wasmtime_cli_host`` is of ``wasmtime-cli``.
_NAMED = pytest.StashKey[dict[str, str]]()
_QUIET = pytest.StashKey["Quiet"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser.getgroup("wasmedge", "one WebAssembly artifact on every host runtime"))


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "runtimes(name, …): run this test's `host` on these runtimes only, of those selected"
    )
    config.addinivalue_line(
        "markers",
        "wasm_cases(topic, …, exclude=()): run this test's `wasm_case` on these topics of the corpora",
    )
    from pytest_wasmedge.runtimes import builtin_names

    # The built-in ones are known by their file names; others must be asked for, which imports the runtimes.
    others = config.hook.pytest_wasmedge_runtimes.get_hookimpls()
    names = list(_session(config).known) if others else builtin_names()
    named = config.stash[_NAMED] = {f"{name.replace('-', '_')}_host": name for name in names}
    config.pluginmanager.register(_named_fixtures(named), "wasmedge-named-fixtures")
    if config.option.wasm_conformance:
        from pytest_wasmedge import bundled

        suite = str(bundled.suite())
        if suite not in config.args:
            config.args.append(suite)
    if hasattr(config, "workerinput"):
        return
    recorder = Recorder(config)
    config.pluginmanager.register(recorder, "wasmedge-recorder")
    if options.given(config.option):
        from pytest_wasmedge.errors import WasmEdgeError

        try:
            _session(config).check()
            recorder.begin()
        except WasmEdgeError as error:
            from pytest_wasmedge.reports.terminal import printable

            raise pytest.UsageError(printable(str(error))) from error


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Keep the tests of one runtime on one worker, unless the user said how to distribute."""
    if config.option.dist != "load" or not options.given(config.option):
        return None
    names = [runtime.name for runtime in _session(config).selected]
    if len(names) < 2:
        return None
    from pytest_wasmedge.scheduling import RuntimeScheduling

    return RuntimeScheduling(config, log, names)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _SESSION in config.stash:
        config.stash[_SESSION].close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if not {"host", "wasm_case"}.intersection(metafunc.fixturenames):
        return
    from pytest_wasmedge.errors import WasmEdgeError

    try:
        if _is_ours_in(getattr(metafunc, "_arg2fixturedefs", {}), "host"):
            _parametrize_host(metafunc)
        if "wasm_case" in metafunc.fixturenames:
            _parametrize_case(metafunc)
    except WasmEdgeError as error:
        from pytest_wasmedge.reports.terminal import printable

        raise pytest.Collector.CollectError(printable(str(error))) from error


def _is_ours_in(definitions: Mapping[str, Sequence[Any]], fixture: str) -> bool:
    """True if a test gets this fixture from us.

    `host` and `hosts` are everyday words: a project that has a fixture or a parameter of that name never
    asked for us.
    """
    found = definitions.get(fixture)
    return found is not None and len(found) > 0 and found[-1].func.__module__ == __name__


def _parametrize_host(metafunc: pytest.Metafunc) -> None:
    marked = [name for mark in metafunc.definition.iter_markers("runtimes") for name in mark.args]
    selected = [runtime.name for runtime in _session(metafunc.config).selected]
    wanted = [runtime.name for runtime in _session(metafunc.config).named(marked)] if marked else selected
    names = [name for name in selected if name in wanted]
    params: list[Any] = list(names)
    if not names:
        reason = f"is for {', '.join(wanted)}; --runtimes selects {', '.join(selected)}"
        params = [pytest.param("none", marks=pytest.mark.skip(reason=reason))]
    metafunc.parametrize("host", params, indirect=True, scope="session", ids=names or ["none"])


def _parametrize_case(metafunc: pytest.Metafunc) -> None:
    marks = list(metafunc.definition.iter_markers("wasm_cases"))
    topics = {topic for mark in marks for topic in mark.args}
    excluded = {topic for mark in marks for topic in mark.kwargs.get("exclude", ())}
    cases = [
        case
        for case in _session(metafunc.config).cases
        if (not topics or case.topic in topics) and case.topic not in excluded
    ]
    metafunc.parametrize("wasm_case", cases, ids=[case.name for case in cases])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Under xdist, let a measurement have the machine for itself."""
    if not hasattr(item.config, "workerinput") or not item.config.option.basetemp or not _runtimes_of(item):
        return (yield)
    measures = {"cold_start", "warm_latency"}.intersection(getattr(item, "fixturenames", ()))
    quiet = _quiet(item.config)
    with quiet.measuring() if measures else quiet.testing():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if names := _runtimes_of(item):
        report.user_properties.append((_RUNTIMES, names))
    if call.excinfo is not None:
        error = call.excinfo.value
        divergences = getattr(error, "divergences", None)
        if names and divergences:
            from pytest_wasmedge.reports import record

            report.user_properties.append((record.DIVERGENCES, len(divergences)))
        if _is_ours(error) and not report.skipped:
            from pytest_wasmedge.reports.terminal import printable

            # Our errors say all that a user needs; a traceback from inside us would bury it.
            report.longrepr = printable(str(error))
    return report


def _runtimes_of(item: pytest.Item) -> list[str]:
    """Return the names of the runtimes that a test ran on, or would have."""
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    callspec = getattr(item, "callspec", None)
    if callspec and _is_ours_in(definitions, "host"):
        return [callspec.params["host"]]
    if _is_ours_in(definitions, "hosts"):
        return [runtime.name for runtime in _session(item.config).available]
    named = item.config.stash.get(_NAMED, {})
    return [
        named[fixture] for fixture in definitions if fixture in named and _is_ours_in(definitions, fixture)
    ]


class Recorder:
    """Fills the record from the reports of one run, wherever the tests ran, and shows it at the end.

    There is a record if the command line asks for something of ours, or once a test of ours has ended.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._record: RunRecord | None = None

    def begin(self) -> RunRecord:
        """Return the record, made when first asked for."""
        if self._record is None:
            self._record = _session(self._config).record()
        return self._record

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A test counts once: at its call, or where it ended before or after that.
        if report.when == "call" or not report.passed:
            properties = dict(report.user_properties)
            names: Any = properties.get(_RUNTIMES, ())
            for name in names:
                self.begin().add_test(name, report.outcome, properties)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        nothing_ran = self._record is not None and not self._record.ran
        if exitstatus == 0 and nothing_ran and not session.config.option.collectonly:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        if self._record is None or config.option.collectonly:
            return
        from pytest_wasmedge.reports import terminal

        moods: dict[str, dict[str, bool]] = {
            "good": {"green": True},
            "bad": {"red": True},
            "warn": {"yellow": True},
        }
        terminalreporter.write_sep("=", terminal.title(self._record))
        for line, mood in terminal.table(self._record):
            terminalreporter.write_line(line, **moods.get(mood, {}))


@pytest.fixture(scope="session")
def wasm_session(pytestconfig: pytest.Config) -> WasmSession:
    """What this run is about: artifact, runtimes, reference."""
    return _session(pytestconfig)


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


@pytest.fixture(scope="session")
def reference(wasm_session: WasmSession) -> Reference:
    """What outcomes are held against: golden files, or another runtime."""
    return wasm_session.reference


@pytest.fixture
def cold_start(request: pytest.FixtureRequest, host: Host, wasm_session: WasmSession) -> Samples:
    """Five cold starts of the runtime, each from before its start to its first full response."""
    from pytest_wasmedge.latency.sampling import sample_cold
    from pytest_wasmedge.reports import record

    invocation = wasm_session.smallest_invocation(host)
    samples = sample_cold(host.runtime, host.artifact, host.limits, invocation, count=5)
    _record(request, record.COLD_NS, list(samples.elapsed_ns))
    _record(request, record.COLD_KIND, samples.kind)
    return samples


@pytest.fixture
def warm_latency(request: pytest.FixtureRequest, host: Host, wasm_session: WasmSession) -> Samples:
    """Twenty invocations of a host that already served one."""
    from pytest_wasmedge.latency.sampling import sample_warm
    from pytest_wasmedge.reports import record

    samples = sample_warm(host, wasm_session.smallest_invocation(host), count=20)
    _record(request, record.WARM_NS, list(samples.elapsed_ns))
    return samples


@pytest.fixture
def report_hazard(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Call it with one sentence on what is dangerous about the artifact; the closing table shows it."""
    from pytest_wasmedge.reports import record

    return lambda hazard: _record(request, record.HAZARD, hazard)


def _record(request: pytest.FixtureRequest, key: str, value: object) -> None:
    """Say something about the running test; it travels with its report.

    Not pytest's own `record_property`, which warns whoever also writes a JUnit file.
    """
    request.node.user_properties.append((key, value))


def _named_fixtures(named: dict[str, str]) -> ModuleType:
    """Return a module with one fixture per runtime: `deno_host`, `wasmtime_cli_host` …"""

    def fixture_for(fixture: str, name: str) -> Any:
        def named_host(wasm_session: WasmSession) -> Iterator[Host]:
            yield from _hold(wasm_session, name)

        named_host.__doc__ = f"A started {name} host, whatever --runtimes selects."
        return pytest.fixture(scope="session", name=fixture)(named_host)

    holder = ModuleType("pytest_wasmedge.named_fixtures")
    for fixture, name in named.items():
        setattr(holder, f"_{fixture}", fixture_for(fixture, name))
    return holder


def _hold(wasm_session: WasmSession, name: str) -> Iterator[Host]:
    from pytest_wasmedge.errors import RuntimeUnavailableError

    runtime = wasm_session.known[name]
    try:
        started = wasm_session.pool.acquire(runtime)
    except RuntimeUnavailableError as error:
        from pytest_wasmedge.reports.terminal import printable

        pytest.skip(printable(str(error)))
    yield started
    wasm_session.pool.release(runtime)


def _session(config: pytest.Config) -> WasmSession:
    """Return the run's session, made when first asked for."""
    if _SESSION not in config.stash:
        from pytest_wasmedge.runtimes import builtin_runtimes, merge
        from pytest_wasmedge.session import WasmSession

        builtin = builtin_runtimes()
        known = {runtime.name: runtime for runtime in builtin}
        more = config.hook.pytest_wasmedge_runtimes(config=config, runtimes=known)
        corpora = config.hook.pytest_wasmedge_corpora(config=config)
        config.stash[_SESSION] = WasmSession(
            options.read(config.option, config.invocation_params.dir),
            merge(builtin, [runtime for runtimes in more for runtime in runtimes]),
            [root for roots in corpora for root in roots],
        )
    return config.stash[_SESSION]


def _quiet(config: pytest.Config) -> Quiet:
    """Return the lock that the workers of this run share; it lies beside the folders that xdist gives them."""
    if _QUIET not in config.stash:
        from pytest_wasmedge.latency.quiet import Quiet

        config.stash[_QUIET] = Quiet(Path(config.option.basetemp).with_name("wasmedge-quiet.lock"))
    return config.stash[_QUIET]


def _is_ours(error: BaseException) -> bool:
    return any(kind.__module__ == "pytest_wasmedge.errors" for kind in type(error).__mro__)
