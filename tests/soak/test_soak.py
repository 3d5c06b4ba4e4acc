"""A soak finds what is planted, and passes on real runtimes."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from pytest_wasmedge.drivers.process import spawn, stop
from pytest_wasmedge.model import Artifact, Availability, Host, Invocation, Limits, Outcome, Runtime, exited
from pytest_wasmedge.runtimes import builtin_runtimes
from tests.soak import __main__ as command
from tests.soak.driving import soak
from tests.soak.figures import Figures, Report
from tests.soak.plan import plan

RUNTIMES = {each.name: each for each in builtin_runtimes()}
SEED = 21
#: The invocation of a host that something is wrong with.
WRONG = 10

# Grows by eight megabytes for each line that it hears.
_GROWING = """
import sys
kept = []
for line in sys.stdin:
    kept.append(b"x" * (8 << 20))
    print(flush=True)
"""


class Changed(Host):
    """A real host, changed by subclasses."""

    def __init__(self, runtime: Runtime, inner: Host) -> None:
        self.runtime, self.inner = runtime, inner
        self.artifact, self.limits = inner.artifact, inner.limits
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def invoke(self, invocation: Invocation) -> Outcome:
        outcome = replace(self.inner.invoke(invocation), runtime=self.runtime.name)
        with self._lock:
            return self.change(outcome, next(self._numbers))

    def change(self, outcome: Outcome, number: int) -> Outcome:
        """Return another outcome; the number is that of the invocation."""
        return outcome

    def pids(self) -> tuple[int, ...]:
        return self.inner.pids()

    def close(self) -> None:
        self.inner.close()


class Wrong(Changed):
    """Loses a byte once."""

    def change(self, outcome: Outcome, number: int) -> Outcome:
        return replace(outcome, stdout=outcome.stdout[:-1] or b"x") if number == WRONG else outcome


class Mixing(Changed):
    """Once answers with what another guest wrote."""

    last = b""

    def change(self, outcome: Outcome, number: int) -> Outcome:
        mixed = replace(outcome, stdout=self.last) if number == WRONG else outcome
        self.last = outcome.stdout or b"nothing"
        return mixed


class Blaming(Changed):
    """Says that a guest has ended by itself whose process was killed."""

    def change(self, outcome: Outcome, number: int) -> Outcome:
        return replace(outcome, ending=exited(0)) if outcome.ending.kind == "host_failed" else outcome


class Failing(Changed):
    """Says once that it failed, though nobody did anything to it."""

    def change(self, outcome: Outcome, number: int) -> Outcome:
        return (
            replace(outcome, ending=replace(outcome.ending, kind="timed_out")) if number == WRONG else outcome
        )


class Leaking(Changed):
    """Keeps two megabytes of ours for each invocation."""

    kept: ClassVar[list[bytes]] = []

    def change(self, outcome: Outcome, number: int) -> Outcome:
        self.kept.append(b"x" * (2 << 20))
        return outcome


class Growing(Changed):
    """Has a process that grows."""

    def __init__(self, runtime: Runtime, inner: Host) -> None:
        super().__init__(runtime, inner)
        self._process = spawn(
            [sys.executable, "-c", _GROWING],
            env={},
            cwd=Path("/"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def change(self, outcome: Outcome, number: int) -> Outcome:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        self._process.stdout.readline()
        return outcome

    def pids(self) -> tuple[int, ...]:
        return (self._process.pid,)

    def close(self) -> None:
        super().close()
        stop(self._process)
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()


class LeavingAProcess(Changed):
    """Detaches a process, by one that ends at once, and forgets it."""

    def close(self) -> None:
        super().close()
        detaches = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
        subprocess.run([sys.executable, "-c", detaches], check=True)


class LeavingAFolder(Changed):
    """Leaves its workspace."""

    def close(self) -> None:
        super().close()
        tempfile.mkdtemp(prefix="pytest-wasmedge-")


class Planted(Runtime):
    """A real runtime whose hosts are changed."""

    engine = "planted"

    def __init__(self, change: type[Changed], inner: str = "wasmtime") -> None:
        self.name, self._change, self._inner = f"planted-{change.__name__.lower()}", change, RUNTIMES[inner]
        self.capabilities = self._inner.capabilities

    def probe(self) -> Availability:
        return self._inner.probe()

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return self._change(self, self._inner.start(artifact, limits))


#: What is planted, into which runtime, and what is said of it.
PLANTED: dict[type[Changed], tuple[str, str]] = {
    Wrong: ("wasmtime", "expected"),
    Mixing: ("wasmtime", "expected"),
    Failing: ("wasmtime", "ended timed_out, not"),
    Blaming: ("workerd", "ended exited(0)"),
    Leaking: ("wasmtime", "our own process: memory grew"),
    Growing: ("wasmtime", "the memory of its host grew"),
    LeavingAProcess: ("wasmtime", "left process"),
    LeavingAFolder: ("wasmtime", "left folder"),
}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left by intent is not waited for."""
    monkeypatch.setattr("tests.soak.driving._GOING_S", 0.2)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("change", PLANTED, ids=lambda change: change.__name__)
def test_what_is_planted_is_found(change: type[Changed], monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is wrong once, blames a guest, leaks, or leaves something, is found in few invocations."""
    monkeypatch.setattr("tests.soak.plan._FAULTY", 0.4)
    inner, words = PLANTED[change]
    sessions = plan(SEED, [Planted(change, inner)], 130, session=12)
    report = soak(SEED, [each for each in sessions if each.quiet] if change is Growing else sessions)
    Leaking.kept.clear()

    assert any(words in problem for problem in report.problems()), report.problems()


def test_real_runtimes() -> None:
    """Two hundred invocations, with faults: each has its known outcome or is told, and nothing stays."""
    runtimes = [RUNTIMES[name] for name in ("wasmtime", "node", "workerd")]
    report = soak(SEED, plan(SEED, runtimes, 200, session=50))

    assert report.problems() == []
    assert report.total("asked") == 200
    assert sum(report.of("workerd").faults.values()) > 0
    assert sum(report.of("node").faults.values()) > 0


#: Megabytes after each hundredth invocation, and whether they are told to grow.
SERIES: dict[str, tuple[list[float], bool]] = {
    "creeps": ([100 + 0.5 * each for each in range(80)], True),
    "creeps_in_noise": ([100 + each + 15 * (each % 3) for each in range(80)], True),
    "creeps_with_a_fall": ([100 + each - 30 * (each > 70) for each in range(80)], True),
    "rises_to_a_height": ([85 + min(140, 10 * each) for each in range(80)], False),
    "rises_once": ([100 + 40 * (each == 79) for each in range(80)], False),
    "saws": ([100 + 10 * (each % 4) for each in range(80)], False),
    "short": ([100 * each for each in range(8)], False),
}


@pytest.mark.parametrize("name", SERIES)
def test_what_grows(name: str) -> None:
    """A slope at the end of a run is told, however noisy; what was reached earlier is not, nor a peak."""
    values, grows = SERIES[name]
    report, figures = Report(1), Figures()
    for number, value in enumerate(values):
        report.ours_bytes.add(100 * number, value * 1e6)
        figures.memory_bytes.add(100 * number, 2 * value * 1e6)
    report.by_runtime["node"] = figures

    assert [each.partition(" grew: ")[0] for each in report.growth()] == (
        ["node: the memory of its host", "our own process: memory"] if grows else []
    )
    assert ("+5.0 MB/1000" in report.table()) == (name == "creeps")


def test_the_seed_decides() -> None:
    """The same seed is the same plan, whoever else takes part; another seed is another one."""
    one, two = RUNTIMES["node"], RUNTIMES["workerd"]
    alone, together = plan(1, [one], 200), plan(1, [one, two], 401)

    assert [each for each in together if each.runtime is two] == plan(1, [two], 200)
    assert [[*each.rounds()] for each in alone] == [[*each.rounds()] for each in plan(1, [one], 200)]
    assert alone != plan(2, [one], 200)
    assert sum(len(each.cases) for session in together for each in session.rounds()) == 401


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(("change", "status"), [(Changed, 0), (LeavingAFolder, 1)])
def test_the_status_says_it(
    change: type[Changed], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends with 1 if anything was wrong, and tells the seed."""
    monkeypatch.setattr(command, "builtin_runtimes", lambda: [Planted(change)])
    monkeypatch.setattr(sys, "argv", ["soak", "--invocations=20", "--seed=7"])

    assert command.main() == status
    assert capsys.readouterr().out.splitlines()[-1].startswith("seed 7: 20 invocations, 0 wrong, ")


@pytest.mark.parametrize("option", ["--runtimes=nod", "--invocations=0"])
def test_bad_input(option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad input is told in one sentence."""
    monkeypatch.setattr(sys, "argv", ["soak", option])

    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert "error: " in capsys.readouterr().err
