"""Fills the record from the reports of one run, in whichever process a test ran, and shows it. Wiring only."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from pytest_wasmedge.plugin import options, private, stash

if TYPE_CHECKING:
    from pytest_wasmedge.contract.explaining import Unexplained
    from pytest_wasmedge.plugin.publishing import Publisher
    from pytest_wasmedge.reports.record import RunRecord

#: Why a run did not come to its end, by pytest's exit status.
_STOPPED: Mapping[int, str] = {
    pytest.ExitCode.INTERRUPTED: "the run was interrupted",
    pytest.ExitCode.INTERNAL_ERROR: "pytest itself failed",
    pytest.ExitCode.USAGE_ERROR: "pytest was called wrongly",
}
_COLOURS = {"good": "green", "bad": "red", "warn": "yellow"}


class Recorder:
    """Has a record if the command line asks for a run on runtimes, or once a test has run on one."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._record: RunRecord | None = None
        self._new: dict[tuple[str, str], Unexplained] = {}
        self._publisher: Publisher | None = None
        self._short = 0
        #: The failed tests, by id, with the runtimes of each.
        self._failed: list[tuple[str, Sequence[str]]] = []

    def begin(self) -> RunRecord:
        """Return the record, made when first asked for."""
        if self._record is None:
            from pytest_wasmedge.plugin.concluding import new_record

            session = stash.session(self._config)
            self._record = new_record(session)
            if session.options.report and options.runs_tests(self._config.option):
                from pytest_wasmedge.plugin.publishing import Publisher

                run, seed = secrets.token_hex(8), stash.seed(self._config)
                self._publisher = Publisher(
                    session, self._record, run=run, seed=seed, pytest_version=pytest.__version__
                )
        return self._record

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        names: Sequence[str] = getattr(report, "wasm_runtimes", ())
        # A test that crashed its worker has a bare report, by pytest-xdist; only its id has the runtime.
        if self._record is not None and report.when not in ("setup", "call", "teardown"):
            from pytest_wasmedge.plugin.selection import runtime_in

            selected = stash.session(self._config).selection.selected
            names = [name for name in [runtime_in(report.nodeid, [each.name for each in selected])] if name]
        # A subtest is a part of its test, whose own report follows.
        if hasattr(report, "context") and type(report) is not pytest.TestReport:
            return
        # A test counts once: at its call, or at the setup or teardown that failed.
        if names and (report.when == "call" or not report.passed):
            from pytest_wasmedge.reports.record import CASE, KNOWN, NEW, SHORT

            facts: dict[str, Any] = getattr(report, "wasm_facts", {})
            self.begin().add_comparisons(facts, names)
            self._short += SHORT in facts
            if report.failed:
                self._failed.append((report.nodeid, names))
            for name in names:
                verdict = "known" if KNOWN in facts else report.outcome
                self.begin().add_test(name, verdict, facts, report.nodeid)
                if self._publisher is not None:
                    self._publisher.add(report.nodeid, name, verdict, facts, private.message_of(report))
            # The contract excuses nothing of a test that ran on several runtimes.
            if len(names) == 1 and NEW in facts:
                from pytest_wasmedge.contract.explaining import Unexplained

                fields, differs, outcome = facts[NEW]
                # pytest-xdist turns tuples into lists.
                found = Unexplained(tuple(fields), differs, tuple((field, text) for field, text in outcome))
                place = (facts[CASE], names[0])
                self._new[place] = self._new.get(place, found).plus(found)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Count the work of the start, if that is asked for, before anything is timed."""
        begins = options.given(self._config.option) and stash.machines(self._config) is not None
        if not (self._record or begins) or not options.runs_tests(self._config.option) or session.testsfailed:
            return
        working = stash.session(self._config).working
        if working.asked_for:
            quiet = stash.quiet(self._config)
            with quiet.testing() if quiet else nullcontext():
                # Whatever is wrong is told at the end.
                working.count_start()

    # First, since pytest-benchmark's wrapper saves its benchmarks, and pytest's prints, before they yield.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(
        self, session: pytest.Session, exitstatus: int
    ) -> Generator[None, object, object]:
        if self._record is not None and options.runs_tests(session.config.option):
            from pytest_wasmedge.reports import benchmark

            benchmark.add_record(session.config, self._record)
            session.exitstatus = self._conclude(self._record, session.exitstatus)
        return (yield)

    def _conclude(self, record: RunRecord, status: int | pytest.ExitCode) -> int | pytest.ExitCode:
        """Conclude the run, and return its exit status."""
        from pytest_wasmedge.errors import WasmEdgeError
        from pytest_wasmedge.plugin.concluding import conclude

        try:
            conclude(stash.session(self._config), record, self._new)
        except WasmEdgeError as error:
            record.closing.append((str(error), "bad"))
            status = status or pytest.ExitCode.TESTS_FAILED
        if status == pytest.ExitCode.OK and record.broken:
            status = pytest.ExitCode.TESTS_FAILED
        if status == pytest.ExitCode.OK and not record.ran:
            status = pytest.ExitCode.NO_TESTS_COLLECTED
        # Whoever stops a run knows that tests are left.
        left = "" if status == pytest.ExitCode.INTERRUPTED else self._left()
        status = status or (pytest.ExitCode.TESTS_FAILED if left else status)
        from pytest_wasmedge.portability.excerpt import counted

        short = (
            f"this machine ran short of something in {counted(self._short, 'test')}" if self._short else ""
        )
        reasons = [reason for reason in (_STOPPED.get(status, ""), left, short) if reason]
        record.status, record.stopped = int(status), "; ".join(reasons)
        try:
            if self._publisher is not None:
                self._publisher.end(record)
        except WasmEdgeError as error:
            record.closing.append((str(error), "bad"))
            status = status or pytest.ExitCode.TESTS_FAILED
            record.status = int(status)
        return status

    def _left(self) -> str:
        """Return which tests no worker has run, if any, in a few words."""
        scheduling = self._config.stash.get(stash.SCHEDULING, None)
        if scheduling is None:
            return ""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        # By outcome; those without a name are of tests that are under way.
        stats: dict[str, list[object]] = {**reporter.stats, "": []} if reporter else {}
        left = scheduling.left({getattr(each, "nodeid", "") for some in stats.values() for each in some})
        places = ", ".join(
            f"{count} on {name}" if name else f"{count} on none" for name, count in left.items()
        )
        return f"no worker was left for {sum(left.values())} tests ({places})" if left else ""

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        if self._record is None or not options.runs_tests(config.option):
            return
        from pytest_wasmedge.portability.excerpt import printable
        from pytest_wasmedge.reports import terminal

        terminalreporter.write_sep("=", terminal.title(self._record))
        line, mood = terminal.verdict(self._record)
        terminalreporter.write_line(line, bold=True, **{_COLOURS[mood]: True})
        for line, mood in terminal.table(self._record):
            terminalreporter.write_line(line, **{_COLOURS[mood]: True} if mood in _COLOURS else {})
        if self._failed:
            from pytest_wasmedge.plugin.alone import commands

            for line in commands(config, self._failed):
                terminalreporter.write_line(printable(line))
        for line in self._publisher.annotations if self._publisher else ():
            terminalreporter.write_line(line)
