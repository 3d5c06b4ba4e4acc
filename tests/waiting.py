"""Waiting for something to happen in another process: until it has, or a generous deadline has passed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

DEADLINE_S = 30.0


def until(happened: Callable[[], object], what: str) -> None:
    """Return once ``happened()`` is true. Raises AssertionError that names ``what`` after DEADLINE_S."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not happened():
        assert time.monotonic() < deadline_s, f"after {DEADLINE_S:.0f} s still not: {what}"
        time.sleep(0.01)  # between two looks; nothing depends on its length


def is_running(pid: int) -> bool:
    """True if this process exists and has not ended (one that nobody has waited for has ended)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def until_gone(pids: list[int], folders: list[Path]) -> None:
    """Wait until none of these processes runs and none of these folders exists."""
    until(lambda: not any(map(is_running, pids)), f"processes {pids} have ended")
    until(lambda: not any(folder.exists() for folder in folders), f"{folders} are removed")
