"""Our implementations of pytest's hooks. Wiring only; imported at every pytest start, so kept light."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_wasmedge.plugin import fixtures, hookspecs, options, stash
from pytest_wasmedge.plugin.recorder import Recorder

#: The runtimes that have a host fixture of their own, by its name without ``_host``: ``wasmtime_cli`` …
_NAMED = pytest.StashKey[Mapping[str, str]]()
#: What a corpus of programs begins with, each its own artifact; those of other corpora run on the artifact under test.
_PROGRAMS = "wasi-testsuite:"
#: The fixtures that parametrise a test which needs them.
_PARAMETRIZED = frozenset({"wasm_runtime", "wasm_case", "wasm_program"})
_MARKS = (
    "runtimes(name, …): run this test only on these of the selected runtimes",
    "wasm_cases(topic, …, exclude=(), given=True): give this test's `wasm_case` only the cases of these topics; only "
    "those of --wasm-cases and the like, or with given=False only the bundled ones",
    'cold_start_ceiling(limit): fail if the cold start of its `host` is over "25ms" or "3.5x floor"',
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

    # File names are enough for the built-in runtimes; a hook that adds others needs them imported.
    names: Iterable[str] = builtin_names()
    if config.hook.pytest_wasmedge_runtimes.get_hookimpls():
        with _usage_errors():
            names = stash.session(config).selection.known
    # No fixture can have the name of every runtime: a hook may add "wasmtime+status_zero".
    named = {fixture: name for name in names if (fixture := name.replace("-", "_")).isidentifier()}
    config.stash[_NAMED] = named
    config.pluginmanager.register(fixtures, "wasmedge-fixtures")
    from pytest_wasmedge.plugin import everyday

    config.pluginmanager.register(everyday.named(named), "wasmedge-named-fixtures")
    option = config.option
    alone = options.given(option) and not option.wasm_conformance
    ceilings = alone and _has_ceilings(config)
    cases = alone and _has_cases(config)
    programs = any(each.startswith(_PROGRAMS) for each in option.wasm_corpus)
    if option.wasm_conformance or ceilings or cases or programs:
        from pytest_wasmedge.portability import bundled

        suite = bundled.suite()
        if option.wasm_conformance == "only":
            config.args[:] = [str(suite)]
        wanted = {
            "test_cases.py": cases,
            "test_wasi_testsuite.py": programs,
            "test_contract.py": ceilings,
        }
        parts = [name for name, is_wanted in wanted.items() if is_wanted]
        _collect_also(config, suite, [] if option.wasm_conformance else parts)
    if hasattr(config, "workerinput"):
        return
    config.pluginmanager.register(Recorder(config), stash.RECORDER)
    if options.given(option) and stash.on_machines(config) and config.option.maxworkerrestart is None:
        # As with -n. pytest-xdist has no limit with --tx: a worker that cannot start would be started for ever.
        config.option.maxworkerrestart = str(4 * len(config.option.tx))


def _has_ceilings(config: pytest.Config) -> bool:
    """Return whether this run is to judge ceilings of the contract by tests of its own.

    Not if it names single tests, or has the suite or a file of it among its arguments, a checkout's own for example.
    """
    places = [config.invocation_params.dir / arg for arg in config.args]
    # A file that nobody else has by this name.
    suites = [
        each
        for each in places
        if ((each.parent if each.is_file() else each) / "test_wasi_testsuite.py").is_file()
    ]
    if suites or any("::" in arg for arg in config.args):
        return False
    with _usage_errors():
        session = stash.session(config)
        return any(session.held.ceilings(runtime) for runtime in session.selection.selected)


def _has_cases(config: pytest.Config) -> bool:
    """Return whether this run has cases of the user: those of the project only if no test file is named."""
    if config.option.wasm_cases or any(not each.startswith(_PROGRAMS) for each in config.option.wasm_corpus):
        return True
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        return False
    with _usage_errors():
        return bool(stash.session(config).project.cases)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Turn our errors into pytest's error for a wrong command line."""
    from pytest_wasmedge.errors import WasmEdgeError

    try:
        yield
    except WasmEdgeError as error:
        from pytest_wasmedge.portability.excerpt import printable

        raise pytest.UsageError(printable(str(error))) from error


def _collect_also(config: pytest.Config, suite: Path, parts: list[str]) -> None:
    """Collect the suite too, or only these files of it, unless the command line has it already."""
    given = (config.invocation_params.dir / arg.partition("::")[0] for arg in config.args)
    if not any(suite.resolve().is_relative_to(each.resolve()) for each in given):
        config.args.append(str(suite))
        config.stash[stash.PARTS] = parts
    # The arguments of a worker are those of its controller, which has added the suite.
    elif stash.WORKER_PARTS in getattr(config, "workerinput", {}):
        config.stash[stash.PARTS] = config.workerinput[stash.WORKER_PARTS]  # type: ignore[attr-defined]


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Name the artifact and the runtimes, and say which tests are collected."""
    option = config.option
    if not options.given(option):
        return []
    session = stash.session(config)
    names = ", ".join(runtime.name for runtime in session.selection.selected)
    suite = {"also": "the conformance suite, beside your tests", "only": "the conformance suite alone"}
    suites = [suite.get(option.wasm_conformance, "your tests")]
    if "test_contract.py" in config.stash.get(stash.PARTS, ()):
        suites.append("the ceilings of the contract")
    if "test_cases.py" in config.stash.get(stash.PARTS, ()):
        suites.append(f"{len(session.given_cases)} cases")
    if any(each.startswith(_PROGRAMS) for each in option.wasm_corpus):
        suites.append("the programs of --wasm-corpus")
    return [f"wasmedge: {session.artifact.name} on {names}; collects {' and '.join(suites)}"]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Send a worker of pytest-xdist the exact versions of this run, so that it does not resolve them itself.

    On another machine it gets more: plugin/elsewhere.py.
    """
    if options.given(node.config.option):
        session = stash.session(node.config)
        node.workerinput[stash.VERSIONS] = session.selection.resolver.resolved
        node.workerinput[stash.SEED] = stash.seed(node.config)
        machines = stash.machines(node.config)
        elsewhere = machines is not None and not node.gateway.spec.popen
        if machines is not None:
            node.workerinput[stash.ELSEWHERE] = machines.send(node) if elsewhere else {}
        promised = machines.had(node) if machines is not None and elsewhere else sorted(session.promised)
        node.workerinput[stash.PROMISED] = promised
        if stash.PARTS in node.config.stash:
            node.workerinput[stash.WORKER_PARTS] = node.config.stash[stash.PARTS]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """End a run that has not begun if a worker on another machine cannot take part."""
    machines = stash.machines(node.config) if options.given(node.config.option) else None
    if machines is not None and error and not machines.begun:
        where = str(node.gateway.spec.ssh or node.gateway.id).split()[-1]
        why = str(error).strip().splitlines()[-1]
        raise pytest.UsageError(f"{where}: the worker ended before it had collected its tests: {why}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Keep the tests of one runtime on one worker, unless the user chose another way to distribute."""
    if not options.given(config.option):
        return None
    machines = stash.machines(config)
    if config.option.dist != "load":
        if machines is not None:
            raise pytest.UsageError(
                f"--dist={config.option.dist} does not know which machine has which runtime: use --dist=load."
            )
        return None
    names = [runtime.name for runtime in stash.session(config).selection.selected]
    if len(names) < 2 and machines is None:
        return None
    from pytest_wasmedge.plugin.scheduling import MachineScheduling, RuntimeScheduling

    ours: RuntimeScheduling
    if machines is None:
        ours = RuntimeScheduling(config, log, names)
    else:
        ours = MachineScheduling(config, log, names, machines, _usage_errors)
    config.stash[stash.SCHEDULING] = ours
    return ours


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Check the command line, and add the everyday names of our fixtures.

    All other plugins are loaded now, and conftest files of folders not yet read. pytest's faulthandler has put in
    its signal handlers. An engine in this process puts those for its traps over them; it may be asked to read a corpus.
    """
    from pytest_wasmedge.plugin import everyday

    config = session.config
    everyday.register(config, config.stash[_NAMED])
    if options.given(config.option) and not hasattr(config, "workerinput"):
        from pytest_wasmedge.plugin.concluding import check, check_runtimes

        with _usage_errors():
            check(stash.session(config))
            # On several machines the run begins once all of them have told what they have.
            if stash.machines(config) is None:
                check_runtimes(stash.session(config))
                config.pluginmanager.getplugin(stash.RECORDER).begin()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell the controller, if it is on another machine, what this worker has, before it hears of our tests."""
    sent = getattr(session.config, "workerinput", {}).get(stash.ELSEWHERE)
    if sent:
        from pytest_wasmedge.plugin import elsewhere

        measuring = [at for at, item in enumerate(session.items) if _measures(item)]
        names = [getattr(item, "fixturenames", ()) for item in session.items]
        together = [at for at, each in enumerate(names) if "wasm_hosts" in each]
        told = elsewhere.told(stash.session(session.config), measuring, together)
        sent["channel"].send((elsewhere.TELLS, told.packed()))


def pytest_unconfigure(config: pytest.Config) -> None:
    stash.close(config)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Collect nothing in our cache, should it lie in the project: tools of others bring tests of their own."""
    # Not from provision/cache.py, which takes long to import.
    place = os.environ.get("PYTEST_WASMEDGE_CACHE")
    return True if place and collection_path == Path(place).expanduser().absolute() else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of this shard, and tell `--benchmark-only` and `--benchmark-skip` of our measurements.

    Those look for a fixture's name.
    """
    if config.option.wasm_shard:
        from pytest_wasmedge.plugin.sharding import split

        items[:], others = split(items, config.option.wasm_shard)
        config.hook.pytest_deselected(items=others)
    only, skip = (getattr(config.option, f"benchmark_{name}", False) for name in ("only", "skip"))
    for item in items if only or skip else ():
        if not _measures(item):
            continue
        if skip:
            item.add_marker(pytest.mark.skip(reason="measures (--benchmark-skip active)"))
        item.own_markers[:] = [
            mark for mark in item.own_markers if "--benchmark-only" not in str(mark.kwargs.get("reason", ""))
        ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if _PARAMETRIZED.intersection(metafunc.fixturenames):
        from pytest_wasmedge.plugin.generating import generate

        generate(metafunc)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Add the measurement that a ceiling needs to the fixtures of its test."""
    names = getattr(item, "fixturenames", ())
    if "wasm_runtime" in names and item.get_closest_marker("cold_start_ceiling"):
        # A new list: pytest shares one among all runtimes of a test.
        item.fixturenames = [*names, "wasm_cold_start"]  # type: ignore[attr-defined]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Give a measurement the machine to itself; other processes that run tests with this plugin wait."""
    item.config.stash[stash.CURRENT] = item
    quiet = stash.quiet(item.config) if _runtimes_of(item) else None
    if quiet is None:
        return (yield)
    goes_on = nextitem is not None and _measures(nextitem)
    with quiet.measuring(goes_on=goes_on) if _measures(item) else quiet.testing():
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    stash.forget(item)


def _measures(item: pytest.Item) -> bool:
    """True for a test that needs the machine to itself."""
    marked = item.get_closest_marker("cold_start_ceiling") or item.get_closest_marker("cache_state")
    measures = marked or fixtures.MEASURING.intersection(getattr(item, "fixturenames", ()))
    return bool(measures and _runtimes_of(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Judge the cold start of a test with a ceiling, once the test itself has passed."""
    result = yield
    mark = item.get_closest_marker("cold_start_ceiling")
    if mark is not None:
        measurement = (getattr(item, "funcargs", None) or {}).get("wasm_cold_start")
        if not mark.args or measurement is None:
            message = 'cold_start_ceiling needs a limit, such as "25ms", and a test that uses `host`.'
            pytest.fail(message, pytrace=False)
        if not measurement.holds(measurement.judge(mark.args[0])):
            pytest.fail("\n".join(measurement.explanation()), pytrace=False)
    return result


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Explain `assert cold_start.median < ms(25)`."""
    measurement = getattr(left, "measurement", None)
    if measurement is None or type(left).__module__ != "pytest_wasmedge.latency.measurement":
        return None
    limits = " and ".join(map(str, right)) if isinstance(right, tuple) else right
    return [f"{left} {op} {limits}", *measurement.explanation()]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # After the teardown a fixture cannot be asked for any more.
    remembered = item.stash.get(stash.RUNTIMES, None) if call.when == "teardown" else None
    names = item.stash[stash.RUNTIMES] = _runtimes_of(item) if remembered is None else remembered
    if names:
        from pytest_wasmedge.plugin.facts import add_facts, blamed

        # pytest-xdist sends these attributes too. user_properties would end up in a JUnit file.
        report.wasm_runtimes = blamed(call, names)  # type: ignore[attr-defined]
        if call.when == "call" or call.excinfo is not None:
            report.wasm_facts = add_facts(item, call, report, names)  # type: ignore[attr-defined]
    if call.excinfo is not None and not report.skipped:
        from pytest_wasmedge.errors import WasmEdgeError
        from pytest_wasmedge.plugin import private

        error = call.excinfo.value
        headline = item.stash.get(stash.HEADLINE, "")
        whole = isinstance(error, WasmEdgeError) or getattr(error, "whole", False)
        private.say_first(report, error, whole=whole, headline=headline)
    return report


def _runtimes_of(item: pytest.Item) -> list[str]:
    """Return the names of the runtimes that a test runs on, by the fixtures that it has asked for so far."""
    request = item.stash.get(stash.REQUEST, None)
    names = getattr(item, "fixturenames", ()) if request is None else request.fixturenames
    if not any(name.startswith("wasm_") for name in names):
        return []
    from pytest_wasmedge.plugin.facts import runtimes_of

    return runtimes_of(item, names, item.config.stash.get(_NAMED, {}))
