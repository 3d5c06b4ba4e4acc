"""Makes one record of several: of shards, or of one job for each runtime."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence, Set
from fnmatch import fnmatchcase
from typing import Any

from pytest_wasmedge.errors import RecordError
from pytest_wasmedge.reports.agreeing import disagreements
from pytest_wasmedge.reports.document import Document, complete
from pytest_wasmedge.reports.record import FROM_BEST, VARIES
from pytest_wasmedge.reports.verdict import missing_shards

_LISTS = ("runs", "latencies", "findings", "again", "undeclared", "broken", "closing", "references")
#: Those of lists in which the same entry of two runs is one.
_SETS = ("undeclared", "broken", "closing", "references")
_NAMED = ("hazards", "changed", "varying")


def merge(documents: Mapping[str, Document]) -> Document:
    """Return the record of all runs together, by what each is called; a test that ran twice counts as its worst.

    What runtimes answered in different runs is compared with one another. Raises RecordError for one run given twice,
    and for runs of different artifacts.
    """
    (called, first), *others = documents.items()
    merged = copy.deepcopy(first) | {"merged": True}
    for name, other in others:
        _check(called, first, name, other)
        _check_runs(merged, name, other)
        _add(merged, copy.deepcopy(other))
    known = {(row["case"], row["runtime"]) for row in merged["tests"] if row["verdict"] == "known"}
    merged["disagreements"] = disagreements(merged["answers"], known)
    if any(run["shard"] for run in merged["runs"]) and not missing_shards(merged["runs"]):
        merged["broken"] += [each for each in _disappeared(merged) if each not in merged["broken"]]
    return complete(merged)


def _check(called: str, first: Document, name: str, other: Document) -> None:
    for what in ("artifact", "baseline"):
        one, two = ((each[what] or {}).get("sha256", "none") for each in (first, other))
        if one != two:
            raise RecordError(
                f"{name} is of another {what} than {called}: {two[:16]}, not {one[:16]}. "
                "One verdict is about one artifact: give records of the same one."
            )


def _check_runs(merged: Document, name: str, other: Document) -> None:
    again = {run["id"] for run in merged["runs"]} & {run["id"] for run in other["runs"]}
    if again:
        raise RecordError(
            f"{name} has a run that another record has, too: {min(again)}. Give each record once."
        )


def _add(merged: Document, other: Document) -> None:
    rows = {row["name"]: row for row in merged["runtimes"]}
    for row in other["runtimes"]:
        rows[row["name"]] = _of_both(rows[row["name"]], row) if row["name"] in rows else row
    merged["runtimes"] = list(rows.values())
    tests = {(row["test"], row["runtime"]): row for row in merged["tests"]}
    for row in other["tests"]:
        place = row["test"], row["runtime"]
        tests[place] = max((tests.get(place, row), row), key=lambda each: FROM_BEST.index(each["verdict"]))
    merged["tests"] = list(tests.values())
    for key in _LISTS:
        merged[key] += [each for each in other[key] if key not in _SETS or each not in merged[key]]
    _add_known(merged["known"], other["known"])
    for key in _NAMED:
        for what, names in other[key].items():
            told = merged[key].setdefault(what, [])
            told += [name for name in names if name not in told]
    # The same in every run: it is counted in one engine.
    merged["work"] = other["work"] | merged["work"]
    for runtime, count in other["compared"].items():
        merged["compared"][runtime] = merged["compared"].get(runtime, 0) + count
    for case, answers in other["answers"].items():
        told = merged["answers"].setdefault(case, {})
        for runtime, answer in answers.items():
            # Two answers of one runtime to one case: no vote can be made of them.
            told[runtime] = answer if told.get(runtime, answer) == answer else VARIES


def _add_known(merged: list[dict[str, Any]], other: Sequence[dict[str, Any]]) -> None:
    entries = {(each["line"], each["case"]): each for each in merged}
    for each in other:
        entry = entries.setdefault((each["line"], each["case"]), each)
        if entry is each:
            merged.append(each)
        for key in ("seen_on", "on", "cases"):
            entry[key] += [name for name in each[key] if name not in entry[key]]


def _disappeared(document: Document) -> list[str]:
    """Return a sentence for each known divergence that no shard has seen on a runtime where all its cases ran well.

    A run of all tests judges that itself.
    """
    verdicts: dict[str, dict[str, set[str]]] = {}
    for row in document["tests"]:
        if row["verdict"] != "skipped":
            verdicts.setdefault(row["runtime"], {}).setdefault(row["case"], set()).add(row["verdict"])
    sentences = []
    for entry in document["known"]:
        unseen = [runtime for runtime in entry["on"] if runtime not in entry["seen_on"]]
        gone = [runtime for runtime in unseen if _all_ran_well(entry, verdicts.get(runtime, {}))]
        if gone:
            sentences.append(
                f"line {entry['line']} of the contract: {entry['case']} no longer diverges on {', '.join(gone)}: "
                "delete the entry, or take them out of its runtimes."
            )
    return sentences


def _all_ran_well(entry: Mapping[str, Any], verdicts: Mapping[str, Set[str]]) -> bool:
    if entry["fields"] == ["start"]:
        # Any test that ran on a runtime shows that it starts.
        return bool(verdicts)
    ran = {name: seen for name, seen in verdicts.items() if fnmatchcase(name, entry["case"])}
    return (
        bool(ran) and ran.keys() >= set(entry["cases"]) and not any("failed" in seen for seen in ran.values())
    )


def _of_both(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """Return one runtime of two runs; where their versions differ, both are told."""
    if not (one["available"] and two["available"]):
        return one if one["available"] else two
    both = {}
    for key in ("version", "engine_version"):
        both[key] = " and ".join(dict.fromkeys(each[key] for each in (one, two) if each[key]))
    density = one["density_bytes"] if one["density_bytes"] is not None else two["density_bytes"]
    return one | both | {"density_bytes": density, "tools": _once(one["tools"], two["tools"])}


def _once(one: Sequence[Any], two: Sequence[Any]) -> list[Any]:
    return [*one, *(each for each in two if each not in one)]
