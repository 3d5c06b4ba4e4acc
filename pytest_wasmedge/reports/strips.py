"""Latencies as pictures: each sample a dot, with median, interval and ceiling, as SVG on a logarithmic axis.

By hand, since a strip of dots is less code than the options of a charting library, which would be a dependency of
everybody.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from html import escape
from typing import Any

from pytest_wasmedge.errors import LatencyError
from pytest_wasmedge.latency.units import Duration, parse_limit
from pytest_wasmedge.portability.excerpt import cut, printable

_LEFT, _RIGHT, _WIDTH, _ROW, _TOP = 170, 90, 900, 30, 30
_MOST_DOTS = 300
#: How far dots of one row lie from its middle: in turn, so that a picture is the same each time.
_SPREAD = (0, -5, 5, -2, 7, -7, 2, 4, -4)


def strips(title: str, latencies: Sequence[dict[str, Any]], findings: Sequence[dict[str, Any]]) -> str:
    """Return a picture with one row for each measurement; ``findings`` have the ceilings."""
    values = [value for each in latencies for value in each["elapsed_ns"]]
    ceilings = {each: _ceiling(each, findings) for each in {_place(latency) for latency in latencies}}
    values += [ceiling for ceiling in ceilings.values() if ceiling]
    low, high = max(min(values), 1000), max(*values, 2000)
    axis = _Axis(low * 0.9, max(high, low * 2) * 1.1)
    bottom = _TOP + _ROW * len(latencies)
    told = "; ".join(
        f"{each['runtime']} {_ms(statistics.median(each['elapsed_ns']))} ms" for each in latencies
    )
    label = f"{_text(title)}, medians: {_text(told, 2000)}"
    parts = [f'<svg viewBox="0 0 {_WIDTH} {bottom + 24}" role="img" aria-label="{label}">']
    for value in axis.ticks():
        x = axis.at(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{value / 1e6:g} ms</text>')
    for number, latency in enumerate(latencies):
        parts += _strip(latency, ceilings[_place(latency)], axis, _TOP + _ROW * number + _ROW / 2)
    return "\n".join([*parts, "</svg>"])


class _Axis:
    """A logarithmic scale of nanoseconds."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = math.log10(low), math.log10(high)

    def at(self, value: float) -> float:
        """Return the place of a value."""
        part = (math.log10(max(value, 1)) - self._low) / (self._high - self._low)
        return _LEFT + min(max(part, 0), 1) * (_WIDTH - _LEFT - _RIGHT)

    def ticks(self) -> list[float]:
        """Return round values on the axis: 1, 2 and 5 of each power of ten, or the powers alone if it is long."""
        powers = range(math.floor(self._low), math.ceil(self._high) + 1)
        steps = (1, 2, 5) if self._high - self._low < 3 else (1,)
        values = [step * 10.0**power for power in powers for step in steps]
        return [value for value in values if self._low <= math.log10(value) <= self._high]


def _strip(latency: dict[str, Any], ceiling: float | None, axis: _Axis, y: float) -> list[str]:
    samples = latency["elapsed_ns"]
    shown = samples[:: math.ceil(len(samples) / _MOST_DOTS)]
    median = statistics.median(samples)
    parts = [
        f'<text x="{_LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{_text(latency["runtime"], 24)}</text>'
    ]
    parts += [
        f'<circle class="dot" cx="{axis.at(value):.1f}" cy="{y + _SPREAD[at % len(_SPREAD)]:.1f}" r="3"/>'
        for at, value in enumerate(shown)
    ]
    if between := latency.get("interval_ns"):
        left, right = map(axis.at, between)
        parts.append(f'<line class="interval" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
    parts.append(_upright("median", axis.at(median), y, 9))
    if ceiling:
        parts.append(_upright("ceiling", axis.at(ceiling), y, 14))
    parts.append(f'<text x="{_WIDTH - _RIGHT + 12}" y="{y + 4:.1f}">{_ms(median)} ms</text>')
    return parts


def _upright(name: str, x: float, y: float, half: int) -> str:
    return f'<line class="{name}" x1="{x:.1f}" x2="{x:.1f}" y1="{y - half:.1f}" y2="{y + half:.1f}"/>'


def _place(latency: dict[str, Any]) -> tuple[str, str]:
    return latency["runtime"], latency["kind"]


def _ceiling(place: tuple[str, str], findings: Sequence[dict[str, Any]]) -> float | None:
    """Return the lowest ceiling that a latency was held against, in nanoseconds; a multiple of the floor is none."""
    found = []
    for each in findings:
        try:
            limit = parse_limit(each["limit"]) if (each["runtime"], each["kind"]) == place else None
        except LatencyError:  # such as a multiple of the baseline
            continue
        if isinstance(limit, Duration):
            found.append(limit.ns)
    return min(found, default=None)


def _ms(value: float) -> str:
    return f"{value / 1e6:.1f}"


def _text(raw: str, most: int = 120) -> str:
    return escape(cut(printable(raw), most))
