"""Where the conformance suite and its fixtures are: in this folder of the wheel, or beside a checkout's package.

The wheel has them below a package of ours, so that the suite's modules have names that no project's own have.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def suite() -> Path:
    """Return the folder of the conformance suite."""
    return _place("conformance")


def corpus() -> Path:
    """Return the folder of the Ruby cases."""
    return _place("fixtures") / "ruby"


def workloads() -> Path:
    """Return the folder of the Ruby programs that warm latency is measured with."""
    return _place("fixtures") / "latency"


def _place(name: str) -> Path:
    shipped = _PACKAGE / "bundled" / name
    return shipped if shipped.exists() else _PACKAGE.parent / name
