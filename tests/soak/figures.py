"""What a run adds up to: counts by runtime, memory in thirds of the run, and what was wrong."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

#: With fewer values than this, thirds say nothing.
_FEWEST = 9
#: What may be added from the second third to the last: what engines and our own process come and go by.
OURS_GROW_BYTES, HOSTS_GROW_BYTES, HOSTS_GROW = 24 << 20, 48 << 20, 0.25
OURS_GROW_HANDLES = 16
_MB = 1e6


def thirds(values: Sequence[float]) -> tuple[float, float, float] | None:
    """Return the medians of the thirds of a series; None for a short one."""
    if len(values) < _FEWEST:
        return None
    size = len(values) // 3
    first, second, last = values[:size], values[size:-size], values[-size:]
    return statistics.median(first), statistics.median(second), statistics.median(last)


def _shown(values: Sequence[float], unit: float = _MB) -> str:
    found = thirds(values)
    return "-" if found is None or not found[2] else " ".join(f"{each / unit:.0f}" for each in found)


@dataclass
class Figures:
    """Of one runtime; ``memory_bytes`` is of the processes of the quiet host, after each of its rounds."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    memory_bytes: list[int] = field(default_factory=list)

    def growth(self) -> str:
        """Return what grew too much, as a clause; empty if nothing did."""
        found = thirds(self.memory_bytes)
        if found is None or found[2] - found[1] <= max(HOSTS_GROW_BYTES, HOSTS_GROW * found[1]):
            return ""
        return f"the memory of its host grew: {_shown(self.memory_bytes)} MB in thirds"


@dataclass
class Report:
    """Of a whole run; ``wrong`` are sentences. The series of our own process have a value for each session."""

    seed: int
    by_runtime: dict[str, Figures] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    ours_bytes: list[int] = field(default_factory=list)
    handles: list[int] = field(default_factory=list)

    def of(self, runtime: str) -> Figures:
        """Return the figures of a runtime."""
        return self.by_runtime.setdefault(runtime, Figures())

    def total(self, what: str) -> int:
        """Return a count over all runtimes."""
        return sum(each.counts[what] for each in self.by_runtime.values())

    def growth(self) -> list[str]:
        """Return what did not stay flat, as sentences."""
        found = [f"{name}: {words}" for name, each in self.by_runtime.items() if (words := each.growth())]
        ours, handles = thirds(self.ours_bytes), thirds(self.handles)
        if ours and ours[2] - ours[1] > OURS_GROW_BYTES:
            found.append(f"our own process: memory grew: {_shown(self.ours_bytes)} MB in thirds")
        if handles and handles[2] - handles[1] > OURS_GROW_HANDLES:
            found.append(
                f"our own process: descriptors and threads grew: {_shown(self.handles, 1)} in thirds"
            )
        return found

    def problems(self) -> list[str]:
        """Return all that is wrong; empty if the run was good."""
        return [*self.wrong, *self.left, *self.growth()]

    def table(self) -> str:
        """Return the figures as text."""
        counted, faults = ("asked", "known", "told", "wrong", "left", "hosts"), ("kill", "stop", "pause")
        rows = [["runtime", *counted, *faults, "ms", "MB"]]
        for name, each in self.by_runtime.items():
            numbers = [*(each.counts[what] for what in counted), *(each.faults[what] for what in faults)]
            each_ms = 1e3 * each.seconds / max(1, each.counts["asked"])
            rows.append([name, *map(str, numbers), f"{each_ms:.0f}", _shown(each.memory_bytes)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        handles = _shown(self.handles, 1)
        lines += [
            f"our own process: {_shown(self.ours_bytes)} MB, {handles} descriptors and threads",
            "MB: medians of thirds, of hosts in their quiet session, of us over the run. ms: for one invocation, with",
            "its share of the starts. told: the failure of a host that was touched.",
        ]
        return "\n".join(lines)
