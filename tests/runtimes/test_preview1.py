"""WASI preview 1, call by call: our glue answers as wasmtime does. The answers are written down here.

Each guest makes some calls and tells their error numbers: 8 is a descriptor that is not open, or not for that; 28 an
invalid argument, 57 not a socket, 58 not supported, 70 a stream, which has no position.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from pytest_wasmedge.model import Limits
from pytest_wasmedge.runtimes import builtin_runtimes
from tests.preview1 import OUT, Event, Script, events, subscription

RUNTIMES = {each.name: each for each in builtin_runtimes()}
NAMES = ("wasmtime", "node", "deno", "bun", "workerd")
GLUE = NAMES[1:]

Ask = Callable[..., list[int | bytes]]

MS = 1_000_000
REALTIME, MONOTONIC = 0, 1
CLOCK, READ, WRITE = 0, 1, 2


@pytest.fixture(params=NAMES)
def runtime(request: pytest.FixtureRequest) -> str:
    """Each of the runtimes, by name."""
    return cast("str", request.param)


@pytest.fixture
def ask(runtime: str, request: pytest.FixtureRequest, tmp_path: Path) -> Ask:
    """Run a script on the runtime; return its answers."""
    if runtime == "wasmtime":
        request.getfixturevalue("private_cache")

    def run(script: Script, **given: object) -> list[int | bytes]:
        with RUNTIMES[runtime].start(script.artifact(tmp_path), Limits()) as host:
            return script.run(host, **given)

    return run


def test_sockets_and_signals(ask: Ask) -> None:
    """There are neither: a stream is no socket, and nobody can be sent a signal."""
    script = Script().call("proc_raise", 9).call("sched_yield")
    for fd in (0, 9):
        script.call("sock_accept", fd, 0, OUT).call("sock_recv", fd, 0, 0, 0, OUT, OUT)
        script.call("sock_send", fd, 0, 0, 0, OUT).call("sock_shutdown", fd, 1)

    assert ask(script) == [58, 0, 57, 57, 57, 57, 8, 8, 8, 8]


@pytest.mark.parametrize("fd", [0, 1, 2, 9])
def test_a_stream_is_no_file(ask: Ask, fd: int) -> None:
    """What only files and folders can do, a stream cannot, and a descriptor that is not open neither."""
    script = Script()
    script.call("fd_advise", fd, 0, 0, 0).call("fd_allocate", fd, 0, 1)
    script.call("fd_datasync", fd).call("fd_sync", fd)
    script.call("fd_fdstat_set_flags", fd, 1).call("fd_fdstat_set_rights", fd, 0, 0)
    script.call("fd_filestat_set_size", fd, 0).call("fd_filestat_set_times", fd, 0, 0, 0)
    script.call("fd_readdir", fd, OUT, 100, 0, 8).call("fd_prestat_get", fd, OUT)
    script.call("path_create_directory", fd, b"a").call("path_filestat_get", fd, 0, b"a", OUT)
    script.call("path_filestat_set_times", fd, 0, b"a", 0, 0, 0).call("path_link", fd, 0, b"a", fd, b"b")
    script.call("path_open", fd, 0, b"a", 0, 0, 0, 0, OUT).call("path_readlink", fd, b"a", OUT, 9, OUT)
    script.call("path_remove_directory", fd, b"a").call("path_rename", fd, b"a", fd, b"b")
    script.call("path_symlink", b"a", fd, b"b").call("path_unlink_file", fd, b"a")

    assert ask(script) == [8] * 20


def test_a_stream_has_no_name_and_no_position(ask: Ask) -> None:
    """It is a pipe of unknown type with the one right that its direction gives."""
    script = Script()
    buffers = script.buffers(b"abcd")
    for fd in (0, 1, 2, 9):
        script.call("fd_prestat_dir_name", fd, OUT, 0)
        script.call("fd_seek", fd, 0, 0, OUT).call("fd_tell", fd, OUT)
        script.call("fd_pread", fd, buffers, 1, 0, OUT).call("fd_pwrite", fd, buffers, 1, 0, OUT)
    for fd in (0, 1):
        script.call("fd_fdstat_get", fd, OUT).show(OUT, 24)
    script.call("fd_filestat_get", 0, OUT).show(OUT + 16, 24)

    reading, writing = (right.to_bytes(8, "little") for right in (1 << 1, 1 << 6))
    assert ask(script) == [
        *(54, 70, 70, 70, 8),
        *(54, 70, 70, 8, 70),
        *(54, 70, 70, 8, 70),
        *(8, 8, 8, 8, 8),
        *(0, bytes(8) + 2 * reading),
        *(0, bytes(8) + 2 * writing),
        *(0, bytes(24)),
    ]


def test_reading_and_writing_the_wrong_way(ask: Ask) -> None:
    """Stdin is not written and stderr is not read; after closing them, neither works at all."""
    script = Script()
    for fd in (0, 2):
        script.call("fd_read", fd, script.buffers(bytes(4)), 1, OUT)
        script.write(fd, b"text").call("fd_close", fd).call("fd_close", fd)
        script.call("fd_read", fd, script.buffers(bytes(4)), 1, OUT).write(fd, b"text")

    assert ask(script, source=b"input") == [0, 8, 0, 8, 8, 8, 8, 0, 0, 8, 8, 8]


def test_renumbering(ask: Ask) -> None:
    """A descriptor takes the place of another that is open, or its own."""
    script = Script().call("fd_renumber", 0, 9).call("fd_renumber", 9, 0).call("fd_renumber", 2, 2)
    script.write(2, b"text").call("fd_renumber", 0, 2)
    script.call("fd_read", 2, script.buffers(bytes(4)), 1, OUT).call("fd_read", 0, 0, 0, OUT)
    script.write(2, b"text")

    assert ask(script, source=b"input") == [8, 8, 0, 0, 0, 0, 8, 8]


def test_clocks(ask: Ask) -> None:
    """There are two; no two readings of monotonic time are the same."""
    script = Script().call("clock_time_get", MONOTONIC, 0, OUT).call("clock_time_get", MONOTONIC, 0, OUT + 8)
    script.show(OUT, 16)
    for clock in (2, 3):
        script.call("clock_res_get", clock, OUT).call("clock_time_get", clock, 0, OUT)

    _, _, told, *others = ask(script)
    assert isinstance(told, bytes)
    assert int.from_bytes(told[:8], "little") < int.from_bytes(told[8:], "little")
    assert others == [8, 8, 8, 8]


def polls(*subscriptions: bytes, count: int | None = None) -> Script:
    """Return a script that polls once, and shows how many events came and all there is room for."""
    script = Script()
    number = len(subscriptions) if count is None else count
    script.call("poll_oneoff", script.place(b"".join(subscriptions)), OUT, number, 8)
    return script.show(8, 4).show(OUT, 32 * len(subscriptions))


def came(answers: list[int | bytes]) -> list[Event]:
    """Return the events that came."""
    error, count, told = answers
    assert error == 0
    assert isinstance(count, bytes)
    return events(told)[: int.from_bytes(count, "little")]


def test_polling_nothing(ask: Ask) -> None:
    """Nothing would never come: an error."""
    assert ask(polls(count=0)) == [28, bytes(4), b""]


def test_polling_streams(ask: Ask, runtime: str) -> None:
    """Stdin can be read and the others written, at once; a clock beside them is not waited for."""
    script = polls(
        subscription(1, CLOCK, MONOTONIC, 10_000 * MS),
        subscription(2, READ, 0),
        subscription(3, WRITE, 1),
        subscription(4, WRITE, 2),
    )

    told = came(ask(script, source=b"input"))
    assert [(each.userdata, each.error, each.kind) for each in told] == [(2, 0, 1), (3, 0, 2), (4, 0, 2)]
    if runtime in GLUE:
        assert [(each.nbytes, each.hangup) for each in told] == [(5, False), (1, False), (1, False)]


@pytest.mark.parametrize("runtime", GLUE, indirect=True)
def test_polling_the_end_of_stdin(ask: Ask) -> None:
    """Stdin of which everything is read can be read, has nothing, and has hung up. wasmtime does not tell."""
    assert came(ask(polls(subscription(7, READ, 0)))) == [Event(7, 0, READ, 0, hangup=True)]


@pytest.mark.parametrize("runtime", GLUE, indirect=True)
def test_polling_what_is_not_open(ask: Ask) -> None:
    """The event has the error, and the others come. In wasmtime the call fails with it."""
    script = polls(
        subscription(1, READ, 9),
        subscription(2, WRITE, 0),
        subscription(3, READ, 1),
        subscription(4, WRITE, 1),
    )

    told = came(ask(script))
    assert [(each.userdata, each.error) for each in told] == [(1, 8), (2, 8), (3, 8), (4, 0)]


@pytest.mark.parametrize("runtime", GLUE, indirect=True)
@pytest.mark.parametrize("asked", [subscription(1, CLOCK, 9), subscription(1, 9, 0)])
def test_polling_what_there_is_not(ask: Ask, asked: bytes) -> None:
    """A clock and a type of event that there are not are errors of the call."""
    assert ask(polls(asked))[0] == 28


def test_polling_clocks(ask: Ask) -> None:
    """The first one that is due comes, or all of them that are due together."""
    sooner, later = subscription(1, CLOCK, MONOTONIC, 20 * MS), subscription(2, CLOCK, REALTIME, 30_000 * MS)

    assert came(ask(polls(later, sooner))) == [Event(1, 0, CLOCK)]
    assert came(ask(polls(sooner, sooner))) == [Event(1, 0, CLOCK)] * 2


@pytest.mark.parametrize("clock", [REALTIME, MONOTONIC])
def test_polling_until_a_point_in_time(ask: Ask, clock: int) -> None:
    """One that has passed is due at once; one that is to come is waited for."""
    past = subscription(1, CLOCK, clock, 1, absolute=True)
    assert came(ask(polls(past))) == [Event(1, 0, CLOCK)]

    soon = Script()
    place = soon.place(subscription(1, CLOCK, clock, 0, absolute=True))
    soon.call("clock_time_get", clock, 0, place + 24).add(place + 24, 50 * MS)
    soon.call("poll_oneoff", place, OUT, 1, 8).call("clock_time_get", clock, 0, OUT)
    soon.show(place + 24, 8).show(OUT, 8)

    _, error, _, until, now = ask(soon)
    assert isinstance(until, bytes)
    assert isinstance(now, bytes)
    assert error == 0
    # Browsers and JavaScript's time of day round to a millisecond.
    assert -MS <= int.from_bytes(now, "little") - int.from_bytes(until, "little") < 30_000 * MS
