"""Writes docs/wasi.md: what each call of WASI preview 1 answers on each runtime, held against wasmtime.

`make wasi-table` runs it. Each call is made in a few situations: on streams, on what is not open, on files and folders,
with arguments that are right and wrong. What it answers are error numbers, and a few values that have to be the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pytest_wasmedge.errors import UnsupportedError, WasmEdgeError
from pytest_wasmedge.model import Host, Limits, Outcome, Runtime
from pytest_wasmedge.runtimes import builtin_runtimes
from tests.preview1 import FUNCTIONS, OUT, Script, subscription

PAGE = Path(__file__).parents[2] / "docs" / "wasi.md"
REFERENCE = "wasmtime"
MS = 1_000_000
READ, WRITE = 1 << 1, 1 << 6
#: Runtimes that are asked at once: most of the time is spent in waiting for starts.
_AT_ONCE = 6

Ask = Callable[[Script], object]
#: What each call is asked; 3 is the folder /data with file, sub/in and link, where one can be granted.
ASKED: Mapping[str, Ask] = {
    "args_sizes_get": lambda s: s.call("args_sizes_get", OUT, OUT + 4).show(OUT, 8),
    "args_get": lambda s: s.call("args_get", OUT, OUT + 32).show(OUT + 32, 20),
    "environ_sizes_get": lambda s: s.call("environ_sizes_get", OUT, OUT + 4).show(OUT, 8),
    "environ_get": lambda s: s.call("environ_get", OUT, OUT + 32).show(OUT + 32, 6),
    "clock_res_get": lambda s: [s.call("clock_res_get", clock, OUT) for clock in range(4)],
    "clock_time_get": lambda s: [s.call("clock_time_get", clock, 0, OUT) for clock in range(4)],
    "fd_advise": lambda s: [s.call("fd_advise", fd, 0, 1, 0) for fd in (0, 9, 3, s.open(b"file"))],
    "fd_allocate": lambda s: [s.call("fd_allocate", fd, 0, 1) for fd in (0, 9, 3, s.open(b"file", 0, WRITE))],
    "fd_close": lambda s: [s.call("fd_close", fd) for fd in (9, s.open(b"file"), 31)],
    "fd_datasync": lambda s: [s.call("fd_datasync", fd) for fd in (0, 9, 3, s.open(b"file", 0, WRITE))],
    "fd_fdstat_get": lambda s: [s.call("fd_fdstat_get", fd, OUT).show(OUT, 1) for fd in (0, 1, 9, 3)],
    "fd_fdstat_set_flags": lambda s: [
        s.call("fd_fdstat_set_flags", fd, flags)
        for fd, flags in ((0, 0), (9, 0), (3, 0), (s.open(b"file", 0, WRITE), 1))
    ],
    "fd_fdstat_set_rights": lambda s: [
        s.call("fd_fdstat_set_rights", fd, 0, 0) for fd in (0, 9, s.open(b"sub", 2), s.open(b"file"))
    ],
    "fd_filestat_get": lambda s: [
        s.call("fd_filestat_get", fd, OUT).show(OUT + 16, 1) for fd in (0, 1, 9, 3, s.open(b"file"))
    ],
    "fd_filestat_set_size": lambda s: [
        s.call("fd_filestat_set_size", fd, 5) for fd in (0, 9, 3, s.open(b"file"), s.open(b"file", 0, WRITE))
    ],
    "fd_filestat_set_times": lambda s: [
        s.call("fd_filestat_set_times", fd, 1, 2, flags)
        for fd, flags in ((0, 5), (9, 5), (3, 5), (s.open(b"file"), 5), (s.open(b"file"), 3))
    ],
    "fd_pread": lambda s: [
        s.call("fd_pread", fd, s.buffers(bytes(2)), 1, 1, OUT)
        for fd in (0, 1, 9, 3, s.open(b"file"), s.open(b"file", 0, WRITE))
    ],
    "fd_prestat_get": lambda s: [
        s.call("fd_prestat_get", fd, OUT) for fd in (0, 9, 3, s.open(b"sub", 2), s.open(b"file"))
    ],
    "fd_prestat_dir_name": lambda s: [
        s.call("fd_prestat_dir_name", fd, OUT, size) for fd, size in ((0, 9), (9, 9), (3, 4), (3, 5), (3, 9))
    ],
    "fd_pwrite": lambda s: [
        s.call("fd_pwrite", fd, s.buffers(b"xy"), 1, 1, OUT)
        for fd in (0, 1, 9, 3, s.open(b"file"), s.open(b"file", 0, WRITE))
    ],
    "fd_read": lambda s: [
        s.call("fd_read", fd, s.buffers(bytes(2)), 1, OUT)
        for fd in (0, 1, 9, 3, s.open(b"file"), s.open(b"file", 0, WRITE))
    ],
    "fd_readdir": lambda s: [
        s.call("fd_readdir", fd, OUT, 300, 0, 8) for fd in (0, 9, 3, s.open(b"file"), s.open(b"sub", 2))
    ],
    "fd_renumber": lambda s: [
        s.call("fd_renumber", old, new)
        for old, new in ((31, 30), (0, 31), (2, 2), (s.open(b"file"), s.open(b"link", follow=1)))
    ],
    "fd_seek": lambda s: [
        s.call("fd_seek", fd, offset, 0, OUT)
        for fd, offset in ((0, 0), (1, 0), (9, 0), (3, 0), (s.open(b"file"), 2), (s.open(b"file"), -1))
    ],
    "fd_sync": lambda s: [s.call("fd_sync", fd) for fd in (0, 9, 3, s.open(b"file", 0, WRITE))],
    "fd_tell": lambda s: [s.call("fd_tell", fd, OUT) for fd in (0, 1, 9, 3, s.open(b"file"))],
    "fd_write": lambda s: [
        s.write(fd, b"") for fd in (0, 2, 9, 3, s.open(b"file"), s.open(b"file", 0, WRITE))
    ],
    "path_create_directory": lambda s: [
        s.call("path_create_directory", fd, path)
        for fd, path in ((0, b"a"), (9, b"a"), (3, b"a"), (3, b"sub"), (3, b"b/"), (3, b"no/a"), (3, b"../a"))
    ],
    "path_filestat_get": lambda s: [
        s.call("path_filestat_get", fd, follow, path, OUT).show(OUT + 16, 1)
        for fd, follow, path in (
            (0, 0, b"file"),
            (3, 0, b"file"),
            (3, 0, b"link"),
            (3, 1, b"link"),
            (3, 0, b"no"),
        )
    ],
    "path_filestat_set_times": lambda s: [
        s.call("path_filestat_set_times", fd, 0, path, 1, 2, flags)
        for fd, path, flags in ((0, b"file", 5), (3, b"file", 5), (3, b"file", 12), (3, b"no", 5))
    ],
    "path_link": lambda s: [
        s.call("path_link", 3, follow, old, 3, new)
        for follow, old, new in (
            (0, b"file", b"hard"),
            (0, b"file", b"sub"),
            (0, b"sub", b"x"),
            (1, b"link", b"y"),
        )
    ],
    "path_open": lambda s: [
        s.call("path_open", fd, follow, path, flags, rights, 0, 0, OUT)
        for fd, follow, path, flags, rights in (
            *((0, 0, b"file", 0, READ), (3, 0, b"no", 0, READ), (3, 0, b"made", 1, WRITE)),
            *((3, 0, b"file", 5, READ), (3, 0, b"link", 0, READ), (3, 1, b"link", 0, READ)),
            *((3, 0, b"sub", 2, READ), (3, 0, b"sub", 2, WRITE), (3, 0, b"file", 2, READ)),
            *((3, 0, b"file", 3, READ), (3, 0, b"/file", 0, READ), (3, 0, b"../file", 0, READ)),
        )
    ],
    "path_readlink": lambda s: [
        s.call("path_readlink", fd, path, OUT, 9, 8)
        for fd, path in ((0, b"link"), (3, b"link"), (3, b"file"), (3, b"no"))
    ],
    "path_remove_directory": lambda s: [
        s.call("path_remove_directory", fd, path)
        for fd, path in ((0, b"a"), (3, b"a"), (3, b"sub"), (3, b"file"), (3, b"no"))
    ],
    "path_rename": lambda s: [
        s.call("path_rename", 3, old, 3, new)
        for old, new in (
            (b"no", b"x"),
            (b"file", b"sub"),
            (b"sub", b"file"),
            (b"sub", b"sub/x"),
            (b"made", b"kept"),
        )
    ],
    "path_symlink": lambda s: [
        s.call("path_symlink", old, 3, new)
        for old, new in (
            (b"file", b"soft"),
            (b"file", b"sub"),
            (b"/", b"x"),
            (b"../..", b"out"),
            (b"file", b"new/"),
        )
    ],
    "path_unlink_file": lambda s: [
        s.call("path_unlink_file", fd, path)
        for fd, path in ((0, b"a"), (3, b"kept"), (3, b"sub"), (3, b"no"), (3, b"file/"))
    ],
    "poll_oneoff": lambda s: [
        s.call("poll_oneoff", s.place(b"".join(asked)), OUT, len(asked), 8).show(8, 4)
        for asked in (
            [],
            [subscription(1, 1, 0)],
            [subscription(1, 2, 1), subscription(2, 0, 1, 1000 * MS)],
            [subscription(1, 0, 1, MS)],
            [subscription(1, 0, 1, MS), subscription(2, 0, 1, MS)],
            [subscription(1, 1, 30)],
        )
    ],
    "proc_raise": lambda s: s.call("proc_raise", 0),
    "random_get": lambda s: [s.call("random_get", OUT, size) for size in (0, 32)],
    "sched_yield": lambda s: s.call("sched_yield"),
    "sock_accept": lambda s: [s.call("sock_accept", fd, 0, OUT) for fd in (0, 30, 3)],
    "sock_recv": lambda s: [
        s.call("sock_recv", fd, s.buffers(bytes(2)), 1, 0, OUT, OUT + 4) for fd in (0, 30, 3)
    ],
    "sock_send": lambda s: [s.call("sock_send", fd, s.buffers(b"xy"), 1, 0, OUT) for fd in (0, 30, 3)],
    "sock_shutdown": lambda s: [s.call("sock_shutdown", fd, 1) for fd in (0, 30, 3)],
    "proc_exit": lambda s: None,
}


def script_of(name: str) -> Script:
    """Return the guest that asks one call."""
    script = Script()
    ASKED[name](script)
    return script


def answers_of(runtime: Runtime) -> dict[str, str]:
    """Return what each call answers on this runtime, as text."""
    told = {}
    for name in ASKED:
        with tempfile.TemporaryDirectory() as place:
            told[name] = _answer(runtime, script_of(name), Path(place))
    return told


def _answer(runtime: Runtime, script: Script, place: Path) -> str:
    try:
        with runtime.start(script.artifact(place), Limits(timeout_s=10)) as host:
            return _told(script, host, place)
    except WasmEdgeError:
        return "absent"


def _told(script: Script, host: Host, place: Path) -> str:
    folder = place / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "file").write_bytes(b"hello")
    (folder / "sub" / "in").write_bytes(b"x")
    (folder / "link").symlink_to("file")
    given = {"/data": folder} if "preopens" in host.runtime.capabilities else {}
    try:
        outcome = _run(host, given)
    except UnsupportedError:
        # Who grants no folder with a link in it is asked without.
        (folder / "link").unlink()
        outcome = _run(host, given)
    if not outcome.ending.ok:
        return "absent" if "import" in outcome.ending.detail else f"{outcome.ending.kind}"
    try:
        answers = script.read(outcome)
    except AssertionError:
        # Where no folder is granted, a call may be made on another descriptor: on stdout, for one.
        return "something else on stdout"
    return " ".join(each.hex() if isinstance(each, bytes) else str(each) for each in answers)


def _run(host: Host, given: Mapping[str, Path]) -> Outcome:
    return host.run(b"input", args=("one", "größe"), env={"A": "☃"}, preopens=given)


def page(answers: Mapping[str, Mapping[str, str]]) -> str:
    """Return the page, in Markdown, for the answers by runtime and call."""
    reference = answers[REFERENCE]
    names = [name for name in answers if name != REFERENCE]
    lines = [
        "# What the calls of WASI preview 1 answer",
        "",
        "Made by `make wasi-table`: a guest makes each call in a few situations (on streams, on what is not open, on",
        "files and folders: tests/runtimes/wasi_table.py) on each runtime.",
        "",
        f"`=`: as {REFERENCE} answers. `≠`: otherwise, as said below. `absent`: a guest that imports the call does",
        "not start. What needs a folder is otherwise where none can be granted, what needs a link where a folder may",
        "have none. tests/runtimes/test_preview1.py holds our glue to more.",
        "",
        f"| call | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    for call in FUNCTIONS:
        cells = [_cell(reference[call], answers[name][call]) for name in names]
        lines.append(f"| `{call}` | {' | '.join(cells)} |")
    lines += ["", "## Otherwise: how", ""]
    lines += [
        f"Error numbers in the order of the questions, values in hexadecimal; {REFERENCE}'s come first.",
        "",
    ]
    for call in FUNCTIONS:
        others: dict[str, list[str]] = {}
        for name in names:
            if _cell(reference[call], answers[name][call]) == "≠":
                others.setdefault(answers[name][call], []).append(name)
        if others:
            lines += [f"* `{call}`: {reference[call]}"]
            lines += [f"  * {', '.join(who)}: {answer}" for answer, who in others.items()]
    return "\n".join(lines) + "\n"


def _cell(reference: str, answer: str) -> str:
    if answer == reference:
        return "="
    return "absent" if answer == "absent" else "≠"


def main() -> None:
    """Write the page; every runtime has to be installed."""
    # Not one that interprets what another of them compiles.
    left_out = "wasmedge-interpreter"
    runtimes = [each for each in builtin_runtimes() if not each.yardstick and each.name != left_out]
    runtimes.sort(key=lambda each: each.name)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        told = list(pool.map(answers_of, runtimes))
    answers = {runtime.name: each for runtime, each in zip(runtimes, told, strict=True)}
    PAGE.write_text(page(answers), encoding="utf-8")


if __name__ == "__main__":
    main()
