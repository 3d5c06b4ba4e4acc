"""What only the whole run can tell: entries of the contract that hold no more, and ceilings to be written."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pytest_wasmedge.contract import Contract, Known
from pytest_wasmedge.contract.update import MeasuredCeiling, update_contract
from pytest_wasmedge.portability.corpus import Case
from pytest_wasmedge.portability.testsuite import Program
from pytest_wasmedge.reports.record import RunRecord

#: Kinds that are no ceilings: the floor is the runtime's own.
_NO_CEILING = ("floor/",)


def find_stale(record: RunRecord, contract: Contract, cases: Sequence[Case | Program]) -> None:
    """Note what the contract knows to diverge and does not: the run is red until those lines are deleted.

    An entry is judged on a runtime only if every case that it names ran there, and none failed in another way.
    """
    for known in contract.known:
        names = [case.name for case in cases if fnmatchcase(case.name, known.case)]
        judged = [row for row in _runtimes_of(record, known) if _all_ran(record, known, names, row)]
        gone = [row for row in judged if (known.first_line, row) not in record.known]
        if not gone:
            continue
        where = f"{contract.path.name}:{known.first_line}"
        versions = ", ".join(f"{row} {record.runtimes[row].availability.version}" for row in gone)
        if len(gone) == len(_runtimes_of(record, known)):
            what = f"delete lines {known.first_line} to {known.last_line}"
        else:
            what = f"take {', '.join(gone)} out of its runtimes"
        record.stale.append(f"{where}: {known.case} no longer diverges on {versions}: {what}.")


def write_ceilings(record: RunRecord, path: Path) -> None:
    """Write every latency that was measured as a ceiling with head-room. Raises ContractError."""
    floors = {each.runtime: each.median_ns for each in record.latencies if each.kind.startswith("floor/")}
    measured = [
        MeasuredCeiling(
            each.runtime,
            each.kind,
            each.median_ns,
            floors.get(each.runtime) if each.kind.startswith("cold/") else None,
        )
        for each in record.latencies
        if not each.kind.startswith(_NO_CEILING)
    ]
    summary = update_contract(path, measured)
    record.closing += [(line, "plain") for line in summary.splitlines()]


def _runtimes_of(record: RunRecord, known: Known) -> list[str]:
    """Return the runtimes of this run, in their versions of this run, that an entry is about."""
    return [
        row.name
        for row in record.runtimes.values()
        if row.availability.available and known.matches(known.case, row.name, row.availability.version)
    ]


def _all_ran(record: RunRecord, known: Known, names: Sequence[str], runtime: str) -> bool:
    verdicts = {
        case: verdict
        for (case, where), verdict in record.cases.items()
        if where == runtime and verdict != "skipped" and fnmatchcase(case, known.case)
    }
    return bool(verdicts) and "failed" not in verdicts.values() and verdicts.keys() >= set(names)
