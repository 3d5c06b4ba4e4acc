"""Waiting for something to happen in another process: until it has, or a generous deadline has passed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil

DEADLINE_S = 30.0

T = TypeVar("T")


def until(happened: Callable[[], object], what: str) -> None:
    """Return once ``happened()`` is true. Raises AssertionError that names ``what`` after DEADLINE_S."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not happened():
        assert time.monotonic() < deadline_s, f"after {DEADLINE_S:.0f} s still not: {what}"
        time.sleep(0.01)  # between two looks; nothing depends on its length


def with_enough_time(run: Callable[[float], T], began: Callable[[T], object], timeout_s: float = 0.5) -> T:
    """Return what ``run(timeout_s)`` gives, with the limit doubled, up to DEADLINE_S, until ``began`` is true of it.

    For what is to be stopped at its limit, but not before it did something: how long that takes, a busy machine says.
    """
    while True:
        result = run(timeout_s)
        if began(result) or timeout_s >= DEADLINE_S:
            return result
        timeout_s = min(2 * timeout_s, DEADLINE_S)


def until_it_spins(processes: Sequence[psutil.Process]) -> None:
    """Wait until a guest takes processor time in these: a host that is there and waits takes next to none."""

    def taken_s() -> float:
        total_s = 0.0
        for process in processes:
            # Browsers end what they do not need.
            with suppress(psutil.NoSuchProcess):
                total_s += sum(process.cpu_times()[:2])
        return total_s

    before_s = taken_s()
    until(lambda: taken_s() > before_s + 1, "the guest spins")


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
