"""All that we read of pytest's private attributes, each with the reason. Where one is gone, nothing is found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def fixtures_of_plugins(session: Any, names: Iterable[str]) -> set[str]:
    """Return those of the names that a plugin has registered a fixture by; conftest files are none.

    pytest tells which fixtures there are for a test that it has collected. Ours must give way to those of others
    before that: of two plugins' fixtures of one name, the later one hides the other.
    """
    manager = getattr(session, "_fixturemanager", None)
    if manager is None:
        return set()
    found = {name: manager.getfixturedefs(name, session) or () for name in names}
    return {name for name, each in found.items() if not all(_of_conftest(definition) for definition in each)}


def _of_conftest(definition: Any) -> bool:
    # Those of a plugin have no place in the tree of tests.
    return bool(getattr(definition, "has_location", False))


def given_by_hooks(metafunc: Any) -> set[str]:
    """Return the names that other `pytest_generate_tests` have parametrised before ours.

    pytest tells the marks that parametrise a test, but not what a hook has done; doing it again is an error.
    """
    return {name for call in getattr(metafunc, "_calls", ()) for name in call.params}
