"""Child processes and temporary folders end with us, whatever ends us."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_wasmedge.drivers import process as driver
from pytest_wasmedge.drivers.process import Workspace, ends_within, spawn, stop, stop_measured, tail
from pytest_wasmedge.errors import HostStartError
from tests.waiting import is_running, until_gone

# Starts a process that starts another one, makes a folder, tells all about them, and waits to be killed.
OWNER = """
import json, subprocess, sys
from pathlib import Path
from pytest_wasmedge.drivers.process import Workspace, spawn
workspace = Workspace()
(workspace.path / "file").write_text("x")
child = spawn(
    [sys.executable, "-c",
     "import subprocess, sys\\n"
     "inner = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\\n"
     "print(inner.pid, flush=True)\\n"
     "inner.wait()"],
    env={}, cwd=workspace.path, stdout=subprocess.PIPE,
)
inner = int(child.stdout.readline())
print(json.dumps({"pids": [child.pid, inner], "folder": str(workspace.path)}), flush=True)
sys.stdin.readline()
"""


def own_something() -> tuple[subprocess.Popen[str], list[int], Path]:
    """Start a Python process with a child, a grandchild and a folder; return it, their numbers, the folder."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout
    told = json.loads(owner.stdout.readline())
    return owner, told["pids"], Path(told["folder"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_owner_leaves_nothing(number: signal.Signals) -> None:
    """Whichever signal ends us, even one that cannot be caught: children, their children and folders go."""
    owner, pids, folder = own_something()
    with owner:
        assert all(map(is_running, pids))
        owner.send_signal(number)

    until_gone(pids, [folder])


def test_an_owner_that_forgets_leaves_nothing() -> None:
    """A process that ends without closing what it started is cleaned up after."""
    owner, pids, folder = own_something()
    owner.communicate("\n")

    assert owner.returncode == 0
    until_gone(pids, [folder])


def test_workspace_is_private_and_goes() -> None:
    """A workspace is a folder that only we can enter, and closing it removes all that is in it."""
    with Workspace() as workspace:
        assert workspace.path.stat().st_mode & 0o777 == 0o700
        (workspace.path / "inner").mkdir()
        (workspace.path / "inner" / "file").write_bytes(b"x")
    assert not workspace.path.exists()
    workspace.close()


def test_workspace_goes_though_somebody_still_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process that was killed a moment ago put there meanwhile is removed, too."""
    workspace, remove = Workspace(), shutil.rmtree
    removed: list[Path] = []

    def beaten_once(path: Path, *, ignore_errors: bool) -> None:
        removed.append(path)
        remove(path, ignore_errors=ignore_errors)
        if len(removed) == 1:
            path.mkdir()

    monkeypatch.setattr(shutil, "rmtree", beaten_once)
    workspace.close()

    assert removed == [workspace.path] * 2
    assert not workspace.path.exists()


def test_workspace_that_cannot_go_is_left_to_our_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is still there after the longest wait stays on the list of what is removed when we end."""
    workspace = Workspace()
    forgotten: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(driver, "_REMOVING_S", 0)
        patched.setattr(shutil, "rmtree", lambda path, *, ignore_errors: None)
        patched.setattr(driver._reaper, "discard", forgotten.append)
        workspace.close()
        assert forgotten == []

    workspace.close()
    assert not workspace.path.exists()


def test_the_reaper_does_not_give_up_at_once(tmp_path: Path) -> None:
    """Who cleans up after us tries again, when what dies with us still puts files into a folder."""
    beaten_once = (
        "import shutil\n"
        "remove, calls = shutil.rmtree, []\n"
        "def rmtree(path, **options):\n"
        "    calls.append(path)\n"
        "    if len(calls) > 1: remove(path, **options)\n"
        "shutil.rmtree = rmtree\n"
    )
    folder = tmp_path / "workspace"
    folder.mkdir()
    argv = [sys.executable, "-I", "-S", "-c", beaten_once + driver._REAPER]
    subprocess.run(argv, input=f"+d{folder}\n", text=True, check=True)

    assert not folder.exists()


def test_nothing_is_inherited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A child gets exactly the environment and folder that it was given, and no stream of ours."""
    monkeypatch.setenv("HOST_SECRET", "1")
    code = "import json, os, sys; print(json.dumps([dict(os.environ), os.getcwd(), sys.stdin.read()]))"
    process = spawn(
        [sys.executable, "-I", "-c", code], env={"ONLY": "this"}, cwd=tmp_path, stdout=subprocess.PIPE
    )
    environment, folder, stdin = json.loads(process.communicate()[0])
    stop(process)

    assert {name for name in environment if not name.startswith("LC_")} == {"ONLY"}
    assert folder == str(tmp_path)
    assert stdin == ""


def test_stop_takes_the_whole_group(tmp_path: Path) -> None:
    """Stopping a program stops what it started too, and can be said twice."""
    code = (
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "print(inner.pid, flush=True)\n"
        "inner.wait()"
    )
    process = spawn([sys.executable, "-c", code], env={}, cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout
    with process.stdout as stdout:
        inner = int(stdout.readline())
    stop(process)
    stop(process)

    assert process.returncode == -signal.SIGKILL
    until_gone([inner], [])


def test_an_end_is_seen_and_left_to_whoever_stops(tmp_path: Path) -> None:
    """Waiting for an end takes nothing away: whoever stops the process then learns its status and CPU time."""
    burn = "import sys, time\nwhile time.process_time() < 0.2: pass\nsys.exit(3)"
    process = spawn([sys.executable, "-I", "-c", burn], env={}, cwd=tmp_path)
    assert ends_within(process, 60)
    cpu_ns = stop_measured(process)

    assert process.returncode == 3
    assert cpu_ns is not None
    assert cpu_ns >= 200_000_000
    assert stop_measured(process) is None


def test_no_end_in_time(tmp_path: Path) -> None:
    """A process that goes on is told from one that has ended, and stopping it is told as the signal."""
    process = spawn([sys.executable, "-I", "-c", "input()"], env={}, cwd=tmp_path, stdin=subprocess.PIPE)
    try:
        assert not ends_within(process, 0)
    finally:
        cpu_ns = stop_measured(process)
        assert process.stdin
        process.stdin.close()

    assert process.returncode == -signal.SIGKILL
    assert cpu_ns is not None


def test_own_session(tmp_path: Path) -> None:
    """A child is in a session of its own, so that a Ctrl-C on our terminal reaches us alone."""
    process = spawn([sys.executable, "-c", "input()"], env={}, cwd=tmp_path, stdin=subprocess.PIPE)
    try:
        assert os.getsid(process.pid) == process.pid
    finally:
        stop(process)
        assert process.stdin
        process.stdin.close()


def test_a_program_that_cannot_run(tmp_path: Path) -> None:
    """A program that is not there is told by name, with what to do."""
    with pytest.raises(HostStartError, match=r"cannot run .*/no-such: No such file .*doctor"):
        spawn([str(tmp_path / "no-such")], env={}, cwd=tmp_path)


def test_tail(tmp_path: Path) -> None:
    """The tail of a log is its last lines as text, and nothing if there is no log."""
    log = tmp_path / "log"
    assert tail(log) == ""
    log.write_bytes(b"".join(b"line %d\n" % number for number in range(5000)) + b"\xff end\n")

    assert tail(log, 2) == "line 4999\n\\xff end"
