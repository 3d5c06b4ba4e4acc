"""All that we read of pytest's private attributes, each with the reason. Where one is gone, nothing is found."""

from __future__ import annotations

from typing import Any

import pytest

#: How a fixture is told from other objects of a module: since pytest 8.4, and before.
_MARKERS = ("_fixture_function_marker", "_pytestfixturefunction")
_NOT_OTHERS = ("_pytest.", "pytest_wasmedge.")


def fixtures_of_plugins(manager: pytest.PytestPluginManager) -> set[str]:
    """Return the names of all fixtures that plugins have, but for pytest's own, ours, and those of conftest files.

    pytest tells which fixtures there are for a test that it has collected. Ours must give way to those of others
    before that: of two plugins' fixtures of one name, the later one hides the other.
    """
    found = set()
    for name, plugin in manager.list_name_plugin():
        home = getattr(plugin, "__name__", None) or type(plugin).__module__
        if plugin is None or str(name).endswith("conftest.py") or str(home).startswith(_NOT_OTHERS):
            continue
        for holder in (plugin, *type(plugin).__mro__):
            attributes = dict(getattr(holder, "__dict__", {}))
            found |= {fixture for each in attributes.items() if (fixture := _fixture(*each))}
    return found


def _fixture(attribute: str, value: Any) -> str:
    """Return the name of the fixture that an attribute is; an empty one if it is none."""
    for name in _MARKERS:
        try:
            marker = getattr(value, name, None)
        except Exception:  # an object of others may answer as it likes
            return ""
        if marker is not None and hasattr(marker, "autouse"):
            return str(marker.name or attribute)
    return ""


def given_by_hooks(metafunc: Any) -> set[str]:
    """Return the names that other `pytest_generate_tests` have parametrised before ours.

    pytest tells the marks that parametrise a test, but not what a hook has done; doing it again is an error.
    """
    return {name for call in getattr(metafunc, "_calls", ()) for name in call.params}


def say_first(report: pytest.TestReport, error: BaseException, *, whole: bool) -> None:
    """Let a report's line in pytest's summary begin with what an error of ours says, not with its class.

    pytest has no public way to set that line. A ``whole`` error says all that a user needs, and a traceback from inside
    us would bury it: it stands alone.
    """
    headline = getattr(error, "headline", "") or (str(error).partition("\n")[0] if whole else "")
    if not headline:
        return
    from _pytest._code.code import ReprExceptionInfo, ReprFileLocation, ReprTraceback

    from pytest_wasmedge.portability.excerpt import printable

    path, line, _ = report.location
    where = ReprFileLocation(path, (line or 0) + 1, printable(headline))
    if whole:
        report.longrepr = ReprExceptionInfo(ReprTraceback([], printable(str(error)), "long"), where)
    elif crash := getattr(report.longrepr, "reprcrash", None):
        crash.message = printable(headline)
