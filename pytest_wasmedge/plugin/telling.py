"""What a test's report tells of it: the runtimes that it ran on, what it measured and found, what was known of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from pytest_wasmedge.plugin import stash
from pytest_wasmedge.plugin.recorder import NEW
from pytest_wasmedge.reports import record


def runtimes_of(item: pytest.Item, asked_for: Collection[str], named: Mapping[str, str]) -> list[str]:
    """Return the names of the runtimes that a test runs on, by the fixtures that it has asked for.

    ``named`` are the runtimes that have a host of their own, by what that is called without "_host".
    """
    if "wasm_runtime" in asked_for:
        return _runtime_of(item, item.stash.get(stash.REQUEST, None))
    if "wasm_hosts" in asked_for:
        return [runtime.name for runtime in stash.session(item.config).available]
    return [runtime for name, runtime in named.items() if f"wasm_{name}_host" in asked_for]


def _runtime_of(item: pytest.Item, request: pytest.FixtureRequest | None) -> list[str]:
    found = (getattr(item, "funcargs", None) or {}).get("wasm_runtime") or params_of(item).get("wasm_runtime")
    if found is None and request is not None:
        try:
            found = request.getfixturevalue("wasm_runtime")
        except (Exception, pytest.skip.Exception, pytest.fail.Exception):
            # The test has failed for it already.
            return []
    return [str(found)] if found is not None else []


def params_of(item: pytest.Item) -> dict[str, Any]:
    """Return what a test is parametrised with."""
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


def tell(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, names: list[str]) -> None:
    """Put what a test measured and found into its report; a divergence that the contract knows is no failure."""
    measurements = item.stash.get(stash.MEASUREMENTS, [])
    findings = [*item.stash.get(stash.FINDINGS, []), *(each for one in measurements for each in one.findings)]
    report.user_properties += record.properties(measurements, findings)
    fields = record.fields_of(None if call.excinfo is None else call.excinfo.value)
    given = params_of(item)
    case = getattr(given.get("wasm_case") or given.get("wasm_program"), "name", "")
    name = case or getattr(item, "originalname", item.name)
    # A test that runs a case and compares it with nothing says nothing about how it diverges.
    if "wasm_case" not in given or name in item.stash.get(stash.ASKED, ()) or report.failed:
        report.user_properties.append((record.CASE, name))
    known = []
    if report.failed and fields and len(names) == 1:
        session = stash.session(item.config)
        version = session.pool.availability(session.selection.known[names[0]]).version
        known = session.held.known_divergences(name, names[0], version, fields)
    new = sorted({field for field in fields if not any(each.excuses(field) for each in known)})
    if known and not new:
        report.outcome = "skipped"
        report.wasxfail = f"known divergence ({'; '.join(f'{each.reason}; {each.issue}' for each in known)})"
        report.user_properties.append((record.KNOWN, [each.first_line for each in known]))
    elif fields:
        report.user_properties += [(record.DIVERGENCES, len(fields)), (NEW, new)]
