"""Records to test with, as a run writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_wasmedge.reports.document import Document, fold

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/record.schema.json").read_text("utf-8"))
#: What a hostile guest may print.
HOSTILE = "<script>boom()</script>]]>`|\x1b[31m\u202e&lt;<!--"


def begin(*names: str, missing: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """Return the first event of a run on these runtimes; those that are missing cannot run."""
    every = [*names, *missing]
    return {
        "event": "begin",
        "schema": 1,
        "run": {
            "id": "0123456789abcdef",
            "began_at": "2026-11-29T12:00:00+00:00",
            "seed": 5,
            "shard": None,
            "environment": {
                "pytest_wasmedge": "0.1.0",
                "pytest": "9.2.0",
                "python": "3.11.7",
                "github": False,
            },
            "machine": {
                "processor": "x",
                "cores": 2,
                "memory_bytes": 8,
                "system": "Linux 6.1 x86_64",
                "python": "3.11.7",
            },
            "fingerprint": "00112233",
            "runtimes": every,
        },
        "artifact": {
            "name": "ruby-worker",
            "sha256": "ab" * 32,
            "size_bytes": 18_500_000,
            "builtin": True,
            "functions": 17_800,
            "imports": ["wasi_snapshot_preview1.fd_write"],
            "memory_min_pages": 900,
            "memory_max_pages": None,
            "proposals": [],
        },
        "baseline": None,
        "reference": "golden files",
        "runtimes": [_runtime(name, name not in missing) for name in every],
        **more,
    }


def _runtime(name: str, here: bool) -> dict[str, Any]:
    return {
        "name": name,
        "engine": "V8",
        "available": here,
        "version": "1.0" if here else "",
        "engine_version": "15.0" if here else "",
        "reason": "" if here else f"NOT FOUND: no {name} command",
        "install": "" if here else f"pytest-wasmedge install {name}",
        "lacks": [],
        "cache_state": "no-cache",
        "deployed": False,
        "yardstick": False,
        "wrapped": "",
        "flags": [],
        "statuses": "",
        "unchecked": [],
        "tools": [],
        "density_bytes": None,
    }


def row_of(case: str, runtime: str, verdict: str = "passed", **more: Any) -> dict[str, Any]:
    """Return the event of one test; what is not of its row is beside it."""
    beside: dict[str, Any] = {
        key: more.pop(key)
        for key in ("measured", "findings", "answers", "hazards", "reference")
        if key in more
    }
    row = {"test": f"test_cases.py::test_case[{case}]", "case": case, "runtime": runtime, "verdict": verdict}
    return {"event": "test", "row": row | more, **beside}


def diverging(case: str, runtime: str, text: str = HOSTILE, verdict: str = "failed") -> dict[str, Any]:
    """Return the event of a test whose stdout is this text, where two lines were expected."""
    sides = ["expected\nlines", text.encode("unicode_escape").decode()]
    found = {
        "field": "stdout",
        "expected": '14 bytes "…"',
        "actual": text,
        "offset": 0,
        "line": 1,
        "sides": sides,
    }
    message = f"{runtime}: stdout {text}, not expected"
    return row_of(case, runtime, verdict, message=message, asked="stdin 5 bytes", divergences=[found])


def measured(runtime: str, *values_ms: float, ceiling: str = "25ms", verdict: str = "pass") -> dict[str, Any]:
    """Return the event of a test that measured a cold start and held it against a ceiling."""
    samples = [round(value * 1e6) for value in values_ms]
    latency = {
        "runtime": runtime,
        "kind": "cold/no-cache",
        "elapsed_ns": samples,
        "phases_ns": {"spawn": 2_000_000, "run": 1_000_000},
        "cpu_ns": None,
        "peak_memory_bytes": None,
        "interval_ns": [min(samples), max(samples)],
    }
    finding = {
        "runtime": runtime,
        "kind": "cold/no-cache",
        "limit": ceiling,
        "verdict": verdict,
        "sentence": f"{runtime} cold/no-cache: {verdict}",
        "estimate": float(samples[0]),
        "low": float(min(samples)),
        "high": float(max(samples)),
        "count": len(samples),
    }
    failed = "failed" if verdict == "fail" else "passed"
    more = {"slow": True} if verdict == "fail" else {}
    return row_of("test_ceiling", runtime, failed, measured=[latency], findings=[finding], **more)


def end(status: int = 0, stopped: str = "", **more: Any) -> dict[str, Any]:
    """Return the last event of a run."""
    told: dict[str, Any] = {key: {} for key in ("compared", "changed", "varying", "work")}
    told |= {key: [] for key in ("known", "again", "undeclared", "broken", "closing")}
    return {
        "event": "end",
        "ended_at": "2026-11-29T12:05:00+00:00",
        "status": status,
        "stopped": stopped,
        **told,
        **more,
    }


def document(*events: dict[str, Any]) -> Document:
    """Return the document of these events; they are copied, since documents share parts with them."""
    return fold(json.loads(json.dumps(events)))
