"""Keeps measurements and tests on one machine apart, across workers and across pytest runs."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from filelock import FileLock, ReadWriteLock, Timeout

#: Set while a lock is held, so that a pytest started by a test does not wait for that test.
ENV_HELD = "PYTEST_WASMEDGE_QUIET"
#: Waits are this short so that Ctrl-C works: the lock is in SQLite, which ignores it.
_WAIT_S = 0.5
_POLL_S = 0.02
_LONG_WAIT_S = 3.0
#: Tests of one run take turns like those of several; none of them takes longer than this.
_LONG_WAIT_IN_RUN_S = 60.0


class Quiet:
    """Allows many tests at once, or one measurement alone, in the order in which they ask.

    The system locks both files (filelock), so a process that dies releases them. This keeps all processes of one user
    apart, in any folder, but not those of other users. ``while_waiting`` is entered while another process has the
    machine; a wait of more than three seconds calls ``on_long_wait`` once, with a description of that process. It is
    not called for processes of the same ``run``, whose number all of them give; 0 if this process is all of the run.
    """

    def __init__(
        self,
        folder: Path,
        on_long_wait: Callable[[str], None] = lambda holder: None,
        while_waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
        run: int = 0,
    ) -> None:
        self._lock = _usable(folder / "quiet.db")
        # Held while waiting, so that later tests cannot keep a measurement waiting for ever.
        self._turnstile = FileLock(folder / "quiet.turnstile")
        self._on_long_wait, self._while_waiting = on_long_wait, while_waiting
        self._measuring = folder / "quiet.measuring"
        self._run = run
        self._kept = ExitStack()

    @contextmanager
    def measuring(self, *, goes_on: bool = False) -> Iterator[None]:
        """Wait until no other process tests or measures, and keep others from starting.

        With ``goes_on``, the machine stays reserved for the next measurement, until one without it or `release`:
        otherwise another process could start a test in between, which the next one has to wait for.
        """
        if not os.environ.get(ENV_HELD):
            self._kept.enter_context(self._held(self._lock.acquire_write))
            # Removed while we hold the lock, so that the file is still ours.
            self._kept.callback(self._measuring.unlink, missing_ok=True)
            told = f"process {os.getpid()} in {Path.cwd()}\n{self._run}"
            self._measuring.write_text(told, encoding="utf-8")
        try:
            yield
        finally:
            if not goes_on:
                self.release()

    def release(self) -> None:
        """Release the machine if it is still reserved for a next measurement."""
        self._kept.close()

    @contextmanager
    def testing(self) -> Iterator[None]:
        """Wait until no other process measures."""
        self.release()
        with self._held(self._lock.acquire_read):
            yield

    @contextmanager
    def _held(self, acquire: Callable[..., object]) -> Iterator[None]:
        if os.environ.get(ENV_HELD):
            yield
            return
        self._wait_for(partial(self._turnstile.acquire, poll_interval=_POLL_S))
        try:
            self._wait_for(acquire)
        finally:
            self._turnstile.release()
        try:
            os.environ[ENV_HELD] = "1"
            yield
        finally:
            os.environ.pop(ENV_HELD, None)
            self._lock.release()

    def _wait_for(self, acquire: Callable[..., object]) -> None:
        """Try until a lock is acquired, with no limit of time."""
        if _acquired(acquire, 0):
            return
        began_s, said = time.monotonic(), False
        with self._while_waiting():
            while not _acquired(acquire, _WAIT_S):
                waited_s = time.monotonic() - began_s
                if not said and waited_s > _LONG_WAIT_S and (holder := self._holder(waited_s)):
                    self._on_long_wait(holder)
                    said = True

    def _holder(self, waited_s: float) -> str:
        """Return a description of who has the machine; empty if it is, or may be, the same run."""
        try:
            process, _, run = self._measuring.read_text(encoding="utf-8").partition("\n")
        except OSError:
            if self._run and waited_s < _LONG_WAIT_IN_RUN_S:
                return ""
            return "the tests of another pytest on this machine, before something is measured"
        if self._run and run == str(self._run):
            return ""
        return f"a pytest on this machine that measures, {process}"


def _usable(path: Path) -> ReadWriteLock:
    """Return the lock in this file; a damaged file is removed, since it keeps nothing. Raises OSError."""
    lock = ReadWriteLock(str(path), is_singleton=False)
    try:
        lock.acquire_read(timeout=0)
        lock.release()
    except Timeout:
        pass
    except sqlite3.OperationalError as error:
        raise OSError(errno.EROFS, str(error)) from error
    except sqlite3.DatabaseError:
        lock.close()
        path.unlink(missing_ok=True)
        lock = ReadWriteLock(str(path), is_singleton=False)
    return lock


def _acquired(acquire: Callable[..., object], timeout_s: float) -> bool:
    try:
        acquire(timeout=timeout_s)
    except Timeout:
        return False
    return True
