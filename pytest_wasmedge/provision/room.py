"""Disks that are full or cannot be written: how much is left, and the one sentence about it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

#: The errors of a process, or a machine, that has as many files open as it may: they say nothing about the file.
NO_FILES = {errno.EMFILE, errno.ENFILE}
#: The errors of a disk that is full, and with those of one that cannot be written otherwise.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
UNWRITABLE = NO_ROOM | {errno.EROFS, errno.EACCES, errno.EPERM}

#: A disk on which less is left is full: files on it may have been cut short.
_FULL_BYTES = 64 << 10


def free_bytes(folder: Path) -> int | None:
    """Return how much this user can still write there; None if the system does not say."""
    try:
        if not hasattr(os, "statvfs"):  # Windows
            return shutil.disk_usage(folder).free
        status = os.statvfs(folder)
    except OSError:
        return None
    # What most disks keep back is for root.
    return status.f_frsize * (status.f_bavail if os.geteuid() else status.f_bfree)


def is_full(folder: Path) -> bool:
    """Return whether nothing of use can be written there any more."""
    left_bytes = free_bytes(folder)
    return left_bytes is not None and left_bytes < _FULL_BYTES


def reason(error: OSError, folder: Path) -> str:
    """Return why something in this folder cannot be written, as a clause, with the room that a full disk has left."""
    why = error.strerror or str(error)
    return f"{why}{_left(folder)}" if error.errno in NO_ROOM else why


def unwritable(called: str, folder: Path, error: OSError | None, variable: str) -> str:
    """Return the sentence for a folder that a variable can move; without an error it is full."""
    why = reason(error, folder) if error else f"{os.strerror(errno.ENOSPC)}{_left(folder)}"
    return (
        f"The {called} folder {folder} cannot be written: {why}. Make room or give rights there, or "
        f"set {variable} to another folder."
    )


def _left(folder: Path) -> str:
    left_bytes = free_bytes(folder)
    return "" if left_bytes is None else f" ({left_bytes / 1e6:.1f} MB are left)"
