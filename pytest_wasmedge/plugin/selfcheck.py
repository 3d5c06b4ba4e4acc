"""A plugin of its own, for `pytest-wasmedge selfcheck`: runs the suite on one runtime without a fault and under each.

Loaded with ``-p``, and given a plan in a file. Each fault is a runtime of the run, NAME+FAULT. Results are appended to
a file as they come.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pytest_wasmedge.drivers.pool import explain, probe
from pytest_wasmedge.errors import RuntimeUnavailableError, UnknownRuntimeError
from pytest_wasmedge.model import Runtime
from pytest_wasmedge.plugin import fixtures, own_glue, stash
from pytest_wasmedge.plugin.facts import params_of
from pytest_wasmedge.portability.excerpt import cut, printable
from pytest_wasmedge.runtimes import merge, select
from pytest_wasmedge.testing import FAULTS, Fault, FaultyRuntime
from pytest_wasmedge.testing.catalogue import find_fault
from pytest_wasmedge.testing.matrix import (
    Result,
    Tests,
    first_line,
    function_of,
    line_of,
    matches,
    names_kind,
)
from pytest_wasmedge.testing.shared import SharedRuntime

_SAID = 160
#: A test that takes longer is not among those that are kept for a fault, if others catch it too.
_SLOW_S = 1.0
#: How long a test may take under a fault: far more than any takes without one.
_MOST_S = 120
_MEASURING_FILE = "test_latency.py"
_CAUGHT = "this fault has been caught already"


class Plan:
    """What `pytest-wasmedge selfcheck` asks for, and what of it is under way in this process."""

    def __init__(self, path: Path) -> None:
        plan = json.loads(path.read_text("utf-8"))
        self.runtime: str = plan["runtime"]
        #: The tests that each fault is to be caught by.
        self.tests: dict[str, list[str]] = plan["faults"]
        self.faults: list[Fault] = [find_fault(name) for name in self.tests]
        self.which: Tests = plan["which"]
        self.stops: bool = plan["stops"]
        #: Whether the clean run is that of the whole suite, or of those tests alone that run under a fault.
        self.all_clean: bool = plan["all_clean"]
        self.results = Path(plan["results"])
        self.not_on: dict[str, str] = {}
        self.shared: SharedRuntime | None = None
        self.caught: set[str] = set()

    def name_under(self, fault: Fault) -> str:
        """Return the name of the runtime with this fault."""
        return f"{self.runtime}+{fault}"

    def fault_of(self, runtime: str) -> Fault | None:
        """Return the fault of a runtime of the run; None for the one without."""
        name = runtime.removeprefix(f"{self.runtime}+")
        return FAULTS[name] if name in self.tests else None

    def wants(self, fault: Fault, test: str, measures: bool) -> bool:
        """True if a test is to run under a fault; without its parameters, if it is for some of them."""
        if fault.name in self.not_on or (measures and fault.kind != "latency"):
            return False
        wanted = self.tests[fault.name]
        return self.which != "known" or matches(
            test, wanted if "[" in test else [*wanted, *map(function_of, wanted)]
        )

    def is_one_of_each(self, fault: Fault, test: str, seen: set[str]) -> bool:
        """True if a test is known to catch a fault, or is the first case of one of which no case is known to.

        ``seen`` are the functions of earlier ones.
        """
        wanted, function = self.tests[fault.name], function_of(test)
        if matches(test, wanted):
            return True
        first = function not in {*map(function_of, wanted), *seen}
        seen.add(function)
        return first


_PLAN = pytest.StashKey[Plan]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--wasm-selfcheck", default="", help="the plan of pytest-wasmedge selfcheck")


def _plan(config: pytest.Config) -> Plan:
    if _PLAN not in config.stash:
        config.stash[_PLAN] = Plan(Path(config.option.wasm_selfcheck))
    return config.stash[_PLAN]


@pytest.hookimpl(wrapper=True)
def pytest_wasmedge_runtimes(
    config: pytest.Config, runtimes: Mapping[str, Runtime]
) -> Generator[None, list[Sequence[Runtime]], list[Sequence[Runtime]]]:
    """Add the runtime under each fault; it may be a built-in one, one with glue of the project, or one of a hook."""
    found = yield
    plan = _plan(config)
    added = [runtime for each in found for runtime in each]
    known = merge(runtimes.values(), [*own_glue.runtimes(config.rootpath, runtimes.values()), *added])
    selected = select(plan.runtime, known)
    if len(selected) > 1:
        raise UnknownRuntimeError(f"{plan.runtime} names {len(selected)} runtimes: name one.")
    inner = selected[0]
    availability = probe(inner)
    if not availability.available:
        raise RuntimeUnavailableError(f"cannot run here: {explain(inner, availability)}")
    plan.not_on = {fault.name: reason for fault in plan.faults if (reason := fault.not_on(inner))}
    plan.shared = SharedRuntime(inner)
    return [
        *found,
        [
            FaultyRuntime(inner if fault.starts_its_own else plan.shared, fault, name=plan.name_under(fault))
            for fault in plan.faults
        ],
    ]


def pytest_unconfigure(config: pytest.Config) -> None:
    if _PLAN in config.stash and (shared := config.stash[_PLAN].shared) is not None:
        shared.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Generator[None, None, None]:
    """Make a test for the runtimes alone that want it: all under all faults would be many thousands."""
    plan, selection = _plan(metafunc.config), stash.session(metafunc.config).selection
    test = f"{metafunc.definition.path.name}::{metafunc.function.__name__}"
    measures = _measures(metafunc.definition)
    wanting = [
        runtime
        for runtime in selection.selected
        if (fault := plan.fault_of(runtime.name)) is None or plan.wants(fault, test, measures)
    ]
    with selection.narrowed(wanting):
        return (yield)


def test_of(item: pytest.Item, runtime: str) -> str:
    """Return a test's name in results: file, function and parameters, without its runtime."""
    name = item.name
    for before, after in ((f"[{runtime}]", ""), (f"[{runtime}-", "["), (f"-{runtime}]", "]")):
        name = name.replace(before, after)
    return f"{item.path.name}::{name}"


def _measures(item: pytest.Item) -> bool:
    names = getattr(item, "fixturenames", ())
    return item.path.name == _MEASURING_FILE or bool(fixtures.MEASURING.intersection(names))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that the plan wants: without a fault all but those that measure, under each those that catch it.

    Those that run on no runtime, or on all at once, say nothing about a fault.
    """
    plan = _plan(config)
    wanted: dict[str, list[pytest.Item]] = {}
    seen: dict[str, set[str]] = {}
    clean: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        runtime = str(params_of(item).get("wasm_runtime", ""))
        fault, test = plan.fault_of(runtime), test_of(item, runtime)
        if runtime == plan.runtime:
            clean.append(item)
        elif (
            fault is not None
            and plan.wants(fault, test, _measures(item))
            and (plan.which != "each" or plan.is_one_of_each(fault, test, seen.setdefault(runtime, set())))
        ):
            wanted.setdefault(runtime, []).append(item)
        else:
            left_out.append(item)
    under_faults = {test_of(item, runtime) for runtime, kept in wanted.items() for item in kept}
    needed = [
        (plan.all_clean and not _measures(item)) or test_of(item, plan.runtime) in under_faults
        for item in clean
    ]
    left_out += [item for item, is_needed in zip(clean, needed, strict=True) if not is_needed]
    clean = [item for item, is_needed in zip(clean, needed, strict=True) if is_needed]
    # The clean run comes first, then one fault after the other: each host is started once.
    items[:] = [*clean, *(item for kept in wanted.values() for item in kept)]
    config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    plan = _plan(item.config)
    if plan.stops and params_of(item).get("wasm_runtime") in plan.caught:
        pytest.skip(_CAUGHT)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that takes for ever under a fault, such as one that waits for a number that a host does not reach."""
    if _plan(item.config).fault_of(str(params_of(item).get("wasm_runtime", ""))) is None:
        return (yield)

    def stop(*_: object) -> NoReturn:
        pytest.fail(f"did not end within {_MOST_S} s under this fault", pytrace=False)

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_MOST_S)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the results say to the report, which may be made in a worker of pytest-xdist."""
    report = yield
    plan = _plan(item.config)
    runtime = str(params_of(item).get("wasm_runtime", ""))
    skipped = isinstance(report.longrepr, tuple) and report.longrepr[2].endswith(_CAUGHT)
    if skipped or not (report.when == "call" or report.outcome != "passed"):
        return report
    fault = plan.fault_of(runtime)
    said = str(call.excinfo.value) if call.excinfo else ""
    # A divergence that the contract knows is none of a fault's.
    outcome = report.outcome
    if outcome == "failed":
        plan.caught.add(runtime)
    result = Result(
        fault.name if fault else "",
        test_of(item, runtime),
        outcome,
        cut(printable(said.partition("\n")[0]), _SAID),
        outcome == "failed" and fault is not None and names_kind(said, fault.says),
        call.duration > _SLOW_S,
    )
    report.wasm_selfcheck = line_of(result)  # type: ignore[attr-defined]
    return report


def pytest_configure(config: pytest.Config) -> None:
    # Under pytest-xdist the controller notes what its workers report.
    if not hasattr(config, "workerinput"):
        # The session looks for the runtime.
        stash.session(config)
        config.pluginmanager.register(Notes(_plan(config)), "wasmedge-selfcheck-notes")


class Notes:
    """Appends results to the file of a run."""

    def __init__(self, plan: Plan) -> None:
        self._path = plan.results
        self._path.write_text(first_line(plan.runtime, plan.not_on), "utf-8")

    def pytest_runtest_logreport(self, report: Any) -> None:
        if line := getattr(report, "wasm_selfcheck", ""):
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
