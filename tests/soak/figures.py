"""What a run adds up to: counts by runtime, memory in thirds and its slope at the end, and what was wrong."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

#: With fewer values than this, thirds and slopes say nothing.
_FEWEST = 9
#: What the last half of a run may add, by its slope. Engines collect their garbage late: the hosts of Node and workerd
#: add less and less over thousands of guests (Node with a heap of 48 MB nothing, from 500 to 4,000). The allocator
#: keeps what each of our threads has once needed: what is in use stays the same.
OURS_GROW_BYTES, HOSTS_GROW_BYTES, HOSTS_GROW = 16 << 20, 32 << 20, 0.1
OURS_GROW_HANDLES = 8
_MB = 1e6


@dataclass
class Series:
    """A quantity over a run: its value after so many invocations."""

    points: list[tuple[int, float]] = field(default_factory=list)

    def add(self, invocations: int, value: float) -> None:
        """Add the value that it has after this many invocations."""
        self.points.append((invocations, value))

    def thirds(self) -> tuple[float, float, float] | None:
        """Return the medians of the thirds; None for a short series."""
        if len(self.points) < _FEWEST:
            return None
        size = len(self.points) // 3
        parts = (self.points[:size], self.points[size:-size], self.points[-size:])
        first, second, last = (statistics.median(value for _, value in part) for part in parts)
        return first, second, last

    def slope(self) -> float | None:
        """Return what the last half adds with each invocation; None for a short series.

        It is the median of the slopes of all its pairs (Theil and Sen): a single rise or fall does not move it.
        """
        if len(self.points) < _FEWEST:
            return None
        pairs = itertools.combinations(self._last_half(), 2)
        return statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs if a[0] != b[0])

    def growth(self) -> float:
        """Return what the last half adds by its slope; 0 for a short series."""
        last = self._last_half()
        return (self.slope() or 0.0) * (last[-1][0] - last[0][0]) if last else 0.0

    def shown(self, unit: float = _MB) -> str:
        """Return the thirds as text."""
        found = self.thirds()
        return "-" if found is None or not found[2] else " ".join(f"{each / unit:.0f}" for each in found)

    def slope_shown(self, unit: float = _MB) -> str:
        """Return the slope as text: what a thousand invocations add."""
        found = self.slope()
        return "-" if found is None else f"{1000 * found / unit:+.1f}"

    def _last_half(self) -> Sequence[tuple[int, float]]:
        return self.points[len(self.points) // 2 :]


@dataclass
class Figures:
    """Of one runtime; ``memory_bytes`` is of the processes of the quiet host, after each of its rounds."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    memory_bytes: Series = field(default_factory=Series)

    def growth(self) -> str:
        """Return what grew too much, as a clause; empty if nothing did."""
        found, memory = self.memory_bytes.thirds(), self.memory_bytes
        if found is None or memory.growth() <= max(HOSTS_GROW_BYTES, HOSTS_GROW * found[1]):
            return ""
        return (
            f"the memory of its host grew: {memory.shown()} MB in thirds, {memory.slope_shown()} MB in 1000"
        )


@dataclass
class Report:
    """Of a whole run; ``wrong`` are sentences. The series of our own process have a value for each session."""

    seed: int
    by_runtime: dict[str, Figures] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    ours_bytes: Series = field(default_factory=Series)
    handles: Series = field(default_factory=Series)

    def of(self, runtime: str) -> Figures:
        """Return the figures of a runtime."""
        return self.by_runtime.setdefault(runtime, Figures())

    def total(self, what: str) -> int:
        """Return a count over all runtimes."""
        return sum(each.counts[what] for each in self.by_runtime.values())

    def growth(self) -> list[str]:
        """Return what did not stay flat, as sentences."""
        found = [f"{name}: {words}" for name, each in self.by_runtime.items() if (words := each.growth())]
        if self.ours_bytes.growth() > OURS_GROW_BYTES:
            thirds, slope = self.ours_bytes.shown(), self.ours_bytes.slope_shown()
            found.append(f"our own process: memory grew: {thirds} MB in thirds, {slope} MB in 1000")
        if self.handles.growth() > OURS_GROW_HANDLES:
            thirds = self.handles.shown(1)
            found.append(f"our own process: descriptors and threads grew: {thirds} in thirds")
        return found

    def problems(self) -> list[str]:
        """Return all that is wrong; empty if the run was good."""
        return [*self.wrong, *self.left, *self.growth()]

    def table(self) -> str:
        """Return the figures as text."""
        counted, faults = ("asked", "known", "told", "wrong", "left", "hosts"), ("kill", "stop", "pause")
        rows = [["runtime", *counted, *faults, "ms", "MB", "MB/1000"]]
        for name, each in self.by_runtime.items():
            numbers = [*(each.counts[what] for what in counted), *(each.faults[what] for what in faults)]
            each_ms = 1e3 * each.seconds / max(1, each.counts["asked"])
            memory = (each.memory_bytes.shown(), each.memory_bytes.slope_shown())
            rows.append([name, *map(str, numbers), f"{each_ms:.0f}", *memory])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        ours, handles = self.ours_bytes, self.handles
        lines += [
            f"our own process: {ours.shown()} MB, {ours.slope_shown()} MB/1000; {handles.shown(1)} descriptors and "
            f"threads, {handles.slope_shown(1)}/1000",
            "MB: medians of thirds, of hosts in their quiet session, of us over the run. MB/1000: what a thousand",
            "invocations add at the slope of the last half. ms: for one invocation, with its share of the starts.",
            "told: the failure of a host that was touched.",
        ]
        return "\n".join(lines)
