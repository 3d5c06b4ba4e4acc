"""The closing table, to the letter."""

from __future__ import annotations

from pathlib import Path

from pytest_wasmedge.model import Artifact, Availability
from pytest_wasmedge.reports import record
from pytest_wasmedge.reports.record import RunRecord
from pytest_wasmedge.reports.terminal import table, title
from pytest_wasmedge.testing import FakeRuntime


def fake(name: str, engine: str) -> FakeRuntime:
    """Return a fake of this engine."""
    runtime = FakeRuntime(name)
    runtime.engine = engine
    return runtime


def new(name: str = "ruby-worker") -> RunRecord:
    """Return a record of an artifact of this name, with no runtime yet."""
    return RunRecord(Artifact(Path("a.wasm"), "0123456789abcdef" * 4, 1, name), "golden files")


def measured(runtime: str, kind: str, *values_ms: float, **more: object) -> dict[str, object]:
    """Return what a test tells that measured this."""
    elapsed_ns = [round(value * 1e6) for value in values_ms]
    return {record.MEASURED: [{"runtime": runtime, "kind": kind, "elapsed_ns": elapsed_ns, **more}]}


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
        run.add_test("wasmtime", "passed", {record.REFERENCE: True})
    run.add_test("wasmtime", "passed", measured("wasmtime", "cold/code-cache", 7.28, 9))
    run.add_test(
        "wasmtime",
        "passed",
        {**measured("wasmtime", "warm/tiny", 3.249), record.HAZARDS: ["the seed is frozen"]},
    )
    run.add_test("workerd", "failed", {record.DIVERGENCES: 2})
    run.add_test("workerd", "passed", measured("workerd", "cold/no-cache", 181))
    run.add_test("workerd", "passed", measured("workerd", "warm/tiny", 12.46))
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
    ]


def test_a_hazard_seen_everywhere() -> None:
    """A hazard that showed on every runtime that ran is the artifact's alone."""
    run = new()
    for name in ("one", "two"):
        run.add_runtime(fake(name, "none"), Availability(True, "1.0"))
        run.add_test(name, "passed", {record.HAZARDS: ["the seed is frozen"]})

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
    run.add_test("one\r", "passed", {record.HAZARDS: ["haz\x1bard\u202e"]})
    texts = [title(run), *(line for line, _ in table(run))]

    assert all(text.isprintable() for text in texts)
    assert r"evil\x1b[2Jname\n" in texts[0]
    assert any(r"haz\x1bard" in text for text in texts)


def test_a_table_of_latencies() -> None:
    """Whatever was measured beyond one cold and one warm kind stands in a table of its own, one row a runtime."""
    run = new()
    for name in ("one", "two", "three"):
        runtime = fake(name, "none")
        runtime.cache_state = "code-cache" if name == "one" else "no-cache"
        run.add_runtime(runtime, Availability(True, "1.0"))
    told = {"cpu_ns": 150_000_000, "peak_memory_bytes": 90_000_000}
    # Whatever is measured first: the cold start is that in the runtime's own cache state.
    run.add_test("one", "passed", measured("one", "cold/evicted", 31) | {record.DENSITY_BYTES: 7_400_000})
    run.add_test("one", "passed", measured("one", "cold/code-cache", 20, 22, 24, **told))
    run.add_test("one", "passed", measured("one", "cold/no-cache", 9000))
    run.add_test("one", "passed", measured("one", "warm/heavy", 170.25))
    run.add_test("two", "passed", measured("two", "cold/no-cache", 250))
    run.add_test("two", "passed", measured("two", "floor/no-cache", 120))
    run.add_test("three", "passed", {})

    assert [line for line, _ in table(run)[-3:]] == [
        "latency, medians in ms  floor   cold  evicted  no-cache  heavy  cold CPU ms  peak MB  MB per guest",
        "one                         -   22.0     31.0    9000.0  170.2        150.0       90             7",
        "two                     120.0  250.0        -         -      -            -        -             -",
    ]


def test_findings_have_their_colours() -> None:
    """Each verdict on a latency is one line: good, bad, or loud where there is none."""
    run = new()
    run.add_runtime(fake("one", "none"), Availability(True, "1.0"))
    for verdict in ("pass", "fail", "undecided"):
        finding = {
            "runtime": "one",
            "kind": "cold/no-cache",
            "limit": "25ms",
            "verdict": verdict,
            "sentence": "so",
        }
        run.add_test("one", "passed", {record.FINDINGS: [finding]})

    assert table(run)[-3:] == [("pass: so", "good"), ("fail: so", "bad"), ("undecided: so", "warn")]


def test_what_changed_since_the_baseline() -> None:
    """Every outcome that changed is listed with where; that none did is said too."""
    run = new()
    run.baseline = Artifact(Path("base.wasm"), "fedcba9876543210" * 4, 1, "base")
    for name in ("one", "two"):
        run.add_runtime(fake(name, "none"), Availability(True, "1.0"))
        run.add_test(name, "passed", {})
        run.add_comparisons({record.COMPARED: [[name, "a"], [name, "b"]]}, [name])
    assert table(run)[-1] == (
        "4 outcomes compared on 2 runtimes with the baseline base, sha256 fedcba9876543210: no outcome changed",
        "plain",
    )

    for name, changed in (
        ("one", "core/hash (stdout)"),
        ("two", "core/hash (stdout)"),
        ("two", "core/array (ending)"),
    ):
        run.add_comparisons({record.CHANGED: [[name, changed]], record.COMPARED: [[name, "a"]]}, ["one"])
    assert table(run)[-3:] == [
        (
            "7 outcomes compared on 2 runtimes with the baseline base, sha256 fedcba9876543210: changed:",
            "warn",
        ),
        ("  core/array (ending) on two", "warn"),
        ("  core/hash (stdout) on every runtime run", "warn"),
    ]


def test_what_the_contract_knows_and_what_a_runtime_does_not_tell() -> None:
    """Known divergences are counted; what cannot be checked is said; what is stale is bad."""
    run = new()
    edge = fake("edge", "deployed")
    edge.unchecked = frozenset({"stderr", "ending"})
    edge.wrapped = "in a component"
    run.add_runtime(edge, Availability(True, "1.0"))
    run.add_test("edge", "known", {})
    run.broken.append("portability.toml:3: errors/deep no longer diverges on edge 1.0: delete lines 3 to 8.")

    assert table(run)[-4:] == [
        ("known divergences, by the contract or by the runtime itself: edge 1", "warn"),
        ("edge does not report ending and stderr: not checked there", "warn"),
        ("edge: wrapped, not unchanged (in a component)", "plain"),
        ("portability.toml:3: errors/deep no longer diverges on edge 1.0: delete lines 3 to 8.", "bad"),
    ]
