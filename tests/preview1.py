"""Guests that make calls of WASI preview 1 in turn, and tell what each of them answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pytest_wasmedge.model import Artifact, Host, Outcome
from tests import wat

#: The parameters of every function of preview 1; ``l`` is an i64. All but proc_exit return an error number.
FUNCTIONS: Mapping[str, str] = {
    "args_get": "ii",
    "args_sizes_get": "ii",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "clock_res_get": "ii",
    "clock_time_get": "ili",
    "fd_advise": "illi",
    "fd_allocate": "ill",
    "fd_close": "i",
    "fd_datasync": "i",
    "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii",
    "fd_fdstat_set_rights": "ill",
    "fd_filestat_get": "ii",
    "fd_filestat_set_size": "il",
    "fd_filestat_set_times": "illi",
    "fd_pread": "iiili",
    "fd_prestat_get": "ii",
    "fd_prestat_dir_name": "iii",
    "fd_pwrite": "iiili",
    "fd_read": "iiii",
    "fd_readdir": "iiili",
    "fd_renumber": "ii",
    "fd_seek": "ilii",
    "fd_sync": "i",
    "fd_tell": "ii",
    "fd_write": "iiii",
    "path_create_directory": "iii",
    "path_filestat_get": "iiiii",
    "path_filestat_set_times": "iiiilli",
    "path_link": "iiiiiii",
    "path_open": "iiiiillii",
    "path_readlink": "iiiiii",
    "path_remove_directory": "iii",
    "path_rename": "iiiiii",
    "path_symlink": "iiiii",
    "path_unlink_file": "iii",
    "poll_oneoff": "iiii",
    "proc_exit": "i",
    "proc_raise": "i",
    "random_get": "ii",
    "sched_yield": "",
    "sock_accept": "iii",
    "sock_recv": "iiiiii",
    "sock_send": "iiiii",
    "sock_shutdown": "ii",
}

# The memory: answers of calls in the first page, what the script gives from 4096 on, the log from the fourth page on.
OUT = 64
_GIVEN, _LOG, _PAGES = 4096, 3 * 65536, 8


@dataclass(frozen=True, slots=True)
class Loaded:
    """The number that stands at this address once the call is made."""

    address: int


class Script:
    """Calls, in turn. Bytes as an argument are two: where they stand, and how many they are."""

    def __init__(self) -> None:
        self._body: list[str] = []
        self._given = b""
        self._answers: list[int] = []
        self._used: set[str] = {"fd_write"}

    def call(self, name: str, *args: int | bytes | Loaded) -> Self:
        """Make a call; its error number is told."""
        self._used.add(name)
        flat: list[int | Loaded] = []
        for arg in args:
            flat += (self.place(arg), len(arg)) if isinstance(arg, bytes) else (arg,)
        values = [_value(kind, value) for kind, value in zip(FUNCTIONS[name], flat, strict=True)]
        made = f"(call ${name} {' '.join(values)})"
        if name != "proc_exit":
            made = f"(i32.store (global.get $log) {made})"
            self._tell(4)
        self._body.append(f"{made} (global.set $log (i32.add (global.get $log) (i32.const 4)))")
        return self

    def show(self, address: int, size: int) -> Self:
        """Tell what stands in the memory now."""
        self._body.append(
            f"(memory.copy (global.get $log) (i32.const {address}) (i32.const {size}))"
            f"(global.set $log (i32.add (global.get $log) (i32.const {size})))"
        )
        self._tell(-size)
        return self

    def add(self, address: int, number: int) -> Self:
        """Add to the eight-byte number that stands at an address."""
        self._body.append(
            f"(i64.store (i32.const {address}) (i64.add (i64.load (i32.const {address})) (i64.const {number})))"
        )
        return self

    def keep(self, address: int) -> Loaded:
        """Return the number at an address as it is now, whatever is written there later."""
        kept = self.place(bytes(4))
        self._body.append(f"(i32.store (i32.const {kept}) (i32.load (i32.const {address})))")
        return Loaded(kept)

    def open(
        self,
        path: bytes,
        oflags: int = 0,
        rights: int = 0,
        fdflags: int = 0,
        *,
        folder: int | Loaded = 3,
        follow: int = 0,
    ) -> Loaded:
        """Open a path; return its descriptor."""
        self.call("path_open", folder, follow, path, oflags, rights, 0, fdflags, OUT)
        return self.keep(OUT)

    def write(self, fd: int | Loaded, text: bytes) -> Self:
        """Write the text in one call."""
        return self.call("fd_write", fd, self.buffers(text), 1, OUT)

    def place(self, content: bytes) -> int:
        """Put bytes into the memory; return their address, a multiple of eight."""
        address = _GIVEN + len(self._given)
        self._given += content + bytes(-len(content) % 8)
        return address

    def buffers(self, *contents: bytes) -> int:
        """Put bytes and a list of them, as read and write take it, into the memory; return the list's address."""
        placed = [(self.place(content), len(content)) for content in contents]
        return self.place(b"".join(_u32(number) for pair in placed for number in pair))

    def run(self, host: Host, **given: object) -> list[int | bytes]:
        """Run it and return, in order, error numbers of calls and bytes that were shown."""
        return self.read(host.run(**given))  # type: ignore[arg-type]

    def read(self, outcome: Outcome) -> list[int | bytes]:
        """Return the answers in an outcome."""
        assert outcome.ending.ok, f"{outcome.ending} {outcome.ending.detail}: {outcome.stderr!r}"
        left, answers = outcome.stdout, list[int | bytes]()
        for size in self._answers:
            piece, left = left[: abs(size)], left[abs(size) :]
            answers.append(int.from_bytes(piece, "little") if size > 0 else piece)
        assert not left, f"more than was asked for: {left!r}"
        return answers

    def artifact(self, folder: Path) -> Artifact:
        """Return the guest as an artifact, kept in this folder."""
        return wat.artifact(folder, self.module())

    def module(self) -> str:
        """Return the guest's text; it imports what it calls, and nothing else."""
        imports = "".join(
            f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {_types(FUNCTIONS[name])})'
            f"{'' if name == 'proc_exit' else ' (result i32)'}))\n"
            for name in sorted(self._used)
        )
        given = "".join(f"\\{byte:02x}" for byte in self._given)
        return f"""(module {imports} (memory (export "memory") {_PAGES})
          (global $log (mut i32) (i32.const {_LOG}))
          (data (i32.const {_GIVEN}) "{given}")
          (func (export "_start") {" ".join(self._body)}
            (i32.store (i32.const 0) (i32.const {_LOG}))
            (i32.store (i32.const 4) (i32.sub (global.get $log) (i32.const {_LOG})))
            (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))))"""

    def _tell(self, size: int) -> None:
        self._answers.append(size)


def subscription(
    userdata: int, kind: int, fd_or_clock: int, timeout_ns: int = 0, *, absolute: bool = False
) -> bytes:
    """Return one subscription of poll_oneoff; kind 0 is a clock, 1 reading, 2 writing."""
    return b"".join(
        (
            userdata.to_bytes(8, "little"),
            kind.to_bytes(8, "little"),
            fd_or_clock.to_bytes(8, "little"),
            timeout_ns.to_bytes(8, "little"),
            bytes(8),
            int(absolute).to_bytes(8, "little"),
        )
    )


@dataclass(frozen=True, slots=True)
class Event:
    """One event of poll_oneoff."""

    userdata: int
    error: int
    kind: int
    nbytes: int = 0
    hangup: bool = False


def events(told: int | bytes) -> list[Event]:
    """Return the events in a piece of memory."""
    assert isinstance(told, bytes)
    return [
        Event(
            int.from_bytes(each[:8], "little"),
            int.from_bytes(each[8:10], "little"),
            each[10],
            int.from_bytes(each[16:24], "little") if each[10] else 0,
            bool(each[10] and each[24] & 1),
        )
        for each in (told[at : at + 32] for at in range(0, len(told), 32))
    ]


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _types(params: str) -> str:
    return " ".join("i64" if each == "l" else "i32" for each in params)


def _value(kind: str, value: int | Loaded) -> str:
    if isinstance(value, Loaded):
        return f"(i32.load (i32.const {value.address}))"
    return f"({'i64' if kind == 'l' else 'i32'}.const {value})"
