"""Child processes and temporary folders that never outlive this process, however it ends."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import queue
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from pytest_wasmedge.drivers import shortage
from pytest_wasmedge.errors import HostStartError, ShortageError, UnsupportedError
from pytest_wasmedge.provision.room import NO_FILES

# Runs beside us, in a session of its own. We write every process group and folder to its stdin. When that closes, we
# have ended (even by kill -9), and it removes what is still on the list.
_REAPER = """
import os, shutil, signal, sys, time
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
deadline_s = time.monotonic() + 10
for entry in alive:
    while entry[0] == "d":
        shutil.rmtree(entry[1:], ignore_errors=True)
        # A process that was killed a moment ago may still put files into it.
        if not os.path.exists(entry[1:]) or time.monotonic() > deadline_s:
            break
        time.sleep(0.01)
"""


class _Reaper:
    """Our side of the reaper's pipe; starts the reaper when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner_pid = 0

    def add(self, entry: str) -> None:
        with self._lock:
            self._write("+" + entry)

    def discard(self, entry: str) -> None:
        with self._lock:
            self._write("-" + entry)

    def _write(self, line: str) -> None:
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
        """Let the reaper remove what was never closed, and wait until it has."""
        with self._lock:
            if self._process is not None and self._owner_pid == os.getpid():
                with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                    self._process.communicate(timeout=10)
                self._process = None


_reaper = _Reaper()

#: Of one argument or variable, in Linux: MAX_ARG_STRLEN.
_LONGEST_BYTES = 128 << 10
_REMOVING_S = 10.0
#: How often we try whether a server listens; no start is measured more finely than this.
_KNOCK_S = 0.002


class Workspace(contextlib.AbstractContextManager["Workspace"]):
    """A temporary folder that only this user can read; it is removed at the latest when this process ends."""

    def __init__(self) -> None:
        with shortage.told():
            self.path = Path(tempfile.mkdtemp(prefix="pytest-wasmedge-")).resolve()
            try:
                _reaper.add(f"d{self.path}")
            except BaseException:
                self.path.rmdir()
                raise

    def close(self) -> None:
        """Remove the folder; harmless when called again.

        Tries for ten seconds, since a process that was killed a moment ago may still put files into it. What is left
        then is removed when this process ends.
        """
        deadline_s = time.monotonic() + _REMOVING_S
        while True:
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists():
                _reaper.discard(f"d{self.path}")
                return
            if time.monotonic() > deadline_s:
                return
            time.sleep(0.01)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Remove the folder; what has run out in it is told in one sentence. Raises ShortageError."""
        with shortage.told():
            self.close()
            if isinstance(error, OSError):
                raise error


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = subprocess.DEVNULL,
    stderr: int | IO[bytes] | None = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own with exactly this environment.

    Raises HostStartError if the system cannot run it, UnsupportedError if it is given more than the system allows,
    ShortageError.
    """
    try:
        process = subprocess.Popen(
            argv, env=dict(env), cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
        )
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise UnsupportedError(
                f"{Path(argv[0]).name} cannot be given {_size(argv, env)} bytes of arguments and variables: this "
                f"system lets a program have {_LONGEST_BYTES} in each and {os.sysconf('SC_ARG_MAX')} in all. Give them "
                "on stdin, or mark the test with runtimes(...) to run it on hosts that are no program of their own."
            ) from error
        if error.errno in NO_FILES:
            raise ShortageError(shortage.no_more_files()) from error
        raise HostStartError(
            f"cannot run {argv[0]}: {error.strerror or error}. "
            "`pytest-wasmedge doctor` shows which runtimes work here and how to get the others."
        ) from error
    _reaper.add(f"p{process.pid}")
    return process


def _size(argv: Sequence[str], env: Mapping[str, str]) -> int:
    return sum(len(os.fsencode(each)) + 1 for each in (*argv, *env, *env.values()))


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill the program and everything that it started, and wait for its end; harmless when it has ended."""
    kill(process)
    process.wait()
    _reaper.discard(f"p{process.pid}")


def ends_within(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Wait for the process and return whether it has ended. Only for processes that a single thread waits for."""
    if sys.platform == "linux":
        # Popen.wait polls every half millisecond, which is seen in a cold start of ten. It also collects the CPU
        # time, which `stop_measured` needs.
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
    """Stop as `stop` does, and return the CPU time of the process and its children in nanoseconds.

    This is user and system time together; None if the process was already waited for. Only for processes that a single
    thread waits for. The system's peak memory is of no use here: see weighing.py.
    """
    kill(process)
    cpu_ns = None
    if process.returncode is None:
        with contextlib.suppress(ChildProcessError):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            cpu_ns = round((usage.ru_utime + usage.ru_stime) * 1e9)
    process.wait()
    _reaper.discard(f"p{process.pid}")
    return cpu_ns


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the program and everything that it started, without waiting for its end."""
    # Also if it ended by itself: what it had started lives on in its group, and until that is empty the system does
    # not use the group's number again.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def suspended(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Suspend programs and everything that they started; a process that has ended is left alone."""
    _signal_all(processes, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal_all(processes, signal.SIGCONT)


def _signal_all(processes: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for process in processes:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)


#: What a program announces once it listens: its ``port``, and perhaps ``phases_ns``.
Announcement = Mapping[str, Any]
Announced = queue.SimpleQueue[Announcement | None]


def announcements(
    name: str,
    process: subprocess.Popen[bytes],
    log: Path,
    read: Callable[[bytes], Announcement | None],
    port: int = 0,
) -> Announced:
    """Return the queue for the program's announcement; None in it says that its stdout has ended.

    Lines for which `read` returns None are written to the log. A program that was given its ``port`` prints no
    announcement: it listens as soon as it accepts a connection.
    """
    announced: Announced = queue.SimpleQueue()

    def read_stdout() -> None:
        assert process.stdout
        with process.stdout as stdout:
            for line in stdout:
                said = read(line)
                if said is not None:
                    announced.put(said)
                    continue
                # Where there is no room for it, the program goes on without its log.
                with contextlib.suppress(OSError), log.open("ab", buffering=0) as file:
                    file.write(line)
        announced.put(None)
        end_with(process)

    def knock() -> None:
        while process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as knocked:
                # Where nobody listens, a connection can by chance be made to its own other end.
                if knocked.getsockname() != knocked.getpeername():
                    announced.put({"port": port})
                    return
            time.sleep(_KNOCK_S)

    for job in (read_stdout, knock) if port else (read_stdout,):
        threading.Thread(target=job, name=f"{name}-{job.__name__}", daemon=True).start()
    return announced


def end_with(process: subprocess.Popen[bytes]) -> None:
    """Wait for a program to end, then kill what it had started, which could go on to answer in its place.

    Where the system has `os.waitid`, other threads can ask for the process's status meanwhile; `Popen.wait` would keep
    them waiting.
    """
    if hasattr(os, "waitid"):
        # The group's number is not used again until somebody collects the status. If that has happened already, the
        # thread that did it has killed the rest, too.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            kill(process)
    else:
        process.wait()
        kill(process)


def free_port() -> int:
    """Return a port on loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def how_it_ended(process: subprocess.Popen[bytes]) -> str:
    """Return how a process ended, as a clause for messages."""
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
