"""However a run ends, it ends soon, and no process or folder of ours outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import wat
from tests.waiting import DEADLINE_S, until, until_gone

# A runtime whose host is a process with a child of its own and a folder; it writes all of them down. At an
# invocation it tells that it is there, and then runs until it is stopped.
CONFTEST = """
import os, subprocess, sys
from pathlib import Path
from pytest_wasmedge.drivers.command import CommandRuntime
from pytest_wasmedge.model import exited
from pytest_wasmedge.model import Availability

HERE = Path(__file__).parent
PROGRAM = '''
import os, signal, subprocess, sys
inner = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()} {inner.pid} {os.getcwd()}\\\\n")
inner.wait()
'''

class Lasting(CommandRuntime):
    engine = "none"

    def __init__(self, name):
        self.name = name

    def probe(self):
        return Availability(True, "1.0")

    def executable(self):
        return Path(sys.executable)

    def argv(self, launch, invocation):
        return [str(launch.executable), "-c", PROGRAM, str(HERE / "journal")]

    def outcome(self, launch, ended):
        return ended.stdout, ended.stderr, exited(ended.status)

def pytest_wasmedge_runtimes(config, runtimes):
    return [Lasting("lasting"), Lasting("another")]
"""
LASTING_TESTS = """
def test_lasts(host):
    host.run(timeout_s=600)
"""
SPINNING_TESTS = """
from pathlib import Path

def test_first(host):
    pass

def test_spins(host):
    Path("journal").write_text("here\\n")
    host.run(timeout_s=600)
"""
CRASHING_TESTS = """
import os, signal, threading
from pathlib import Path

def test_crashes(host):
    threading.Thread(target=host.run, kwargs={"timeout_s": 600}, daemon=True).start()
    journal = Path("journal")
    stop = threading.Event()
    while not (journal.exists() and journal.read_text().endswith("\\n")):
        stop.wait(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

def test_goes_on():
    pass
"""
LEAVING_TESTS = """
import threading
from concurrent.futures import ThreadPoolExecutor

def test_leaves_a_guest(host):
    ThreadPoolExecutor().submit(host.run, timeout_s=1)
    while not host._ticker._guests:
        threading.Event().wait(0.01)
    raise AssertionError
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.Pytester]:
    """A project with a temporary folder of its own, which is empty again when the test is over."""
    temporary = pytester.mkdir("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(pytester.path / "cache"))
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    wat.write(pytester.path / "spin.wasm", wat.SPIN)
    wat.write(pytester.path / "sleep.wasm", wat.sleeps(3600))
    yield pytester
    until(lambda: not list(temporary.glob("pytest-wasmedge-*")), "our temporary folders are removed")


def start(project: pytest.Pytester, *options: str) -> subprocess.Popen[str]:
    """Start pytest in a session of its own, as a terminal would."""
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=project.path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def journal(project: pytest.Pytester, lines: int = 1) -> list[str]:
    """Wait until the journal has so many lines and return them."""
    path = project.path / "journal"
    until(lambda: path.exists() and path.read_text().count("\n") >= lines, f"{lines} lines in the journal")
    return path.read_text().splitlines()


def until_all_gone(entries: list[str]) -> None:
    """Wait until the processes and folders of these entries are gone."""
    words = [entry.split() for entry in entries]
    until_gone([int(pid) for entry in words for pid in entry[:2]], [Path(entry[2]) for entry in words])


@pytest.mark.parametrize("artifact", ["spin.wasm", "sleep.wasm"])
def test_ctrl_c_while_a_guest_runs_in_process(project: pytest.Pytester, artifact: str) -> None:
    """Ctrl-C ends a run at once though its guest would go on for minutes; the closing table is printed."""
    project.makepyfile(SPINNING_TESTS)
    process = start(project, "--runtimes=wasmtime", f"--wasm-artifact={artifact}")
    journal(project)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert "KeyboardInterrupt" in text
    assert "\nwasmtime  " in text
    assert "portability of" in text
    assert "INTERNALERROR" not in text


def test_ctrl_c_while_a_process_serves(project: pytest.Pytester) -> None:
    """Ctrl-C ends the host's processes and removes its folder."""
    project.makeconftest(CONFTEST)
    project.makepyfile(LASTING_TESTS)
    process = start(project, "--runtimes=lasting", "--wasm-artifact=echo.wasm")
    entries = journal(project)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert "portability of echo" in text
    until_all_gone(entries)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed(project: pytest.Pytester, number: signal.Signals) -> None:
    """When pytest is killed, even by a signal that nobody can catch, hosts and folders go with it."""
    project.makeconftest(CONFTEST)
    project.makepyfile(LASTING_TESTS)
    process = start(project, "--runtimes=lasting", "--wasm-artifact=echo.wasm")
    entries = journal(project)
    process.send_signal(number)
    process.communicate(timeout=DEADLINE_S)

    until_all_gone(entries)


@pytest.mark.parametrize("whole_group", [True, False], ids=["all", "only_pytest"])
def test_killed_with_workers(project: pytest.Pytester, whole_group: bool) -> None:
    """When pytest is killed while its workers serve, alone or with them, their hosts and folders go too."""
    project.makeconftest(CONFTEST)
    project.makepyfile(LASTING_TESTS)
    process = start(project, "--runtimes=lasting,another", "--wasm-artifact=echo.wasm", "-n", "2")
    entries = journal(project, lines=2)
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
    process.communicate(timeout=DEADLINE_S)

    until_all_gone(entries)


def test_ctrl_c_with_workers(project: pytest.Pytester) -> None:
    """Ctrl-C on a terminal reaches pytest and its workers; all of them end, and so do their hosts."""
    project.makeconftest(CONFTEST)
    project.makepyfile(LASTING_TESTS)
    process = start(project, "--runtimes=lasting,another", "--wasm-artifact=echo.wasm", "-n", "2")
    entries = journal(project, lines=2)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)

    assert process.returncode == pytest.ExitCode.INTERRUPTED
    until_all_gone(entries)


def test_a_crashed_worker(project: pytest.Pytester) -> None:
    """A worker that crashes leaves nothing, the test is told as failed, and the run goes on to its table."""
    project.makeconftest(CONFTEST)
    project.makepyfile(CRASHING_TESTS)
    process = start(project, "--runtimes=lasting", "--wasm-artifact=echo.wasm", "-n", "1")
    entries = journal(project)
    text, _ = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed" in text
    assert "portability of echo" in text
    until_all_gone(entries)


def test_a_failing_test(project: pytest.Pytester) -> None:
    """A test that fails while its host is up leaves nothing either."""
    project.makeconftest(CONFTEST)
    project.makepyfile("def test_it(host):\n    host.run(timeout_s=1)\n    raise AssertionError\n")
    process = start(project, "--runtimes=lasting", "--wasm-artifact=echo.wasm")
    text, _ = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == pytest.ExitCode.TESTS_FAILED, text
    until_all_gone(journal(project))


def test_a_test_that_leaves_a_guest_running(project: pytest.Pytester) -> None:
    """A guest in this process that a failed test left behind still ends at its limit, and pytest with it."""
    project.makepyfile(LEAVING_TESTS)
    with start(project, "--runtimes=wasmtime", "--wasm-artifact=spin.wasm") as process:
        try:
            text, _ = process.communicate(timeout=2 * DEADLINE_S)
        finally:
            process.kill()

    assert process.returncode == pytest.ExitCode.TESTS_FAILED, text
