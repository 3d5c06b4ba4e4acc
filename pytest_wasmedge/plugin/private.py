"""All uses of pytest's private attributes, each with the reason. If one is gone, nothing is found."""

from __future__ import annotations

import re
from typing import Any

import pytest

#: The attribute that makes an object a fixture: since pytest 8.4, and before.
_MARKERS = ("_fixture_function_marker", "_pytestfixturefunction")
#: How pytest begins the line of an error of ours; of a known divergence too.
_OUR_ERROR = re.compile(r"^pytest_wasmedge\.[\w.]+: ")
_NOT_THEIRS = ("_pytest.", "pytest_wasmedge.")


def fixtures_of_plugins(manager: pytest.PytestPluginManager) -> set[str]:
    """Return the names of all fixtures of other plugins: without those of pytest, of this plugin and of conftest files.

    pytest lists fixtures only for a test that it has collected. Our fixtures must give way before that: of two
    fixtures with one name, the later one hides the other.
    """
    found = set()
    for name, plugin in manager.list_name_plugin():
        home = getattr(plugin, "__name__", None) or type(plugin).__module__
        if plugin is None or str(name).endswith("conftest.py") or str(home).startswith(_NOT_THEIRS):
            continue
        for holder in (plugin, *type(plugin).__mro__):
            attributes = dict(getattr(holder, "__dict__", {}))
            found |= {fixture for each in attributes.items() if (fixture := _fixture(*each))}
    return found


def _fixture(attribute: str, value: Any) -> str:
    """Return the name of the fixture in an attribute; empty if it is no fixture."""
    for name in _MARKERS:
        try:
            marker = getattr(value, name, None)
        except Exception:  # another plugin's object may raise anything
            return ""
        if marker is not None and hasattr(marker, "autouse"):
            return str(marker.name or attribute)
    return ""


def given_by_hooks(metafunc: Any) -> set[str]:
    """Return the names that other `pytest_generate_tests` have parametrised before our hook runs.

    pytest shows the marks that parametrise a test, but not what a hook has done; doing it again is an error.
    """
    return {name for call in getattr(metafunc, "_calls", ()) for name in call.params}


def message_of(report: pytest.TestReport) -> str:
    """Return the line that pytest's summary shows of a failure; empty if it has none.

    `longrepr` is public, but not what it consists of; its whole text would have all of the traceback.
    """
    crash = getattr(report.longrepr, "reprcrash", None)
    return _OUR_ERROR.sub("", str(getattr(crash, "message", "")))


def add_section(report: pytest.TestReport, title: str, text: str) -> None:
    """Add a part to a failure's text, which --show-capture does not hide."""
    from _pytest._code.code import ExceptionRepr

    if isinstance(report.longrepr, ExceptionRepr):
        report.longrepr.addsection(title, text)


def say_first(report: pytest.TestReport, error: BaseException, *, whole: bool, headline: str = "") -> None:
    """Begin a report's line in pytest's summary with the error's message, not with its class.

    pytest has no public way to set that line. ``headline`` is taken before the error's own. A ``whole`` error says
    all that a user needs, so it replaces the traceback, which would only show our own code.
    """
    headline = headline or getattr(error, "headline", "") or (str(error).partition("\n")[0] if whole else "")
    if not headline:
        return
    from _pytest._code.code import ReprExceptionInfo, ReprFileLocation, ReprTraceback

    from pytest_wasmedge.portability.excerpt import printable

    path, line, _ = report.location
    where = ReprFileLocation(path, (line or 0) + 1, printable(headline))
    if whole:
        sections = getattr(report.longrepr, "sections", [])
        report.longrepr = ReprExceptionInfo(ReprTraceback([], printable(str(error)), "long"), where)
        report.longrepr.sections = sections
    elif crash := getattr(report.longrepr, "reprcrash", None):
        crash.message = printable(headline)
