"""Hostile artifacts: what each is, and which endings are right for it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pytest_wasmedge.model import EndingKind
from tests import wat

#: A guest may end by itself, or be ended; that its host failed is told, too, and is right only where it is named.
ENDED: frozenset[EndingKind] = frozenset({"exited", "trapped"})
STOPPED: frozenset[EndingKind] = frozenset({"timed_out"})
#: Of what leaves no way to go on: engines trap, run out of memory, or lose their process.
BROKEN: frozenset[EndingKind] = ENDED | {"out_of_memory", "host_failed", "timed_out"}

_HEADER = b"\0asm\1\0\0\0"
_TYPE, _IMPORT, _FUNCTION, _TABLE, _MEMORY, _EXPORT, _CODE = 1, 2, 3, 4, 5, 7, 10
_I32_CONST_0, _DROP, _END = b"\x41\x00", b"\x1a", b"\x0b"


@dataclass(frozen=True)
class Hostile:
    """An artifact, as text or bytes, and the endings that are right if a host takes it.

    ``refused``: some hosts, or we, may refuse it before it starts. ``limit_s``: the guest's time limit.
    """

    program: str | bytes
    endings: frozenset[EndingKind]
    refused: bool = False
    limit_s: float = 2.0


def number(value: int) -> bytes:
    """Return an unsigned number in LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def section(kind: int, content: bytes) -> bytes:
    """Return a section with its true size."""
    return bytes([kind]) + number(len(content)) + content


def name(text: bytes) -> bytes:
    """Return a name with its length."""
    return number(len(text)) + text


def module(
    body: bytes = _END,
    *,
    functions: int = 1,
    types: bytes = b"\1\x60\0\0",
    exports: bytes = b"",
    more: bytes = b"",
) -> bytes:
    """Return a module with a memory and so many functions of this body (locals not included); the first is _start."""
    code = number(len(b"\0" + body)) + b"\0" + body
    exported = [name(b"_start") + b"\0\0", name(b"memory") + b"\2\0", *([exports] if exports else [])]
    return b"".join(
        (
            _HEADER,
            section(_TYPE, types),
            section(_FUNCTION, number(functions) + b"\0" * functions),
            section(_MEMORY, b"\1\0\1"),
            section(_EXPORT, number(len(exported)) + b"".join(exported)),
            section(_CODE, number(functions) + code * functions),
            more,
        )
    )


def custom(title: bytes, content: bytes) -> bytes:
    """Return a custom section."""
    return section(0, name(title) + content)


def calls(function: str, *arguments: str) -> str:
    """Return WAT that calls a function and drops its result."""
    return f"(drop (call ${function} {' '.join(arguments)}))"


def _subscriptions(count: int) -> str:
    # 48 bytes each; those beyond the memory are what it is about.
    return wat.command(
        f"(drop (call $poll_oneoff (i32.const 2048) (i32.const 65536) (i32.const {count}) (i32.const 8)))"
    )


_STARTS = wat.SPIN.replace(
    '(func (export "_start")', '(func $begin (loop $l (br $l)))\n  (start $begin)\n  (func (export "_start")'
)
_CLOSE = wat.ECHO.replace(
    "(memory",
    '(import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))\n  (memory',
    1,
)
_RENUMBER = wat.ECHO.replace(
    "(memory",
    '(import "wasi_snapshot_preview1" "fd_renumber" (func $fd_renumber (param i32 i32) (result i32)))\n  (memory',
    1,
)


def _first(program: str, body: str) -> str:
    """Return the program with this before what its _start does."""
    head, start, rest = program.partition('(func (export "_start") ')
    locals_, _, tail = rest.partition("\n")
    return f"{head}{start}{locals_}\n{body}\n{tail}"


def _damaged(seed: int) -> bytes:
    """Return the echo with some bytes changed, by a seed."""
    rng = random.Random(seed)
    damaged = bytearray(wat.assemble(wat.ECHO))
    for _ in range(rng.randint(1, 6)):
        damaged[rng.randrange(8, len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def programs() -> dict[str, Hostile]:
    """Return all of them by name."""
    huge = 0xFFFFFFFF
    echo = wat.assemble(wat.ECHO)
    rng = random.Random(20261130)
    return {
        # -- loops
        "spins": Hostile(wat.SPIN, STOPPED),
        "spins_in_the_start_section": Hostile(_STARTS, STOPPED | {"host_failed"}, refused=True),
        "writes_for_ever": Hostile(wat.FLOOD, STOPPED | {"host_failed"}, limit_s=30),
        # -- compiling
        "one_large_function": Hostile(
            module((_I32_CONST_0 + _DROP) * 300_000 + _END), ENDED, refused=True, limit_s=60
        ),
        "deeply_nested_blocks": Hostile(
            module(b"\x02\x40" * 20_000 + _END * 20_000 + _END), ENDED, refused=True, limit_s=60
        ),
        "a_wide_jump_table": Hostile(
            module(b"\x02\x40" + _I32_CONST_0 + b"\x0e" + number(60_000) + b"\0" * 60_001 + _END + _END),
            ENDED,
            refused=True,
            limit_s=60,
        ),
        "50000_functions": Hostile(module(functions=50_000), ENDED, refused=True, limit_s=60),
        "50000_locals": Hostile(_with_locals(50_000), ENDED, refused=True, limit_s=60),
        # -- time
        "sleeps_for_a_year": Hostile(wat.sleeps(365 * 86_400), STOPPED),
        "sleeps_for_292_years": Hostile(wat.sleeps(9_223_372_036), STOPPED),
        "4294967295_subscriptions": Hostile(_subscriptions(-1), BROKEN),
        "a_million_subscriptions": Hostile(_subscriptions(1_000_000), BROKEN),
        # -- memory
        "needs_3_gib": Hostile(wat.GREEDY, frozenset({"out_of_memory", "exited"}), refused=True, limit_s=30),
        "grows_for_ever": Hostile(wat.GROWS, ENDED | {"out_of_memory", "timed_out"}, limit_s=30),
        "recurses_for_ever": Hostile(wat.OVERFLOWS_THE_STACK, BROKEN, limit_s=10),
        "a_table_of_4294967295": Hostile(
            _HEADER
            + section(_TYPE, b"\1\x60\0\0")
            + section(_FUNCTION, b"\1\0")
            + section(_TABLE, b"\1\x70\0" + number(huge))
            + section(_MEMORY, b"\1\0\1")
            + section(_EXPORT, b"\2" + name(b"_start") + b"\0\0" + name(b"memory") + b"\2\0")
            + section(_CODE, b"\1\2\0\x0b"),
            BROKEN,
            refused=True,
        ),
        # -- streams
        "a_gigabyte_of_stdout": Hostile(
            wat.pours(1 << 30), frozenset({"host_failed", "timed_out"}), limit_s=60
        ),
        "a_gigabyte_of_stderr": Hostile(
            wat.pours(0, 1 << 30), frozenset({"host_failed", "timed_out"}), limit_s=60
        ),
        # -- descriptors and calls
        "closes_its_streams": Hostile(
            _first(_CLOSE, "".join(calls("fd_close", f"(i32.const {fd})") for fd in range(3))), ENDED
        ),
        "closes_what_is_not_its_own": Hostile(
            _first(_CLOSE, "".join(calls("fd_close", f"(i32.const {fd})") for fd in range(3, 300))), ENDED
        ),
        "renumbers_its_streams": Hostile(
            _first(_RENUMBER, calls("fd_renumber", "(i32.const 2)", "(i32.const 1)")), ENDED
        ),
        "writes_to_foreign_descriptors": Hostile(
            wat.command(
                "".join(
                    f"(drop (call $fd_write (i32.const {fd}) (i32.const 0) (i32.const 0) (i32.const 8)))"
                    for fd in (*range(3, 300), -1, 0x7FFFFFFF)
                )
            ),
            ENDED,
        ),
        "pointers_out_of_memory": Hostile(
            wat.command("(drop (call $fd_write (i32.const 1) (i32.const -16) (i32.const 1) (i32.const -4)))"),
            BROKEN,
        ),
        "lengths_out_of_memory": Hostile(
            wat.command(
                "(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const -1))"
                "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"
            ),
            BROKEN,
        ),
        "4294967295_vectors": Hostile(
            wat.command("(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 8)))"),
            BROKEN,
        ),
        "opens_the_machine": Hostile(
            wat.command(
                "(drop (call $path_open (i32.const 3) (i32.const 1) (i32.const 1024) (i32.const 32) (i32.const 0)"
                "(i64.const 6) (i64.const 6) (i32.const 0) (i32.const 16)))"
                "(call $write (i32.const 1) (i32.const 65536) (i32.const 1))",
                data="../../../../../../../etc/passwd\\00",
            ),
            ENDED,
        ),
        **{f"exits_{status}": Hostile(wat.exits(status), BROKEN) for status in (256, 65_536, 1 << 31, huge)},
        # -- names
        "a_megabyte_of_a_name": Hostile(
            module(exports=name(b"n" * (1 << 20)) + b"\0\0"), ENDED, refused=True, limit_s=60
        ),
        "a_name_that_is_not_utf8": Hostile(
            module(exports=name(b"\xff\xfe\xc3") + b"\0\0"), ENDED, refused=True
        ),
        "a_name_of_control_characters": Hostile(
            module(exports=name("\x1b[31m\0\r\n\u202e]]>".encode()) + b"\0\0"), ENDED, refused=True
        ),
        "imports_a_megabyte": Hostile(
            _HEADER
            + section(_TYPE, b"\1\x60\0\0")
            + section(_IMPORT, b"\1" + name(b"m" * (1 << 20)) + name(b"f") + b"\0\0")
            + module()[8 + 6 :],
            BROKEN,
            refused=True,
        ),
        # -- sections
        "a_section_longer_than_the_file": Hostile(
            _HEADER + b"\1" + number(huge) + b"\1\x60\0\0", BROKEN, refused=True
        ),
        "4294967295_types": Hostile(
            _HEADER + section(_TYPE, number(huge) + b"\x60\0\0"), BROKEN, refused=True
        ),
        "4294967295_functions": Hostile(
            _HEADER + section(_TYPE, b"\1\x60\0\0") + section(_FUNCTION, number(huge) + b"\0"),
            BROKEN,
            refused=True,
        ),
        "20000_custom_sections": Hostile(
            module(more=custom(b"x", b"") * 20_000), ENDED, refused=True, limit_s=60
        ),
        "ten_megabytes_of_names": Hostile(
            module(more=custom(b"name", b"\1" + number(10 << 20) + b"\xff" * (10 << 20))),
            ENDED,
            refused=True,
            limit_s=60,
        ),
        "sections_out_of_order": Hostile(_HEADER + module()[8:][::-1], BROKEN, refused=True),
        # -- bytes
        "only_a_header": Hostile(_HEADER, BROKEN, refused=True),
        "nothing": Hostile(b"", BROKEN, refused=True),
        **{
            f"random_bytes_{seed}": Hostile(_HEADER + rng.randbytes(400), BROKEN, refused=True)
            for seed in range(4)
        },
        **{
            f"cut_at_{at}": Hostile(echo[:at], BROKEN, refused=True)
            for at in (9, 40, len(echo) // 2, len(echo) - 1)
        },
        **{f"damaged_{seed}": Hostile(_damaged(seed), BROKEN, refused=True) for seed in range(8)},
    }


def _with_locals(count: int) -> bytes:
    """Return a module whose only function has so many locals."""
    body = b"\1" + number(count) + b"\x7f" + _END
    plain = module()
    at = plain.rindex(bytes([_CODE]))
    return plain[:at] + section(_CODE, b"\1" + number(len(body)) + body)
