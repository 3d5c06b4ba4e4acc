"""Child processes and temporary folders that cannot outlive us, whatever ends us."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pytest_wasmedge.errors import HostStartError

# Runs beside us, in a session of its own. It learns of every process group and folder through its stdin; when
# that closes, we are gone (even by kill -9), and it removes what is still on the list.
_REAPER = """
import os, shutil, signal, sys
alive = set()
for line in sys.stdin:
    sign, entry = line[0], line[1:].rstrip("\\n")
    (alive.add if sign == "+" else alive.discard)(entry)
for entry in sorted(alive, reverse=True):
    if entry[0] == "p":
        try:
            os.killpg(int(entry[1:]), signal.SIGKILL)
        except OSError:
            pass
for entry in alive:
    if entry[0] == "d":
        shutil.rmtree(entry[1:], ignore_errors=True)
"""


class _Reaper:
    """Our side of the reaper's pipe; started with the first thing that needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner_pid = 0

    def add(self, entry: str) -> None:
        with self._lock:
            self._tell("+" + entry)

    def discard(self, entry: str) -> None:
        with self._lock:
            self._tell("-" + entry)

    def _tell(self, line: str) -> None:
        if self._process is None or self._owner_pid != os.getpid():
            self._owner_pid = os.getpid()
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _REAPER],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
            atexit.register(self.finish)
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError):
            pipe.write(line + "\n")
            pipe.flush()

    def finish(self) -> None:
        """Let the reaper take what was never closed, and wait until it has."""
        with self._lock:
            if self._process is not None and self._owner_pid == os.getpid():
                with contextlib.suppress(OSError):
                    self._process.communicate(timeout=10)
                self._process = None


_reaper = _Reaper()


class Workspace:
    """A temporary folder that only we can read, and that goes when we do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls) -> Workspace:
        """Make one; mode 0700."""
        path = Path(tempfile.mkdtemp(prefix="pytest-wasmedge-"))
        _reaper.add(f"d{path}")
        return cls(path)

    def close(self) -> None:
        """Remove the folder; harmless when called again."""
        shutil.rmtree(self.path, ignore_errors=True)
        _reaper.discard(f"d{self.path}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = subprocess.DEVNULL,
    stderr: int | IO[bytes] | None = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own with exactly this environment.

    Raises HostStartError if the system cannot run it.
    """
    try:
        process = subprocess.Popen(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
    except OSError as error:
        raise HostStartError(
            f"cannot run {argv[0]}: {error.strerror or error}. "
            "`pytest-wasmedge doctor` shows which runtimes work here and how to get the others."
        ) from error
    _reaper.add(f"p{process.pid}")
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill the program and all that it started, and wait for its end; harmless when it is already gone."""
    _kill_group(process)
    process.wait()
    _reaper.discard(f"p{process.pid}")


def ends_within(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Wait until the process has ended; False if it has not. Only for processes that one thread waits for."""
    if sys.platform == "linux":
        # Popen looks again after half a millisecond, which a cold start of ten would show; and what it finds
        # is gone for `stop_measured`.
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(process.pid)
            try:
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                return bool(poll.poll(timeout_s * 1000))
            finally:
                os.close(descriptor)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def stop_measured(process: subprocess.Popen[bytes]) -> int | None:
    """Stop as `stop` does, and return the CPU time that the process and its children took, in nanoseconds.

    User and system together; None if its end was already taken note of. Only for processes that one thread
    waits for. The peak memory that the system tells beside is not ours to use: on Linux it is at least that of
    the process that started this one, because it is carried over from before the program was loaded.
    """
    _kill_group(process)
    cpu_ns = None
    if process.returncode is None:
        with contextlib.suppress(ChildProcessError):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            cpu_ns = round((usage.ru_utime + usage.ru_stime) * 1e9)
    process.wait()
    _reaper.discard(f"p{process.pid}")
    return cpu_ns


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # Also if it ended by itself: what it had started lives on in its group, and as long as it does, the system
    # gives the group's number to nobody else.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def read_lines(stdout: IO[bytes], log: Path, announced: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    """Pass on the line that announces the port, and None at the end; all other lines go to the log."""
    with stdout, log.open("ab", buffering=0) as file:
        for line in stdout:
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict) and isinstance(said.get("port"), int):
                    announced.put(said)
                    continue
            file.write(line)
    announced.put(None)


def how_it_ended(process: subprocess.Popen[bytes]) -> str:
    """Say how a process ended, for messages."""
    status = process.poll()
    if status is None:
        return "closed its stdout"
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a host's log, for messages; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            text = file.read().decode("utf-8", "backslashreplace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
