"""Fills the record from the reports of one run, wherever its tests ran, and shows it at the end. Wiring only."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_wasmedge.plugin import stash

if TYPE_CHECKING:
    from pytest_wasmedge.reports.record import RunRecord

#: The keys of the `user_properties` that say which runtimes a test ran on, and which fields diverge that no entry
#: of the contract excuses; record.py has those of all else that it found.
RUNTIMES = "wasm_runtimes"
NEW = "wasm_new_divergences"
_MOODS: dict[str, dict[str, bool]] = {
    "good": {"green": True},
    "bad": {"red": True},
    "warn": {"yellow": True},
}


class Recorder:
    """There is a record if the command line asks for something of ours, or once a test of ours has ended."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._record: RunRecord | None = None
        self._new: dict[tuple[str, str], set[str]] = {}

    def begin(self) -> RunRecord:
        """Return the record, made when first asked for."""
        if self._record is None:
            from pytest_wasmedge.plugin.concluding import new_record

            self._record = new_record(stash.session(self._config))
        return self._record

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A test counts once: at its call, or where it ended before or after that.
        if report.when == "call" or not report.passed:
            properties: dict[str, Any] = dict(report.user_properties)
            names: Any = properties.get(RUNTIMES, ())
            verdict = "known" if hasattr(report, "wasxfail") and report.skipped else report.outcome
            for name in names:
                self.begin().add_test(name, verdict, properties, report.nodeid)
            # Nothing is excused of a test that ran on several runtimes, so there is nothing to note of it either.
            if len(names) == 1 and NEW in properties:
                self._add_new_divergences(properties, names[0])

    def _add_new_divergences(self, properties: dict[str, Any], name: str) -> None:
        """Note what no entry of the contract excuses."""
        from pytest_wasmedge.reports.record import CASE

        self._new.setdefault((properties[CASE], name), set()).update(properties[NEW])

    # Around pytest-benchmark's, which writes what it has, and pytest's own, which prints, before others are called.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(
        self, session: pytest.Session, exitstatus: int
    ) -> Generator[None, object, object]:
        if self._record is not None and not session.config.option.collectonly:
            from pytest_wasmedge.reports import benchmark

            benchmark.add_record(session.config, self._record)
            session.exitstatus = self._conclude(self._record, session.exitstatus)
        return (yield)

    def _conclude(self, record: RunRecord, status: int | pytest.ExitCode) -> int | pytest.ExitCode:
        """Return the exit status that the whole run deserves."""
        from pytest_wasmedge.errors import WasmEdgeError
        from pytest_wasmedge.plugin.concluding import conclude

        try:
            conclude(stash.session(self._config), record, self._new)
        except WasmEdgeError as error:
            record.closing.append((str(error), "bad"))
            return status or pytest.ExitCode.TESTS_FAILED
        if status == pytest.ExitCode.OK and record.stale:
            return pytest.ExitCode.TESTS_FAILED
        if status == pytest.ExitCode.OK and not record.ran:
            return pytest.ExitCode.NO_TESTS_COLLECTED
        return status

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        if self._record is None or config.option.collectonly:
            return
        from pytest_wasmedge.reports import terminal

        terminalreporter.write_sep("=", terminal.title(self._record))
        for line, mood in terminal.table(self._record):
            terminalreporter.write_line(line, **_MOODS.get(mood, {}))
