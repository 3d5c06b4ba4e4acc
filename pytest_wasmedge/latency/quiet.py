"""Keeps measurements and tests out of each other's way when several workers run tests at once."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path


class Quiet:
    """A lock that the workers of one run share: many tests at once, or one measurement alone.

    It lies in a file of SQLite's (filelock's ReadWriteLock), so a worker that dies lets go of it.
    """

    def __init__(self, path: Path) -> None:
        from filelock import ReadWriteLock

        self._lock = ReadWriteLock(str(path))

    def measuring(self) -> AbstractContextManager[None]:
        """Wait until no other worker runs a test; none starts one meanwhile."""
        return self._lock.write_lock()

    def testing(self) -> AbstractContextManager[None]:
        """Wait until no other worker measures."""
        return self._lock.read_lock()
