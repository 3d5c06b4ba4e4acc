"""Drives an engine in this Python process: numbers, times, deadlines, and a Ctrl-C that works."""

from __future__ import annotations

import itertools
import math
import os
import queue
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from pytest_wasmedge.drivers import shortage
from pytest_wasmedge.drivers.folders import lent
from pytest_wasmedge.drivers.memory_files import MemoryFiles
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import Ending, Host, Invocation, Outcome, Timings, host_failed, timed_out

TICK_S = 0.01
_STOP_ATTEMPTS, _STOP_PAUSE_S = 100, 0.05
_HEARING_S = 0.1


class Ticker:
    """Calls ``tick`` once per 10 ms while guests run, for engines that stop guests at an epoch.

    It makes up for late ticks by the monotonic clock: beside busy processes a sleep of 10 ms takes many times as long.
    Enter this context manager before setting a guest's deadline.
    """

    def __init__(self, tick: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tick, self._clock = tick, clock
        self._guests = 0
        self._ticked_s = 0.0
        self._closed = False
        self._changed = threading.Condition()
        threading.Thread(target=self._loop, name="pytest-wasmedge-epoch", daemon=True).start()

    def __enter__(self) -> None:
        with self._changed:
            if self._closed:
                raise HostStartError("this host was closed a moment ago; start another one.")
            if self._guests:
                # The new guest's ticks begin now.
                self._catch_up()
            else:
                self._ticked_s = self._clock()
                self._changed.notify()
            self._guests += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._guests -= 1

    def close(self) -> None:
        """End the thread once no guest runs."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._guests and not self._closed:
                    self._changed.wait()
                # If a host is closed during a run, the guest still has to reach its time limit.
                if not self._guests:
                    return
            time.sleep(TICK_S)
            with self._changed:
                self._catch_up()

    def _catch_up(self) -> None:
        for _ in range(int((self._clock() - self._ticked_s) / TICK_S)):
            self._tick()
            self._ticked_s += TICK_S


def ticks(timeout_s: float) -> int:
    """Return the number of ticks that a guest may run; one more, since the present tick has begun already."""
    return math.ceil(timeout_s / TICK_S) + 1


@dataclass(slots=True)
class Run:
    """One invocation under way: the guest's output so far, and its deadline.

    ``clock_zero_ns`` is the start of the guest's monotonic clock. ``stopping`` ends its sleep early. ``overslept`` is
    set when that or the deadline ended a sleep: what the guest does afterwards does not count. ``files`` are where an
    engine writes the output that does not come by `write`.
    """

    invocation: Invocation
    timeout_s: float
    output_bytes_left: int
    deadline_s: float = 0.0
    clock_zero_ns: int = 0
    overslept: bool = False
    files: MemoryFiles | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    phases_ns: dict[str, int] = field(default_factory=dict)

    def write(self, stream: bytearray, data: bytes) -> bool:
        """Keep the output; return False if it is over the limit, or comes after ``overslept``."""
        if self.overslept:
            return False
        self.output_bytes_left -= len(data)
        if self.output_bytes_left < 0:
            return False
        stream += data
        return True

    def keep(self, stdout: bytes, stderr: bytes) -> None:
        """Keep all output at once, as far as the limit allows."""
        limit = self.output_bytes_left
        self.output_bytes_left -= len(stdout) + len(stderr)
        self.stdout += stdout[:limit]
        self.stderr += stderr[: max(0, limit - len(stdout))]


class _Job:
    """One call on another thread. A Future would take 0.1 ms more of each invocation to hand its result over."""

    def __init__(self, call: Callable[[], Ending]) -> None:
        self._call = call
        self._ending: Ending | None = None
        self._error: BaseException | None = None
        self._ended = False
        self._running = threading.Lock()
        self._running.acquire()

    def do(self) -> None:
        try:
            self._ending = self._call()
        except BaseException as error:
            self._error = error
        self._ended = True
        self._running.release()

    def wait(self, timeout_s: float) -> bool:
        """Return whether the call has ended, or ends within this time."""
        return self._ended or self._running.acquire(timeout=timeout_s)

    def result(self) -> Ending:
        """Return what the call that has ended returned, or raise what it raised."""
        if self._error:
            raise self._error
        assert self._ending
        return self._ending


class InProcessHost(Host):
    """A host in this process; subclasses run and stop a guest."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._helper: threading.Thread | None = None

    @abstractmethod
    def _execute(self, run: Run) -> Ending:
        """Run the guest in a fresh instance and fill ``run``; several threads may call this at once."""

    @abstractmethod
    def _stop_guest(self, run: Run) -> None:
        """Stop this guest now, or all guests if the engine cannot stop a single one."""

    def invoke(self, invocation: Invocation) -> Outcome:
        self._check_open()
        with shortage.told(), lent(self.runtime.name, invocation) as given:
            return given.outcome(self._invoke(given.invocation), self.limits.output_bytes)

    def _invoke(self, invocation: Invocation) -> Outcome:
        timeout_s = self._time_limit_s(invocation)
        run = Run(invocation, timeout_s, self.limits.output_bytes)
        number = next(self._numbers)
        started_ns = time.perf_counter_ns()
        run.deadline_s = time.monotonic() + timeout_s
        if threading.current_thread() is threading.main_thread():
            ending = self._execute_beside(run)
        else:
            ending = self._execute(run)
        elapsed_ns = time.perf_counter_ns() - started_ns
        if run.output_bytes_left < 0:
            ending = host_failed(f"output limit of {self.limits.output_bytes} bytes reached")
        elif elapsed_ns > timeout_s * 1e9:
            # It ended by itself, but too late.
            ending = timed_out(ending.detail or f"ended after {elapsed_ns / 1e9:.1f} s")
        timings = Timings(elapsed_ns, run.phases_ns)
        return self._outcome(bytes(run.stdout), bytes(run.stderr), ending, number, timings)

    def _execute_beside(self, run: Run) -> Ending:
        # Python handles Ctrl-C only in the main thread, and not inside the engine. So the guest runs on a helper thread
        # while the main thread waits, which can be interrupted.
        if self._helper is None:
            self._helper = threading.Thread(target=self._serve, name="pytest-wasmedge-guest", daemon=True)
            self._helper.start()
        job = _Job(lambda: self._execute(run))
        try:
            self._jobs.put(job)
            # In short waits, since a signal that comes just before a wait is handled after it.
            while not job.wait(_HEARING_S):
                pass
        except BaseException:
            # More than once: a guest that is only now starting sets its deadline afterwards.
            for _ in range(_STOP_ATTEMPTS):
                self._stop_guest(run)
                if job.wait(_STOP_PAUSE_S):
                    break
            raise
        return job.result()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.do()

    def pids(self) -> tuple[int, ...]:
        return () if self._closed else (os.getpid(),)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
