"""Child processes and temporary folders that cannot outlive us, whatever ends us."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import re
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
from types import TracebackType
from typing import IO, Any, Self

from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import Ending, host_failed, out_of_memory

# Runs beside us, in a session of its own. It learns of every process group and folder through its stdin; when
# that closes, we are gone (even by kill -9), and it removes what is still on the list.
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
        # What was killed a moment ago may still put files into it.
        if not os.path.exists(entry[1:]) or time.monotonic() > deadline_s:
            break
        time.sleep(0.01)
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
                with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                    self._process.communicate(timeout=10)
                self._process = None


_reaper = _Reaper()

_REMOVING_S = 10.0
#: A start is not told more finely than this.
_KNOCK_S = 0.002

_OUT_OF_MEMORY = re.compile(r"out of memory|cannot allocate memory|allocation failed", re.IGNORECASE)


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
        """Remove the folder, though what was killed a moment ago may still put files into it; harmless when repeated.

        What cannot be removed in ten seconds goes when we do.
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
    kill(process)
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
    """Kill the program and all that it started, without waiting for its end."""
    # Also if it ended by itself: what it had started lives on in its group, and as long as it does, the system
    # gives the group's number to nobody else.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def suspended(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Keep programs and all that they started from running; what has ended meanwhile is left alone."""
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


#: What a program says once it listens: its ``port``, and perhaps ``phases_ns``.
Announcement = Mapping[str, Any]
Announced = queue.SimpleQueue[Announcement | None]


def announcements(
    name: str,
    process: subprocess.Popen[bytes],
    log: Path,
    read: Callable[[bytes], Announcement | None],
    port: int = 0,
) -> Announced:
    """Return where the program's announcement arrives, and None when it says no more.

    What `read` makes nothing of goes to the log. A program that was told its ``port`` announces nothing itself:
    it listens once it takes a connection there.
    """
    assert process.stdout
    announced: Announced = queue.SimpleQueue()
    jobs: dict[str, tuple[Callable[..., None], tuple[object, ...]]] = {
        "stdout": (_read_lines, (process, log, read, announced)),
    }
    if port:
        jobs["knock"] = (_knock, (process, port, announced))
    for job, (target, args) in jobs.items():
        threading.Thread(target=target, args=args, name=f"{name}-{job}", daemon=True).start()
    return announced


def _read_lines(
    process: subprocess.Popen[bytes],
    log: Path,
    read: Callable[[bytes], Announcement | None],
    announced: Announced,
) -> None:
    assert process.stdout
    with process.stdout as stdout, log.open("ab", buffering=0) as file:
        for line in stdout:
            said = read(line)
            if said is None:
                file.write(line)
            else:
                announced.put(said)
    announced.put(None)
    end_with(process)


def end_with(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a program, and then end what it had started, which could go on to answer in its place.

    Where the system lets us, nobody who asks the process meanwhile whether it has ended is kept from the answer, as
    they are by a thread that waits for it with `Popen.wait`.
    """
    if hasattr(os, "waitid"):
        # The number of the group is not given to others as long as nobody has taken note of the end; who has
        # done so before us has looked after the rest too.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            kill(process)
    else:
        process.wait()
        kill(process)


def _knock(process: subprocess.Popen[bytes], port: int, announced: Announced) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as knocked:
            # Where nobody listens, a connection can by chance come out at its own other end.
            if knocked.getsockname() != knocked.getpeername():
                announced.put({"port": port})
                return
        time.sleep(_KNOCK_S)


def read_json(line: bytes) -> Announcement | None:
    """Return what a line of JSON announces; None for every other line."""
    with contextlib.suppress(ValueError):
        said = json.loads(line)
        if isinstance(said, dict) and isinstance(said.get("port"), int):
            return said
    return None


def free_port() -> int:
    """Return a port of loopback that the system has free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def how_it_ended(process: subprocess.Popen[bytes]) -> str:
    """Say how a process ended, for messages."""
    status = process.poll()
    if status is None:
        return "closed its stdout"
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"


def ending_by_log(detail: str, said: str) -> Ending:
    """Tell a host that had not enough memory, by its own last words, from one that failed."""
    return (out_of_memory if _OUT_OF_MEMORY.search(said) else host_failed)(detail)


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a host's log, for messages; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            text = file.read().decode("utf-8", "backslashreplace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
