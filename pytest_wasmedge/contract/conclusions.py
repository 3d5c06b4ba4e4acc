"""What only the whole run can tell: entries of the contract that hold no more, and what is to be written into it."""

from __future__ import annotations

import glob
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pytest_wasmedge.contract import FIELDS, KINDS, Contract, Known, check_artifact
from pytest_wasmedge.contract.entries import parse_runtime
from pytest_wasmedge.contract.update import KnownDraft, MeasuredCeiling, update_contract
from pytest_wasmedge.model import base_name
from pytest_wasmedge.portability.corpus import Case
from pytest_wasmedge.portability.testsuite import Program
from pytest_wasmedge.reports.record import RunRecord, RuntimeRecord


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
        record.broken.append(f"{where}: {known.case} no longer diverges on {versions}: {what}.")


def check_limits(record: RunRecord, contract: Contract) -> None:
    """Note each limit that the artifact breaks. Raises ArtifactError if it cannot be read."""
    record.broken += map(str, check_artifact(record.artifact, contract.limits))


def list_unjudged(record: RunRecord, contract: Contract, ceilings: Mapping[str, Iterable[str]]) -> None:
    """Add one closing line that lists what the contract says and this run could not judge.

    ``ceilings`` are the kinds that have one, by runtime that ran.
    """
    judged = {(finding.runtime, finding.kind) for finding in record.findings}
    runtimes_of: dict[str, list[str]] = {}
    for runtime, kinds in ceilings.items():
        for kind in kinds:
            if (runtime, kind) not in judged:
                runtimes_of.setdefault(kind, []).append(runtime)
    left = [f"the ceiling of {kind} on {', '.join(names)}" for kind, names in runtimes_of.items()]
    met = {line for line, _ in record.known}
    ran = {case for case, _ in record.cases}
    unmet = [
        known
        for known in contract.known
        if known.first_line not in met and not any(fnmatchcase(case, known.case) for case in ran)
    ]
    if unmet:
        noun = "known divergence, whose case" if len(unmet) == 1 else "known divergences, whose cases"
        left.append(f"{len(unmet)} {noun} did not run")
    if left:
        record.closing.append((f"{contract.path.name}, not judged in this run: {'; '.join(left)}", "warn"))


def drafts(
    record: RunRecord, contract: Contract | None, new: Mapping[tuple[str, str], Collection[str]]
) -> list[KnownDraft]:
    """Return what diverges anew, as entries to be explained; ``new`` are the fields of each (case, runtime).

    What is a draft already is left out.
    """
    runtimes_of: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (case, name), diverging in new.items():
        row = record.runtimes[name]
        noted = [
            each
            for each in (contract.drafts if contract else ())
            if each.matches(case, name, row.availability.version)
        ]
        fields = tuple(
            field for field in FIELDS if field in diverging and not any(each.excuses(field) for each in noted)
        )
        if fields:
            # A host that does not start fails every test alike: one entry for all.
            names = runtimes_of.setdefault(("*" if fields == ("start",) else glob.escape(case), fields), [])
            names += [version] if (version := _from_this_version_on(row)) not in names else []
    return [KnownDraft(case, tuple(runtimes), fields) for (case, fields), runtimes in runtimes_of.items()]


def write_contract(record: RunRecord, path: Path, new: Sequence[KnownDraft]) -> None:
    """Write every latency that was measured as a ceiling with head-room, and the drafts. Raises ContractError."""
    floors = {
        (each.runtime, each.kind.replace("floor/", "cold/")): each.median_ns
        for each in record.latencies
        if each.kind.startswith("floor/")
    }
    measured = [
        MeasuredCeiling(
            each.runtime,
            each.kind,
            each.median_ns,
            # The floor of the same cache state: that of another one is another floor.
            floors.get((each.runtime, each.kind)),
        )
        for each in record.latencies
        # There are none for a floor, which is the runtime's own, nor for a deployed edge.
        if each.kind in KINDS
    ]
    summary = update_contract(path, measured, new)
    record.closing += [(line, "plain") for line in summary.splitlines()]


def _runtimes_of(record: RunRecord, known: Known) -> list[str]:
    """Return the runtimes of this run, in their versions of this run, that an entry is about."""
    return [
        row.name
        for row in record.runtimes.values()
        if row.availability.available
        and any(each.matches(row.name, row.availability.version) for each in known.runtimes)
    ]


def _from_this_version_on(row: RuntimeRecord) -> str:
    """Return ``deno >=2.9.8``, or the name alone where the version is none that a range can have."""
    name = base_name(row.name)
    try:
        parse_runtime(text := f"{name} >={row.availability.version}")
    except ValueError:
        return name
    return text


def _all_ran(record: RunRecord, known: Known, names: Sequence[str], runtime: str) -> bool:
    if known.fields == ("start",):
        # Whatever ran there shows whether the host starts.
        return record.runtimes[runtime].ran
    verdicts = {
        case: verdict
        for (case, where), verdict in record.cases.items()
        if where == runtime and verdict != "skipped" and fnmatchcase(case, known.case)
    }
    return bool(verdicts) and "failed" not in verdicts.values() and verdicts.keys() >= set(names)
