"""`pytest-wasmedge selfcheck`, as the shell calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_wasmedge.commands import cli
from pytest_wasmedge.testing import FAULTS
from pytest_wasmedge.testing.fault import CAUGHT_BY, caught

#: One that every suite of ours catches.
CAUGHT = "status_zero"
CONFTEST = """
from pytest_wasmedge.testing import FaultyRuntime

def pytest_wasmedge_runtimes(runtimes):
    return [FaultyRuntime(runtimes["wasmtime"], {fault!r}, name="mine")]
"""


def selfcheck(*arguments: str) -> int:
    """Run the command in this process, and return its status; pytest runs in another."""
    return cli.main(["selfcheck", *arguments])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_caught(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A fault that is caught is green, on a runtime of the project's, whatever it adds to its own runs."""
    (here / "conftest.py").write_text(CONFTEST.format(fault=None))
    (here / "pytest.ini").write_text("[pytest]\naddopts = --collect-only\n")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--maxfail=1")
    status = selfcheck("--runtime=mine", f"--fault={CAUGHT}", "--fault=status_in_seven_bits")
    clean, zero, bits, _, summary = capsys.readouterr().out.splitlines()

    assert status == 0
    assert clean.startswith("without a fault, mine: ")
    assert " 0 failed" in clean
    assert zero.startswith(f"endings     {CAUGHT}           caught by test_")
    assert bits.startswith("endings     status_in_seven_bits  cannot show: mine: it refuses")
    assert summary.startswith("1 of 1 faults caught")


def test_missed(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A fault that nothing catches is red, beside one that is caught; workers of pytest-xdist do as well."""
    missed = {name: tests for name, tests in caught().items() if name != "clock_frozen"}
    monkeypatch.setattr("pytest_wasmedge.testing.fault.caught", lambda: missed)
    status = selfcheck(f"--fault={CAUGHT}", "--fault=clock_frozen", "-n", "2")
    lines = capsys.readouterr().out.splitlines()

    assert status == 1
    assert (
        "clocks      clock_frozen  MISSED: no test is known to catch it; --tests=each tries others" in lines
    )
    assert lines[-1].startswith("1 of 2 faults caught; 1 missed")


def test_a_runtime_that_fails_without_a_fault(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where tests fail without a fault, a fault that fails them is not caught."""
    (here / "conftest.py").write_text(CONFTEST.format(fault="status_zero"))
    status = selfcheck("--runtime=mine", "--fault=status_one")
    lines = capsys.readouterr().out.splitlines()

    assert status == 1
    assert " 0 passed" in lines[0]
    assert lines[-1] == "no test has passed on mine: nothing was checked"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--fault=status_zer0"], 1, "unknown fault 'status_zer0'. Did you mean status_zero?"),
        (
            ["--runtime=wasmtme", "--fault=status_zero"],
            1,
            "unknown runtime 'wasmtme'. Did you mean wasmtime?",
        ),
        (["--runtime=all", "--fault=status_zero"], 1, "all names "),
        (["--write=page.md", "--fault=status_zero"], 2, "--write tells of all faults: give no --fault"),
        (
            ["--write-tests=x"],
            2,
            "--write-tests finds tests that are not known: it needs --tests=each or all",
        ),
        (["--write=missing/page.md", "--tests=all"], 1, "--write missing/page.md is no place for a file"),
        (["-n", "0"], 2, "0 is too few"),
    ],
)
def test_bad_input(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be run is an error that says why."""
    try:
        found = selfcheck(*arguments)
    except SystemExit as ending:
        found = int(str(ending.code))

    assert found == status
    assert message in capsys.readouterr().err


def test_a_runtime_that_is_missing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A runtime that cannot run here is one error, with how to get it."""
    (here / "conftest.py").write_text(
        "from pytest_wasmedge.testing import FakeRuntime\n"
        "from pytest_wasmedge import Availability\n"
        "def pytest_wasmedge_runtimes():\n"
        "    return [FakeRuntime('gone', availability=Availability(False, reason='not here', install='get it'))]\n"
    )

    assert selfcheck("--runtime=gone", "--fault=status_zero") == 1
    assert (
        capsys.readouterr().err == "pytest-wasmedge: cannot run here: gone: not here; get it with `get it`\n"
    )


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    """The faults are listed with their kinds and sentences."""
    assert selfcheck("--list") == 0
    listed = capsys.readouterr().out.splitlines()

    assert len(listed) == len(FAULTS)
    assert any(
        line.split() == ["endings", "status_zero", *["tells", "every", "exit", "status", "as", "0"]]
        for line in listed
    )


def test_control_c_is_quiet(here: Path) -> None:
    """Ctrl-C ends the run under way, and says one line."""
    command = [sys.executable, "-m", "pytest_wasmedge.commands.cli", "selfcheck", "--tests=all"]
    env = {**os.environ, "TMPDIR": str(here)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=here, env=env)
    until_s = time.monotonic() + 60
    while not list(here.glob("*/log.txt")):
        assert time.monotonic() < until_s
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)

    assert process.returncode == 130
    assert stdout == b""
    assert stderr == b"pytest-wasmedge: interrupted; nothing half-done was kept.\n"
    assert not list(here.glob("*/log.txt"))


def test_the_list_of_tests_knows_the_catalogue() -> None:
    """The list of tests that catch each fault names faults of the catalogue alone."""
    known: dict[str, list[str]] = json.loads(CAUGHT_BY.read_text("utf-8"))

    assert known.keys() <= FAULTS.keys()
    assert FAULTS[CAUGHT].caught_by == tuple(known[CAUGHT])
