"""One small program that does what its stdin asks, so that a test of many facts starts few hosts."""

from __future__ import annotations

import struct

from tests import wat

# What each act does; $n and $m are its numbers. Stdin is read no further than an act says.
_ACTS = {
    "returns": "",
    "exits": "(call $proc_exit (local.get $n))",
    "unreachable": "unreachable",
    "division": "(drop (i32.div_s (i32.const 1) (i32.const 0)))",
    "stack": "(call $down)",
    "spins": "(loop $forever (br $forever))",
    # Writes "before" first.
    "writes_and_spins": """
      (call $write (i32.const 1) (i32.const 1024) (i32.const 6))
      (loop $forever (br $forever))""",
    # Sleeps for $n milliseconds, then writes "rested".
    "sleeps": """
      (i32.store (i32.const 2064) (i32.const 1))
      (i64.store (i32.const 2072) (i64.mul (i64.extend_i32_u (local.get $n)) (i64.const 1000000)))
      (if (call $poll_oneoff (i32.const 2048) (i32.const 4096) (i32.const 1) (i32.const 8)) (then unreachable))
      (call $write (i32.const 1) (i32.const 1030) (i32.const 6))""",
    # Asks for memory until there is none, then ends with status 7.
    "grows": """
      (loop $more (br_if $more (i32.ne (memory.grow (i32.const 64)) (i32.const -1))))
      (call $proc_exit (i32.const 7))""",
    # Writes the rest of stdin to stdout; if $n is not 0, also to stderr.
    "echoes": """
      (block $end (loop $more
        (br_if $end (i32.eqz (local.tee $size (call $read (i32.const 0) (i32.const 65536) (i32.const 65536)))))
        (call $write (i32.const 1) (i32.const 65536) (local.get $size))
        (if (local.get $n) (then (call $write (i32.const 2) (i32.const 65536) (local.get $size))))
        (br $more)))""",
    # Writes $n pieces of 64 KiB of "o" to stdout, and $m of "e" to stderr, in turns.
    "pours": """
      (memory.fill (i32.const 65536) (i32.const 111) (i32.const 65536))
      (memory.fill (i32.const 131072) (i32.const 101) (i32.const 65536))
      (loop $more
        (if (local.get $n) (then
          (call $write (i32.const 1) (i32.const 65536) (i32.const 65536))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))))
        (if (local.get $m) (then
          (call $write (i32.const 2) (i32.const 131072) (i32.const 65536))
          (local.set $m (i32.sub (local.get $m) (i32.const 1)))))
        (br_if $more (i32.or (local.get $n) (local.get $m))))""",
    # Writes to stdout for ever.
    "floods": "(loop $more (call $write (i32.const 1) (i32.const 65536) (i32.const 65536)) (br $more))",
    # Writes what it finds in a global and in memory, four bytes each, and leaves other values there.
    "leaves": """
      (i32.store (i32.const 2048) (global.get $left))
      (i32.store (i32.const 2052) (i32.load (i32.const 3072)))
      (i32.store (i32.const 3072) (i32.const 23))
      (global.set $left (i32.const 42))
      (call $write (i32.const 1) (i32.const 2048) (i32.const 8))""",
    # Writes its arguments, the program's name first, each ended by a zero byte.
    "arguments": """
      (if (call $args_sizes_get (i32.const 16) (i32.const 20)) (then unreachable))
      (if (call $args_get (i32.const 2048) (i32.const 65536)) (then unreachable))
      (call $write (i32.const 1) (i32.const 65536) (i32.load (i32.const 20)))""",
    # Writes its environment, each NAME=VALUE ended by a zero byte.
    "environment": """
      (if (call $environ_sizes_get (i32.const 16) (i32.const 20)) (then unreachable))
      (if (call $environ_get (i32.const 2048) (i32.const 65536)) (then unreachable))
      (if (i32.load (i32.const 20))
        (then (call $write (i32.const 1) (i32.const 65536) (i32.load (i32.const 20)))))""",
    # Writes the file hello.txt of its first preopened folder; ends with the error number if it cannot be opened.
    "opens": """
      (local.set $size (call $path_open (i32.const 3) (i32.const 0) (i32.const 1036) (i32.const 9)
        (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
      (if (local.get $size) (then (call $proc_exit (local.get $size))))
      (call $write (i32.const 1) (i32.const 65536)
        (call $read (i32.load (i32.const 16)) (i32.const 65536) (i32.const 65536)))""",
    # Writes one byte for each descriptor from 0 to 9: its file type, or 0xff if there is none.
    "descriptors": """
      (loop $more
        (i32.store8 (i32.add (i32.const 4096) (local.get $n)) (i32.const 255))
        (if (i32.eqz (call $fd_fdstat_get (local.get $n) (i32.const 2048)))
          (then (i32.store8 (i32.add (i32.const 4096) (local.get $n)) (i32.load8_u (i32.const 2048)))))
        (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 10))))
      (call $write (i32.const 1) (i32.const 4096) (i32.const 10))""",
}
_NUMBERS = {name: number for number, name in enumerate(_ACTS)}
_HEADER = struct.Struct("<III")

# Calls itself while a place in memory is zero, which it always is, and has something to do after that: a compiler
# must not make a loop of it.
_DOWN = """(func $down
    (if (i32.eqz (i32.load (i32.const 3080))) (then
      (call $down)
      (i32.store (i32.const 3084) (i32.add (i32.load (i32.const 3084)) (i32.const 1))))))"""

# Before it acts it reads the header, and nothing after it.
_BODY = f"""(local $n i32) (local $m i32) (local $act i32) (local $size i32)
    (block $whole (loop $more
      (br_if $whole (i32.eq (local.get $n) (i32.const {_HEADER.size})))
      (local.set $size (call $read (i32.const 0) (i32.add (i32.const 5120) (local.get $n))
        (i32.sub (i32.const {_HEADER.size}) (local.get $n))))
      (if (i32.eqz (local.get $size)) (then (return)))
      (local.set $n (i32.add (local.get $n) (local.get $size)))
      (br $more)))
    (local.set $act (i32.load (i32.const 5120)))
    (local.set $n (i32.load (i32.const 5124)))
    (local.set $m (i32.load (i32.const 5128)))
    """ + "\n".join(
    f"(if (i32.eq (local.get $act) (i32.const {_NUMBERS[name]})) (then {body}))"
    for name, body in _ACTS.items()
)

#: The program; given nothing on stdin, it returns.
ACTOR = (
    wat.command(_BODY, data="beforerestedhello.txt")
    .replace(
        "  (memory (export",
        '  (import "wasi_snapshot_preview1" "fd_fdstat_get" '
        "(func $fd_fdstat_get (param i32 i32) (result i32)))\n  (memory (export",
    )
    .replace(
        '(func (export "_start")',
        f'(global $left (mut i32) (i32.const 0))\n  {_DOWN}\n  (func (export "_start")',
    )
)


def act(name: str, n: int = 0, m: int = 0, rest: bytes = b"") -> bytes:
    """Return the stdin that makes the program do this; ``rest`` is what it finds after that."""
    return _HEADER.pack(_NUMBERS[name], n, m) + rest
