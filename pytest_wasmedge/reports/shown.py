"""What all reports that are made from a record's document pick out of it."""

from __future__ import annotations

import statistics
from typing import Any

from pytest_wasmedge.reports.document import Document


def needing_a_person(document: Document) -> list[dict[str, Any]]:
    """Return the tests that failed: those that diverge first, those that were slow last."""
    failed = [row for row in document["tests"] if row["verdict"] == "failed"]
    return sorted(failed, key=lambda row: (bool(row.get("slow")), not row.get("divergences")))


def known_seen(document: Document) -> tuple[list[dict[str, Any]], int]:
    """Return the contract's known divergences that showed in this run, and how many others there are."""
    seen = [entry for entry in document["known"] if entry["seen_on"]]
    return seen, len(document["known"]) - len(seen)


def latencies_of(document: Document) -> list[dict[str, Any]]:
    """Return one measurement of each kind on each runtime: that with the most samples."""
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for each in document["latencies"]:
        place = each["runtime"], each["kind"]
        if len(each["elapsed_ns"]) > len(best.get(place, {}).get("elapsed_ns", ())):
            best[place] = each
    return list(best.values())


def cold_of(document: Document, row: dict[str, Any]) -> dict[str, Any] | None:
    """Return a runtime's cold start in its own cache state, or as a deployed edge decides; None without."""
    wanted = (f"cold/{row['cache_state']}", "edge/cold")
    found = [
        each for each in latencies_of(document) if each["runtime"] == row["name"] and each["kind"] in wanted
    ]
    return found[0] if found else None


def ms(latency: dict[str, Any] | None) -> str:
    """Return the median of a measurement in milliseconds; a dash without one."""
    return f"{statistics.median(latency['elapsed_ns']) / 1e6:.1f}" if latency else "-"
