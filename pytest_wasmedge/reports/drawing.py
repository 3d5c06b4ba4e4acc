"""What the pictures of reports share: rows above one axis, as SVG that a page's style colours.

By hand, since a row of dots is less code than the options of a charting library, which would be a dependency of
everybody.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Protocol

from pytest_wasmedge.portability.excerpt import cut, printable

LEFT, RIGHT, WIDTH, TOP, ROW = 170, 90, 900, 30, 30


class Axis(Protocol):
    """A scale from left to right."""

    def at(self, value: float) -> float:
        """Return the place of a value; what lies outside is at the edge."""

    def ticks(self) -> Sequence[float]:
        """Return the values to be written under the picture."""


class LogAxis:
    """A logarithmic scale from ``low``, which is at least 1, to ``high``."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = math.log10(low), math.log10(high)

    def at(self, value: float) -> float:
        """Return the place of a value; what lies outside is at the edge."""
        return _between((math.log10(max(value, 1)) - self._low) / (self._high - self._low))

    def ticks(self) -> Sequence[float]:
        """Return round values on the axis: 1, 2 and 5 of each power of ten, or the powers alone if it is long."""
        powers = range(math.floor(self._low), math.ceil(self._high) + 1)
        steps = (1, 2, 5) if self._high - self._low < 3 else (1,)
        values = [step * 10.0**power for power in powers for step in steps]
        return [value for value in values if self._low <= math.log10(value) <= self._high]


class LinearAxis:
    """A scale from ``low``, zero unless given, to ``high``."""

    def __init__(self, high: float, low: float = 0) -> None:
        self._low, self._high = low, high

    def at(self, value: float) -> float:
        """Return the place of a value; what lies outside is at the edge."""
        return _between((value - self._low) / (self._high - self._low))

    def ticks(self) -> Sequence[float]:
        """Return round values on the axis, at most eight."""
        width = self._high - self._low
        power = 10.0 ** math.floor(math.log10(width))
        step = next(step * power for step in (0.2, 0.5, 1, 2) if width / (step * power) <= 8)
        return [
            number * step
            for number in range(math.ceil(self._low / step - 1e-9), math.floor(self._high / step + 1e-9) + 1)
        ]


def frame(
    label: str,
    rows: Sequence[Sequence[str]],
    axis: Axis,
    tick: Callable[[float], str],
    *,
    row_height: int = ROW,
) -> str:
    """Return a picture of rows, whose parts `middle` places, above an axis; ``label`` tells it in words."""
    bottom = TOP + row_height * len(rows)
    parts = [f'<svg viewBox="0 0 {WIDTH} {bottom + 24}" role="img" aria-label="{label}">']
    for value in axis.ticks():
        x = axis.at(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick(value)}</text>')
    return "\n".join([*parts, *(part for row in rows for part in row), "</svg>"])


def middle(number: int, row_height: int = ROW) -> float:
    """Return the height of the middle of a row, the first of which is 0."""
    return TOP + row_height * number + row_height / 2


def named(name: str, y: float) -> str:
    """Return the name of a row, left of it."""
    return f'<text x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{text(name, 24)}</text>'


def told(value: str, y: float) -> str:
    """Return the value of a row, right of it."""
    return f'<text x="{WIDTH - RIGHT + 12}" y="{y + 4:.1f}">{value}</text>'


def upright(kind: str, x: float, y: float, half: int) -> str:
    """Return an upright bar of this kind."""
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{y - half:.1f}" y2="{y + half:.1f}"/>'


def interval(left: float, right: float, y: float) -> str:
    """Return the line of an interval."""
    return f'<line class="interval" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'


def ms(value_ns: float) -> str:
    """Return nanoseconds as milliseconds."""
    return f"{value_ns / 1e6:.1f}"


def text(raw: str, most: int = 120) -> str:
    """Return a text of any origin for a picture."""
    return escape(cut(printable(raw), most))


def _between(part: float) -> float:
    return LEFT + min(max(part, 0), 1) * (WIDTH - LEFT - RIGHT)
