"""Where the conformance suite and its fixtures are: inside the package in a wheel, beside it in a checkout.

In the wheel they are below our package, so that the names of the suite's modules do not collide with a project's.
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
    """Return the folder of the Ruby programs that measure warm latency."""
    return _place("fixtures") / "latency"


def _place(name: str) -> Path:
    shipped = _PACKAGE / "bundled" / name
    return shipped if shipped.exists() else _PACKAGE.parent / name
