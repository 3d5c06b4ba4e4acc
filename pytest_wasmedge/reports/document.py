"""The published record of a run: events, one line each while it runs, and the JSON document that they add up to.

docs/record.schema.json describes the document. Whatever a document says of itself is made from its tests by `complete`,
so a killed run and merged ones are judged as any other.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_wasmedge import __version__
from pytest_wasmedge.artifacts.loading import inspect
from pytest_wasmedge.errors import RecordError
from pytest_wasmedge.latency.journal import fingerprint
from pytest_wasmedge.model import Artifact
from pytest_wasmedge.reports import record as facts_of
from pytest_wasmedge.reports import verdict
from pytest_wasmedge.reports.record import RunRecord, RuntimeRecord
from pytest_wasmedge.work.counts import Count

#: Of the schema; another one is another format.
SCHEMA = 1
DOCUMENT, EVENTS = "record.json", "record.jsonl"
#: What a run says of itself that has told no end.
CUT_OFF = "the run was cut off before its end"
_VERDICTS = ("passed", "failed", "skipped", "known")
_MESSAGE = 600

Document = dict[str, Any]
Event = dict[str, Any]


def beginning(record: RunRecord, run: str, seed: int, pytest_version: str) -> Event:
    """Return the first event of a run: all that is known before its first test."""
    return {
        "event": "begin",
        "schema": SCHEMA,
        "run": {
            "id": run,
            "began_at": _now(),
            "seed": seed,
            "shard": list(record.shard) if record.shard else None,
            "environment": {
                "pytest_wasmedge": __version__,
                "pytest": pytest_version,
                "python": platform.python_version(),
                "github": os.environ.get("GITHUB_ACTIONS") == "true",
            },
            "machine": dict(record.machine),
            "fingerprint": fingerprint(record.machine),
            "runtimes": list(record.runtimes),
        },
        "artifact": _artifact(record.artifact),
        "baseline": _artifact(record.baseline) if record.baseline else None,
        "reference": record.reference,
        "runtimes": [_runtime(row) for row in record.runtimes.values()],
    }


def tested(
    test: str, runtime: str, outcome: str, facts: Mapping[str, Any], message: str, *, sides: bool
) -> Event:
    """Return the event of one test on one runtime; ``test`` is its id without the runtime's name.

    Without ``sides``, a divergence keeps its summary alone.
    """
    told = facts.get(facts_of.TOLD, {})
    divergences = [
        {key: value for key, value in each.items() if sides or key != "sides"}
        for each in told.get("divergences", ())
    ]
    failed = outcome in ("failed", "known")
    row = {
        "test": test,
        "case": facts.get(facts_of.CASE) or test.rpartition("::")[2].partition("[")[0],
        "runtime": runtime,
        "verdict": outcome,
        "slow": outcome == "failed" and facts_of.is_slow(facts),
        "reason": facts.get(facts_of.SKIPPED, "")[:_MESSAGE],
        "message": message[:_MESSAGE] if failed else "",
        "asked": told.get("asked", ""),
        "divergences": divergences,
        "known": list(facts.get(facts_of.KNOWN, ())),
    }
    event: Event = {"event": "test", "row": {key: value for key, value in row.items() if value}}
    for key in (facts_of.MEASURED, facts_of.FINDINGS, facts_of.ANSWERS, facts_of.HAZARDS):
        if facts.get(key):
            event[key] = facts[key]
    for key in (facts_of.REFERENCE, facts_of.DENSITY_BYTES):
        if key in facts:
            event[key] = facts[key]
    return event


def ending(record: RunRecord, known: Sequence[Mapping[str, Any]]) -> Event:
    """Return the last event of a run; ``known`` are the contract's known divergences.

    Each has ``on``, the runtimes of this run that it includes, and ``cases``, those of the run that it includes.
    """
    seen: dict[int, list[str]] = {}
    for line, name in sorted(record.known):
        seen.setdefault(line, []).append(name)
    return {
        "event": "end",
        "ended_at": _now(),
        "status": record.status,
        "stopped": record.stopped,
        "known": [{**each, "seen_on": seen.get(each["line"], [])} for each in known],
        "compared": dict(record.compared),
        "changed": dict(record.changed),
        "varying": dict(record.varying),
        "again": list(record.again),
        "undeclared": sorted(record.undeclared),
        "broken": list(record.broken),
        "work": {name: [_sums(head), _sums(base)] for name, (head, base) in record.totals.items()},
        "closing": [[mood, text] for text, mood in record.closing],
    }


def fold(events: Iterable[Event], called: str = "the record") -> Document:
    """Return the document that events add up to, whether or not they come to an end. Raises RecordError."""
    document: Document = {}
    for event in events:
        kind = event.get("event")
        if kind == "begin":
            document = _begun(event)
        elif not document:
            break
        elif kind == "test":
            _add_test(document, event)
        elif kind == "end":
            [run] = document["runs"]
            run |= {key: event[key] for key in ("ended_at", "status", "stopped")}
            document |= {key: event[key] for key in event if key in document and key not in run}
    if not document:
        raise RecordError(
            f"{called} does not begin like a record of pytest-wasmedge: give the folder of --wasm-report, "
            f"or its {DOCUMENT}."
        )
    return complete(document)


def complete(document: Document) -> Document:
    """Return the document with what follows from its tests: the counts of each runtime, and the verdict."""
    counts = {row["name"]: dict.fromkeys((*_VERDICTS, "slow"), 0) for row in document["runtimes"]}
    for row in document["tests"]:
        if row["runtime"] in counts:
            counts[row["runtime"]][row["verdict"]] += 1
            counts[row["runtime"]]["slow"] += bool(row.get("slow"))
    for row in document["runtimes"]:
        row["counts"] = counts[row["name"]]
    document["complete"] = not any(run["stopped"] for run in document["runs"])
    document["verdict"], document["line"] = verdict.of_document(document)
    return document


def load(path: Path) -> Document:
    """Read a document, the events of a run that was cut off, or the folder of either. Raises RecordError."""
    if path.is_dir():
        path = next((path / name for name in (DOCUMENT, EVENTS) if (path / name).exists()), path / DOCUMENT)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise RecordError(
            f"{path} cannot be read as a record: {reason}. Give what --wasm-report wrote."
        ) from error
    try:
        if path.suffix == ".jsonl":
            return fold(_events(text), str(path))
        document = json.loads(text)
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    except ValueError as error:
        raise RecordError(f"{path} is no JSON: {error}. Give what --wasm-report wrote.") from error
    found = document.get("schema") if isinstance(document, dict) else None
    if found != SCHEMA:
        raise RecordError(
            f"{path} is no record of schema {SCHEMA}: its schema is {found!r}. "
            "Read it with the version of pytest-wasmedge that wrote it."
        )
    try:
        return complete(document)
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RecordError:
    return RecordError(f"{path} is damaged: {error!r}. docs/record.schema.json says what a record has.")


def _events(text: str) -> Iterable[Event]:
    """Yield the events of a file; the last line may be torn."""
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            return
        if isinstance(event, dict):
            yield event


def _begun(event: Event) -> Document:
    run = event["run"] | {"ended_at": None, "status": None, "stopped": CUT_OFF}
    return {
        "schema": event["schema"],
        "verdict": "",
        "line": "",
        "complete": False,
        "merged": False,
        "runs": [run],
        "artifact": event["artifact"],
        "baseline": event["baseline"],
        "reference": event["reference"],
        "references": [],
        "runtimes": event["runtimes"],
        "tests": [],
        "latencies": [],
        "findings": [],
        "answers": {},
        "hazards": {},
        "known": [],
        "compared": {},
        "changed": {},
        "varying": {},
        "again": [],
        "undeclared": [],
        "broken": [],
        "work": {},
        "disagreements": [],
        "closing": [],
    }


def _add_test(document: Document, event: Event) -> None:
    row = event["row"]
    name = row["runtime"]
    if row["verdict"] not in _VERDICTS:
        return
    document["tests"].append(row)
    document["latencies"] += [each | {"test": row["test"]} for each in event.get(facts_of.MEASURED, ())]
    document["findings"] += [each | {"test": row["test"]} for each in event.get(facts_of.FINDINGS, ())]
    for case, runtime, answer in event.get(facts_of.ANSWERS, ()):
        document["answers"].setdefault(case, {})[runtime] = answer
    for hazard in event.get(facts_of.HAZARDS, ()):
        names = document["hazards"].setdefault(hazard, [])
        names += [name] if name not in names else []
    reference = event.get(facts_of.REFERENCE)
    if reference and reference not in document["references"]:
        document["references"].append(reference)
    if facts_of.DENSITY_BYTES in event:
        for each in document["runtimes"]:
            if each["name"] == name:
                each["density_bytes"] = event[facts_of.DENSITY_BYTES]


def _sums(counts: Mapping[str, Count]) -> dict[str, list[int]]:
    return {name: [count.lowest, count.highest] for name, count in counts.items()}


def _artifact(artifact: Artifact) -> dict[str, Any]:
    module = inspect(artifact.path.read_bytes(), str(artifact.path))
    return {
        "name": artifact.name,
        "sha256": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "builtin": artifact.builtin,
        "functions": module.function_count,
        "imports": [f"{home}.{name}" for home, name, _ in module.imports],
        "memory_min_pages": module.memory_min_pages,
        "memory_max_pages": module.memory_max_pages,
        "proposals": list(artifact.proposals),
    }


def _runtime(row: RuntimeRecord) -> dict[str, Any]:
    runtime, availability = row.runtime, row.availability
    return {
        "name": row.name,
        "engine": runtime.engine,
        "available": availability.available,
        "version": availability.version,
        "engine_version": availability.engine_version,
        "reason": availability.reason,
        "install": availability.install,
        "lacks": list(availability.lacks),
        "cache_state": runtime.cache_state,
        "deployed": runtime.deployed,
        "yardstick": runtime.yardstick,
        "wrapped": runtime.wrapped,
        "flags": list(runtime.flags),
        "statuses": runtime.statuses,
        "unchecked": sorted(runtime.unchecked),
        "tools": [asdict(each) for each in row.tools],
        "density_bytes": None,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
