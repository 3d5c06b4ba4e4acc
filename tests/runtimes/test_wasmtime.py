"""wasmtime in this process: what its binding, its epochs and our ``poll_oneoff`` add to the contract."""

from __future__ import annotations

import errno
import gc
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_wasmedge.drivers.inprocess import Run
from pytest_wasmedge.drivers.memory_files import AVAILABLE, MemoryFiles
from pytest_wasmedge.errors import ShortageError
from pytest_wasmedge.model import Ending, exited, timed_out
from pytest_wasmedge.runtimes.wasmtime import WasmtimeHost
from tests import wat
from tests.descriptors import open_now, opened_since
from tests.runtimes.conftest import Start
from tests.waiting import until

HOUR_NS = 3_600_000_000_000

in_memory = pytest.mark.skipif(not AVAILABLE, reason="this system has no files in memory that have a path")


def polls(
    subscriptions: int = 2048, events: int = 4096, count: int = 1, result: int = 8, setup: str = ""
) -> str:
    """Calls ``poll_oneoff`` with these arguments and ends with its error number."""
    call = " ".join(f"(i32.const {value})" for value in (subscriptions, events, count, result))
    return wat.command(f"{setup} (call $proc_exit (call $poll_oneoff {call}))")


@pytest.mark.parametrize(
    ("program", "error"),
    [
        (polls(count=0), 28),
        (polls(count=-1), 28),
        (polls(count=1 << 20), 28),
        (polls(subscriptions=-16), 21),
        (polls(events=-16), 21),
        (polls(result=-2), 21),
        (polls(subscriptions=3 * 65536 - 40), 21),
    ],
)
def test_senseless_sleep(start: Start, program: str, error: int) -> None:
    """A guest that gives ``poll_oneoff`` nonsense hears so by an error number; the host goes on."""
    host = start("wasmtime", program)

    assert [host.run().ending for _ in range(2)] == [exited(error)] * 2


def test_sleep_until_a_point_in_time(start: Start) -> None:
    """A point in time counts by the guest's own clock: one that is an hour away is not reached."""
    program = wat.command(
        f"""
    (if (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 16)) (then unreachable))
    (i32.store (i32.const 2064) (i32.const 1))
    (i64.store (i32.const 2072) (i64.add (i64.load (i32.const 16)) (i64.const {HOUR_NS})))
    (i32.store16 (i32.const 2088) (i32.const 1))
    (drop (call $poll_oneoff (i32.const 2048) (i32.const 4096) (i32.const 1) (i32.const 8)))"""
    ).replace(
        "  (memory (export",
        '  (import "wasi_snapshot_preview1" "clock_time_get" '
        "(func $clock_time_get (param i32 i64 i32) (result i32)))\n  (memory (export",
    )

    assert start("wasmtime", program).run(timeout_s=0.2).ending == timed_out()


def test_descriptors_are_ready(start: Start) -> None:
    """Whoever waits for stdin or for an hour is woken for stdin, at once."""
    setup = f"""
    (i32.store (i32.const 2064) (i32.const 1))
    (i64.store (i32.const 2072) (i64.const {HOUR_NS}))
    (i64.store (i32.const 2096) (i64.const 77))
    (i32.store8 (i32.const 2104) (i32.const 1))
    (drop (call $poll_oneoff (i32.const 2048) (i32.const 4096) (i32.const 2) (i32.const 8)))
    (call $proc_exit (i32.add (i32.load (i32.const 8)) (i32.load (i32.const 4096))))"""

    assert start("wasmtime", wat.command(setup)).run().ending == exited(1 + 77)


def test_woken_by_the_deadline_is_over(start: Start) -> None:
    """What a guest does after its sleep was cut short is no part of its outcome: neither output nor status."""
    program = wat.sleeps(3600).replace("(call $write", "(call $proc_exit (i32.const 5)) (call $write")
    for text in (wat.sleeps(3600), program):
        outcome = start("wasmtime", text).run(timeout_s=0.1)

        assert outcome.ending == timed_out()
        assert outcome.stdout == b""


@in_memory
def test_output_takes_no_python(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files can be in memory a write of the guest calls nothing of ours: a million would take half a minute."""
    monkeypatch.setattr(Run, "write", None)

    assert start("wasmtime", wat.ECHO).run(b"x" * 100_000).stdout == b"x" * 100_000


@pytest.mark.parametrize(
    "program", [wat.ECHO, wat.WRITES_AND_SPINS, wat.sleeps(3600), wat.reports_and_traps("late")]
)
def test_without_files_in_memory(start: Start, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Other systems have no such files: there the output is the same, by a call for each write."""
    host = start("wasmtime", program)
    outcome = host.run(b"ab", timeout_s=0.2)
    monkeypatch.setattr("pytest_wasmedge.runtimes.wasmtime.AVAILABLE", False)

    assert host.run(b"ab", timeout_s=0.2) == outcome


@in_memory
def test_no_file_is_left_open(start: Start) -> None:
    """An invocation leaves no descriptor behind, however it ends."""
    hosts = [start("wasmtime", program) for program in (wat.ECHO, wat.SPIN, wat.TRAP)]
    for host in hosts:
        host.run(timeout_s=0.1)
    before = open_now()
    for host in hosts:
        host.run(timeout_s=0.1)

    until(lambda: not opened_since(before), "what an invocation opened is closed")


@in_memory
@pytest.mark.parametrize("whose", ["ours", "the engine's"])
def test_no_descriptor_for_the_output(start: Start, monkeypatch: pytest.MonkeyPatch, whose: str) -> None:
    """A process without a free descriptor, for us or for the engine, hears so, and what to do; the host goes on."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    host = start("wasmtime", wat.ECHO)
    with monkeypatch.context() as without:
        if whose == "ours":
            without.setattr(os, "memfd_create", refuse)
        else:
            # What cannot be opened there fails like what there is no descriptor for.
            without.setattr(MemoryFiles, "paths", ("/proc/self/fd/none", "/proc/self/fd/none"))
        with pytest.raises(ShortageError, match=r"files open, and has: raise that limit \(`ulimit -n`\)"):
            host.run()

    assert host.run(b"x").stdout == b"x"


def interrupt_when_it_runs(host: WasmtimeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process a Ctrl-C as soon as the next guest is about to run."""
    # An exception raised in a finalizer is lost, and so would be this one; garbage of other tests has some.
    gc.collect()
    gc.disable()
    execute = host._execute
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    def interrupted(run: Run) -> Ending:
        monkeypatch.undo()
        signal.pthread_kill(main_thread, signal.SIGINT)
        return execute(run)

    monkeypatch.setattr(host, "_execute", interrupted)


@pytest.fixture
def _garbage_waits() -> Iterator[None]:
    """Have the collector back afterwards, whatever became of the test."""
    yield
    gc.enable()


@pytest.mark.usefixtures("_garbage_waits")
@pytest.mark.parametrize("program", [wat.SPIN, wat.sleeps(3600)], ids=["spins", "sleeps"])
def test_ctrl_c_ends_a_guest(start: Start, program: str) -> None:
    """Ctrl-C is heard while a guest runs, ends it long before its limit, and leaves a host that works."""
    host = start("wasmtime", program)
    assert isinstance(host, WasmtimeHost)
    with pytest.MonkeyPatch.context() as monkeypatch:
        interrupt_when_it_runs(host, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            host.run(timeout_s=600)

    assert host.run(timeout_s=0.1).ending == timed_out()


@pytest.mark.usefixtures("_garbage_waits")
def test_sleep_after_ctrl_c(start: Start) -> None:
    """A Ctrl-C ends the sleep that it met, not the next one."""
    host = start("wasmtime", wat.sleeps(2))
    assert isinstance(host, WasmtimeHost)
    with pytest.MonkeyPatch.context() as monkeypatch:
        interrupt_when_it_runs(host, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            host.run()

    assert host.run().stdout == b"rested"


def test_compiled_once(start: Start, private_cache: Path) -> None:
    """A second host of the same artifact takes the compiled code of the first."""
    start("wasmtime", wat.ECHO)
    (first,) = private_cache.glob("compiled/*.cwasm")
    inode = first.stat().st_ino
    start("wasmtime", wat.ECHO)

    assert [file.stat().st_ino for file in private_cache.glob("compiled/*.cwasm")] == [inode]


def test_start_phases(start: Start) -> None:
    """A start that had to compile says so; one that found the code has loaded it, and nothing more."""
    first, second = start("wasmtime", wat.ECHO), start("wasmtime", wat.ECHO)

    assert set(first.start_phases_ns) == {"compile", "load"}
    assert set(second.start_phases_ns) == {"load"}
    assert all(ns > 0 for ns in (*first.start_phases_ns.values(), *second.start_phases_ns.values()))


def test_pids(start: Start) -> None:
    """This host is served by this process, as long as it is open."""
    host = start("wasmtime", wat.ECHO)
    assert host.pids() == (os.getpid(),)
    host.close()
    assert host.pids() == ()


def test_phases(start: Start) -> None:
    """The timings name what this host can tell apart, in nanoseconds."""
    timings = start("wasmtime", wat.ECHO).run(b"x").timings

    assert set(timings.phases_ns) == {"instantiate", "run"}
    assert 0 < sum(timings.phases_ns.values()) < timings.elapsed_ns


def test_memory_limit_holds_each_time(start: Start) -> None:
    """A guest that takes all memory it may have leaves as much to the next ones, also side by side."""
    host = start("wasmtime", wat.GROWS, memory_bytes=256 << 20)
    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(lambda _: host.run(), range(12)))

    assert [outcome.ending for outcome in outcomes] == [exited(7)] * 12
