"""Workers on several machines: each has runtimes of its own, and nothing that only one of them has seen is lost.

The `ssh` here starts a shell in another folder, with another user's name and cache; tests/test_ssh.py has the real one.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.plugin.elsewhere import arrived
from pytest_wasmedge.plugin.options import Options
from pytest_wasmedge.plugin.scheduling import RuntimeScheduling
from pytest_wasmedge.provision.cache import ENV_CACHE
from tests import wat

SSH = """#!/bin/sh
shift $(($# - 2))
cd {base}/"$1" && exec env LOGNAME="$1" PYTEST_WASMEDGE_CACHE={base}/"$1"/cache sh -c "$2"
"""
#: A path that leads to the artifact where pytest is started, and nowhere in another folder.
ARTIFACT = "/proc/self/cwd/echo.wasm"
#: Both machines have "both", one of them each of the others, none has "nowhere".
CONFTEST = """
import getpass
from pytest_wasmedge.model import Availability
from pytest_wasmedge.testing import FakeRuntime

HAS = {"one": ["both", "first"], "two": ["both", "second"]}
ME = getpass.getuser()

def pytest_wasmedge_runtimes(config, runtimes):
    missing = Availability(False, reason="it was never built")
    return [
        FakeRuntime(name) if name in HAS.get(ME, ()) else FakeRuntime(name, availability=missing)
        for name in ("both", "first", "second", "nowhere")
    ]
"""
TESTS = """
import pytest

@pytest.mark.parametrize("number", range(4))
def test_it(host, number):
    assert host.run(b"x").stdout == b"x"
"""

#: Ends the process in which it runs on "second".
KILLS = """
import os
import pytest

@pytest.mark.parametrize("number", range(4))
def test_it(host, number):
    if host.runtime.name == "second" and number == 1:
        os.kill(os.getpid(), 9)
"""
MEASURES = """
def test_it(host):
    assert host.run(b"x").stdout == b"x"

def test_measures(host, warm_latency):
    warm_latency.take()
"""
DIVERGES = """
def test_it(host):
    assert host.run(b"x").stdout == (b"x" if host.runtime.name in ("both", "third") else b"y")

def test_together(hosts):
    assert set(hosts) == {"both", "second", "third"}
"""
CONTRACT = """
[[known]]
case = "test_it"
runtimes = ["{runtime}"]
field = "stdout"
reason = "it says x"
issue = "https://example.com/1"
"""


class Machines:
    """Two machines, `one` and `two`, each with a copy of the project, and the controller beside them."""

    def __init__(self, pytester: pytest.Pytester, base: Path) -> None:
        self.pytester, self.base = pytester, base
        wat.write(pytester.path / "echo.wasm", wat.ECHO)
        self.write("conftest.py", CONFTEST)
        self.write("test_it.py", TESTS)
        self.write("pytest.ini", "[pytest]\n")

    def write(self, name: str, text: str, at: Sequence[str] = ("", "one", "two")) -> None:
        """Write a file of the project, on these machines; the controller's has no name."""
        for machine in at:
            path = (self.base / machine / "project" if machine else self.pytester.path) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def run(self, *options: str, runtimes: str = "both,first,second") -> pytest.RunResult:
        """Run pytest here with a worker on each machine."""
        there = [
            f"--tx=ssh={each}//python={sys.executable}//chdir={self.base / each / 'project'}"
            for each in ("one", "two")
        ]
        return self.pytester.runpytest_subprocess(
            f"--runtimes={runtimes}", f"--wasm-artifact={ARTIFACT}", "--dist=load", "-v", *there, *options
        )


@pytest.fixture
def machines(pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """Two machines and a controller."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(SSH.replace("{base}", str(tmp_path)))
    (programs / "ssh").chmod(0o700)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    return Machines(pytester, tmp_path)


def test_each_runtime_runs_where_it_is(machines: Machines) -> None:
    """Tests go to a machine that has their runtime; the artifact arrives there by its digest, once."""
    wat.write(machines.pytester.path / "base.wasm", wat.COUNT)
    result = machines.run("--wasm-report=report", f"--wasm-against={ARTIFACT.replace('echo', 'base')}")
    ran = {line.split()[-1]: line.split()[0] for line in result.outlines if "PASSED" in line}

    result.assert_outcomes(passed=12)
    assert {ran[f"test_it.py::test_it[first-{number}]"] for number in range(4)} == {"[gw0]"}
    assert {ran[f"test_it.py::test_it[second-{number}]"] for number in range(4)} == {"[gw1]"}
    for name in ("echo.wasm", "base.wasm"):
        kept = list(machines.base.glob(f"*/cache/artifacts/*/{name}"))
        content = (machines.pytester.path / name).read_bytes()
        assert [path.read_bytes() for path in kept] == [content, content]
    record = json.loads((machines.pytester.path / "report" / "record.json").read_text())
    assert set(record["compared"]) == {"both", "first", "second"}
    assert [(each["name"], each["version"]) for each in record["runtimes"]] == [
        (name, "1.0") for name in ("both", "first", "second")
    ]


def test_a_killed_worker(machines: Machines) -> None:
    """The test that it ran has failed, and the others of its runtime run on the worker that takes its place."""
    machines.write("test_it.py", KILLS)
    result = machines.run()

    result.assert_outcomes(passed=11, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*worker 'gw1' crashed while running 'test_it.py::test_it?second-1?'"])
    result.stdout.fnmatch_lines(["NOT PORTABLE: 1 failure on second*"])
    assert {line.split()[0] for line in result.outlines if "PASSED" in line and "second" in line} == {
        "[gw1]",
        "[gw2]",
    }


@pytest.mark.parametrize("gone", [False, True])
def test_a_killed_worker_that_is_not_replaced(machines: Machines, gone: bool) -> None:
    """What could not be run any more is counted, by runtime: if nobody may take its place, or its machine is gone."""
    unlinked = 'os.unlink(__import__("shutil").which("ssh")); os.kill'
    machines.write("test_it.py", KILLS.replace("os.kill", unlinked) if gone else KILLS)
    limit = [] if gone else ["--max-worker-restart=0"]
    result = machines.run(*limit, "--wasm-report=report", runtimes="second,first")
    outcomes = result.parseoutcomes()
    record = json.loads((machines.pytester.path / "report" / "record.json").read_text())

    assert result.ret == (pytest.ExitCode.INTERNAL_ERROR if gone else pytest.ExitCode.TESTS_FAILED)
    # pytest-xdist takes the second as an internal error, after which pytest shows no table.
    told = record["runs"][0]["stopped"]
    left = int(told.split("no worker was left for ")[1].split()[0])
    assert outcomes["failed"] == 1
    assert outcomes.get("passed", 0) + outcomes["failed"] + left == 8
    assert "on second" in told
    assert gone or f"INCOMPLETE: {told} · " in result.stdout.str()


def test_a_test_whose_outcome_has_come_is_not_left() -> None:
    """A run may break off after a test's outcome has come, and before its worker has said that it is done."""
    scheduling = RuntimeScheduling.__new__(RuntimeScheduling)
    scheduling._runtimes = ("one",)
    scheduling.workqueue = {"one": {"test_it.py::a[one]": False}}
    scheduling.assigned_work = {"gw0": {"one": {"test_it.py::b[one]": False, "test_it.py::c[one]": True}}}

    assert scheduling.left(()) == {"one": 2}
    assert scheduling.left({"test_it.py::b[one]", "test_it.py::c[one]"}) == {"one": 1}


def test_a_runtime_that_no_machine_has(machines: Machines) -> None:
    """It is skipped with the name of each machine and its reason; it is an error if it was named."""
    machines.write("pyproject.toml", '[tool.pytest-wasmedge.groups]\nmine = ["second", "nowhere"]\n')
    skipped = machines.run("-rs", runtimes="mine")
    named = machines.run(runtimes="second,nowhere")
    reasons = "NOT RUN: on one@*: it was never built; on two@*: it was never built"

    skipped.assert_outcomes(passed=4, skipped=4)
    skipped.stdout.fnmatch_lines([f"nowhere *{reasons}"])
    assert named.ret == pytest.ExitCode.USAGE_ERROR
    named.stderr.fnmatch_lines(["*nowhere: on one@*; on two@*: it was never built"])


def test_latency_is_measured_on_one_machine(machines: Machines) -> None:
    """That of the first --tx; a runtime that it lacks is not measured, and both are told. The others test."""
    machines.write("test_it.py", MEASURES)
    result = machines.run("-rs", "--wasm-report=report")
    ran = {line.split()[0] for line in result.outlines if "PASSED" in line and "measures" in line}
    record = json.loads((machines.pytester.path / "report" / "record.json").read_text())

    result.assert_outcomes(passed=5, skipped=1)
    assert ran == {"[gw0]"}
    assert {each["runtime"] for each in record["latencies"]} == {"both", "first"}
    result.stdout.fnmatch_lines(["SKIPPED*second: on one@*: it was never built"])
    result.stdout.fnmatch_lines(["one@*, 1 worker: both, first; latency was measured here alone"])


def test_what_the_controller_has_travels(machines: Machines) -> None:
    """The contract is the controller's wherever tests run; several runtimes at once are tested where most are."""
    contract = CONTRACT.format(runtime="second")
    machines.write("portability.toml", contract, at=[""])
    machines.write("portability.toml", contract.replace("second", "first"), at=["one", "two"])
    machines.write("test_it.py", DIVERGES)
    machines.write(
        "conftest.py",
        CONFTEST.replace('["both", "second"]', '["both", "second", "third"]').replace(
            '"nowhere")', '"third")'
        ),
    )
    result = machines.run(runtimes="both,first,second,third")

    result.assert_outcomes(passed=3, failed=1, xfailed=1)
    result.stdout.fnmatch_lines(["*gw1*PASSED test_it.py::test_together*"])
    result.stdout.fnmatch_lines(
        ["tests of several runtimes at once ran where most of them are: without first"]
    )


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("cases/a.txt", "other", "two@*other cases than this machine*"),
        (
            "conftest.py",
            "import pytest_wasmedge.plugin.elsewhere as e; e.__version__ = '0.0.1'",
            "two@*version 0.0.1*",
        ),
        (
            "conftest.py",
            "",
            "two: the worker ended before it had collected its tests: *unknown runtime 'both'*",
        ),
    ],
)
def test_a_machine_that_cannot_take_part(machines: Machines, name: str, text: str, told: str) -> None:
    """It is named, with the reason, before any test has run."""
    machines.write("cases/a.txt", "same")
    text = f"{text}\n{CONFTEST}" if "import" in text else text
    machines.write(name, text, at=["two"])
    result = machines.run("--wasm-cases=cases")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {told}"])
    assert "PASSED" not in result.stdout.str()


class Channel:
    """What a worker asks its controller by."""

    def __init__(self, answer: bytes) -> None:
        self.answer, self.asked = answer, 0

    def send(self, message: object) -> None:
        """Take a question."""
        self.asked += 1

    def receive(self) -> bytes:
        """Give the answer."""
        return self.answer


def test_an_artifact_travels_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes come when neither the path nor the cache has them, also if what was kept has changed."""
    monkeypatch.setenv(ENV_CACHE, str(tmp_path / "cache"))
    channel = Channel(b"artifact")

    def arrive(path: Path) -> Path:
        digest = hashlib.sha256(b"artifact").hexdigest()
        sent = {"channel": channel, "files": {"artifact": (str(path), digest)}, "started_in": "below"}
        found = arrived(Options(report="report"), sent, tmp_path)
        assert (found.report, found.started_in) == ("", tmp_path / "below")
        return Path(found.artifact)

    here = tmp_path / "here.wasm"
    kept = arrive(here)
    assert (kept.read_bytes(), kept.name, channel.asked) == (b"artifact", "here.wasm", 1)
    assert (arrive(here), channel.asked) == (kept, 1)
    kept.write_bytes(b"arti-fact")
    assert (arrive(here).read_bytes(), channel.asked) == (b"artifact", 2)
    here.write_bytes(b"another")
    assert (arrive(here), channel.asked) == (kept, 2)
    here.write_bytes(b"artifact")
    assert (arrive(here), channel.asked) == (here, 2)
    channel.answer = b"changed"
    with pytest.raises(ProvisionError, match=r"other.wasm has changed since the run began"):
        arrive(tmp_path / "other.wasm")


def test_this_machine_takes_part(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a worker here, latency is taken here, of what this machine has."""
    monkeypatch.setenv("LOGNAME", "three")
    machines.write("conftest.py", CONFTEST.replace("HAS = {", 'HAS = {"three": ["both"], '))
    machines.write("test_it.py", MEASURES)
    result = machines.run("--tx=popen", "-rs")
    ran = {line.split()[0] for line in result.outlines if "PASSED" in line and "measures" in line}

    result.assert_outcomes(passed=4, skipped=2)
    assert ran == {"[gw2]"}
    result.stdout.fnmatch_lines(["this machine, 1 worker: both; latency was measured here alone"])
