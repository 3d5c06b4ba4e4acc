"""What hosts take, with Python programs in their place; density with guests that end when they were seen."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.latency import usage
from pytest_wasmedge.latency.usage import Meter, Usage, density, peak_memory_of
from pytest_wasmedge.model import Artifact, Host, Invocation, Limits, Outcome, Timings, exited, host_failed
from pytest_wasmedge.testing import FakeRuntime
from tests.waiting import DEADLINE_S

ARTIFACT = Artifact(Path("none.wasm"), "0" * 64, 0, "none")
MIB = 1 << 20
BURN_NS = 200_000_000

# Takes so much CPU time and memory that both can be told from what Python itself takes; keeps neither.
BURN = f"""
import time
while time.process_time_ns() < {BURN_NS}: pass
bytearray(b"x") * {64 * MIB}
"""
PAUSE = "print('ready', flush=True)\ninput()\n"
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="peaks are told by Linux alone")


class Served(Host):
    """A host that is served by these processes and is never invoked."""

    def __init__(self, *pids: int) -> None:
        self.runtime, self.artifact, self.limits = FakeRuntime(), ARTIFACT, Limits()
        self._pids = pids

    def pids(self) -> tuple[int, ...]:
        return self._pids

    def invoke(self, invocation: Invocation) -> Outcome:
        raise NotImplementedError

    def close(self) -> None:
        pass


Serve = Callable[[str], Served]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a host served by a process that has run this program; it waits until the test ends."""
    with ExitStack() as ending:

        def serve(program: str) -> Served:
            argv = [sys.executable, "-I", "-c", program + PAUSE]
            process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            ending.enter_context(process)
            ending.callback(process.communicate, b"\n")
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            return Served(process.pid)

        yield serve


def starts(program: str, then: str) -> str:
    """A program that starts another one, which waits for the same stdin, and goes on when that is ready."""
    return (
        "import subprocess, sys\n"
        f"inner = subprocess.Popen([sys.executable, '-I', '-c', {program!r}], stdout=subprocess.PIPE)\n"
        f"{then}\n"
    )


def test_nothing_to_tell() -> None:
    """A host without a process here, or whose process is gone, takes nothing that can be told; never 0."""
    gone = subprocess.Popen([sys.executable, "-I", "-c", ""])
    gone.wait()

    for host in (Served(), Served(gone.pid)):
        assert peak_memory_of(host, Invocation()) is None
        meter = Meter()
        assert meter.read(host) == Usage(None, None)


@linux_only
def test_a_process(serve: Serve) -> None:
    """CPU time and peak memory are those of the process, also of memory that it has given back."""
    meter = Meter()
    told = meter.read(serve(BURN))

    assert told.cpu_ns is not None
    assert told.peak_memory_bytes is not None
    assert told.cpu_ns >= BURN_NS
    assert 64 * MIB <= told.peak_memory_bytes < 128 * MIB


def test_children_count(serve: Serve) -> None:
    """What a process started counts with it, running or waited for; peaks at different times make no sum."""
    meter = Meter()
    running = meter.read(serve(starts(BURN + PAUSE, "inner.stdout.readline()")))
    ended = meter.read(serve(starts(BURN, "inner.wait()")))

    for told in (running, ended):
        assert told.cpu_ns is not None
        assert told.cpu_ns >= BURN_NS
    assert running.peak_memory_bytes is None


def test_meter_counts_what_began_since(serve: Serve) -> None:
    """A process that began after the meter counts whole, one that was there by what it took since."""
    meter = Meter()
    host = serve(BURN)
    whole = meter.read(host).cpu_ns
    meter.begin(host)
    since = meter.read(host).cpu_ns

    assert whole is not None
    assert since is not None
    assert whole >= BURN_NS
    assert since < BURN_NS


@linux_only
def test_meter_of_this_process() -> None:
    """For a host in this process, what the process took and gained since counts, and none of its children."""
    host = Served(os.getpid())
    meter = Meter()
    before = meter.read(host)
    until_ns = time.thread_time_ns() + BURN_NS
    while time.thread_time_ns() < until_ns:
        pass
    bytearray(b"x") * (64 * MIB)
    after = meter.read(host)
    meter = Meter()
    anew = meter.read(host)

    assert before.cpu_ns is not None
    assert after.cpu_ns is not None
    assert after.cpu_ns - before.cpu_ns >= BURN_NS
    assert after.peak_memory_bytes is not None
    assert anew.peak_memory_bytes is not None
    # Linux counts pages per processor and sums them up now and then.
    assert anew.peak_memory_bytes < 60 * MIB <= after.peak_memory_bytes


def test_meter_takes_an_outcome_s_word() -> None:
    """Where a process served one invocation alone, its outcome tells what it took."""
    outcome = Outcome(b"", b"", exited(0), timings=Timings(1, cpu_ns=7, peak_memory_bytes=9))
    meter = Meter()
    assert meter.read(Served(os.getpid()), outcome) == Usage(7, 9)


@linux_only
def test_own_memory_is_seen(serve: Serve) -> None:
    """The memory that density is made of grows by what a process holds."""
    # Half a MiB more than is looked for: two processes differ by some pages even if they do the same.
    sizes = (1, 64 * MIB + MIB // 2)
    small, large = (usage._own_bytes(serve(f"held = bytearray(b'x') * {size}\n")) for size in sizes)

    assert small is not None
    assert large is not None
    assert 64 * MIB <= large - small < 65 * MIB


class Alive:
    """Guests that stay alive until they were looked at, each taking 10 MiB of a host that takes 100."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._changed = threading.Condition()
        self._wanted = iter((1, 4))
        self._arrived = self._awaited = self._looks = 0
        # As if each had run since long ago, until long from now.
        self.phases_ns = {"run": 1 << 60}
        self.ending = exited(0)
        monkeypatch.setattr(usage, "_own_bytes", self._look)
        self.runtime = FakeRuntime(answer=self._live)
        self.runtime.capabilities = frozenset({"concurrent"})
        self.host = self.runtime.start(ARTIFACT, Limits())

    def _live(self, invocation: Invocation) -> Outcome:
        with self._changed:
            if self._arrived == self._awaited:
                self._arrived, self._awaited, self._looks = 0, next(self._wanted), 0
            self._arrived += 1
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._looks, DEADLINE_S), "nobody looked"
        return Outcome(b"", b"", self.ending, timings=Timings(1, self.phases_ns))

    def _look(self, host: Host) -> int:
        with self._changed:
            all_here = self._changed.wait_for(lambda: 0 < self._arrived == self._awaited, DEADLINE_S)
            assert all_here, f"{self._arrived} of {self._awaited} guests arrived"
            self._looks += 1
            self._changed.notify_all()
            return (100 + 10 * self._arrived) * MIB


def test_density(monkeypatch: pytest.MonkeyPatch) -> None:
    """Density is what three more guests take beyond one, by three."""
    alive = Alive(monkeypatch)

    assert density(alive.host, Invocation()) == 10 * MIB


def test_density_of_fresh_isolates(monkeypatch: pytest.MonkeyPatch) -> None:
    """What earlier guests left in kept isolates is no part of it: they are discarded before each of the two."""
    alive, discarded = Alive(monkeypatch), []
    alive.runtime.capabilities = frozenset({"concurrent", "isolates"})
    alive.host.discard_isolates = lambda: discarded.append(1)  # type: ignore[method-assign]

    assert density(alive.host, Invocation()) == 10 * MIB
    assert len(discarded) == 2


def test_density_needs_guests_that_surely_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a host does not tell for how long its guests ran, nobody knows whether all were alive."""
    alive = Alive(monkeypatch)
    alive.phases_ns = {}

    assert density(alive.host, Invocation()) is None


@pytest.mark.parametrize(
    ("seen", "memory_bytes"),
    [
        ([(10, 11, 1), (20, 21, 2), (30, 31, 9), (40, 41, 4), (50, 51, 3), (60, 61, 8)], 4),
        ([(20, 31, 1), (50, 61, 2)], None),
        ([], None),
    ],
)
def test_only_what_was_seen_while_all_ran(seen: list[tuple[int, int, int]], memory_bytes: int | None) -> None:
    """The median counts of what was seen wholly between the last one's latest start and the first one's end."""
    assert usage._while_alive([(10, 55), (30, 70)], seen) == memory_bytes


def test_density_of_guests_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that did not stay alive as it should is an error, not a small figure."""
    alive = Alive(monkeypatch)
    alive.ending = host_failed("crashed")

    with pytest.raises(
        HostStartError, match="fake: a guest kept alive for its memory ended as host_failed: crashed"
    ):
        density(alive.host, Invocation())


def test_density_of_one_at_a_time() -> None:
    """A host that holds one guest at a time has no density, and is not even asked to run one."""
    host = FakeRuntime().start(ARTIFACT, Limits())

    assert density(host, Invocation()) is None
    assert host.run().invocation == 1
