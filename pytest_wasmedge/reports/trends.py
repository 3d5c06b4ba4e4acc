"""Latencies over many runs: what each runtime's median did, where its version or the machine changed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from pytest_wasmedge.errors import RecordError
from pytest_wasmedge.reports import verdict
from pytest_wasmedge.reports.document import Document
from pytest_wasmedge.reports.drawing import (
    TOP,
    LinearAxis,
    frame,
    middle,
    ms,
    named,
    text,
    told,
    upright,
)
from pytest_wasmedge.reports.shown import cold_of, latencies_of

COLD, WARM = "cold start", "warm invocation"
_WARM_KINDS = ("warm/tiny", "edge/warm")
_ROW_HEIGHT, _HALF = 60, 22


@dataclass(frozen=True, slots=True)
class Point:
    """The median of one latency in one run, the ``at``-th by time, counted from 0; ``machine`` is its fingerprint."""

    at: int
    median_ns: float
    version: str
    machine: str


@dataclass(frozen=True, slots=True)
class History:
    """Many runs, by time: when each began, its artifact and its verdict; and the points of each kind and runtime."""

    began: Sequence[str]
    artifacts: Sequence[str]
    verdicts: Sequence[str]
    points: Mapping[str, Mapping[str, Sequence[Point]]]


def history(documents: Iterable[Document]) -> History:
    """Return what the records say over time. Raises RecordError for one record given twice."""
    runs = sorted(documents, key=lambda each: min(run["began_at"] for run in each["runs"]))
    seen: set[str] = set()
    points: dict[str, dict[str, list[Point]]] = {COLD: {}, WARM: {}}
    for at, document in enumerate(runs):
        names = {run["id"] for run in document["runs"]}
        if seen & names:
            raise RecordError(f"the run {min(seen & names)} is in two of the records. Give each record once.")
        seen |= names
        machines = "+".join(sorted({run["fingerprint"] for run in document["runs"]}))
        warm = {each["runtime"]: each for each in latencies_of(document) if each["kind"] in _WARM_KINDS}
        for row in document["runtimes"]:
            for kind, latency in ((COLD, cold_of(document, row)), (WARM, warm.get(row["name"]))):
                if latency:
                    point = Point(
                        at,
                        statistics.median(latency["elapsed_ns"]),
                        row["version"],
                        machines,
                    )
                    points[kind].setdefault(row["name"], []).append(point)
    return History(
        [min(run["began_at"] for run in each["runs"]) for each in runs],
        [each["artifact"]["sha256"] for each in runs],
        [verdict.of_document(each)[0] for each in runs],
        points,
    )


def change(points: Sequence[Point]) -> float | None:
    """Return the last median as a multiple of the one before, or None if that was taken on another machine."""
    if len(points) < 2 or points[-1].machine != points[-2].machine:
        return None
    return points[-1].median_ns / points[-2].median_ns


def picture(kind: str, found: History) -> str:
    """Return the trends of one kind, a row for each runtime, each on a scale of its own; empty without any."""
    series = found.points[kind]
    if not series:
        return ""
    axis = _Runs(len(found.began), found.began)
    rows = [
        _row(name, points, axis, middle(number, _ROW_HEIGHT))
        for number, (name, points) in enumerate(series.items())
    ]
    words = "; ".join(f"{name} {ms(points[-1].median_ns)} ms" for name, points in series.items())
    half = _ROW_HEIGHT * len(rows) // 2
    for at in _other_machines(series):
        rows[0].append(upright("machine", axis.at(at - 0.5), TOP + half, half))
    label = f"{kind} over {len(found.began)} runs, last medians: {text(words, 2000)}"
    return frame(label, rows, axis, axis.date, row_height=_ROW_HEIGHT)


def _other_machines(series: Mapping[str, Sequence[Point]]) -> list[int]:
    """Return the runs that were on another machine than the one before."""
    machine_of = {point.at: point.machine for points in series.values() for point in points}
    order = sorted(machine_of)
    return [after for before, after in pairwise(order) if machine_of[before] != machine_of[after]]


class _Runs(LinearAxis):
    """Runs at equal distances, whose first and last have a date."""

    def __init__(self, count: int, began: Sequence[str]) -> None:
        super().__init__(max(count - 1, 1) + 0.2, -0.2)
        self._began = began

    def ticks(self) -> Sequence[float]:
        """Return the first run and the last."""
        return sorted({0.0, len(self._began) - 1.0})

    def date(self, at: float) -> str:
        """Return the day of a run."""
        return escape(self._began[int(at)][:10])


def _row(name: str, points: Sequence[Point], axis: LinearAxis, y: float) -> list[str]:
    logs = [math.log(max(point.median_ns, 1)) for point in points]
    # Less than a tenth between the lowest and the highest is not blown up to the whole height.
    low, width = min(logs), max(max(logs) - min(logs), 0.1)
    heights = [y + _HALF - (value - low) / width * 2 * _HALF for value in logs]
    places = " ".join(
        f"{axis.at(point.at):.1f},{height:.1f}" for point, height in zip(points, heights, strict=True)
    )
    parts = [named(name, y), f'<polyline class="trend" points="{places}"/>']
    for point, height, before in zip(points, heights, [None, *points], strict=False):
        changed = before is not None and before.version != point.version
        kind = "version" if changed else "dot"
        parts.append(
            f'<circle class="{kind}" cx="{axis.at(point.at):.1f}" cy="{height:.1f}" r="{5 if changed else 3}">'
            f"<title>{text(point.version)}: {ms(point.median_ns)} ms</title></circle>"
        )
    return [*parts, told(f"{ms(points[-1].median_ns)} ms", y)]


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src '{style_hash}'; base-uri 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>history of {count} runs</title>
<style>{style}</style>
</head>
<body>
<header><h1>{count} runs, from {first} to {last}</h1></header>
<main>
<p class="quiet">Each row has a scale of its own. A large dot is a new version of the runtime; an upright dashed line is
another machine, across which latencies cannot be compared.</p>
{pictures}
<section><h2>Runs</h2><div class="scroll"><table><thead><tr><th scope="col">began</th><th scope="col">verdict</th>\
<th scope="col">artifact</th></tr></thead><tbody>{runs}</tbody></table></div></section>
</main>
</body>
</html>
"""


def page(found: History, style: str, style_hash: str) -> str:
    """Return one HTML file with the trends of both kinds, which loads nothing."""
    pictures = [
        f'<section><h2>{kind.capitalize()}</h2><div class="picture">{drawn}</div></section>'
        for kind in found.points
        if (drawn := picture(kind, found))
    ]
    runs = "".join(
        f'<tr><td>{escape(began)}</td><td>{escape(word)}</td><td class="name">{escape(artifact[:16])}</td></tr>'
        for began, word, artifact in zip(found.began, found.verdicts, found.artifacts, strict=True)
    )
    return _PAGE.format(
        style=style,
        style_hash=style_hash,
        count=len(found.began),
        first=escape(found.began[0][:10]),
        last=escape(found.began[-1][:10]),
        pictures="\n".join(pictures),
        runs=runs,
    )
