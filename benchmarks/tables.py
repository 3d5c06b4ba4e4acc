"""The tables of docs/latency.md, in Markdown, from what the benchmarks left behind. Computes nothing anew."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.recording import Series
from benchmarks.replay import Tally, named, wilson
from benchmarks.trials import Trial
from pytest_wasmedge.errors import LatencyError

BEGIN, END = "<!-- bench-gate: written by python -m benchmarks.gate report -->", "<!-- /bench-gate -->"


def report(recorded: Sequence[Series], tallies: Sequence[Tally], trials: Sequence[Trial]) -> str:
    """Return all tables; what was not measured says so."""
    parts = [
        "### Recorded cold starts\n",
        _noise(recorded) if recorded else "Not recorded yet.\n",
        "### Replayed gates\n",
        _replayed(tallies) if tallies else "Not replayed yet.\n",
        "### Real gates\n",
        real(trials),
        "### Ceilings\n",
        ceilings(trials),
    ]
    return "\n".join(parts)


def write_into(path: Path, text: str) -> None:
    """Put the text between our two marks in a document. Raises LatencyError if they are not there."""
    old = path.read_text(encoding="utf-8")
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise LatencyError(f"{path} has no place for the tables: put the lines {BEGIN} and {END} into it.")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def _noise(recorded: Sequence[Series]) -> str:
    head = (
        "runtime",
        "version",
        "condition",
        "kind",
        "n",
        "median ms",
        "p10–p90 ms",
        "CPU ms",
        "sd of a pair's log ratio",
        "of its CPU times",
    )
    rows = []
    for each in recorded:
        taken = sorted(us / 1000 for us in each.elapsed_us)
        low, high = (taken[round(at * (len(taken) - 1))] for at in (0.1, 0.9))
        rows.append(
            (
                each.runtime,
                each.version,
                each.condition,
                each.kind,
                str(len(taken)),
                f"{statistics.median(taken):.1f}",
                f"{low:.1f}–{high:.1f}",
                f"{statistics.median(each.cpu_us) / 1000:.1f}",
                f"{_pair_sd(each.elapsed_us):.3f}",
                f"{_pair_sd(each.cpu_us):.3f}",
            )
        )
    machine = recorded[0].machine
    where = f"{machine.get('processor')}, {machine.get('cores')} cores, {machine.get('system')}"
    return f"{where}; {recorded[0].began[:10]}.\n\n{_table(head, rows)}"


def _pair_sd(elapsed_us: Sequence[int]) -> float:
    pairs = zip(elapsed_us[::2], elapsed_us[1::2], strict=False)
    ratios = [math.log(second / first) for first, second in pairs]
    return math.sqrt(statistics.fmean(ratio * ratio for ratio in ratios)) if ratios else 0.0


def _replayed(tallies: Sequence[Tally]) -> str:
    head = (
        "runtime",
        "condition",
        "slowdown",
        "gates",
        "pass",
        "fail",
        "undecided",
        "s, mean",
        "s, 95 % within",
    )
    rows = [
        (
            each.runtime,
            each.condition,
            named(each),
            str(each.gates),
            _rate(each.passed, each.gates),
            _rate(each.failed, each.gates),
            _rate(each.undecided, each.gates),
            f"{each.mean_s:.1f}",
            f"{each.p95_s:.1f}",
        )
        for each in tallies
    ]
    return "Rates with their 95 % interval (Wilson).\n\n" + _table(head, rows)


def real(trials: Sequence[Trial]) -> str:
    """Return the table of paired gates on real hosts."""
    trials = [trial for trial in trials if trial.what == "pairs"]
    if not trials:
        return "Not run yet.\n"
    head = (
        "class",
        "slowdown",
        "condition",
        "gates",
        "pass",
        "fail",
        "undecided",
        "ratio seen",
        "s, median",
        "s, most",
    )
    kinds = sorted({(trial.group, trial.against, trial.condition) for trial in trials})
    rows = []
    for group, against, condition in kinds:
        ours = [
            one for one in trials if (one.group, one.against, one.condition) == (group, against, condition)
        ]
        seconds = [trial.elapsed_s for trial in ours]
        rows.append(
            (
                f"{group} ({', '.join(sorted({trial.runtime for trial in ours}))})",
                _slowdown(against),
                condition,
                str(len(ours)),
                *(
                    str(sum(one.verdict == verdict for one in ours))
                    for verdict in ("pass", "fail", "undecided")
                ),
                f"{statistics.median(trial.estimate for trial in ours):.3f}",
                f"{statistics.median(seconds):.1f}",
                f"{max(seconds):.1f}",
            )
        )
    return _table(head, rows)


def ceilings(trials: Sequence[Trial]) -> str:
    """Return the table of ceilings on real hosts."""
    trials = [trial for trial in trials if trial.what == "ceiling"]
    if not trials:
        return "Not run yet.\n"
    head = (
        "runtime",
        "20 % under: fail",
        "20 % over: pass",
        "at the median: decided",
        "s, median",
        "s, most",
    )
    rows = []
    for name in dict.fromkeys(sorted(trial.runtime for trial in trials)):
        ours = [trial for trial in trials if trial.runtime == name]
        at = {against: [one.verdict for one in ours if one.against == against] for against in (0.8, 1.2, 1.0)}
        decided = [verdict for verdict in at[1.0] if verdict != "undecided"]
        seconds = [trial.elapsed_s for trial in ours if trial.against != 1.0]
        rows.append(
            (
                name,
                f"{at[0.8].count('fail')} of {len(at[0.8])}",
                f"{at[1.2].count('pass')} of {len(at[1.2])}",
                f"{len(decided)} of {len(at[1.0])}",
                f"{statistics.median(seconds):.1f}" if seconds else "–",
                f"{max(seconds):.1f}" if seconds else "–",
            )
        )
    about = (
        "The median is that of as many other starts, taken in turn with those that are judged. Seconds are those of\n"
        "the judged ones, for the ceilings under and over the median.\n\n"
    )
    return about + _table(head, rows)


def _slowdown(fraction: float) -> str:
    return f"+{fraction:.0%}" if fraction else "none (A/A)"


def _rate(hits: int, count: int) -> str:
    low, high = wilson(hits, count)
    return f"{hits / count:.2%} ({low:.2%}–{high:.2%})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
