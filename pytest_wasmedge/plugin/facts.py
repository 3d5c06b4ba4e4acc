"""The facts in a test's report: its runtimes, measurements, findings and divergences."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Collection, Mapping
from typing import Any

import pytest

from pytest_wasmedge.contract.entries import FIELDS, Known
from pytest_wasmedge.contract.explaining import explain
from pytest_wasmedge.errors import HostFailedError, HostStartError, ShortageError
from pytest_wasmedge.model import Outcome
from pytest_wasmedge.plugin import private, stash
from pytest_wasmedge.portability import sides
from pytest_wasmedge.portability.compare import DivergenceError
from pytest_wasmedge.portability.excerpt import printable
from pytest_wasmedge.reports import record
from pytest_wasmedge.runtimes import DEFAULT

#: The attributes of an outcome that an assertion can compare, and the contract's field of each.
_FIELD_OF = {
    "stdout_text": "stdout",
    "stderr_text": "stderr",
    "status": "ending",
    "kind": "ending",
    "ok": "ending",
}
_FIELD_OF |= {field: field for field in ("stdout", "stderr", "ending", "files")}


def runtimes_of(item: pytest.Item, asked_for: Collection[str], named: Mapping[str, str]) -> list[str]:
    """Return the names of the runtimes that a test runs on, by the fixtures that it has asked for.

    ``named`` are the runtimes that have a host fixture of their own, by its name without "_host".
    """
    if "wasm_runtime" in asked_for:
        return _runtime_of(item, item.stash.get(stash.REQUEST, None))
    if "wasm_work" in asked_for:
        # Its counts are those of the engine of this process, whatever is selected.
        return [DEFAULT]
    if "wasm_hosts" in asked_for:
        return [runtime.name for runtime in stash.session(item.config).available]
    return [runtime for name, runtime in named.items() if f"wasm_{name}_host" in asked_for]


def _runtime_of(item: pytest.Item, request: pytest.FixtureRequest | None) -> list[str]:
    found = (getattr(item, "funcargs", None) or {}).get("wasm_runtime") or params_of(item).get("wasm_runtime")
    if found is None and request is not None:
        try:
            found = request.getfixturevalue("wasm_runtime")
        except (Exception, pytest.skip.Exception, pytest.fail.Exception):
            # The test has already failed for this reason.
            return []
    return [str(found)] if found is not None else []


def params_of(item: pytest.Item) -> dict[str, Any]:
    """Return the parameters of a test."""
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


def name_of(item: pytest.Item) -> str:
    """Return a test's name in the contract: that of its case or program, else its own without parameters."""
    given = params_of(item)
    case = getattr(given.get("wasm_case") or given.get("wasm_program"), "name", "")
    return str(case or getattr(item, "originalname", None) or item.name)


def label_of(item: pytest.Item) -> str:
    """Return a test's name in the contract, with its parameters but for the runtime and the case."""
    name, runtime = name_of(item), params_of(item).get("wasm_runtime", "")
    if name != getattr(item, "originalname", None):
        return name
    return item.name.replace(f"[{runtime}]", "").replace(f"[{runtime}-", "[").replace(f"-{runtime}]", "]")


def add_facts(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, names: list[str]
) -> dict[str, object]:
    """Return the facts of a test that has run; make a failure that the contract expects a known divergence."""
    measurements = item.stash.get(stash.MEASUREMENTS, [])
    findings = [*item.stash.get(stash.FINDINGS, []), *(each for one in measurements for each in one.findings)]
    facts = item.stash.get(stash.FACTS, {}) | record.measured_facts(measurements, findings)
    name = name_of(item)
    # A test that runs a case without comparing it with the reference does not show whether the case diverges.
    compares = "wasm_case" not in params_of(item) or name in item.stash.get(stash.ASKED, {})
    if report.failed or (compares and call.when == "call"):
        facts[record.CASE] = name
    if report.skipped and isinstance(report.longrepr, tuple):
        facts[record.SKIPPED] = report.longrepr[2].removeprefix("Skipped: ")
    if asked := item.stash.get(stash.ASKED, {}):
        facts[record.REFERENCE] = stash.session(item.config).reference.kind(asked, names)
    if report.failed and (told := sides.told(call.excinfo.value if call.excinfo else None)):
        facts[record.TOLD] = told
    if call.excinfo and isinstance(call.excinfo.value, ShortageError):
        facts[record.SHORT] = True
    fields = _diverging(call.excinfo) if report.failed else []
    if not fields:
        return facts
    error = call.excinfo.value if call.excinfo else None
    explained = explain(error, fields, *_entries(item, name, names))
    if explained.met and not explained.left.fields:
        report.outcome = "skipped"
        reasons = "; ".join(f"{each.reason}; {each.issue}" for each in explained.met)
        report.wasxfail = f"known divergence ({reasons})"
        facts[record.KNOWN] = [each.first_line for each in explained.met]
        return facts
    if explained.told:
        private.add_section(report, "beyond what the contract knows", printable("\n".join(explained.told)))
    item.stash[stash.HEADLINE] = explained.headline
    # An assertion may be about anything, and a host that failed has given no outcome.
    diverging = 0 if isinstance(error, HostFailedError) else sum(field in FIELDS[:4] for field in fields)
    left = explained.left
    return facts | {record.DIVERGENCES: diverging, record.NEW: [left.fields, left.differs, left.outcome]}


def _entries(item: pytest.Item, name: str, names: list[str]) -> tuple[list[Known], str]:
    """Return the known divergences of a test on its one runtime, and the name of their file."""
    session = stash.session(item.config)
    if len(names) != 1 or not (contract := session.held.contract):
        return [], ""
    version = session.pool.availability(session.selection.known[names[0]]).version
    return contract.known_for(name, names[0], version), contract.path.name


def blamed(call: pytest.CallInfo[None], names: list[str]) -> list[str]:
    """Return those of a test's runtimes that its failure is about; all of them if it names none."""
    error = call.excinfo.value if call.excinfo else None
    if not isinstance(error, DivergenceError):
        return names
    return [name for name in names if any(each.runtime == name for each in error.divergences)] or names


def _diverging(excinfo: pytest.ExceptionInfo[BaseException] | None) -> list[str]:
    """Return the contract's field of each divergence in a failure."""
    if excinfo is None:
        return []
    if fields := record.fields_of(excinfo.value):
        return fields
    if isinstance(excinfo.value, HostStartError):
        return ["start"]
    return _asserted(excinfo) if isinstance(excinfo.value, AssertionError) else []


def _asserted(excinfo: pytest.ExceptionInfo[BaseException]) -> list[str]:
    """Return the fields that the failing statement compares, by the names of an Outcome's attributes."""
    entry = excinfo.traceback[-1]
    try:
        statement = ast.parse(textwrap.dedent(str(entry.statement)))
    except SyntaxError:
        return ["assertion"]
    used = [node.attr for node in ast.walk(statement) if isinstance(node, ast.Attribute)]
    found = {_FIELD_OF[name] for name in used if name in _FIELD_OF}
    local = entry.frame.f_locals
    names = [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]
    outcomes = [local[name] for name in names if isinstance(local.get(name), Outcome)]
    if not found and len(outcomes) == 2:
        found = {field for field in FIELDS[:3] if len({getattr(each, field) for each in outcomes}) == 2}
    return [field for field in FIELDS if field in found] or ["assertion"]
