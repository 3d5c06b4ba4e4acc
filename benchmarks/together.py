"""Replays whole comparisons with a baseline: gates of many runtimes that share one budget, on recorded cold starts.

    python -m benchmarks.together [--condition busy] [--runs 16] [--budget 120] [--runtimes NAME,…]

In each run but every sixteenth another runtime waits for a tenth longer with the new artifact. Ends with status 1 if
anything else is ever red.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
from collections import Counter
from functools import partial

from benchmarks import recording
from benchmarks.against import RUNTIMES
from benchmarks.gate import COLD_STARTS
from benchmarks.replay import Replay
from pytest_wasmedge.latency.gate import Rules, baseline_gate
from pytest_wasmedge.latency.sharing import in_rounds

SLOWER = 0.10


def compared(
    series: dict[str, recording.Series], budget_s: float, number: int
) -> list[tuple[str, bool, str]]:
    """Return of each runtime its name, whether it was made slower, and the verdict on it."""
    names = list(series)
    slower = [*names, ""][number % (len(names) + 1)]
    rules, gates = Rules().for_family(len(names)), []
    for name in names:
        lot = random.Random(f"{name}/{number}")
        source = Replay(series[name], SLOWER if name == slower else 0.0, "wall", lot)
        gates.append(baseline_gate(source.draw, rules, source.clock, cpu=True, with_estimate=False))
    in_rounds(gates, budget_s)
    return [(name, name == slower, str(gate.verdict)) for name, gate in zip(names, gates, strict=True)]


def main() -> int:
    """Replay so many, and print what became of each runtime."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--condition", choices=recording.CONDITIONS, default="idle")
    parser.add_argument("--runs", type=int, default=16, help="with each one slower (default: %(default)s)")
    parser.add_argument("--budget", type=float, default=120.0, help="seconds (default: %(default)s)")
    parser.add_argument("--runtimes", default=RUNTIMES)
    options = parser.parse_args()
    recorded = {
        each.runtime: each for each in recording.load(COLD_STARTS) if each.condition == options.condition
    }
    series = {name: recorded[name] for name in options.runtimes.split(",")}
    found: Counter[tuple[str, bool, str]] = Counter()
    with multiprocessing.Pool() as pool:
        numbers = range(options.runs * (len(series) + 1))
        for verdicts in pool.imap_unordered(partial(compared, series, options.budget), numbers, 4):
            found.update(verdicts)
    for name in series:
        told = [
            f"{what}: "
            + ", ".join(f"{found[name, slower, each]} {each}" for each in ("pass", "fail", "undecided"))
            for what, slower in (("equal", False), ("slower", True))
        ]
        sys.stdout.write(f"{name:16} {'; '.join(told)}\n")
    alarms = sum(count for (_, slower, verdict), count in found.items() if verdict == "fail" and not slower)
    seen = sum(count for (_, slower, verdict), count in found.items() if verdict == "fail" and slower)
    equal = sum(count for (_, slower, _), count in found.items() if not slower)
    sys.stdout.write(
        f"{alarms} of {equal} equal ones are red, {seen} of {options.runs * len(series)} slower ones\n"
    )
    return int(alarms > 0)


if __name__ == "__main__":
    sys.exit(main())
