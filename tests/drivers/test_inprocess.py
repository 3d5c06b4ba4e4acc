"""The driver of engines in this process: its clock, which outlives a host that is closed in mid-run."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from pytest_wasmedge.drivers.inprocess import Ticker
from pytest_wasmedge.errors import HostStartError
from tests.waiting import DEADLINE_S


def started(tick: Callable[[], None]) -> tuple[Ticker, threading.Thread]:
    """Return a clock and its thread."""
    before = set(threading.enumerate())
    ticker = Ticker(tick)
    (thread,) = set(threading.enumerate()) - before
    return ticker, thread


def test_a_closed_clock_ticks_for_who_still_runs() -> None:
    """A guest that runs on after its host was closed still meets its time limit; then the clock stops."""
    ticks = threading.Semaphore(0)
    ticker, thread = started(ticks.release)
    with ticker:
        ticker.close()
        # The first one may have been under way.
        assert all(ticks.acquire(timeout=DEADLINE_S) for _ in range(3))

    thread.join(DEADLINE_S)
    assert not thread.is_alive()


def test_a_closed_clock_takes_no_guest() -> None:
    """Who would begin when the clock may have stopped does not begin; a clock without guests ends at once."""
    ticker, thread = started(lambda: None)
    ticker.close()
    thread.join(DEADLINE_S)

    assert not thread.is_alive()
    with pytest.raises(HostStartError, match="closed"), ticker:
        pass
