"""With `-n 2`, tests of one runtime stay together, and the closing table is whole."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
from xdist.remote import Producer  # type: ignore[import-untyped]

from pytest_wasmedge.plugin.scheduling import RuntimeScheduling
from tests import wat

CONFTEST = """
import os
from pathlib import Path
import pytest
from pytest_wasmedge.testing import FakeRuntime

HERE = Path(__file__).parent
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "none")

def note(*words):
    with open(HERE / "journal", "a") as file:
        file.write(" ".join(words) + "\\n")

class Noting(FakeRuntime):
    def start(self, artifact, limits):
        note("start", self.name, WORKER)
        host = super().start(artifact, limits)
        host.close = lambda: note("close", self.name, WORKER)
        return host

def pytest_wasmedge_runtimes(config, runtimes):
    return [Noting(name) for name in ("one", "two", "three", "four")]

@pytest.fixture
def noted(host):
    note("test", host.runtime.name, WORKER)
"""
TESTS = """
import pytest
from pytest_wasmedge import Invocation, assert_same

@pytest.mark.parametrize("number", range(6))
def test_it(host, noted, number):
    assert host.run(b"x").stdout == b"x"

def test_fails_on_two(host, noted):
    assert host.runtime.name != "two"

def test_measures(host, noted, report_hazard, warm_latency):
    report_hazard("frozen seed")
    warm_latency.take()
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with four runtimes that keep a journal, and 32 tests."""
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    pytester.makeconftest(CONFTEST.replace('"one", "two"', '"wasmtime", "one", "two"'))
    pytester.makepyfile(TESTS)
    return pytester


def journal(project: pytest.Pytester, what: str) -> list[tuple[str, str]]:
    """Return runtime and worker of each such entry."""
    lines = [line.split() for line in (project.path / "journal").read_text().splitlines()]
    return [(name, worker) for kind, name, worker in lines if kind == what]


def run(project: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run pytest on four runtimes in processes of its own, warnings being errors."""
    return project.runpytest_subprocess(
        "--runtimes=one,two,three,four", "--wasm-artifact=echo.wasm", "-W", "error", *options
    )


def test_a_runtime_stays_on_one_worker(project: pytest.Pytester) -> None:
    """All tests of a runtime run on one worker, so its host starts once, and is closed in the end."""
    result = run(project, "-n", "2")
    result.assert_outcomes(passed=31, failed=1)
    workers = defaultdict(set)
    for name, worker in journal(project, "test"):
        workers[name].add(worker)
    own = [entry for entry in journal(project, "start") if entry[0] != "wasmtime"]

    assert set(workers) == {"one", "two", "three", "four"}
    assert all(len(each) == 1 for each in workers.values())
    assert len(set.union(*workers.values())) == 2
    assert len(own) == len(set(own)) == 4
    assert sorted(journal(project, "start")) == sorted(journal(project, "close"))


def test_the_table_is_whole(project: pytest.Pytester) -> None:
    """The closing table of a run on several workers is that of a run on one, latencies and hazards included."""
    parallel = run(project, "-n", "2").stdout.str()
    alone = run(project).stdout.str()

    for text in (parallel, alone):
        for name, failed in (("one  ", 0), ("two  ", 1), ("three", 0), ("four ", 0)):
            assert (
                f"{name}    1.0      none 1.0       {8 - failed}       {failed}        0            0        -"
                in text
            )
        assert "known hazard of this artifact: frozen seed (seen on every runtime run)" in text
        assert "warning" not in text.lower()
    assert parallel.count("portability of echo") == 1


def test_one_runtime_uses_all_workers(project: pytest.Pytester) -> None:
    """With one runtime there is nothing to keep together: the tests spread, each worker has its host."""
    result = project.runpytest_subprocess("--runtimes=one", "--wasm-artifact=echo.wasm", "-n", "2")

    result.assert_outcomes(passed=8)
    assert {worker for name, worker in journal(project, "start") if name == "one"} == {"gw0", "gw1"}


def test_names_that_begin_alike_are_kept_apart() -> None:
    """A runtime is found in an id wherever its parameter stands, the longest name first."""
    config = SimpleNamespace(getvalue=lambda name: ["popen"], getoption=lambda name: [])
    scheduling = RuntimeScheduling(config, Producer("test"), ["wasm", "wasm-cli"])
    groups = {
        "a.py::test[wasm]": "wasm",
        "a.py::test[wasm-cli]": "wasm-cli",
        "a.py::test[1-wasm-cli-x]": "wasm-cli",
        "a.py::test[wasm-wasm-cli]": "wasm",
        "a.py::test[wasmer]": "a.py::test[wasmer]",
        "wasm/a.py::test": "wasm/a.py::test",
    }

    assert {nodeid: scheduling._split_scope(nodeid) for nodeid in groups} == groups


def test_an_own_choice_of_distribution_is_kept(project: pytest.Pytester) -> None:
    """Who says how to distribute is obeyed."""
    result = run(project, "-n", "2", "--dist=worksteal", "-v")

    result.assert_outcomes(passed=31, failed=1)
    assert len(journal(project, "start")) > 4


def test_bad_input_is_told_once(project: pytest.Pytester) -> None:
    """A usage error comes before the workers start, once, and without a traceback."""
    result = project.runpytest_subprocess("--runtimes=five", "--wasm-artifact=echo.wasm", "-n", "2")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.str().count("unknown runtime 'five'") == 1
    assert "Traceback" not in result.stderr.str()
    assert not Path(project.path / "journal").exists()


def test_the_bundled_suite_is_collected_once(project: pytest.Pytester) -> None:
    """`--wasm-conformance` on two workers runs each test of the suite once."""
    result = run(project, "-n", "2", "--wasm-conformance", "-k", "empty_input or any_input", "-v")
    passed = [line.split()[-1] for line in result.outlines if "PASSED" in line]

    assert result.ret == 0
    assert len(passed) == len(set(passed)) == 4 * 11


def test_a_measurement_is_alone(pytester: pytest.Pytester) -> None:
    """While one worker measures, no other one runs a test: its invocations stand together in the journal."""
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    pytester.makeconftest(
        """
        from pathlib import Path
        from pytest_wasmedge.testing import FakeRuntime

        JOURNAL = Path(__file__).with_name("journal")

        def noting(name):
            def answer(invocation):
                if invocation.stdin.startswith(b"puts"):
                    return b""  # whether it is a Ruby, asked once
                with JOURNAL.open("ab", buffering=0) as file:
                    file.write(name.encode() + b" " + (invocation.stdin or b"measured") + b"\\n")
                return invocation.stdin
            return FakeRuntime(name, answer)

        def pytest_wasmedge_runtimes():
            return [noting("one"), noting("two")]
        """
    )
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(20))
        def test_works(host, number):
            for _ in range(100):
                host.run("works")

        @pytest.mark.parametrize("number", range(20))
        def test_measures(host, warm_latency, number):
            warm_latency.take()
            for _ in range(100):
                host.run("measured")
        """
    )
    result = pytester.runpytest_subprocess("--runtimes=one,two", "--wasm-artifact=echo.wasm", "-n", "2")
    lines = (pytester.path / "journal").read_text().splitlines()

    result.assert_outcomes(passed=80)
    # Whoever measures writes 122 lines (22 of them by `take`) that nobody interrupts.
    runs, length = [], 0
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        length += 1
        if following != line:
            runs += [length] if line.endswith("measured") else []
            length = 0
    assert [run for run in runs if run % 122] == []
