"""Publishes a run as it goes: its record, and at the end the reports that are made from it."""

from __future__ import annotations

import os
from typing import Any

from pytest_wasmedge.contract.conclusions import cases_of, runtimes_of
from pytest_wasmedge.errors import RecordError
from pytest_wasmedge.plugin.session import WasmSession
from pytest_wasmedge.portability.corpus import Case
from pytest_wasmedge.portability.testsuite import Program
from pytest_wasmedge.reports import document, github, markdown
from pytest_wasmedge.reports.record import RunRecord
from pytest_wasmedge.reports.rendering import write_reports
from pytest_wasmedge.reports.writing import Writer

_BUNDLED = "pytest_wasmedge/bundled/"


class Publisher:
    """Fills the folder of `--wasm-report`. Raises RecordError if it cannot be written."""

    def __init__(
        self, session: WasmSession, record: RunRecord, *, run: str, seed: int, pytest_version: str
    ) -> None:
        self._session = session
        self._writer = Writer(session.options.started_in / session.options.report)
        self._failure: RecordError | None = None
        #: Lines for the job that this runs in, known at the end.
        self.annotations: list[str] = []
        self._add(document.beginning(record, run, seed, pytest_version))

    def add(self, nodeid: str, runtime: str, outcome: str, facts: dict[str, Any], message: str) -> None:
        """Write what one test found on one runtime."""
        test = shared_name(nodeid, runtime)
        self._add(document.tested(test, runtime, outcome, facts, message, sides=self._writer.sides))

    def end(self, record: RunRecord) -> document.Document:
        """Write the record's document, and return it, and its reports.

        Raises RecordError, also for what could not be written earlier.
        """
        if self._failure is not None:
            raise self._failure
        contract, session = self._session.held.contract, self._session
        cases: list[Case | Program] = []
        if contract:
            cases += (*session.cases, *session.given_cases, *session.programs)
        known = [
            {
                "line": each.first_line,
                "case": each.case,
                "runtimes": list(map(str, each.runtimes)),
                "cases": sorted(cases_of(each, cases)),
                "on": runtimes_of(record, each),
                "fields": list(each.fields),
                "reason": each.reason,
                "issue": each.issue,
            }
            for each in (contract.known if contract else ())
        ]
        whole = self._writer.end(document.ending(record, known))
        write_reports(whole, self._writer.folder)
        if github.is_here(os.environ):
            self.annotations = github.commands(whole)
            github.add_summary(os.environ, markdown.render(whole))
        return whole

    def _add(self, event: document.Event) -> None:
        # A full disk must not stop the tests; the run is red at its end.
        if self._failure is None:
            try:
                self._writer.add(event)
            except RecordError as error:
                self._failure = error


def shared_name(nodeid: str, runtime: str) -> str:
    """Return a test's id without the runtime that it ran on, and without the place where our suite is installed."""
    at = nodeid.find(_BUNDLED)
    nodeid = nodeid[at + len(_BUNDLED) :] if at >= 0 else nodeid
    head, bracket, parameters = nodeid.partition("[")
    if not bracket:
        return nodeid
    inside = f"-{parameters.removesuffix(']')}-".replace(f"-{runtime}-", "-", 1).strip("-")
    return f"{head}[{inside}]" if inside else head
