"""What WasmEdge and the wasmtime command have of the proposals is turned on for an artifact that needs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.artifacts.proposals import LEGACY, PROPOSALS, example
from pytest_wasmedge.drivers.pool import HostPool
from pytest_wasmedge.model import Limits, exited
from pytest_wasmedge.runtimes import builtin_runtimes
from tests import wat

RUNTIMES = {runtime.name: runtime for runtime in builtin_runtimes()}
#: What an engine, or its wrapper, does not have.
LACKS = {
    "wasmedge": {"wide arithmetic", "custom page sizes", LEGACY.name},
    "wasmtime-cli": {LEGACY.name},
    "wasmtime-winch": {
        *("garbage collection", "typed function references", "tail calls", "threads", "relaxed SIMD"),
        LEGACY.name,
    },
    "wasmtime-pulley": {"threads", LEGACY.name},
    "node": {"wide arithmetic", "custom page sizes"},
    "wasmtime-serve": {LEGACY.name},
    "bun": {"64-bit memory", "custom page sizes"},
    "wasm2c": {"garbage collection", "typed function references", "relaxed SIMD", "wide arithmetic"},
    "wasmer": {
        "garbage collection",
        "typed function references",
        "tail calls",
        "64-bit memory",
        "custom page sizes",
        LEGACY.name,
    },
}


@pytest.mark.parametrize("name", LACKS)
def test_what_a_runtime_lacks(name: str, tmp_path: Path) -> None:
    """Each proposal that is not named here works."""
    lacks = set()
    for index, proposal in enumerate((*PROPOSALS, LEGACY)):
        artifact = load_artifact(wat.write(tmp_path / f"{index}.wasm", example(proposal.name) or b""))
        lacks |= set(HostPool(artifact).availability(RUNTIMES[name]).lacks)

    assert lacks == LACKS[name]


#: Writes its stdin to stdout and its first argument to stderr, and exits with the number of its arguments.
_PASSES_ON = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fdstat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") @MEMORY@)
  (func (export "_start")
    (i32.store (@INDEX@ 0) (i32.const 1024)) (i32.store (@INDEX@ 4) (i32.const 100))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (@INDEX@ 4) (i32.load (@INDEX@ 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (call $args_sizes (i32.const 16) (i32.const 20)))
    (drop (call $args (i32.const 2048) (i32.const 3072)))
    (drop (call $random (i32.const 4096) (i32.const 16)))
    (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 32)))
    (drop (call $fdstat (i32.const 1) (i32.const 64)))
    (i32.store (@INDEX@ 0) (i32.load (@INDEX@ 2052))) (i32.store (@INDEX@ 4) (i32.const 3))
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $exit (i32.load (@INDEX@ 16)))))"""


@pytest.mark.parametrize("name", ["wasmtime", "wasmtime-cli", "wasmtime-serve", "wasmedge", "node"])
@pytest.mark.parametrize(
    ("memory", "index"),
    [("i64 1", "i64.const"), ("1 2 shared", "i32.const"), ("1", "i32.const")],
    ids=["64-bit", "shared", "plain"],
)
def test_a_guest_with_such_a_memory(name: str, memory: str, index: str, tmp_path: Path) -> None:
    """What preview 1 passes through a memory of another kind arrives, in both directions."""
    program = _PASSES_ON.replace("@MEMORY@", memory).replace("@INDEX@", index)
    artifact = load_artifact(wat.write(tmp_path / "x.wasm", wat.assemble(program)))
    with RUNTIMES[name].start(artifact, Limits()) as host:
        outcome = host.run(b"hello", args=["abc", "de"])

    assert (outcome.stdout, outcome.stderr, outcome.ending) == (b"hello", b"abc", exited(3))
