"""The driver of engines in this process: its clock, which outlives a host that is closed in mid-run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_wasmedge.drivers.inprocess import InProcessHost, Run, Ticker
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import Artifact, Ending, Limits, exited, timed_out
from pytest_wasmedge.testing import FakeRuntime
from tests import wat
from tests.waiting import DEADLINE_S, until


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


def test_time_that_was_slept_through_is_made_up_for() -> None:
    """Beside busy processes a sleep takes many times as long: a guest's epochs go by the clock all the same."""
    now_s = [100.0]
    ticks_seen: list[float] = []
    ticker = Ticker(lambda: ticks_seen.append(now_s[0]), clock=lambda: now_s[0])
    with ticker:
        now_s[0] += 2.005
        until(lambda: len(ticks_seen) >= 200, "two seconds have been ticked")
        assert len(ticks_seen) == 200
        # A guest that comes now is not charged for what was before it.
        now_s[0] += 1.0
        with ticker:
            before = len(ticks_seen)
    ticker.close()

    assert before >= 300


class Late(InProcessHost):
    """A host whose guests end by themselves, whatever their time limit."""

    runtime = FakeRuntime("late")
    limits = Limits()

    def __init__(self, artifact: Artifact) -> None:
        super().__init__()
        self.artifact = artifact

    def _execute(self, run: Run) -> Ending:
        return exited(0)

    def _stop_guest(self, run: Run) -> None:
        raise AssertionError("it has ended")


def test_an_end_that_comes_too_late(tmp_path: Path) -> None:
    """A guest that ended after its time limit, before anybody stopped it, has timed out."""
    with Late(wat.artifact(tmp_path, wat.ECHO)) as host:
        assert host.run().ending == exited(0)
        assert host.run(timeout_s=1e-9).ending == timed_out()
