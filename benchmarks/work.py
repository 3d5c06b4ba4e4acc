"""Counts of several guests in ten runs each, and how often the gate on them is wrong: `python -m benchmarks.work`.

The numbers must be the same in every run, in this process and in others, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.model import Artifact, Invocation
from pytest_wasmedge.work.counting import CountedArtifact, compared
from pytest_wasmedge.work.counts import WORDS, changes
from tests import wat

ROUNDS, MORE = 100_000, 101_000
MARGIN = 0.01


def spins(rounds: int) -> str:
    """Return a guest that goes round so often."""
    return wat.command(f"""(local $i i32) (loop $more (br_if $more
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {rounds}))))""")


def count(path: str) -> tuple[str, ...]:
    """Return the counts of a start, in a host of its own."""
    counted = CountedArtifact(open_artifact(path, Path.cwd()))
    try:
        return tuple(str(each) for each in counted.runs(counted.smallest, 1).counts.values())
    finally:
        counted.close()


def ten(path: str) -> list[tuple[str, ...]]:
    """Return the counts of ten starts: five in this process, five in others."""
    script = f"from benchmarks.work import count; print('|'.join(count({path!r})))"
    others = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        for _ in range(5)
    ]
    return [*(count(path) for _ in range(5)), *(tuple(each.strip().split("|")) for each in others)]


def reds(head: Artifact, baseline: Artifact, times: int) -> int:
    """Return in how many comparisons, each with hosts of its own, the start was red."""
    red = 0
    for _ in range(times):
        both = CountedArtifact(head), CountedArtifact(baseline)
        one, other = compared(*both, Invocation())
        red += any(each.beyond(MARGIN) for each in changes("start", one.counts, other.counts))
        for each in both:
            each.close()
    return red


def main(argv: Sequence[str] | None = None) -> int:
    """Print both tables; the status is 1 if a number differs, or the gate was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifacts", nargs="*", default=[BUILTIN_ARTIFACT])
    parser.add_argument("--same", type=int, default=1000, help="comparisons of the same work")
    parser.add_argument("--more", type=int, default=100, help="comparisons with 1 % more work")
    options = parser.parse_args(argv)
    columns = ["guest", *(name.replace("_", " ") for name in WORDS), "runs", "different"]
    sys.stdout.write(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}\n")
    wrong = False
    for path in options.artifacts:
        runs = ten(path)
        different = len(set(runs)) - 1
        wrong |= different > 0
        sys.stdout.write(f"| {Path(path).stem} | {' | '.join(runs[0])} | {len(runs)} | {different} |\n")
    with tempfile.TemporaryDirectory() as scratch:
        base, same, more = (
            open_artifact(str(wat.write(Path(scratch) / f"{name}.wasm", text)), Path(scratch))
            for name, text in (
                ("base", spins(ROUNDS)),
                ("same", spins(ROUNDS).replace("$read", "$reads")),
                ("more", spins(MORE)),
            )
        )
        sys.stdout.write("\n| start-up work | comparisons | red | s for each |\n")
        sys.stdout.write("| --- | --- | --- | --- |\n")
        for name, head, times, expected in (
            ("the same", same, options.same, 0),
            ("1 % more", more, options.more, options.more),
        ):
            began_s = time.monotonic()
            red = reds(head, base, times)
            wrong |= red != expected
            sys.stdout.write(
                f"| {name} | {times} | {red} | {(time.monotonic() - began_s) / max(times, 1):.3f} |\n"
            )
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
