"""Writes files so that no process ever sees half of one."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary file in the same folder; it replaces ``path`` if the context succeeds, and is removed if not.

    ``mode`` is that of a new file, less the user's umask; a file that is replaced keeps its mode. Several processes
    may write the same path at once: the last one wins. Raises OSError.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.touch(mode, exist_ok=False)
        yield part
        if path.exists():
            shutil.copymode(path, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def keep(path: Path, content: bytes) -> None:
    """Write this file unless it is there with exactly this content. Raises OSError."""
    try:
        there = path.read_bytes()
    except FileNotFoundError:
        there = None
    if there != content:
        path.unlink(missing_ok=True)
        with whole(path) as part:
            part.write_bytes(content)


def append(path: Path, line: bytes) -> None:
    """Append a line to a file that other processes may append to, all of it or nothing. Raises OSError."""
    # Without a buffer it is one system call, which on a full disk may write a part, and say so.
    with path.open("ab", buffering=0) as file:
        written_bytes, end = file.write(line), file.tell()
        if written_bytes != len(line):
            if os.fstat(file.fileno()).st_size == end:
                file.truncate(end - written_bytes)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def write_all(contents: dict[Path, bytes]) -> None:
    """Write these files; only once all are complete do they take their places, in this order. Raises OSError."""
    with ExitStack() as parts:
        # The stack ends its contexts in reverse, and each puts its file in place.
        for path, content in reversed(contents.items()):
            path.parent.mkdir(parents=True, exist_ok=True)
            parts.enter_context(whole(path)).write_bytes(content)
