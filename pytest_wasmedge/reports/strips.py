"""Latencies as pictures: samples as dots, phases as stacked bars, ratios to the baseline with their intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from pytest_wasmedge.errors import LatencyError
from pytest_wasmedge.latency.units import Duration, parse_limit
from pytest_wasmedge.reports.drawing import (
    ROW,
    TOP,
    LinearAxis,
    LogAxis,
    frame,
    interval,
    middle,
    ms,
    named,
    text,
    told,
    upright,
)

_MOST_DOTS = 300
#: How far dots of one row lie from its middle: in turn, so that a picture is the same each time.
_SPREAD = (0, -5, 5, -2, 7, -7, 2, 4, -4)
#: So many colours has the style; further phases share the last one.
_COLOURS = 8


def strips(title: str, latencies: Sequence[dict[str, Any]], findings: Sequence[dict[str, Any]]) -> str:
    """Return a picture with one row for each measurement; ``findings`` have the ceilings."""
    values = [value for each in latencies for value in each["elapsed_ns"]]
    ceilings = {each: _ceiling(each, findings) for each in {_place(latency) for latency in latencies}}
    values += [ceiling for ceiling in ceilings.values() if ceiling]
    low, high = max(min(values), 1000), max(*values, 2000)
    axis = LogAxis(low * 0.9, max(high, low * 2) * 1.1)
    medians = "; ".join(
        f"{each['runtime']} {ms(statistics.median(each['elapsed_ns']))} ms" for each in latencies
    )
    rows = [
        _strip(latency, ceilings[_place(latency)], axis, middle(number))
        for number, latency in enumerate(latencies)
    ]
    return frame(f"{text(title)}, medians: {text(medians, 2000)}", rows, axis, _in_ms)


def stacks(title: str, latencies: Sequence[dict[str, Any]]) -> str:
    """Return a picture with the share of each phase in a measurement, by medians; nothing if none has any phases."""
    latencies = [each for each in latencies if sum(each.get("phases_ns", {}).values())]
    if not latencies:
        return ""
    phases = list(dict.fromkeys(phase for each in latencies for phase in each["phases_ns"]))
    axis = LinearAxis(100)
    words = "; ".join(
        f"{each['runtime']}: " + ", ".join(f"{phase} {ms(ns)} ms" for phase, ns in each["phases_ns"].items())
        for each in latencies
    )
    rows = [_stack(each, phases, axis, middle(number)) for number, each in enumerate(latencies)]
    x = axis.at(0)
    for at, phase in enumerate(phases):
        rows[0].append(f'<rect class="phase{_colour(at)}" x="{x:.1f}" y="4" width="12" height="12"/>')
        rows[0].append(f'<text x="{x + 16:.1f}" y="14">{text(phase, 20)}</text>')
        x += 30 + 7 * min(len(phase), 20)
    return frame(f"{text(title)}: {text(words, 4000)}", rows, axis, lambda value: f"{value:g} %")


def ratios(findings: Sequence[dict[str, Any]]) -> str:
    """Return a picture of the comparisons with the baseline: estimate and interval; nothing if there are none."""
    rows = []
    found = [each for each in findings if each["limit"].endswith("baseline") and each["estimate"]]
    if not found:
        return ""
    values = [each[key] for each in found for key in ("estimate", "low", "high") if each[key]]
    axis = LinearAxis(max(*values, 1.1) * 1.02, min(*values, 0.9) * 0.98)
    for number, each in enumerate(found):
        y = middle(number)
        row = [named(each["runtime"], y), upright("median", axis.at(each["estimate"]), y, 9)]
        if each["low"] and each["high"]:
            row.append(interval(axis.at(each["low"]), axis.at(each["high"]), y))
        rows.append([*row, told(f"{each['estimate']:.3f}", y)])
    half = ROW * len(rows) // 2
    rows[0].append(upright("same", axis.at(1), TOP + half, half))
    words = "; ".join(f"{each['runtime']} {each['kind']} {each['estimate']:.3f}" for each in found)
    label = f"starts as a multiple of the baseline's: {text(words, 2000)}"
    return frame(label, rows, axis, lambda value: f"{value:g}")


def _strip(latency: dict[str, Any], ceiling: float | None, axis: LogAxis, y: float) -> list[str]:
    samples = latency["elapsed_ns"]
    shown = samples[:: math.ceil(len(samples) / _MOST_DOTS)]
    median = statistics.median(samples)
    parts = [named(latency["runtime"], y)]
    parts += [
        f'<circle class="dot" cx="{axis.at(value):.1f}" cy="{y + _SPREAD[at % len(_SPREAD)]:.1f}" r="3"/>'
        for at, value in enumerate(shown)
    ]
    if between := latency.get("interval_ns"):
        low, high = between
        parts.append(interval(axis.at(low), axis.at(high), y))
    parts.append(upright("median", axis.at(median), y, 9))
    if ceiling:
        parts.append(upright("ceiling", axis.at(ceiling), y, 14))
    return [*parts, told(f"{ms(median)} ms", y)]


def _stack(latency: dict[str, Any], phases: Sequence[str], axis: LinearAxis, y: float) -> list[str]:
    parts, until = [named(latency["runtime"], y)], 0.0
    total_ns = sum(latency["phases_ns"].values())
    for at, phase in enumerate(phases):
        percent = 100 * latency["phases_ns"].get(phase, 0) / total_ns
        left, right = axis.at(until), axis.at(until + percent)
        until += percent
        parts.append(
            f'<rect class="phase{_colour(at)}" x="{left:.1f}" y="{y - 8:.1f}" width="{right - left:.1f}" height="16"/>'
        )
    return [*parts, told(f"{ms(total_ns)} ms", y)]


def _colour(at: int) -> int:
    return min(at, _COLOURS - 1)


def _in_ms(value_ns: float) -> str:
    return f"{value_ns / 1e6:g} ms"


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
