"""The record counts what pytest reports, and nothing else."""

from __future__ import annotations

from pathlib import Path

from pytest_wasmedge.model import Artifact
from pytest_wasmedge.reports import record
from pytest_wasmedge.reports.record import RunRecord
from pytest_wasmedge.runtimes.base import Availability
from pytest_wasmedge.testing import FakeRuntime


def new() -> RunRecord:
    """Return the record of a run on one and two."""
    run = RunRecord(Artifact(Path("a.wasm"), "ab" * 32, 1, "a"), "golden files")
    for name in ("one", "two"):
        run.add_runtime(FakeRuntime(name), Availability(True, "1.0"))
    return run


def test_verdicts_are_counted_by_runtime() -> None:
    """Each test counts once, for its own runtime."""
    run = new()
    for verdict in ("passed", "passed", "failed", "skipped"):
        run.add_test("one", verdict, {})
    one, two = run.runtimes["one"], run.runtimes["two"]

    assert (one.passed, one.failed, one.skipped) == (2, 1, 1)
    assert (two.passed, two.failed, two.skipped) == (0, 0, 0)


def test_a_test_of_no_runtime_is_not_counted() -> None:
    """A test that was skipped because none of its runtimes is selected belongs to no row."""
    run = new()
    run.add_test("none", "skipped", {})

    assert not run.ran


def test_skipping_is_not_running() -> None:
    """A run of which every test was skipped has proved nothing; one failure is enough to have run."""
    run = new()
    run.add_test("one", "skipped", {})
    assert not run.ran
    run.add_test("two", "failed", {})
    assert run.ran
    assert not run.runtimes["one"].ran


def test_divergences_add_up() -> None:
    """Divergences of all tests of a runtime are added."""
    run = new()
    for count in (2, 1):
        run.add_test("one", "failed", {record.DIVERGENCES: count})

    assert run.runtimes["one"].divergences == 3


def test_latencies_are_medians() -> None:
    """Raw samples come as a tuple in process and as a list from xdist; the row holds their median."""
    run = new()
    run.add_test("one", "passed", {record.COLD_NS: [3, 1, 2], record.COLD_KIND: "cold/code-cache"})
    run.add_test("one", "passed", {record.WARM_NS: (10, 30)})
    run.add_test("one", "passed", {})
    row = run.runtimes["one"]

    assert (row.cold_ns, row.warm_ns, row.cold_kind) == (2, 20, "cold/code-cache")
    assert run.runtimes["two"].cold_ns is None


def test_hazards_are_kept_with_their_runtimes() -> None:
    """A hazard is listed once, with every runtime that showed it."""
    run = new()
    for name in ("one", "two"):
        run.add_test(name, "passed", {record.HAZARD: "frozen seed"})

    assert run.hazards == {"frozen seed": ["one", "two"]}
