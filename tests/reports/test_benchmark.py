"""What was measured lands in pytest-benchmark's storage, alone and under xdist, if it is asked for."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_wasmedge.latency.journal import machine
from pytest_wasmedge.model import Artifact, Availability
from pytest_wasmedge.reports.benchmark import add_record, wanted
from pytest_wasmedge.reports.record import Latency, RunRecord
from pytest_wasmedge.testing import FakeRuntime

# Each test measures where it runs; its samples travel in its report, as those of our fixtures do.
CONFTEST = """
from pathlib import Path

import pytest
from pytest_wasmedge.model import Artifact, Availability
from pytest_wasmedge.reports import benchmark
from pytest_wasmedge.reports.record import MEASURED, RunRecord
from pytest_wasmedge.testing import FakeRuntime

@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_generate_machine_info(config):
    # The real one tells the processor's momentary clock, so it differs from run to run.
    return {"machine": "made up"}

class Recorder:
    def __init__(self):
        self.record = RunRecord(Artifact(Path("a.wasm"), "00ff", 1, "a"), "golden files")
        for name in ("node", "deno"):
            self.record.add_runtime(FakeRuntime(name), Availability(True, "1.2.3"))

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            for name, value in report.user_properties:
                if name == "measured":
                    self.record.add_test(value["runtime"], "passed", {MEASURED: [value]}, report.nodeid)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session):
        benchmark.add_record(session.config, self.record)
        return (yield)

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder())
"""
TESTS = """
import os
import pytest

PACE = int(os.environ.get("PACE", "1"))

def measured(runtime, kind, *elapsed_ms):
    return {
        "runtime": runtime,
        "kind": kind,
        "elapsed_ns": [PACE * 1_000_000 * each for each in elapsed_ms],
        "phases_ns": {"spawn": 7},
        "cpu_ns": None,
    }

@pytest.mark.parametrize("runtime", ["node", "deno"])
def test_cold(runtime, record_property):
    slower = {"node": 0, "deno": 10}[runtime]
    record_property("measured", measured(runtime, "cold/no-cache", 200 + slower, 202 + slower, 210 + slower))

def test_two_kinds(record_property):
    record_property("measured", measured("node", "cold/code-cache", 20, 22, 24))
    record_property("measured", measured("node", "cold/evicted", 30, 33, 36))
"""
COLD_NODE = "test_it.py::test_cold[node]::cold/no-cache[node]"
COLD_DENO = "test_it.py::test_cold[deno]::cold/no-cache[deno]"

xdist = pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project whose three tests measure four things, all made up."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_it=TESTS)
    return pytester


def run(project: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run pytest in a process of its own, warnings being errors; the conftest does the plugin's part."""
    return project.runpytest_subprocess("-p", "no:wasmedge", "-W", "error", *options)


def saved(path: Path) -> dict[str, dict[str, Any]]:
    """Return the benchmarks of a saved run by their full names."""
    benchmarks = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    by_name = {benchmark["fullname"]: benchmark for benchmark in benchmarks}
    assert len(by_name) == len(benchmarks)
    return by_name


@xdist
def test_json_holds_the_raw_samples(project: pytest.Pytester, workers: list[str]) -> None:
    """`--benchmark-json` holds each measurement with its raw samples in seconds, in a group by kind."""
    result = run(project, "--benchmark-json=out.json", *workers)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        ["*benchmark 'cold/no-cache': 2 tests*", "test_cold?node?*", "test_cold?deno?*"]
    )
    benchmarks = saved(project.path / "out.json")
    node = benchmarks[COLD_NODE]

    assert set(benchmarks) == {
        COLD_NODE,
        COLD_DENO,
        "test_it.py::test_two_kinds::cold/code-cache[node]",
        "test_it.py::test_two_kinds::cold/evicted[node]",
    }
    assert node["name"] == "test_cold[node]"
    assert node["group"] == "cold/no-cache"
    assert node["params"] == {"runtime": "node"}
    assert node["extra_info"] == {
        "runtime": "node",
        "kind": "cold/no-cache",
        "artifact_sha256": "00ff",
        "runtime_version": "1.2.3",
        "phases_ns": {"spawn": 7},
        "machine": machine(),
    }
    assert node["stats"]["data"] == [0.2, 0.202, 0.21]
    assert node["stats"]["median"] == 0.202
    assert node["stats"]["rounds"] == 3
    assert node["stats"]["iterations"] == 1


@xdist
def test_autosaved_runs_can_be_compared(project: pytest.Pytester, workers: list[str]) -> None:
    """`pytest-benchmark compare` lists each measurement of two autosaved runs, beside each other."""
    for _ in range(2):
        assert run(project, "--benchmark-autosave", *workers).ret == 0
    result = project.run(sys.executable, "-m", "pytest_benchmark", "compare", "--columns=median")

    assert result.ret == 0
    for name in ("test_cold[node]", "test_cold[deno]"):
        assert result.stdout.str().count(f"{name} (0001") == result.stdout.str().count(f"{name} (0002") > 0
    result.stdout.fnmatch_lines(["*benchmark 'cold/no-cache': 4 tests*"])


@xdist
def test_a_planted_regression_is_red(
    project: pytest.Pytester, workers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--benchmark-compare-fail` is green on the same samples, and red when each takes twice as long."""
    compare = ["--benchmark-compare=0001", "--benchmark-compare-fail=median:5%"]
    assert run(project, "--benchmark-save=base", *workers).ret == 0
    assert run(project, *compare, *workers).ret == 0
    monkeypatch.setenv("PACE", "2")
    result = run(project, *compare, *workers)

    assert result.ret not in (0, pytest.ExitCode.USAGE_ERROR)
    result.stderr.fnmatch_lines(
        [
            "Performance has regressed:",
            "*test_cold?node?* - Field 'median' has failed PercentageRegressionCheck: 100.0* > 5.0*",
        ]
    )


@xdist
def test_histograms_show_ours(project: pytest.Pytester, workers: list[str]) -> None:
    """`--benchmark-histogram` draws one picture for each kind."""
    if importlib.util.find_spec("pygal") is None:
        pytest.skip("pytest-benchmark draws with pygal, which is not installed: pip install pygal")
    result = run(project, "--benchmark-histogram=drawn", *workers)
    drawn = sorted(path.name for path in project.path.glob("drawn*.svg"))

    assert result.ret == 0
    assert drawn == ["drawn-cold_code-cache.svg", "drawn-cold_evicted.svg", "drawn-cold_no-cache.svg"]
    assert COLD_DENO in (project.path / "drawn-cold_no-cache.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "options",
    [
        ["-p", "no:benchmark"],
        ["-p", "no:benchmark", "-n", "2"],
        [],
        ["--benchmark-disable", "--benchmark-json=out.json", "-n", "2"],
        ["--benchmark-skip", "--benchmark-json=out.json"],
    ],
    ids=["absent", "absent under xdist", "not asked for", "disabled", "skipped"],
)
def test_unasked_nothing_is_added(project: pytest.Pytester, options: list[str]) -> None:
    """Without pytest-benchmark, unasked, or with benchmarks switched off, a run is as without us."""
    result = run(project, "-W", "ignore:Not saving anything", *options)

    result.assert_outcomes(passed=3)
    assert result.ret == 0
    assert "test_cold" not in result.stdout.str()
    assert not (project.path / "out.json").exists()


def config(*, skip: bool = False, worker: bool = False, **options: object) -> SimpleNamespace:
    """Return what we read of pytest's configuration."""
    found = SimpleNamespace(
        _benchmarksession=SimpleNamespace(skip=skip, benchmarks=[]),
        getoption=lambda name, default: options.get(name, default),
    )
    if worker:
        found.workerinput = {}
    return found


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({}, False),
        ({"benchmark_compare": []}, False),
        ({"benchmark_compare": True}, True),
        ({"benchmark_histogram": ["drawn"]}, True),
        ({"benchmark_only": True}, True),
        ({"benchmark_autosave": "tag", "benchmark_disable": True}, False),
        ({"benchmark_autosave": "tag", "benchmark_disable": True, "benchmark_enable": True}, True),
        ({"benchmark_save": "tag", "skip": True}, False),
        ({"benchmark_save": "tag", "worker": True}, False),
    ],
)
def test_wanted_is_what_the_user_said(options: dict[str, Any], answer: bool) -> None:
    """An output that was asked for is wanted, unless the user switched benchmarks off or this is a worker."""
    assert wanted(config(**options)) is answer


def test_the_same_again_keeps_its_own_name() -> None:
    """Two measurements of one kind in one test are told apart; one without samples is left out."""
    asked = config(benchmark_json="out.json")
    run = RunRecord(Artifact(Path("a.wasm"), "00ff", 1, "a"), "golden files")
    run.add_runtime(FakeRuntime("node"), Availability(True, "1.2.3"))
    same = Latency("node", "warm/tiny", (1_500_000_000,), test="a.py::test")
    empty = Latency("node", "warm/tiny", (), test="a.py::other")
    run.measured += [same, empty, same]
    add_record(asked, run)

    assert [(each.fullname, each.stats.data) for each in asked._benchmarksession.benchmarks] == [
        ("a.py::test::warm/tiny[node]", [1.5]),
        ("a.py::test::warm/tiny[node]#2", [1.5]),
    ]
