"""The open file descriptors of a process, as /proc lists them, and which of them were opened since."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

Descriptors = dict[int, str]
"""Where the descriptors of a process lead: a path, or what kind of thing they are."""


def open_now(pid: int | str = "self") -> Descriptors:
    """Return the descriptors that a process has open."""
    found = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile, as the one that lists the folder is
            found[int(path.name)] = str(path.readlink())
    return found


def opened_since(before: Descriptors, pid: int | str = "self") -> Descriptors:
    """Return the descriptors that were not there, or led elsewhere.

    A count would also see what is closed meanwhile: Python does that for earlier tests whenever it collects garbage.
    """
    return {number: link for number, link in open_now(pid).items() if before.get(number) != link}
