"""Whether a measurement is the same beside other workers: `-n 2` held against `-n 0`, as `-n 0` is against itself.

    python -m benchmarks.workers [--runtimes NAME,…] [--rounds 3]

Runs conformance/test_latency.py by turns with and without workers, and counts for every two runs how many medians of
the one lie in the intervals of the other. A machine that changes its speed between runs does not repeat itself within
intervals of one run; what workers do to a measurement is the difference to that.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.latency.gate import Rules, spread

#: The samples of one run in nanoseconds, by runtime and kind.
Run = Mapping[tuple[str, str], list[int]]

_SUITE = Path(__file__).parent.parent / "conformance" / "test_latency.py"
#: Those with enough samples for an interval; workloads have five.
_MEASUREMENTS = "cold_start or floor or warm_latency"


def main(argv: Sequence[str] | None = None) -> int:
    """Run by turns, and print how many medians are inside; 1 if a run failed."""
    options = _parser().parse_args(argv)
    runs: dict[int, list[Run]] = {0: [], options.workers: []}
    with tempfile.TemporaryDirectory(prefix="bench-workers-") as folder:
        for number in range(options.rounds):
            # Each comes first in turn: a machine that grows faster or slower favours neither.
            for workers in sorted(runs, reverse=bool(number % 2)):
                path = Path(folder) / f"{number}-{workers}.json"
                status = subprocess.call(_command(options.runtimes, workers, path))
                if status:
                    sys.stderr.write(f"pytest -n {workers} ended with status {status}: see above.\n")
                    return 1
                runs[workers].append(load(path))
    for workers, theirs in runs.items():
        _say(workers, compare(runs[0], theirs))
    return 0


def load(path: Path) -> Run:
    """Return what a run wrote with `--benchmark-json`."""
    return {
        (each["extra_info"]["runtime"], each["extra_info"]["kind"]): [
            round(seconds * 1e9) for seconds in each["stats"]["data"]
        ]
        for each in json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    }


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many medians lie ``inside`` the intervals of other runs, ``of`` how many.

    ``ratio`` is the mean of all medians to those of the other runs (geometric). ``beyond`` is by how much the
    intervals would have to be wider to hold every median, 0.05 for 5 %.
    """

    inside: int
    of: int
    ratio: float
    beyond: float


def compare(references: Sequence[Run], runs: Sequence[Run]) -> Comparison:
    """Hold every run against every other reference."""
    beyond, logs = [0.0], []
    for reference, run in itertools.product(references, runs):
        if reference is run:
            continue
        rules = Rules().for_family(len({runtime for runtime, _ in reference}))
        for key in reference.keys() & run.keys():
            if interval := spread(reference[key], rules):
                median = statistics.median(run[key])
                beyond.append(max(0.0, median / interval.high - 1, interval.low / median - 1))
                logs.append(math.log(median / statistics.median(reference[key])))
    inside = beyond[1:].count(0.0)
    return Comparison(inside, len(logs), math.exp(statistics.fmean(logs)) if logs else math.nan, max(beyond))


def _say(workers: int, seen: Comparison) -> None:
    sys.stdout.write(
        f"-n {workers} against another -n 0: {seen.inside} of {seen.of} medians inside its interval "
        f"({seen.inside / max(1, seen.of):.0%}), all if it were {seen.beyond:.0%} wider; ratio {seen.ratio:.3f}\n"
    )


def _command(runtimes: str, workers: int, path: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "pytest", str(_SUITE), f"--runtimes={runtimes}", "-n", str(workers), "-q"),
        *("-k", _MEASUREMENTS, "--wasm-latency-budget=30", "-p", "no:cacheprovider"),
        f"--benchmark-json={path}",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.workers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runtimes", default="all", help="all or NAME,… (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="of pytest-xdist (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
