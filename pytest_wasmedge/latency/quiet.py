"""Keeps measurements and tests on one machine out of each other's way, across workers and across pytest runs."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import ReadWriteLock

#: Set while a lock is held, so that a pytest started by a test does not wait for the one that waits for it.
ENV_HELD = "PYTEST_WASMEDGE_QUIET"
#: Waits are this short so that a Ctrl-C is heard: SQLite, which the lock lies in, does not hear it.
_HEARING_S = 0.5
_POLL_S = 0.02
_LONG_WAIT_S = 3.0


class Quiet:
    """Many tests at once, or one measurement alone; whoever asks first is served first.

    Both files are locked by the system (filelock), so a process that dies lets go of them. One user's processes
    are kept apart, whatever folder they run in; those of other users are not seen. ``while_waiting`` is entered
    for as long as somebody else has the machine; ``on_long_wait`` is called once in each wait that takes more than
    three seconds, with words on whom it waits for.
    """

    def __init__(
        self,
        folder: Path,
        on_long_wait: Callable[[str], None] = lambda whom: None,
        while_waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        from filelock import FileLock

        self._lock = _usable(folder / "quiet.db")
        # Held while waiting, so that tests that come later cannot keep a measurement waiting for ever.
        self._turnstile = FileLock(folder / "quiet.turnstile")
        self._on_long_wait, self._while_waiting = on_long_wait, while_waiting
        self._measuring = folder / "quiet.measuring"
        self._kept = ExitStack()

    @contextmanager
    def measuring(self, *, goes_on: bool = False) -> Iterator[None]:
        """Wait until nobody else tests or measures; nobody begins to meanwhile.

        If it ``goes_on``, the machine stays ours for the next measurement, until one that does not or `release`:
        between two, somebody else would begin a test that the second has to wait for.
        """
        if not os.environ.get(ENV_HELD):
            self._kept.enter_context(self._held(self._lock.acquire_write))
            # While nobody else holds the lock, so that nobody else's is removed.
            self._kept.callback(self._measuring.unlink, missing_ok=True)
            self._measuring.write_text(f"process {os.getpid()} in {Path.cwd()}", encoding="utf-8")
        try:
            yield
        finally:
            if not goes_on:
                self.release()

    def release(self) -> None:
        """Let go of what was kept for a measurement that does not come; harmless when nothing is."""
        self._kept.close()

    @contextmanager
    def testing(self) -> Iterator[None]:
        """Wait until nobody measures."""
        self.release()
        with self._held(self._lock.acquire_read):
            yield

    @contextmanager
    def _held(self, acquire: Callable[..., object]) -> Iterator[None]:
        if os.environ.get(ENV_HELD):
            yield
            return
        self._patiently(lambda timeout_s: self._turnstile.acquire(timeout=timeout_s, poll_interval=_POLL_S))
        try:
            self._patiently(lambda timeout_s: acquire(timeout=timeout_s))
        finally:
            self._turnstile.release()
        try:
            os.environ[ENV_HELD] = "1"
            yield
        finally:
            os.environ.pop(ENV_HELD, None)
            self._lock.release()

    def _patiently(self, acquire: Callable[[float], object]) -> None:
        """Try until it is acquired, however long that takes."""
        if _acquired(acquire, 0):
            return
        tell_at_s: float | None = time.monotonic() + _LONG_WAIT_S
        with self._while_waiting():
            while not _acquired(acquire, _HEARING_S):
                if tell_at_s is not None and time.monotonic() > tell_at_s:
                    self._on_long_wait(self._whom())
                    tell_at_s = None

    def _whom(self) -> str:
        try:
            return f"a pytest on this machine that measures, {self._measuring.read_text(encoding='utf-8')}"
        except OSError:
            return "the tests of another pytest on this machine, before something is measured"


def _usable(path: Path) -> ReadWriteLock:
    """Return the lock in this file; a damaged file is removed, since nothing is kept in it."""
    from filelock import ReadWriteLock, Timeout

    lock = ReadWriteLock(str(path), is_singleton=False)
    try:
        lock.acquire_read(timeout=0)
        lock.release()
    except Timeout:
        pass
    except sqlite3.DatabaseError:
        lock.close()
        path.unlink(missing_ok=True)
        lock = ReadWriteLock(str(path), is_singleton=False)
    return lock


def _acquired(acquire: Callable[[float], object], timeout_s: float) -> bool:
    from filelock import Timeout

    try:
        acquire(timeout_s)
    except Timeout:
        return False
    return True
