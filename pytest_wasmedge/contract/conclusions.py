"""Conclusions from a whole run: contract entries that no longer diverge, and what to write into the contract."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pytest_wasmedge.contract.entries import FIELDS, KINDS, Contract, Known, parse_runtime
from pytest_wasmedge.contract.explaining import Unexplained
from pytest_wasmedge.contract.limits import check_artifact
from pytest_wasmedge.contract.update import KnownDraft, MeasuredCeiling, update_contract
from pytest_wasmedge.latency.journal import describe_machine
from pytest_wasmedge.latency.units import Limit
from pytest_wasmedge.model import base_name
from pytest_wasmedge.portability.corpus import Case
from pytest_wasmedge.portability.testsuite import Program
from pytest_wasmedge.reports.record import RunRecord, RuntimeRecord


def find_stale(record: RunRecord, contract: Contract, cases: Sequence[Case | Program]) -> None:
    """Record known divergences that have disappeared: the run fails until their lines are deleted.

    An entry is judged on a runtime only if all cases of the entry ran there, and none failed in another way.
    """
    for known in contract.known:
        names = cases_of(known, cases)
        runtimes = runtimes_of(record, known)
        gone = [
            runtime
            for runtime in runtimes
            if (known.first_line, runtime) not in record.known and _all_ran(record, known, names, runtime)
        ]
        if not gone:
            continue
        versions = ", ".join(f"{runtime} {record.runtimes[runtime].availability.version}" for runtime in gone)
        remedy = f"delete lines {known.first_line} to {known.last_line}"
        if gone != runtimes:
            remedy = f"take {', '.join(gone)} out of its runtimes"
        where = f"{contract.path.name}:{known.first_line}"
        record.broken.append(f"{where}: {known.case} no longer diverges on {versions}: {remedy}.")


def list_vague(record: RunRecord, contract: Contract) -> None:
    """Add one closing line about the entries that excused whatever differed in a field of this run."""
    met = {line for line, _ in record.known}
    vague = [
        f"{contract.path.name}:{known.first_line}"
        for known in contract.known
        if known.first_line in met and any(map(known.excuses, ("stdout", "stderr", "ending", "leak")))
    ]
    if vague:
        verb = "excuses its whole field" if len(vague) == 1 else "excuse their whole fields"
        line = (
            f"{', '.join(vague)} {verb}, not saying what differs there (differs, outcome: docs/contract.md)"
        )
        record.closing.append((line, "warn"))


def check_limits(record: RunRecord, contract: Contract) -> None:
    """Record each limit that the artifact breaks. Raises ArtifactError if the artifact cannot be read."""
    record.broken += map(str, check_artifact(record.artifact, contract.limits))


def list_unjudged(
    record: RunRecord, contract: Contract, ceilings: Mapping[str, Mapping[str, Iterable[Limit]]]
) -> None:
    """Add one closing line about the ceilings and known divergences that this run could not judge.

    ``ceilings`` has the limits of each kind, by runtime that ran.
    """
    judged = {(finding.runtime, finding.kind, finding.limit) for finding in record.findings}
    runtimes_of: dict[str, list[str]] = {}
    for runtime, kinds in ceilings.items():
        for kind, limits in kinds.items():
            if any((runtime, kind, str(limit)) not in judged for limit in limits):
                runtimes_of.setdefault(kind, []).append(runtime)
    left = [f"the ceiling of {kind} on {', '.join(names)}" for kind, names in runtimes_of.items()]
    seen = {line for line, _ in record.known}
    unseen = sum(
        known.first_line not in seen and not any(fnmatchcase(case, known.case) for case, _ in record.cases)
        for known in contract.known
    )
    if unseen:
        noun = "known divergence, whose case" if unseen == 1 else "known divergences, whose cases"
        left.append(f"{unseen} {noun} did not run")
    if left:
        record.closing.append((f"{contract.path.name}, not judged in this run: {'; '.join(left)}", "warn"))


def drafts(
    record: RunRecord, contract: Contract | None, new: Mapping[tuple[str, str], Unexplained]
) -> list[KnownDraft]:
    """Return ``new`` divergences, by (case, runtime), as drafts, without those that are drafts already."""
    runtimes_of: dict[KnownDraft, list[str]] = {}
    for (case, name), unexplained in new.items():
        row = record.runtimes[name]
        present = contract.drafts if contract else ()
        recorded = [each for each in present if each.matches(case, name, row.availability.version)]
        left = set(unexplained.fields).difference(*(each.fields for each in recorded))
        fields = tuple(field for field in FIELDS if field in left)
        if fields:
            # A host that does not start fails every test: one entry for all of them.
            case = "*" if fields == ("start",) else glob.escape(case)
            draft = KnownDraft(case, (), fields, unexplained.differs, unexplained.outcome).only((), fields)
            names = runtimes_of.setdefault(draft, [])
            names += [version] if (version := _from_this_version_on(row)) not in names else []
    return [draft.only(runtimes, draft.fields) for draft, runtimes in runtimes_of.items()]


def write_contract(
    record: RunRecord, path: Path, new: Sequence[KnownDraft], work: Mapping[str, int | str] | None = None
) -> None:
    """Write every measured latency as a ceiling with head-room, the drafts, and ``work``. Raises ContractError."""
    floors = {
        (each.runtime, each.kind.replace("floor/", "cold/")): each.median_ns
        for each in record.latencies
        if each.kind.startswith("floor/")
    }
    measured = [
        # The floor is that of the same cache state.
        MeasuredCeiling(each.runtime, each.kind, each.median_ns, floors.get((each.runtime, each.kind)))
        for each in record.latencies
        # The floor, which is the runtime's own, and a deployed edge have no ceiling.
        if each.kind in KINDS
    ]
    summary = update_contract(path, measured, new, machine=describe_machine(), work=work)
    record.closing += [(line, "plain") for line in summary.splitlines()]


def cases_of(known: Known, cases: Sequence[Case | Program]) -> set[str]:
    """Return the names of the cases that an entry includes."""
    return {case.name for case in cases if fnmatchcase(case.name, known.case)}


def runtimes_of(record: RunRecord, known: Known) -> list[str]:
    """Return the runtimes of this run that an entry includes in their present versions."""
    return [
        row.name
        for row in record.runtimes.values()
        if row.availability.available
        and any(each.matches(row.name, row.availability.version) for each in known.runtimes)
    ]


def _from_this_version_on(row: RuntimeRecord) -> str:
    """Return ``deno >=2.9.8``, or the name alone if the version cannot be part of a range."""
    name = base_name(row.name)
    try:
        parse_runtime(text := f"{name} >={row.availability.version}")
    except ValueError:
        return name
    return text


def _all_ran(record: RunRecord, known: Known, names: set[str], runtime: str) -> bool:
    if known.fields == ("start",):
        # Any test that ran there shows that the host starts.
        return record.runtimes[runtime].ran
    verdicts = {
        case: verdict
        for (case, where), verdict in record.cases.items()
        if where == runtime and verdict != "skipped" and fnmatchcase(case, known.case)
    }
    return bool(verdicts) and "failed" not in verdicts.values() and names <= verdicts.keys()
