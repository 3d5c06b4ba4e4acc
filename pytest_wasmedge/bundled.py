"""Where the conformance suite and its fixtures are: inside the wheel, or beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def suite() -> Path:
    """Return the folder of the conformance suite."""
    return _place("conformance")


def ruby_corpus() -> Path:
    """Return the folder of the Ruby cases."""
    return _place("fixtures") / "ruby"


def _place(name: str) -> Path:
    shipped = _PACKAGE / "bundled" / name
    return shipped if shipped.exists() else _PACKAGE.parent / name
