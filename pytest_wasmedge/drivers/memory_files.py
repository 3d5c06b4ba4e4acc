"""Collects what an engine in this process writes to files, without a call of Python for each write."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

#: Only Linux has files in memory that have a path: those of the process's own descriptors.
AVAILABLE = sys.platform == "linux" and Path("/proc/self/fd").is_dir()

if sys.platform == "linux":
    import fcntl


class MemoryFiles:
    """Stdout and stderr of one guest: two files in memory, which nobody else can see and which leave nothing behind.

    Their limit holds for both together. They grow beyond it until `check` is called next, and then no more: further
    writes fail. Threads may call `check` and `close` at the same time.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._files: list[int] = []
        try:
            for name in ("stdout", "stderr"):
                self._files.append(os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        except BaseException:
            self.close()
            raise

    @property
    def paths(self) -> tuple[str, str]:
        """Where the engine opens the two."""
        stdout, stderr = self._files
        return f"/proc/self/fd/{stdout}", f"/proc/self/fd/{stderr}"

    def check(self) -> None:
        """End the guest's output if it is over the limit."""
        with self._lock:
            if sum(os.fstat(file).st_size for file in self._files) > self._limit_bytes:
                self._seal()

    def end(self) -> None:
        """End the guest's output: what it writes from now on is not kept."""
        with self._lock:
            self._seal()

    def read(self) -> tuple[bytes, bytes]:
        """Return what was written: of each file the limit and a byte more, since what comes after that is not kept."""
        stdout, stderr = (_content(file, self._limit_bytes + 1) for file in self._files)
        return stdout, stderr

    def close(self) -> None:
        """Give the memory back, once the engine has closed the files as well."""
        with self._lock:
            for file in self._files:
                os.close(file)
            self._files.clear()

    def _seal(self) -> None:
        for file in self._files:
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)


def _content(file: int, most_bytes: int) -> bytes:
    # The engine has opened the file anew, so this descriptor still stands at its beginning.
    with open(file, "rb", closefd=False) as reader:
        # No more is asked for than there is, since room is made for all that is asked for.
        return reader.read(min(most_bytes, os.fstat(file).st_size))
