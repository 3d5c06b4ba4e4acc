"""The closing table, to the letter."""

from __future__ import annotations

from pathlib import Path

from pytest_wasmedge.model import Artifact
from pytest_wasmedge.reports import record
from pytest_wasmedge.reports.record import RunRecord
from pytest_wasmedge.reports.terminal import table, title
from pytest_wasmedge.runtimes.base import Availability
from pytest_wasmedge.testing import FakeRuntime


def fake(name: str, engine: str) -> FakeRuntime:
    """Return a fake of this engine."""
    runtime = FakeRuntime(name)
    runtime.engine = engine  # type: ignore[misc]
    return runtime


def new(name: str = "ruby-worker") -> RunRecord:
    """Return a record of an artifact of this name, with no runtime yet."""
    return RunRecord(Artifact(Path("a.wasm"), "0123456789abcdef" * 4, 1, name), "golden files")


def test_everything_that_can_be_in_it() -> None:
    """Good, failing, idle and missing runtimes, both kinds of cold starts, and hazards, as they print."""
    run = new()
    run.add_runtime(fake("wasmtime", "Cranelift"), Availability(True, "50.0.1", "50.0.1"))
    run.add_runtime(fake("workerd", "V8"), Availability(True, "1.20261117.1", "15.0.245"))
    run.add_runtime(fake("bun", "JavaScriptCore"), Availability(True, "1.4.5"))
    run.add_runtime(
        fake("deno", "V8"),
        Availability(False, reason="no deno command found", install="pytest-wasmedge install deno"),
    )
    run.add_runtime(fake("spin", "Cranelift"), Availability(False, reason="only for Linux"))
    for _ in range(214):
        run.add_test("wasmtime", "passed", {})
    run.add_test(
        "wasmtime", "passed", {record.COLD_NS: [7_280_000, 9_000_000], record.COLD_KIND: "cold/code-cache"}
    )
    run.add_test("wasmtime", "passed", {record.WARM_NS: [3_249_000], record.HAZARD: "the seed is frozen"})
    run.add_test("workerd", "failed", {record.DIVERGENCES: 2})
    run.add_test("workerd", "passed", {record.COLD_NS: [181_000_000], record.COLD_KIND: "cold/no-cache"})
    run.add_test("workerd", "passed", {record.WARM_NS: [12_460_000]})
    run.add_test("bun", "skipped", {})

    assert title(run) == "portability of ruby-worker, sha256 0123456789abcdef"
    assert table(run) == [
        (
            "runtime   version       engine            passed  failed  skipped  divergences  cold ms  warm ms",
            "plain",
        ),
        (
            "wasmtime  50.0.1        Cranelift 50.0.1     216       0        0            0      8.1      3.2",
            "good",
        ),
        (
            "workerd   1.20261117.1  V8 15.0.245            2       1        0            2    181.0     12.5",
            "bad",
        ),
        (
            "bun       1.4.5         JavaScriptCore         0       0        1            0        -        -",
            "warn",
        ),
        ("deno  NOT RUN: no deno command found; get it with `pytest-wasmedge install deno`", "warn"),
        ("spin  NOT RUN: only for Linux", "warn"),
        ("reference: golden files", "plain"),
        ("cold ms, warm ms: medians; cold/code-cache: wasmtime; cold/no-cache: workerd", "plain"),
        ("known hazard of this artifact: the seed is frozen (seen on wasmtime)", "warn"),
    ]


def test_nothing_ran() -> None:
    """A run in which no test came to a verdict says so in the colour of failure."""
    run = new()
    run.add_runtime(fake("deno", "V8"), Availability(False, reason="no deno command found"))

    assert table(run) == [
        ("runtime  version  engine  passed  failed  skipped  divergences  cold ms  warm ms", "plain"),
        ("deno  NOT RUN: no deno command found", "warn"),
        ("no test ran on any runtime: this run proves nothing", "bad"),
        ("reference: golden files", "plain"),
    ]


def test_a_hazard_seen_everywhere() -> None:
    """A hazard that showed on every runtime that ran is the artifact's alone."""
    run = new()
    for name in ("one", "two"):
        run.add_runtime(fake(name, "none"), Availability(True, "1.0"))
        run.add_test(name, "passed", {record.HAZARD: "the seed is frozen"})

    assert table(run)[-1] == (
        "known hazard of this artifact: the seed is frozen (seen on every runtime run)",
        "warn",
    )


def test_hostile_text_is_escaped() -> None:
    """Names, versions, reasons and hazards can come from others: none of them moves the cursor or colours."""
    run = new("evil\x1b[2Jname\n\x9b31m")
    run.add_runtime(
        fake("one\r", "en\x1b[31mgine"), Availability(True, "1.0\x1b]0;t\x07", install="", path="")
    )
    run.add_runtime(fake("two", "none"), Availability(False, reason="because\x1b[0m\nof", install="a\tb\x07"))
    run.add_test("one\r", "passed", {record.HAZARD: "haz\x1bard\u202e"})
    texts = [title(run), *(line for line, _ in table(run))]

    assert all(text.isprintable() for text in texts)
    assert r"evil\x1b[2Jname\n" in texts[0]
    assert any(r"haz\x1bard" in text for text in texts)
