"""The record counts what pytest reports, and nothing else."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path

import pytest

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.latency.gate import Rules
from pytest_wasmedge.latency.measurement import Finding, Measurement
from pytest_wasmedge.latency.sampling import Sample
from pytest_wasmedge.model import Artifact, Availability, Divergence, Leak
from pytest_wasmedge.portability.compare import DivergenceError
from pytest_wasmedge.portability.leaks import LeakError
from pytest_wasmedge.provision import provenance, provenances
from pytest_wasmedge.provision.cache import folder
from pytest_wasmedge.provision.pins import RECORD, pin
from pytest_wasmedge.reports import record
from pytest_wasmedge.reports.record import RunRecord
from pytest_wasmedge.runtimes import builtin_runtimes
from pytest_wasmedge.testing import FakeRuntime
from tests.tools import put


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


def test_where_a_runtime_came_from_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime's row knows what was fetched for it: of a Debian program every package, with its digest."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path))
    package = {"package": "wasmedge", "version": "0.17.1-1", "digest": "sha256:" + "0" * 64}
    record = json.dumps({"suite": "forky", "packages": [package]})
    put(folder("tools").parent, pin("wasmedge"), files={RECORD: record.encode()})
    run = new()
    for runtime in builtin_runtimes():
        run.add_runtime(runtime, Availability(True, "1.0"))
    tools = {row.name: row.tools for row in run.runtimes.values()}

    [came] = tools["wasmedge"]
    assert (came.tool, came.version, came.source) == ("wasmedge", "0.17.1-1", "debian forky")
    assert [asdict(each) for each in came.packages] == [package]
    assert tools["wasmtime"] == ()


def test_a_damaged_record_of_a_tool_breaks_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be told of a tool is left out; whoever installs it is told."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path))
    put(folder("tools").parent, pin("wasmedge"), files={RECORD: b"{"})

    assert provenances(["wasmedge"]) == ()
    with pytest.raises(ProvisionError, match=r"The record .* cannot be used: .* Delete .* fetched anew"):
        provenance("wasmedge")


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


def test_latencies_are_kept_by_kind() -> None:
    """Raw samples come as a tuple in process and as a list from xdist; of two, the one with more samples stays."""
    run = new()
    for elapsed_ns, test in (([3, 1, 2], "a::long"), ((9,), "a::short")):
        raw = {"runtime": "one", "kind": "cold/code-cache", "elapsed_ns": elapsed_ns, "phases_ns": {"run": 1}}
        run.add_test("one", "passed", {record.MEASURED: [raw]}, test)
    run.add_test("one", "passed", {})
    latency = run.runtimes["one"].cold

    assert latency is not None
    assert (latency.median_ns, latency.kind, latency.test) == (2, "cold/code-cache", "a::long")
    assert run.runtimes["two"].cold is None
    assert run.latencies == [latency]


def test_a_known_divergence_has_run() -> None:
    """A test that ended as the contract says has come to a verdict, and its entry was met."""
    run = new()
    run.add_test("one", "known", {record.CASE: "errors/deep", record.KNOWN: [12]})

    assert run.ran
    assert (run.runtimes["one"].known, run.runtimes["one"].divergences) == (1, 0)
    assert run.cases == {("errors/deep", "one"): "known"}
    assert run.known == {(12, "one")}


def test_properties_travel_as_plain_values() -> None:
    """What a test measured and found can be sent by pytest-xdist, and comes back as it was."""
    measurement = Measurement(
        "one",
        "warm/tiny",
        iter(
            [
                Sample("one", "warm/tiny", 5, {"run": 2}, 2, 7, 100),
                Sample("one", "warm/tiny", 7, {}, 3, 9, 90),
            ]
        ).__next__,
        2,
        rules=Rules(),
        rng=random.Random(1),
    )
    assert not record.measured_facts([measurement], [])
    measurement.take()
    finding = Finding("one", "warm/tiny", "25ms", "pass", "so")
    sent = json.loads(json.dumps(dict(record.measured_facts([measurement], [finding]))))
    run = new()
    run.add_test("one", "passed", sent, "a::test")

    assert run.findings == [finding]
    assert run.latencies == [record.Latency("one", "warm/tiny", (5, 7), {}, 8, 100, "a::test")]
    assert not record.measured_facts([], [])


def test_fields_of_errors() -> None:
    """Divergences tell their fields, leaks are leaks, any other error tells none."""
    divergences = [Divergence("stderr", "one", "a", "b"), Divergence("ending", "one", "a", "b")]

    assert record.fields_of(DivergenceError(divergences)) == ["stderr", "ending"]
    assert record.fields_of(LeakError("one", [Leak("pointer", "stderr", 0, "0x1", "0x1")])) == ["leak"]
    assert record.fields_of(ValueError()) == record.fields_of(None) == []


def test_hazards_are_kept_with_their_runtimes() -> None:
    """A hazard is listed once, with every runtime that showed it."""
    run = new()
    for name in ("one", "two"):
        run.add_test(name, "passed", {record.HAZARDS: ["frozen seed"]})

    assert run.hazards == {"frozen seed": ["one", "two"]}
