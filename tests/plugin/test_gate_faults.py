"""Faults planted in the gate itself: each ends with a status other than 0, and says why; a clean run does not.

`make faults` runs these alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pytest_wasmedge.latency import sampling
from tests import wat

CONFTEST = """
import itertools
import os
from pytest_wasmedge import *
from pytest_wasmedge.errors import *
from pytest_wasmedge.testing import FakeRuntime

class Vanishing(FakeRuntime):
    def start(self, artifact, limits):
        raise RuntimeUnavailableError("its program is gone")

class Refusing(FakeRuntime):
    def start(self, artifact, limits):
        raise HostStartError(f"{self.name}: it cannot hold this artifact")

class Edge(FakeRuntime):
    deployed = True

def by_artifact(head, base):
    class Two(FakeRuntime):
        def start(self, artifact, limits):
            inner = FakeRuntime(self.name, lambda invocation: base if artifact.name == "base" else head)
            host = inner.start(artifact, limits)
            inner.start = self.start
            return host
    return Two

def counting():
    numbers = itertools.count()
    return lambda invocation: b"%d" % next(numbers)

TRAPPED, FAILED = Outcome(b"", b"", trapped("unreachable")), Outcome(b"", b"no more", exited(1))

def pytest_wasmedge_runtimes(config, runtimes):
    return [
        FakeRuntime("wasmtime"),
        FakeRuntime("one"),
        FakeRuntime("two"),
        FakeRuntime("odd", lambda invocation: b"odd"),
        FakeRuntime("absent", availability=Availability(False, reason="it is not here", install="get it")),
        Vanishing("vanishing"),
        Refusing("refusing"),
        Edge("edge"),
        FakeRuntime("traps", lambda invocation: TRAPPED),
        FakeRuntime("exits", lambda invocation: FAILED),
        by_artifact(b"new", b"old")("changes"),
        by_artifact(FAILED, b"old")("head-dies"),
        by_artifact(b"new", TRAPPED)("base-dies"),
        FakeRuntime("hostless", lambda invocation: Outcome(b"", b"", host_failed("it crashed"))),
        FakeRuntime("fickle", counting()),
    ]
"""
HEADER = "import pytest\nfrom pytest_wasmedge import *\nfrom pytest_wasmedge.latency.units import Duration\n"
RUNS = "def test_it(host):\n    assert host.run(b'x').stdout\n"


@dataclass(frozen=True)
class Planted:
    """One fault: the tests and the command line that have it, the contract, and what the run has to say."""

    tests: str
    options: str
    says: str
    contract: str = ""


def known(field: str, case: str = "test_it", runtime: str = "one") -> str:
    """Return a contract with one known divergence."""
    return (
        f'[[known]]\ncase = "{case}"\nruntimes = ["{runtime}"]\nfield = "{field}"\n'
        'reason = "so it is"\nissue = "https://example.org/1"\n'
    )


FAULTS = {
    "nothing is compared with the baseline": Planted(
        "def test_it(host):\n    assert host.artifact\n",
        "--runtimes=one --wasm-against=base.wasm",
        "0 outcomes were compared with the baseline",
    ),
    "the head dies where the baseline works": Planted(
        "def test_it(slowdown):\n    assert slowdown.verdict\n",
        "--runtimes=head-dies --wasm-against=base.wasm",
        "ended as exited(1), not as exited(0): no more",
    ),
    "the baseline dies": Planted(
        "def test_it(slowdown):\n    assert slowdown.verdict\n",
        "--runtimes=base-dies --wasm-against=base.wasm",
        "ended as trapped, not as exited(0): unreachable",
    ),
    "a cold start traps": Planted(
        "def test_it(cold_start):\n    assert cold_start.median < '60s'\n",
        "--runtimes=traps",
        "ended as trapped, not as exited(0)",
    ),
    "a cold start exits with 1": Planted(
        "def test_it(cold_start):\n    cold_start.take()\n", "--runtimes=exits", "ended as exited(1)"
    ),
    "a warm invocation exits with 1": Planted(
        "def test_it(warm_latency):\n    warm_latency.take()\n", "--runtimes=exits", "ended as exited(1)"
    ),
    "the ceiling of a contract that was given is not met": Planted(
        RUNS,
        "--runtimes=one --wasm-contract=given.toml",
        "OVER its ceiling of 1us",
        '[ceilings.one]\n"cold/no-cache" = "1us"\n',
    ),
    "the ceiling of a contract that was found is not met": Planted(
        RUNS, "--runtimes=one", "OVER its ceiling of 1us", '[ceilings."*"]\n"warm/tiny" = "1us"\n'
    ),
    "the artifact is larger than a contract that was given allows": Planted(
        RUNS,
        "--runtimes=one --wasm-contract=given.toml",
        "given.toml:2 allows 10; strip",
        "[artifact]\nbytes = 10\n",
    ),
    "the artifact is larger than a contract that was found allows": Planted(
        RUNS, "", "portability.toml:2 allows 10; strip", "[artifact]\nbytes = 10\n"
    ),
    "a contract is given that is not there": Planted(
        RUNS, "--runtimes=one --wasm-contract=nowhere.toml", "nowhere.toml does not exist"
    ),
    "a contract names a runtime that does not exist": Planted(
        RUNS, "--runtimes=one", 'there is no runtime "onne"', '[ceilings.onne]\n"warm/tiny" = "1s"\n'
    ),
    "a known divergence is gone": Planted(
        "def test_it(host):\n    assert host.run(b'x').stdout == b'x'\n",
        "--runtimes=one",
        "test_it no longer diverges on one 1.0",
        known("stdout"),
    ),
    "a known start is gone": Planted(
        RUNS, "--runtimes=one", "* no longer diverges on one", known("start", "*")
    ),
    "another field diverges than is known": Planted(
        "def test_it(host):\n    assert host.run(b'x').stdout == b'y'\n",
        "--runtimes=one",
        "1 failed",
        known("stderr"),
    ),
    "an edge of the command line is not among --runtimes": Planted(
        RUNS, "--runtimes=one --wasm-remote=edge2=http://127.0.0.1:9", "edge2"
    ),
    "a runtime vanishes in the middle of a run": Planted(
        RUNS, "--runtimes=one,vanishing", "vanishing could run when this run began, and cannot now"
    ),
    "a runtime of all vanishes in the middle of a run": Planted(
        RUNS,
        "--runtimes=all --wasm-require=one",
        "vanishing could run when this run began, and cannot now",
    ),
    "a named runtime is not here": Planted(RUNS, "--runtimes=one,absent", "absent: it is not here"),
    "a required runtime is not here": Planted(
        RUNS, "--runtimes=all --wasm-require=absent", "absent: it is not here"
    ),
    "a required runtime is not selected": Planted(
        RUNS,
        "--runtimes=one --wasm-require=two",
        "--wasm-require names two, which --runtimes does not select",
    ),
    "a runtime does not start": Planted(
        RUNS, "--runtimes=refusing", "refusing: it cannot hold this artifact"
    ),
    "a host fails": Planted(
        "def test_it(host, hosts):\n    assert_same(host.run(b'x'), Outcome(b'x', b'', exited(0)))\n",
        "--runtimes=hostless",
        "hostless: the host failed: it crashed",
    ),
    "a host fails as its reference does": Planted(
        "def test_it(host):\n    assert_same(host.run(b'x'), host.run(b'x'))\n",
        "--runtimes=hostless",
        "hostless: the host failed: it crashed",
    ),
    "one of two runtimes answers otherwise": Planted(
        "def test_it(host):\n    assert_same(host.run(b'x'), Outcome(b'x', b'', exited(0)))\n",
        "--runtimes=one,odd",
        "odd: stdout",
    ),
    "every test is skipped": Planted(
        "def test_it(host):\n    pytest.skip('not today')\n", "--runtimes=one", "this run proves nothing"
    ),
    "every test is expected to fail": Planted(
        "@pytest.mark.xfail\ndef test_it(host):\n    assert False\n",
        "--runtimes=one",
        "this run proves nothing",
    ),
    "no test uses a runtime": Planted(
        "def test_it():\n    pass\n", "--runtimes=one", "this run proves nothing"
    ),
    "a worker crashes": Planted(
        "import os\ndef test_a(host):\n    assert host\n"
        "def test_b(host):\n    host.runtime.name == 'two' and os._exit(3)\n"
        "def test_c(host):\n    assert host\n",
        "--runtimes=one,two -n 2",
        "crashed while running",
    ),
    "a leak, where another field is known": Planted(
        "from pytest_wasmedge.portability.leaks import assert_no_leaks\n"
        "def test_it(host):\n    assert_no_leaks(Outcome(b'at /home/builder/x.rs:1', b'', exited(0)))\n",
        "--runtimes=one",
        "leaks",
        known("stdout"),
    ),
}


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with fakes of every kind of fault, an artifact, and its baseline."""
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    # It does exactly the same work.
    wat.write(pytester.path / "base.wasm", wat.ECHO.replace("$read", "$reads"))
    pytester.makeconftest(CONFTEST)
    return pytester


Plant = Callable[[Planted], pytest.RunResult]


@pytest.fixture
def plant(project: pytest.Pytester) -> Plant:
    """Run pytest with a fault."""

    def run(planted: Planted) -> pytest.RunResult:
        options = planted.options.split()
        project.makepyfile(test_it=HEADER + planted.tests)
        if planted.contract:
            given = any("given.toml" in option for option in options)
            (project.path / ("given.toml" if given else "portability.toml")).write_text(planted.contract)
        run = project.runpytest_subprocess if "-n" in options else project.runpytest_inprocess
        return run("--wasm-artifact=echo.wasm", "--wasm-latency-budget=5", *options)

    return run


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_gate_is_red(plant: Plant, fault: str) -> None:
    """The run ends with a status other than 0, and says why."""
    result = plant(FAULTS[fault])

    assert result.ret != 0
    assert FAULTS[fault].says in result.stdout.str() + result.stderr.str()
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


SLOWER = """
from pytest_wasmedge.latency import sampling
from pytest_wasmedge.testing import FakeRuntime

class Clocked(FakeRuntime):
    def start(self, artifact, limits):
        began = 20_000_000 if artifact.name == "echo" else 7_000_000
        sampling.time.add(began * (1.3 if self.name == "slower" else 1))
        return super().start(artifact, limits)

def pytest_wasmedge_runtimes(config, runtimes):
    return [Clocked("wasmtime"), Clocked("usual"), Clocked("slower")]
"""


class Clock:
    """Stands still unless something is added, with a jitter of 0.5 %."""

    def __init__(self) -> None:
        self._ns, self._rng = 0, random.Random(1)

    def add(self, elapsed_ns: float) -> None:
        """Let this time go by."""
        self._ns += round(elapsed_ns * self._rng.uniform(0.995, 1.005))

    def perf_counter_ns(self) -> int:
        """Return the time."""
        return self._ns


@pytest.mark.parametrize(
    ("runtime", "ceiling", "verdicts"),
    [
        ("usual", '["25ms", "3.5x floor"]', {"25ms": "under", "3.5x floor": "under"}),
        ("slower", '"3.5x floor"', {"3.5x floor": "under"}),
        ("slower", '["25ms", "3.5x floor"]', {"25ms": "OVER", "3.5x floor": "under"}),
    ],
)
def test_a_host_that_became_slower(
    plant: Plant,
    project: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    runtime: str,
    ceiling: str,
    verdicts: dict[str, str],
) -> None:
    """Start and floor take 30 % longer: a multiple of the floor does not see it, a duration beside it does."""
    project.makeconftest(SLOWER)
    monkeypatch.setattr(sampling, "time", Clock())
    contract = f'[ceilings.{runtime}]\n"cold/no-cache" = {ceiling}\n'
    result = plant(Planted(RUNS, f"--runtimes={runtime}", "", contract))

    assert (result.ret == 0) is ("OVER" not in verdicts.values()), result.stdout.str()
    for limit, verdict in verdicts.items():
        word = {"under": "pass", "OVER": "fail"}[verdict]
        result.stdout.re_match_lines_random(
            [rf"{word}: {runtime} cold/no-cache: median .*: {verdict} its ceiling of {limit}"]
        )
    assert "not judged" not in result.stdout.str()


CLEAN = {
    "a run": Planted(RUNS, "--runtimes=one,two", "2 passed"),
    "outcomes are compared with the baseline": Planted(
        RUNS,
        "--runtimes=changes --wasm-against=base.wasm",
        "1 outcome compared on 1 runtime with the baseline base, sha256 522066cefed03f8d: changed:",
    ),
    "what changed is named by its test and parameters": Planted(
        "@pytest.mark.parametrize('n', [1, 2])\ndef test_it(host, n):\n    assert host.run(b'x' * n).stdout\n",
        "--runtimes=changes --wasm-against=base.wasm",
        "  test_it[2] (stdout) on changes",
    ),
    "limits and ceilings hold": Planted(
        RUNS,
        "--runtimes=one",
        "pass: one warm/tiny",
        '[artifact]\nbytes = "1 MB"\n[ceilings.one]\n"warm/tiny" = "60s"\n',
    ),
    "a plain assertion is known": Planted(
        "def test_it(host):\n    assert host.run(b'x').stdout == b'y'\ndef test_else(host):\n    assert host\n",
        "--runtimes=one",
        "1 passed, 1 xfailed",
        known("stdout"),
    ),
    "a runtime that cannot load the module is known": Planted(
        RUNS, "--runtimes=one,refusing", "1 passed, 1 xfailed", known("start", "*", "refusing")
    ),
    "a start varies from run to run": Planted(
        "def test_it(cold_start):\n    assert cold_start.median < '60s'\n", "--runtimes=fickle", "1 passed"
    ),
}


@pytest.mark.parametrize("clean", CLEAN)
def test_a_clean_run_is_green(plant: Plant, clean: str) -> None:
    """What looks like a fault and is none is left alone."""
    result = plant(CLEAN[clean])

    assert result.ret == 0, result.stdout.str()
    assert CLEAN[clean].says in result.stdout.str()
