"""WASI preview 1, call by call: our glue and our component answer as wasmtime does. The answers are written down here.

Each guest makes some calls and tells their error numbers: 8 is a descriptor that is not open, or not for that; 28 an
invalid argument, 57 not a socket, 58 not supported, 70 a stream, which has no position.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from pytest_wasmedge.model import Limits
from pytest_wasmedge.runtimes import builtin_runtimes
from tests.preview1 import FUNCTIONS, OUT, Event, Script, events, subscription
from tests.runtimes import wasi_table

RUNTIMES = {each.name: each for each in builtin_runtimes()}
NAMES = ("wasmtime", "wasmtime-serve", "wasm2c", "node", "deno", "bun", "workerd")
GLUE = NAMES[3:]

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


def test_every_call_is_in_the_table() -> None:
    """docs/wasi.md has a row for each call, made by what tests/runtimes/wasi_table.py asks it."""
    assert wasi_table.ASKED.keys() == FUNCTIONS.keys()
    rows = re.findall(r"^\| `(\w+)` \|", wasi_table.PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == list(FUNCTIONS)


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


# -- folders: "file" with "hello", "sub" with "in", "link" to the file, "folder-link" to sub

ERRORS_OF_PATHS = {
    # path: opened without and with following a link at its end, asked for its type, read as a link
    b"": (44, 44, 44, 44),
    b".": (0, 0, 0, 28),
    b"..": (63, 63, 63, 63),
    b"sub/..": (0, 0, 0, 28),
    b"sub/../..": (63, 63, 63, 63),
    b"/": (63, 63, 63, 63),
    b"/data/file": (63, 63, 63, 63),
    b"file": (0, 0, 0, 28),
    b"file/": (54, 54, 54, 54),
    b"file/.": (54, 54, 54, 54),
    b"file/..": (54, 54, 54, 54),
    b"file/x": (54, 54, 54, 54),
    b"sub/": (0, 0, 0, 28),
    b"sub/.": (0, 0, 0, 28),
    b"sub//in": (0, 0, 0, 28),
    b"./file": (0, 0, 0, 28),
    b"gone": (44, 44, 44, 44),
    b"gone/": (44, 44, 44, 44),
    b"gone/..": (44, 44, 44, 44),
    b"link": (32, 0, 0, 0),
    b"link/": (54, 54, 54, 54),
    b"folder-link": (32, 0, 0, 0),
    b"folder-link/": (0, 0, 0, 28),
    b"folder-link/in": (0, 0, 0, 28),
    b"folder-link/../file": (0, 0, 0, 28),
    b"fi\0le": (28, 28, 28, 28),
    b"\xff": (25, 25, 25, 25),
    b"a" * 255: (44, 44, 44, 44),
    b"a" * 256: (37, 37, 37, 37),
    b"a/" * 3000: (37, 37, 37, 37),
}

#: What path_open answers for these paths, by flags: 1 create, 2 a folder, 4 exclusively, 8 empty it.
OPENED = (b"file", b"sub", b"new", b"link", b"folder-link", b"new/", b"sub/")
ERRORS_OF_FLAGS = {
    0: (0, 31, 44, 0, 31, 44, 31),
    1: (0, 31, 0, 0, 31, 31, 31),
    2: (54, 31, 44, 54, 31, 44, 31),
    5: (20, 20, 0, 20, 20, 31, 31),
    8: (0, 31, 44, 0, 31, 44, 31),
    9: (0, 31, 0, 0, 31, 31, 31),
    **dict.fromkeys((3, 6, 7, 10, 11, 14, 15), (28,) * 7),
}
READING, WRITING = 1 << 1, 1 << 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that guests are granted."""
    place = tmp_path / "folder"
    (place / "sub").mkdir(parents=True)
    (place / "file").write_bytes(b"hello")
    (place / "sub" / "in").write_bytes(b"x")
    (place / "link").symlink_to("file")
    (place / "folder-link").symlink_to("sub")
    return place


@pytest.fixture
def within(ask: Ask, folder: Path) -> Callable[[Script], list[int | bytes]]:
    """Run a script with the folder as /data; return its answers."""
    return lambda script: ask(script, preopens={"/data": folder})


Within = Callable[[Script], list[int | bytes]]


def test_paths(within: Within, runtime: str) -> None:
    """A path does not leave its folder; what else can be wrong with it has one error for all calls."""
    expected = dict(ERRORS_OF_PATHS)
    if runtime == "wasmtime-serve":
        # wasmtime 49 tells of a file behind whose name a slash stands: seen with its own command, too.
        expected |= dict.fromkeys((b"file/", b"file/.", b"link/"), (54, 54, 0, 54))
    script = Script()
    for path in ERRORS_OF_PATHS:
        script.call("path_open", 3, 0, path, 0, 0, 0, 0, OUT).call("path_open", 3, 1, path, 0, 0, 0, 0, OUT)
        script.call("path_filestat_get", 3, 0, path, OUT).call("path_readlink", 3, path, OUT, 9, 8)

    told = within(script)
    assert {path: tuple(told[4 * at : 4 * at + 4]) for at, path in enumerate(expected)} == expected


@pytest.mark.parametrize("flags", ERRORS_OF_FLAGS)
def test_opening(within: Within, flags: int) -> None:
    """What is to be read and written is a file; what is created is not there, or is a file."""
    script = Script()
    for path in OPENED:
        script.call("path_open", 3, 1, path, flags, READING | WRITING, 0, 0, OUT)

    assert tuple(within(script)) == ERRORS_OF_FLAGS[flags]


@pytest.mark.parametrize(
    ("rights", "reads", "writes"),
    [(0, 0, 8), (READING, 0, 8), (WRITING, 8, 0), (READING | WRITING, 0, 0), ((1 << 29) - 1, 0, 0)],
)
def test_rights(within: Within, rights: int, reads: int, writes: int) -> None:
    """A file that is opened to be read is not written, and the other way round; rights are not given up later."""
    script = Script()
    fd = script.open(b"file", 0, rights)
    script.call("fd_read", fd, script.buffers(bytes(2)), 1, OUT).write(fd, b"zz")
    script.call("fd_pread", fd, script.buffers(bytes(2)), 1, 0, OUT)
    script.call("fd_pwrite", fd, script.buffers(bytes(2)), 1, 0, OUT)
    script.call("fd_filestat_set_size", fd, 3).call("fd_fdstat_set_rights", fd, 0, 0)

    assert within(script) == [0, reads, writes, reads, writes, 28 if writes else 0, 58]


def test_files(within: Within) -> None:
    """What else can be done with an open file."""
    script = Script()
    fd = script.open(b"file", 0, READING | WRITING)
    script.call("fd_allocate", fd, 0, 1).call("fd_advise", fd, 0, 1, 0)
    script.call("fd_sync", fd).call("fd_datasync", fd)
    for flags in (1, 4, 2, 8, 16):
        script.call("fd_fdstat_set_flags", fd, flags)
    script.call("fd_readdir", fd, OUT, 100, 0, 8).call("fd_prestat_get", fd, OUT)
    script.call("fd_prestat_dir_name", fd, OUT, 9).call("sock_shutdown", fd, 1)
    script.call("fd_seek", fd, -1, 0, OUT).call("fd_seek", fd, 2, 0, OUT).call("fd_seek", fd, -1, 1, OUT)
    script.call("fd_seek", fd, 0, 2, OUT).show(OUT, 8)
    script.call("path_open", fd, 0, b"x", 1, 0, 0, 0, OUT).call("path_create_directory", fd, b"x")
    script.call("path_unlink_file", fd, b"x")
    for flags in (2, 8, 16):
        script.open(b"file", 0, 0, flags)

    five = (5).to_bytes(8, "little")
    assert within(script) == [
        *(0, 58, 0, 0, 0),
        *(0, 0, 28, 28, 28),
        *(8, 8, 54, 57),
        *(28, 0, 0, 0, five),
        *(54, 8, 8),
        *(58, 58, 58),
    ]


def test_a_preopened_folder(within: Within) -> None:
    """It has a name and is read as a folder; as a file it is not."""
    script = Script().call("fd_prestat_get", 3, OUT).show(OUT, 8).call("fd_prestat_dir_name", 3, OUT, 4)
    script.call("fd_prestat_dir_name", 3, OUT, 9).show(OUT, 5).call("fd_prestat_get", 4, OUT)
    script.call("fd_fdstat_set_flags", 3, 0).call("fd_fdstat_set_rights", 3, 0, 0)
    script.call("fd_advise", 3, 0, 0, 0).call("fd_allocate", 3, 0, 1).call("fd_sync", 3)
    script.call("fd_filestat_set_size", 3, 0).call("fd_filestat_set_times", 3, 0, 5, 4)
    buffers = script.buffers(bytes(4))
    script.call("fd_read", 3, buffers, 1, OUT).call("fd_write", 3, buffers, 1, OUT)
    script.call("fd_pread", 3, buffers, 1, 0, OUT).call("fd_pwrite", 3, buffers, 1, 0, OUT)
    script.call("fd_seek", 3, 0, 0, OUT).call("fd_tell", 3, OUT)
    script.call("fd_fdstat_get", 3, OUT).show(OUT, 1).show(OUT + 8, 16)

    rights = (0x07B7FE00).to_bytes(8, "little") + (0x0FF7FFFF).to_bytes(8, "little")
    assert within(script) == [
        *(0, bytes(4) + (5).to_bytes(4, "little"), 37, 0, b"/data", 8),
        *(8, 58, 8, 8, 8, 8, 0),
        *(8, 8, 8, 8, 8, 8),
        *(0, b"\3", rights),
    ]


def test_making_and_removing(within: Within) -> None:
    """Folders and files are made where nothing is, and removed each by its own call."""
    script = Script()
    for path in (
        b"sub",
        b"file",
        b"link",
        b"a",
        b"a/",
        b"b/",
        b"c/d",
        b".",
        b"..",
        b"file/x",
        b"folder-link/x",
    ):
        script.call("path_create_directory", 3, path)
    for path in (b"sub", b"file", b"link", b"link/", b"folder-link", b"a", b"b", b"gone", b".", b".."):
        script.call("path_remove_directory", 3, path)
    for path in (b"sub", b"sub/", b"file/", b"folder-link/", b"gone", b".", b"..", b"link", b"file", b"file"):
        script.call("path_unlink_file", 3, path)

    assert within(script) == [
        *(20, 20, 20, 0, 20, 0, 44, 20, 63, 54, 0),
        *(55, 54, 54, 54, 54, 0, 0, 44, 28, 63),
        *(31, 31, 54, 31, 44, 31, 63, 0, 0, 44),
    ]


RENAMED = {
    (b"file", b"sub"): 31,
    (b"sub", b"file"): 54,
    (b"file", b"file"): 0,
    (b"gone", b"x"): 44,
    (b"sub", b"sub/y"): 28,
    (b"file", b"x/"): 54,
    (b"file/", b"x"): 54,
    (b".", b"x"): 10,
    (b"file", b"."): 10,
    (b"..", b"x"): 63,
    (b"file", b"/x"): 63,
    (b"sub", b"a"): 0,
    (b"a/", b"b/"): 0,
    (b"b", b"folder-link"): 54,
    (b"folder-link", b"b"): 31,
    (b"file", b"b/new"): 0,
    (b"b/new", b"link"): 0,
}
LINKED = {
    (0, b"file", b"one"): 0,
    (0, b"file", b"sub"): 20,
    (0, b"file", b"file"): 20,
    (0, b"sub", b"x"): 63,
    (0, b"gone", b"x"): 44,
    (0, b"file", b"x/"): 44,
    (0, b"file/", b"x"): 54,
    (0, b"link", b"two"): 0,
    (1, b"link", b"x"): 28,
    (0, b"file", b"../x"): 63,
    (0, b"file", b"sub/three"): 0,
}
SYMLINKED = {
    (b"x", b"s1"): 0,
    (b"x", b"s2/"): 44,
    (b"x", b"sub/"): 20,
    (b"x", b"file/"): 54,
    (b"/etc", b"s3"): 63,
    (b"../..", b"s4"): 0,
    (b"", b"s5"): 44,
    (b"x", b""): 44,
    (b"x", b"gone/x"): 44,
}


def test_other_names(within: Within) -> None:
    """Renaming, linking, and links that only say where they lead."""
    renaming, linking, symlinking = Script(), Script(), Script()
    for old, new in RENAMED:
        renaming.call("path_rename", 3, old, 3, new)
    for flags, old, new in LINKED:
        linking.call("path_link", 3, flags, old, 3, new)
    linking.call("path_filestat_get", 3, 0, b"file", OUT).show(OUT + 24, 8)
    for old, new in SYMLINKED:
        symlinking.call("path_symlink", old, 3, new)

    assert dict(zip(RENAMED, within(renaming), strict=True)) == RENAMED
    *errors, told, links = within(linking)
    assert dict(zip(LINKED, errors, strict=True)) == LINKED
    assert (told, links) == (0, (3).to_bytes(8, "little"))
    assert dict(zip(SYMLINKED, within(symlinking), strict=True)) == SYMLINKED


def test_ways_along_links(within: Within) -> None:
    """A link leads on from where it stands, not out of the folder, and not for ever; what it names can be created."""
    script = Script()
    for target, name in (
        (b"../..", b"out"),
        (b"loop", b"loop"),
        (b"new", b"dangling"),
        (b"in", b"sub/inner"),
    ):
        script.call("path_symlink", target, 3, name)
    script.open(b"out", follow=1)
    script.open(b"loop", follow=1)
    script.call("path_filestat_get", 3, 1, b"loop", OUT)
    script.open(b"dangling", follow=1)
    script.open(b"dangling", 1, follow=1)
    script.open(b"new")
    script.open(b"sub/inner", follow=1)
    script.call("path_readlink", 3, b"out", OUT, 3, 8).show(OUT, 6).show(8, 4)

    assert within(script) == [
        *(0, 0, 0, 0),
        *(63, 32, 32, 44, 0, 0, 0),
        *(0, b"../" + bytes(3), (3).to_bytes(4, "little")),
    ]


def test_numbers_of_descriptors(within: Within) -> None:
    """What is opened gets the lowest number that is free; a preopened folder can be closed, and what is in it stays."""
    script = Script()
    for close, folder in ((None, 3), (None, 3), (4, 3), (0, 3), (3, 4)):
        if close is not None:
            script.call("fd_close", close)
        script.call("path_open", folder, 0, b"sub" if folder == 3 else b"in", 0, 0, 0, 0, OUT).show(OUT, 4)

    numbers = [told[0] for told in within(script) if isinstance(told, bytes)]
    assert numbers == [4, 5, 4, 0, 3]


def test_reading_a_folder(within: Within) -> None:
    """It has itself, what is above it, and its entries; a buffer that is too small is filled to its end."""
    script = Script().call("fd_readdir", 3, OUT, 400, 0, 8).show(8, 4).show(OUT, 169)
    script.call("fd_readdir", 3, OUT, 30, 0, 8).show(8, 4)
    script.call("fd_readdir", 3, OUT, 400, 2, 8).show(8, 4).call("fd_readdir", 3, OUT, 400, 99, 8).show(8, 4)

    _, size, told, *others = within(script)
    assert isinstance(told, bytes)
    entries, at = {}, 0
    while at < len(told):
        length = int.from_bytes(told[at + 16 : at + 20], "little")
        entries[told[at + 24 : at + 24 + length]] = told[at + 20]
        at += 24 + length
    assert size == (169).to_bytes(4, "little")
    assert entries == {b".": 3, b"..": 3, b"file": 4, b"sub": 3, b"link": 7, b"folder-link": 7}
    assert others == [0, (30).to_bytes(4, "little"), 0, (118).to_bytes(4, "little"), 0, bytes(4)]


def test_appending(within: Within) -> None:
    """In append mode everything is written at the end, wherever the position was."""
    script = Script()
    fd = script.open(b"file", 0, READING | WRITING, 1)
    script.write(fd, b"XY").call("fd_tell", fd, OUT).show(OUT, 8)
    script.call("fd_seek", fd, 0, 0, OUT).write(fd, b"!").call("fd_seek", fd, 0, 0, OUT)
    script.call("fd_read", fd, script.buffers(bytes(9)), 1, OUT).show(OUT, 4)

    assert within(script) == [0, 0, 0, (7).to_bytes(8, "little"), 0, 0, 0, 0, (8).to_bytes(4, "little")]


def test_times(within: Within) -> None:
    """A time can be set, but not to two things; a link has a time of its own."""
    script = Script()
    for flags in (1, 2, 3, 4, 8, 12):
        script.call("path_filestat_set_times", 3, 1, b"link", 1000, 2000, flags)
    script.call("path_filestat_set_times", 3, 1, b"link", 1000, 2000, 5)
    script.call("path_filestat_set_times", 3, 0, b"link", 3000, 4000, 5)
    script.call("path_filestat_get", 3, 1, b"link", OUT).show(OUT + 40, 16)
    script.call("path_filestat_get", 3, 0, b"link", OUT).show(OUT + 48, 8)

    def ns(*numbers: int) -> bytes:
        return b"".join(number.to_bytes(8, "little") for number in numbers)

    assert within(script) == [*(0, 0, 28, 0, 0, 28), *(0, 0), *(0, ns(1000, 2000)), *(0, ns(4000))]


@pytest.mark.parametrize("runtime", [*NAMES, "wasmtime-cli"], indirect=True)
def test_what_comes_of_a_folder(runtime: str, folder: Path, tmp_path: Path) -> None:
    """The outcome has what the guest left; the folder itself is as it was, and the next guest gets it so."""
    script = Script()
    fd = script.open(b"sub/made", 1, WRITING)
    script.write(fd, b"\0made").call("path_create_directory", 3, b"empty")
    script.call("path_symlink", b"made", 3, b"sub/inner").call("path_unlink_file", 3, b"file")
    with RUNTIMES[runtime].start(script.artifact(tmp_path), Limits()) as host:
        outcomes = [host.run(preopens={"/data": folder}) for _ in range(2)]

    assert script.read(outcomes[1]) == [0, 0, 0, 0, 0]
    assert outcomes[0].files == {
        "/data/empty": None,
        "/data/folder-link": "sub",
        "/data/link": "file",
        "/data/sub": None,
        "/data/sub/in": b"x",
        "/data/sub/inner": "made",
        "/data/sub/made": b"\0made",
    }
    assert outcomes[0] == outcomes[1]
    assert (folder / "file").read_bytes() == b"hello"
    assert not (folder / "empty").exists()


@pytest.mark.parametrize("runtime", GLUE, indirect=True)
def test_a_folder_has_an_end(runtime: str, folder: Path, tmp_path: Path) -> None:
    """A guest of our glue cannot write more into files than the limit of its output: no space (51)."""
    script = Script()
    fd = script.open(b"file", 0, WRITING)
    script.call("fd_filestat_set_size", fd, 1 << 20).call("fd_filestat_set_size", fd, 1 << 40)
    script.call("fd_seek", fd, 1 << 50, 0, OUT).write(fd, b"x")
    with RUNTIMES[runtime].start(script.artifact(tmp_path), Limits(output_bytes=2 << 20)) as host:
        outcome = host.run(preopens={"/data": folder})

    assert script.read(outcome) == [0, 0, 51, 0, 51]
    assert len(outcome.files["/data/file"] or b"") == 1 << 20
