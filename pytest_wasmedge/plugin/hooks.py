"""pytest's side of it: options, hooks, fixtures. Wiring only; imported at every pytest start, so kept light."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_wasmedge.plugin import fixtures, hookspecs, options, stash
from pytest_wasmedge.plugin.recorder import NEW, RUNTIMES, Recorder

#: The runtime of each named fixture: ``wasmtime_cli_host`` is of ``wasmtime-cli``.
_NAMED = pytest.StashKey[dict[str, str]]()
_MARKS = (
    "runtimes(name, …): run this test's `host` on these runtimes only, of those selected",
    "wasm_cases(topic, …, exclude=()): run this test's `wasm_case` on these topics of the corpora",
    'cold_start_ceiling(limit): fail unless the cold start of its `host` is under "25ms" or "3.5x floor"',
    'cache_state(state, samples=12): take this test\'s `cold_start` from "no-cache", "code-cache" or "evicted"',
    'workload(name, samples=20): take this test\'s `warm_latency` of "smoke", "heavy", "html" or "hello"',
)


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser.getgroup("wasmedge", "one WebAssembly artifact on every host runtime"))


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    for mark in _MARKS:
        config.addinivalue_line("markers", mark)
    from pytest_wasmedge.runtimes import builtin_names

    # The built-in ones are known by their file names; others must be asked for, which imports the runtimes.
    others = config.hook.pytest_wasmedge_runtimes.get_hookimpls()
    names = _known_names(config) if others else builtin_names()
    named = config.stash[_NAMED] = {f"{name.replace('-', '_')}_host": name for name in names}
    config.pluginmanager.register(fixtures, "wasmedge-fixtures")
    config.pluginmanager.register(fixtures.named(named), "wasmedge-named-fixtures")
    if config.option.wasm_conformance or config.option.wasm_corpus:
        from pytest_wasmedge.portability import bundled

        suite = bundled.suite()
        _collect_also(config, suite if config.option.wasm_conformance else suite / "test_wasi_testsuite.py")
    if hasattr(config, "workerinput"):
        return
    recorder = Recorder(config)
    config.pluginmanager.register(recorder, "wasmedge-recorder")
    if options.given(config.option):
        from pytest_wasmedge.errors import WasmEdgeError

        try:
            stash.session(config).check()
            recorder.begin()
        except WasmEdgeError as error:
            from pytest_wasmedge.portability.excerpt import printable

            raise pytest.UsageError(printable(str(error))) from error


def _known_names(config: pytest.Config) -> list[str]:
    from pytest_wasmedge.errors import WasmEdgeError

    try:
        return list(stash.session(config).known)
    except WasmEdgeError as error:
        from pytest_wasmedge.portability.excerpt import printable

        raise pytest.UsageError(printable(str(error))) from error


def _collect_also(config: pytest.Config, place: Path) -> None:
    """Add a part of the suite to what is collected, unless it is in there already."""
    given = (config.invocation_params.dir / arg.partition("::")[0] for arg in config.args)
    if not any(place.resolve().is_relative_to(each.resolve()) for each in given):
        config.args.append(str(place))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist which exact versions this run is about: it asks nobody."""
    if options.given(node.config.option):
        node.workerinput[stash.VERSIONS] = stash.session(node.config).resolver.resolved


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Keep the tests of one runtime on one worker, unless the user said how to distribute."""
    if config.option.dist != "load" or not options.given(config.option):
        return None
    names = [runtime.name for runtime in stash.session(config).selected]
    if len(names) < 2:
        return None
    from pytest_wasmedge.plugin.scheduling import RuntimeScheduling

    return RuntimeScheduling(config, log, names)


def pytest_unconfigure(config: pytest.Config) -> None:
    stash.close(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if not {"host", "wasm_case", "program_host"}.intersection(metafunc.fixturenames):
        return
    from pytest_wasmedge.errors import WasmEdgeError

    try:
        if _is_ours_in(getattr(metafunc, "_arg2fixturedefs", {}), "host"):
            # A contract that cannot be read is told here, not when a test has failed.
            _ = stash.session(metafunc.config).contract
            _parametrize_host(metafunc)
        if "wasm_case" in metafunc.fixturenames:
            _parametrize_case(metafunc)
        if _is_ours_in(getattr(metafunc, "_arg2fixturedefs", {}), "program_host"):
            _parametrize_program(metafunc)
    except WasmEdgeError as error:
        from pytest_wasmedge.portability.excerpt import printable

        raise pytest.Collector.CollectError(printable(str(error))) from error


def _is_ours_in(definitions: Mapping[str, Sequence[Any]], fixture: str) -> bool:
    """True if a test gets this fixture from us.

    `host` and `hosts` are everyday words: a project that has a fixture or a parameter of that name never
    asked for us.
    """
    found = definitions.get(fixture)
    return found is not None and len(found) > 0 and found[-1].func.__module__ == fixtures.__name__


def _parametrize_host(metafunc: pytest.Metafunc) -> None:
    marked = [name for mark in metafunc.definition.iter_markers("runtimes") for name in mark.args]
    session = stash.session(metafunc.config)
    names = [runtime.name for runtime in (session.marked(marked) if marked else session.selected)]
    params: list[Any] = list(names)
    if not names:
        selected = ", ".join(runtime.name for runtime in session.selected)
        reason = f"is for {', '.join(marked)}; --runtimes selects {selected}"
        params = [pytest.param("none", marks=pytest.mark.skip(reason=reason))]
    metafunc.parametrize("host", params, indirect=True, scope="session", ids=names or ["none"])


def _parametrize_case(metafunc: pytest.Metafunc) -> None:
    marks = list(metafunc.definition.iter_markers("wasm_cases"))
    topics = {topic for mark in marks for topic in mark.args}
    excluded = {topic for mark in marks for topic in mark.kwargs.get("exclude", ())}
    cases = [
        case
        for case in stash.session(metafunc.config).cases
        if (not topics or case.topic in topics) and case.topic not in excluded
    ]
    metafunc.parametrize("wasm_case", cases, ids=[case.name for case in cases])


def _parametrize_program(metafunc: pytest.Metafunc) -> None:
    """Run each program on every selected runtime; one that can give no folders is left out, by its name."""
    session = stash.session(metafunc.config)
    _ = session.contract
    params = []
    for runtime in session.selected:
        if "preopens" in runtime.capabilities:
            params += [
                pytest.param(program, runtime.name, id=f"{program.short_name}-{runtime.name}")
                for program in session.programs
            ]
        elif session.programs:
            reason = (
                f"{runtime.name} cannot give folders to a guest: {len(session.programs)} programs left out"
            )
            left_out = pytest.mark.skip(reason=reason)
            params.append(pytest.param(None, runtime.name, marks=left_out, id=f"left_out-{runtime.name}"))
    metafunc.parametrize(("wasm_program", "program_host"), params, indirect=["program_host"])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Let a measurement have the machine for itself; others who run tests with this plugin wait meanwhile."""
    quiet = stash.quiet(item.config) if _runtimes_of(item) else None
    if quiet is None:
        return (yield)
    goes_on = nextitem is not None and _measures(nextitem)
    with quiet.measuring(goes_on=goes_on) if _measures(item) else quiet.testing():
        return (yield)


def _measures(item: pytest.Item) -> bool:
    """True for a test that needs the machine for itself."""
    marked = item.get_closest_marker("cold_start_ceiling") or item.get_closest_marker("cache_state")
    measures = marked or fixtures.MEASURING.intersection(getattr(item, "fixturenames", ()))
    return bool(measures and _runtimes_of(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Judge the cold start of a test that has a ceiling, once the test itself has passed."""
    result = yield
    mark = item.get_closest_marker("cold_start_ceiling")
    if mark is not None:
        if not mark.args or not _has_host(item):
            needs = 'a limit, such as "25ms", and a test that uses `host`'
            pytest.fail(f"cold_start_ceiling needs {needs}.", pytrace=False)
        measurement = item._request.getfixturevalue("cold_start")  # type: ignore[attr-defined]
        if not measurement.holds(measurement.judge(mark.args[0])):
            pytest.fail("\n".join(measurement.explanation()), pytrace=False)
    return result


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Explain `assert cold_start.median < ms(25)`."""
    measurement = getattr(left, "measurement", None)
    if measurement is None or type(left).__module__ != "pytest_wasmedge.latency.measurement":
        return None
    return [f"{left} {op} {right}", *measurement.explanation()]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if names := _runtimes_of(item):
        report.user_properties.append((RUNTIMES, names))
        if call.when == "call":
            _tell(item, call, report, names)
    if call.excinfo is not None:
        error = call.excinfo.value
        if _is_ours(error) and not report.skipped:
            from pytest_wasmedge.portability.excerpt import printable

            # Our errors say all that a user needs; a traceback from inside us would bury it.
            report.longrepr = printable(str(error))
    return report


def _tell(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, names: list[str]
) -> None:
    """Put what a test measured and found into its report; a divergence that the contract knows is no failure."""
    from pytest_wasmedge.reports import record

    measurements = item.stash.get(stash.MEASUREMENTS, [])
    findings = [*item.stash.get(stash.FINDINGS, []), *(each for one in measurements for each in one.findings)]
    report.user_properties += record.properties(measurements, findings)
    error = None if call.excinfo is None else call.excinfo.value
    fields = record.fields_of(error)
    callspec = getattr(item, "callspec", None)
    given = callspec.params if callspec else {}
    case = getattr(given.get("wasm_case") or given.get("wasm_program"), "name", "")
    name = case or getattr(item, "originalname", item.name)
    session = stash.session(item.config)
    asked = session.take_asked()
    # A test that runs a case and compares it with nothing says nothing about how it diverges.
    if "wasm_case" not in given or name in asked or report.failed:
        report.user_properties.append((record.CASE, name))
    known = session.known_divergences(name, names, fields) if report.failed else []
    new = sorted({field for field in fields if not any(each.excuses(field) for each in known)})
    if known and not new:
        report.outcome = "skipped"
        report.wasxfail = f"known divergence ({'; '.join(f'{each.reason}; {each.issue}' for each in known)})"
        report.user_properties.append((record.KNOWN, [each.first_line for each in known]))
    elif fields:
        report.user_properties += [(record.DIVERGENCES, len(fields)), (NEW, new)]


def _has_host(item: pytest.Item) -> bool:
    """True if a test runs on one runtime after the other: has our `host`, not `hosts` or `deno_host`."""
    callspec = getattr(item, "callspec", None)
    return callspec is not None and "host" in callspec.params and _is_ours_in(_definitions(item), "host")


def _definitions(item: pytest.Item) -> Mapping[str, Sequence[Any]]:
    return getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})


def _runtimes_of(item: pytest.Item) -> list[str]:
    """Return the names of the runtimes that a test ran on, or would have."""
    definitions = _definitions(item)
    callspec = getattr(item, "callspec", None)
    for fixture in ("host", "program_host"):
        if callspec and _is_ours_in(definitions, fixture):
            return [callspec.params[fixture]]
    if _is_ours_in(definitions, "hosts"):
        return [runtime.name for runtime in stash.session(item.config).available]
    named = item.config.stash.get(_NAMED, {})
    return [
        named[fixture] for fixture in definitions if fixture in named and _is_ours_in(definitions, fixture)
    ]


def _is_ours(error: BaseException) -> bool:
    return any(kind.__module__ == "pytest_wasmedge.errors" for kind in type(error).__mro__)
