"""The comparison with the baseline: on all runtimes by turns, once per run, within one budget."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests import wat

CONFTEST = """
from pathlib import Path
from pytest_wasmedge import *
from pytest_wasmedge.testing import FakeRuntime

STARTED = Path(__file__).with_name("started.txt")

class Told(FakeRuntime):
    def start(self, artifact, limits):
        with STARTED.open("a") as file:
            file.write(f"{self.name} {artifact.name}\\n")
        return super().start(artifact, limits)

class Dies(Told):
    def start(self, artifact, limits):
        answer = Outcome(b"", b"no more", exited(1)) if artifact.name == "echo" else b"old"
        inner = FakeRuntime(self.name, lambda invocation: answer)
        host = inner.start(artifact, limits)
        inner.start = self.start
        return host

class Tires(Told):
    starts = 0

    def start(self, artifact, limits):
        Tires.starts += 1
        answer = Outcome(b"", b"no more", exited(1)) if Tires.starts > 20 else b"fine"
        inner = FakeRuntime(self.name, lambda invocation: answer)
        host = inner.start(artifact, limits)
        inner.start = self.start
        return host

def pytest_wasmedge_runtimes(config, runtimes):
    return [Told("one"), Told("two"), Told("three"), Dies("dies"), Tires("tires")]
"""
TESTS = "def test_no_slower(slowdown):\n    assert slowdown.verdict != 'fail', slowdown.sentence\n"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with an artifact, its baseline and a cache of its own."""
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    wat.write(pytester.path / "base.wasm", wat.ECHO.replace("$read", "$reads"))
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(pytester.path / "cache"))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TESTS)
    return pytester


def run(project: pytest.Pytester, *options: str) -> tuple[pytest.RunResult, list[str]]:
    """Run it against the baseline; return the result, and what was started, as ``RUNTIME ARTIFACT``."""
    told = ("--wasm-artifact=echo.wasm", "--wasm-against=base.wasm", "--wasm-margin=900%", *options)
    result = project.runpytest_subprocess(*told)
    return result, (project.path / "started.txt").read_text().splitlines()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_compares_once(project: pytest.Pytester, workers: str) -> None:
    """One test measures for all, also for those that another worker runs; nothing of it is left behind."""
    result, started = run(project, "--runtimes=one,two,three", "-n", workers)

    result.assert_outcomes(passed=3)
    pairs = {name: int(n) for name, n in re.findall(r"(\w+) cold/\S+ .* (\d+) pairs", result.stdout.str())}
    assert set(pairs) == {"one", "two", "three"}
    # Besides the pairs: one start that prepares and compiles, and a host of the artifact that is asked beforehand.
    for name, count in pairs.items():
        assert (Counter(started)[f"{name} base"], Counter(started)[f"{name} echo"]) == (count + 1, count + 1)
    assert not list((project.path / "cache").rglob("against-*"))


def test_runtimes_take_turns(project: pytest.Pytester) -> None:
    """No runtime is done before another one has begun."""
    _, started = run(project, "--runtimes=one,two,three", "-n", "0")
    places = {
        name: [at for at, each in enumerate(started) if each == f"{name} base"] for name in ("one", "two")
    }

    assert places["two"][3] < places["one"][-1]
    assert places["one"][3] < places["two"][-1]


@pytest.mark.parametrize("runtimes", ["one,dies,two", "dies,one,two"])
def test_a_runtime_that_cannot_be_compared_fails_alone(project: pytest.Pytester, runtimes: str) -> None:
    """An artifact that does not answer on one runtime is told by that runtime's test; the others have their verdict."""
    result, _ = run(project, f"--runtimes={runtimes}", "-n", "0")

    result.assert_outcomes(passed=2, errors=1)
    assert "dies: an invocation before the measurement ended as exited(1)" in result.stdout.str()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_breaks_off_in_the_middle_is_red(project: pytest.Pytester, workers: str) -> None:
    """A start that gives no answer, after many that did, fails that runtime's test, whoever measured it."""
    result, _ = run(project, "--runtimes=one,tires,two", "-n", workers)

    result.assert_outcomes(passed=2, errors=1)
    assert re.search(r"tires.* ended as exited\(1\), not as exited\(0\): no more", result.stdout.str())


def test_only_what_is_run_is_compared(project: pytest.Pytester) -> None:
    """With -k, no start is spent on runtimes whose tests are left out."""
    _, started = run(project, "--runtimes=one,two,three", "-n", "0", "-k", "two")

    assert {each.partition(" ")[0] for each in started} == {"two"}
