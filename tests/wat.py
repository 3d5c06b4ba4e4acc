"""Small WebAssembly programs for tests: text in, the module's bytes or a file of them out."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.model import Artifact

# The memory of every program: a vector and a count for the calls in the first page's beginning, constant data
# from 1024, a buffer from the second page on.
_MODULE = """(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") %(pages)d)
  (data (i32.const 1024) "%(data)s")
  ;; Read what comes next, at most $size bytes, to $at; 0 at the end.
  (func $read (param $fd i32) (param $at i32) (param $size i32) (result i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $size))
    (if (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
    (i32.load (i32.const 8)))
  ;; Write all $size bytes from $at.
  (func $write (param $fd i32) (param $at i32) (param $size i32)
    (loop $more
      (i32.store (i32.const 0) (local.get $at))
      (i32.store (i32.const 4) (local.get $size))
      (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
      (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
      (local.set $size (i32.sub (local.get $size) (i32.load (i32.const 8))))
      (br_if $more (local.get $size))))
  (func (export "_start") %(body)s))
"""


def command(body: str, *, data: str = "", pages: int = 3) -> str:
    """Return a WASI command that runs this body; the constant ``data`` stands at 1024, a buffer at 65536."""
    return _MODULE % {"body": body, "data": data, "pages": pages}


@functools.cache
def assemble(text: str) -> bytes:
    """Return the binary module."""
    import wasmtime

    return bytes(wasmtime.wat2wasm(text))


def write(path: Path, program: str | bytes) -> Path:
    """Write the module, given as text or ready, to this path and return it."""
    path.write_bytes(assemble(program) if isinstance(program, str) else program)
    return path


def artifact(folder: Path, program: str | bytes) -> Artifact:
    """Return the program as an artifact, kept in this folder; bytes are taken as they are, valid or not."""
    path = write(folder / "program.wasm", program)
    return load_artifact(path) if isinstance(program, str) else unchecked(path)


def unchecked(path: Path) -> Artifact:
    """Return the file as an artifact, whether or not any host could take it."""
    content = path.read_bytes()
    return Artifact(path, hashlib.sha256(content).hexdigest(), len(content), path.stem)


#: Writes its stdin to stdout.
ECHO = command("""(local $size i32)
    (block $end (loop $more
      (br_if $end (i32.eqz (local.tee $size (call $read (i32.const 0) (i32.const 65536) (i32.const 65536)))))
      (call $write (i32.const 1) (i32.const 65536) (local.get $size))
      (br $more)))""")

#: Reads all of its stdin and writes how many bytes it was: four of them, the lowest first.
COUNT = command("""(local $size i32) (local $sum i32)
    (block $end (loop $more
      (br_if $end (i32.eqz (local.tee $size (call $read (i32.const 0) (i32.const 65536) (i32.const 65536)))))
      (local.set $sum (i32.add (local.get $sum) (local.get $size)))
      (br $more)))
    (i32.store (i32.const 1024) (local.get $sum))
    (call $write (i32.const 1) (i32.const 1024) (i32.const 4))""")

TRAP = command("unreachable")
DIVIDES_BY_ZERO = command("(drop (i32.div_s (i32.const 1) (i32.const 0)))")
OVERFLOWS_THE_STACK = TRAP.replace(
    '(func (export "_start")', '(func $down (call $down))\n  (func (export "_start") (call $down)'
)
SPIN = command("(loop $forever (br $forever))")
#: Writes "before" and then spins.
WRITES_AND_SPINS = command(
    "(call $write (i32.const 1) (i32.const 1024) (i32.const 6)) (loop $forever (br $forever))", data="before"
)
#: Writes to stdout for ever.
FLOOD = command(
    "(loop $forever (call $write (i32.const 1) (i32.const 65536) (i32.const 65536)) (br $forever))"
)
#: Needs 3 GiB of memory to begin with.
GREEDY = command("", pages=49152)
#: Asks for memory until there is none, then ends with status 7.
GROWS = command("""
    (loop $more (br_if $more (i32.ne (memory.grow (i32.const 64)) (i32.const -1))))
    (call $proc_exit (i32.const 7))""")


def exits(status: int) -> str:
    """Ends with this status."""
    return command(f"(call $proc_exit (i32.const {status}))")


def sleeps(duration_s: float) -> str:
    """Sleeps for so long on the monotonic clock, then writes "rested"."""
    return command(
        f"""
    (i32.store (i32.const 2064) (i32.const 1))
    (i64.store (i32.const 2072) (i64.const {round(duration_s * 1e9)}))
    (if (call $poll_oneoff (i32.const 2048) (i32.const 4096) (i32.const 1) (i32.const 8)) (then unreachable))
    (call $write (i32.const 1) (i32.const 1024) (i32.const 6))""",
        data="rested",
    )


def pours(stdout_bytes: int, stderr_bytes: int = 0) -> str:
    """Writes so many bytes (multiples of 65536) of "o" to stdout and of "e" to stderr, in turns."""
    return command(f"""(local $i i32)
    (memory.fill (i32.const 65536) (i32.const 111) (i32.const 65536))
    (memory.fill (i32.const 131072) (i32.const 101) (i32.const 65536))
    (block $end (loop $more
      (br_if $end (i32.eq (local.get $i) (i32.const {max(stdout_bytes, stderr_bytes) >> 16})))
      (if (i32.lt_u (local.get $i) (i32.const {stdout_bytes >> 16}))
        (then (call $write (i32.const 1) (i32.const 65536) (i32.const 65536))))
      (if (i32.lt_u (local.get $i) (i32.const {stderr_bytes >> 16}))
        (then (call $write (i32.const 2) (i32.const 131072) (i32.const 65536))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $more)))""")


#: Writes its arguments, the program's name first, each ended by a zero byte.
ARGUMENTS = command("""
    (if (call $args_sizes_get (i32.const 16) (i32.const 20)) (then unreachable))
    (if (call $args_get (i32.const 2048) (i32.const 65536)) (then unreachable))
    (call $write (i32.const 1) (i32.const 65536) (i32.load (i32.const 20)))""")
#: Writes its environment, each NAME=VALUE ended by a zero byte.
ENVIRONMENT = command("""
    (if (call $environ_sizes_get (i32.const 16) (i32.const 20)) (then unreachable))
    (if (call $environ_get (i32.const 2048) (i32.const 65536)) (then unreachable))
    (if (i32.load (i32.const 20))
      (then (call $write (i32.const 1) (i32.const 65536) (i32.load (i32.const 20)))))""")
#: Writes the file hello.txt of its first preopened folder; ends with the error number if it cannot be opened.
READS_A_FILE = command(
    """(local $error i32)
    (local.set $error (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 9)
      (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
    (if (local.get $error) (then (call $proc_exit (local.get $error))))
    (call $write (i32.const 1) (i32.const 65536)
      (call $read (i32.load (i32.const 16)) (i32.const 65536) (i32.const 65536)))""",
    data="hello.txt",
)


#: Writes a megabyte to the file ``big`` in its first folder, and takes no notice of errors.
FILLS_A_FILE = command(
    """(local $left i32)
    (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 3)
      (i32.const 9) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16)))
    (i32.store (i32.const 0) (i32.const 65536))
    (i32.store (i32.const 4) (i32.const 65536))
    (local.set $left (i32.const 16))
    (loop $more
      (drop (call $fd_write (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))""",
    data="big",
)


def reports(text: str, status: int) -> str:
    """Writes this text to stderr and ends with this status."""
    raw = text.encode()
    data = "".join(f"\\{byte:02x}" for byte in raw)
    return command(
        f"(call $write (i32.const 2) (i32.const 1024) (i32.const {len(raw)}))"
        f"(call $proc_exit (i32.const {status}))",
        data=data,
    )


def reports_and_traps(text: str) -> str:
    """Writes this text to stderr and traps."""
    return reports(text, 1).replace("(call $proc_exit (i32.const 1))", "unreachable")


def ruby_like(stderr: str) -> str:
    """Answers ``puts 1+1`` with 2, and all else with status 1 and this text on stderr."""
    raw = stderr.encode()
    data = "puts 1+12\\0a" + "".join(f"\\{byte:02x}" for byte in raw)
    return command(
        f"""(local $size i32)
    (local.set $size (call $read (i32.const 0) (i32.const 65536) (i32.const 65536)))
    (if (i32.and (i32.ge_u (local.get $size) (i32.const 8))
                 (i32.and (i32.le_u (local.get $size) (i32.const 9))
                          (i64.eq (i64.load (i32.const 65536)) (i64.load (i32.const 1024)))))
      (then (call $write (i32.const 1) (i32.const 1032) (i32.const 2)))
      (else (if (local.get $size) (then
        (call $write (i32.const 2) (i32.const 1034) (i32.const {len(raw)}))
        (call $proc_exit (i32.const 1))))))""",
        data=data,
    )
