"""Replays the gate on recorded cold starts: the real judge, with draws and a clock that cost no time."""

from __future__ import annotations

import json
import math
import multiprocessing
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from benchmarks.recording import Condition, Series
from pytest_wasmedge.errors import LatencyError
from pytest_wasmedge.latency.gate import Rules, baseline_gate
from pytest_wasmedge.latency.sharing import in_rounds
from pytest_wasmedge.latency.statistics import Pair, TimedPair

Measure = Literal["both", "wall", "cpu"]
#: How much slower the head is made, 0 is A/A, and by which measure: what waits takes no CPU time, what runs on another
#: core takes nothing else.
SLOWDOWNS: tuple[tuple[float, Measure], ...] = (
    (0.0, "both"),
    (0.05, "both"),
    (0.10, "both"),
    (0.25, "both"),
    (0.10, "wall"),
    (0.25, "wall"),
    (0.10, "cpu"),
)
#: Consecutive starts that are drawn together, so that drift and alternation stay as they were.
BLOCK = 16
#: Of fewer starts, gates are not drawn: they tell how noisy a runtime is, and no more.
LEAST = 400
#: Gates in one piece of work.
_CHUNK = 250
_Z_95 = 1.96


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of many gates of one kind. Seconds are those that the gates would have taken."""

    runtime: str
    condition: Condition
    slowdown: float
    measure: Measure
    gates: int
    passed: int
    failed: int
    undecided: int
    mean_s: float
    p95_s: float


@dataclass(frozen=True, slots=True)
class _Task:
    series: Series
    slowdown: float
    measure: Measure
    gates: int
    rules: Rules
    seed: str


class Replay:
    """Draws pairs of one series, endlessly, by blocks from random places (moving-block bootstrap).

    Consecutive starts are a pair, which side of it is the baseline is drawn by lot, and the other side takes
    ``1 + slowdown`` times as long, as much CPU time, or both. ``clock`` tells the seconds that all of this would take.
    """

    def __init__(
        self, series: Series, slowdown: float, measure: Measure, lot: random.Random, block: int = BLOCK
    ) -> None:
        self._now_s = 0.0
        self._overhead_s = 2 * series.overhead_s
        wall, cpu = (1 + slowdown if measure in ("both", each) else 1.0 for each in ("wall", "cpu"))
        self._pairs = _pairs(series, wall, cpu, lot, block)

    def draw(self) -> TimedPair:
        """Return the next pair and let its time pass."""
        pair = next(self._pairs)
        self._now_s += sum(pair.wall) / 1e9 + self._overhead_s
        return pair

    def clock(self) -> float:
        """Return how many seconds have passed."""
        return self._now_s


def _pairs(series: Series, wall: float, cpu: float, lot: random.Random, block: int) -> Iterator[TimedPair]:
    taken = list(zip(series.elapsed_us, series.cpu_us, strict=True))
    count, around = len(taken), taken + taken[:block]
    while True:
        start, sides = lot.randrange(count), lot.getrandbits(block // 2)
        for at in range(start, start + block - 1, 2):
            base, head = around[at], around[at + 1]
            if sides & 1:
                base, head = head, base
            sides >>= 1
            yield TimedPair(_slowed(base[0], head[0], wall), _slowed(base[1], head[1], cpu))


def _slowed(base_us: int, head_us: int, factor: float) -> Pair:
    return 1000 * base_us, round(1000 * head_us * factor)


def replay(
    recorded: Sequence[Series], gates: int, rules: Rules, seed: int, workers: int, say: Callable[[str], None]
) -> list[Tally]:
    """Replay so many gates for each series and each slowdown."""
    tallies = []
    with multiprocessing.Pool(workers) as pool:
        for series in recorded:
            if len(series.elapsed_us) <= BLOCK:
                raise LatencyError(
                    f"only {len(series.elapsed_us)} cold starts of {series.runtime}, {series.condition}, are "
                    f"recorded: too few to draw from. Record at least {LEAST}."
                )
            for slowdown, measure in SLOWDOWNS:
                name = f"{seed}/{series.runtime}/{series.condition}/{slowdown}/{measure}"
                tasks = [
                    _Task(series, slowdown, measure, min(_CHUNK, gates - done), rules, f"{name}/{done}")
                    for done in range(0, gates, _CHUNK)
                ]
                results = [result for chunk in pool.map(_judge, tasks, 1) for result in chunk]
                tallies.append(_tally(series, slowdown, measure, results))
                say(describe(tallies[-1]))
    return tallies


def _judge(task: _Task) -> list[tuple[str, float]]:
    """Return verdict and seconds of each gate."""
    lot = random.Random(task.seed)
    results: list[tuple[str, float]] = []
    for _ in range(task.gates):
        source = Replay(task.series, task.slowdown, task.measure, lot)
        # Estimate and interval are for people; they would cost a hundred times what the verdict does.
        gate = baseline_gate(source.draw, task.rules, source.clock, cpu=True, with_estimate=False)
        in_rounds([gate], task.rules.budget_s)
        judgement = gate.judgement()
        results.append((judgement.verdict, judgement.elapsed_s))
    return results


def _tally(series: Series, slowdown: float, measure: Measure, results: Sequence[tuple[str, float]]) -> Tally:
    verdicts = Counter(verdict for verdict, _ in results)
    seconds = sorted(seconds for _, seconds in results)
    return Tally(
        series.runtime,
        series.condition,
        slowdown,
        measure,
        len(results),
        verdicts["pass"],
        verdicts["fail"],
        verdicts["undecided"],
        statistics.fmean(seconds),
        seconds[math.ceil(0.95 * len(seconds)) - 1],
    )


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a rate (Wilson), between 0 and 1."""
    if not count:
        return 0.0, 1.0
    rate, z2 = hits / count, _Z_95**2
    middle = (rate + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z_95 * math.sqrt(rate * (1 - rate) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def broken(tallies: Sequence[Tally], budget_s: float) -> list[str]:
    """Return a sentence for each bound that we promise and that is broken."""
    found = []
    for each in tallies:
        name = f"{each.runtime}, {each.condition}, {named(each)}"
        promised = ((0.10, "idle"), (0.25, "busy"), (0.25, "idle"))
        detects = (each.slowdown, each.condition) in promised and each.measure == "both"
        if each.slowdown == 0 and each.failed > 0.01 * each.gates:
            found.append(f"{name}: {each.failed} of {each.gates} are false alarms, more than 1 %")
        if each.slowdown >= 0.05 and each.passed > 0.01 * each.gates:
            found.append(f"{name}: {each.passed} of {each.gates} pass, more than 1 %")
        if detects and each.failed < 0.95 * each.gates:
            found.append(f"{name}: {each.failed} of {each.gates} are seen, less than 95 %")
        if detects and each.p95_s > budget_s + 1:
            found.append(f"{name}: 95 % take up to {each.p95_s:.0f} s, more than {budget_s:.0f} s")
    return found


def named(tally: Tally) -> str:
    """Return the slowdown in words."""
    words = {"both": "", "wall": " of waiting", "cpu": " of CPU time"}
    return f"+{tally.slowdown:.0%}{words[tally.measure]}" if tally.slowdown else "none (A/A)"


def describe(tally: Tally) -> str:
    """Return one line on it."""
    passed, failed, undecided = (
        f"{verdicts / tally.gates:8.3%}" for verdicts in (tally.passed, tally.failed, tally.undecided)
    )
    return (
        f"{tally.runtime:13} {tally.condition} {named(tally):19} pass {passed}  fail {failed}  "
        f"undecided {undecided}  mean {tally.mean_s:5.1f} s, p95 {tally.p95_s:5.1f} s"
    )


def store(path: Path, tallies: Sequence[Tally], rules: Rules, seed: int) -> None:
    """Keep the result for the report."""
    content = {
        "date": time.strftime("%Y-%m-%d"),
        "seed": seed,
        "rules": asdict(rules),
        "block": BLOCK,
        "tallies": [asdict(each) for each in tallies],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> list[Tally]:
    """Return what was kept; nothing if there is no file."""
    if not path.exists():
        return []
    return [Tally(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))["tallies"]]
