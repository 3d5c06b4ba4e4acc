"""The verdict on a whole run, in one line; the terminal, Markdown and HTML begin with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pytest_wasmedge.portability.excerpt import counted
from pytest_wasmedge.reports.record import RunRecord

Word = Literal["PORTABLE", "NOT PORTABLE", "FAILED", "INCOMPLETE"]
MOODS: Mapping[Word, str] = {"PORTABLE": "good", "NOT PORTABLE": "bad", "FAILED": "bad", "INCOMPLETE": "bad"}
_SHOWN_NAMES = 4


@dataclass(frozen=True, slots=True)
class Counts:
    """The verdicts of one runtime's tests; ``slow`` are those of the failed ones that failed for a latency."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    known: int = 0
    slow: int = 0

    @property
    def checks(self) -> int:
        """The tests that had a verdict."""
        return self.passed + self.failed + self.known


@dataclass(frozen=True, slots=True)
class Tally:
    """What a verdict is made of.

    ``alone`` if nothing was compared with anything but itself; ``disagreeing`` are cases on which runtimes of several
    runs disagree; ``breaches`` are of the contract; ``stopped`` says why the run did not come to its end; ``shard`` is
    the number of this part of the tests, and how many parts there are, unless all were run.
    """

    runtimes: Mapping[str, Counts]
    undecided: int = 0
    breaches: int = 0
    disagreeing: int = 0
    status: int = 0
    alone: bool = False
    stopped: str = ""
    shard: Sequence[int] | None = None


def judge(tally: Tally) -> tuple[Word, str]:
    """Return the verdict, and the whole line that begins with it."""
    rows = tally.runtimes
    ran = [name for name, counts in rows.items() if counts.checks]
    differing = [name for name, counts in rows.items() if counts.failed > counts.slow]
    failed = sum(counts.failed - counts.slow for counts in rows.values())
    slow = sum(counts.slow for counts in rows.values())
    place = f"on {len(ran)} of {counted(len(rows), 'runtime')}"
    parts = [counted(sum(counts.checks for counts in rows.values()), "check")]
    word: Word
    if tally.stopped or not ran:
        word, head = "INCOMPLETE", f"INCOMPLETE: {tally.stopped or 'no test ran on any runtime'}"
        parts[0] += f" {place}"
        parts += [f"{failed + slow} failed"] if failed + slow else []
    elif failed or tally.disagreeing:
        told = [f"{counted(failed, 'failure')} on {_names(differing)}"] if failed else []
        told += [f"{counted(tally.disagreeing, 'case')} without agreement"] if tally.disagreeing else []
        word, head = "NOT PORTABLE", f"NOT PORTABLE: {', '.join(told)}"
        parts[0] += f" {place}"
        parts += [_latencies(slow)] if slow else []
    elif slow or tally.breaches or tally.status:
        told = [_latencies(slow)] if slow else []
        told += [counted(tally.breaches, "breach", "es")] if tally.breaches else []
        word, head = "FAILED", f"FAILED: {', '.join(told) or 'tests that run on no runtime'}"
        parts[0] += f" {place}"
    else:
        word, head = "PORTABLE", f"PORTABLE {place}"
        parts += ["compared with nothing"] if tally.alone else []
    parts.append(f"{counted(sum(counts.known for counts in rows.values()), 'known divergence')}")
    parts.append(f"{tally.undecided} undecided")
    if tally.shard:
        parts.append("shard {} of {}".format(*tally.shard))
    if missing := len(rows) - len(ran):
        parts.append(f"{missing} not run")
    return word, " · ".join([head, *parts])


def of_run(record: RunRecord) -> tuple[Word, str]:
    """Return the verdict on a run that has just ended."""
    rows = {
        name: Counts(row.passed, row.failed, row.skipped, row.known, row.slow)
        for name, row in record.runtimes.items()
    }
    undecided = sum(finding.verdict == "undecided" for finding in record.findings)
    alone = record.references == {"itself"}
    broken = len(record.broken)
    return judge(Tally(rows, undecided, broken, 0, record.status, alone, record.stopped, record.shard))


def of_document(document: Mapping[str, Any]) -> tuple[Word, str]:
    """Return the verdict on what a record's document holds, whatever it says of itself."""
    rows = {row["name"]: Counts(**row["counts"]) for row in document["runtimes"]}
    undecided = sum(finding["verdict"] == "undecided" for finding in document["findings"])
    status = max((run["status"] or 0 for run in document["runs"]), default=0)
    # Runtimes that ran in jobs of their own are compared when their records are merged.
    alone = document["references"] == ["itself"] and not (document["merged"] and len(rows) > 1)
    breaches, disagreeing = len(document["broken"]), len(document["disagreements"])
    runs = document["runs"]
    stopped = _stopped(runs, missing_shards(runs) if document["merged"] else [])
    shard = None if document["merged"] else runs[0]["shard"]
    return judge(Tally(rows, undecided, breaches, disagreeing, status, alone, stopped, shard))


def _stopped(runs: Sequence[Mapping[str, Any]], missing: Sequence[str]) -> str:
    reasons = [run["stopped"] for run in runs if run["stopped"]]
    reasons += [f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"] if missing else []
    return "; ".join(dict.fromkeys(reasons))


def missing_shards(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what is missing among runs of which some are shards; those of the same runtimes belong together."""
    numbers: dict[tuple[int, tuple[str, ...]], set[int]] = {}
    for run in runs:
        if run["shard"]:
            number, count = run["shard"]
            numbers.setdefault((count, tuple(run["runtimes"])), set()).add(number)
    return [
        f"shard {number} of {count}"
        for (count, _), found in numbers.items()
        for number in range(1, count + 1)
        if number not in found
    ]


def _latencies(count: int) -> str:
    return f"{count} {'latency' if count == 1 else 'latencies'} over the limit"


def _names(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:_SHOWN_NAMES])} and {more} more"
