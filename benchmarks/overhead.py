"""What `host.run` costs beyond the raw calls it stands on: ratios of medians, the two taken in the same minutes.

Run it with `make bench-overhead`. Ends with status 1 if a ratio is above 1.05. The raw call to a
server is httpx's own POST, which writes head and body apart; ours writes them together (drivers/loopback.py).
"""

from __future__ import annotations

import ctypes
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import wasmtime
from wasmtime import _ffi

from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.drivers.command import CommandHost
from pytest_wasmedge.drivers.server import ServerHost
from pytest_wasmedge.model import Artifact, Host, Invocation, Limits
from pytest_wasmedge.runtimes import builtin_runtimes

#: Runs a program; returns its stdout, or the answer that it is in.
Raw = Callable[..., bytes]

LIMIT = 1.05
ROUNDS = 200
SEED = 20261121
SOURCE = b"puts 1+1\n"


def raw_wasmtime(artifact: Artifact) -> Raw:
    """Return the least that runs the artifact with the bindings: a store, a WASI context, one call."""
    config = wasmtime.Config()
    config.epoch_interruption = True
    engine = wasmtime.Engine(config)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    module = wasmtime.Module.from_file(engine, artifact.path)  # compiles for 10 s and more
    ready = linker.instantiate_pre(module)

    def call(source: bytes = SOURCE) -> bytes:
        stdout = bytearray()
        stderr = bytearray()
        wasi = wasmtime.WasiConfig()
        vector = _ffi.wasm_byte_vec_t()
        data = (ctypes.c_ubyte * len(source)).from_buffer_copy(source)
        _ffi.wasm_byte_vec_new(ctypes.byref(vector), len(source), data)
        _ffi.wasi_config_set_stdin_bytes(wasi.ptr(), ctypes.byref(vector))
        wasi.stdout_custom = stdout.extend
        wasi.stderr_custom = stderr.extend
        store = wasmtime.Store(engine)
        store.set_wasi(wasi)
        store.set_epoch_deadline(1)
        try:
            start = ready.instantiate(store).exports(store)["_start"]
            assert isinstance(start, wasmtime.Func)
            start(store)
        except wasmtime.ExitTrap:
            pass
        store.close()
        return bytes(stdout)

    return call


def raw_http(host: ServerHost, client: httpx.Client) -> Raw:
    """Return a plain POST of the same request to the very server that the host drives."""
    server, name = host._server, host.runtime.name
    client.headers.update(server.client.headers)

    def call(source: bytes = SOURCE) -> bytes:
        body = host.runtime.wire.body(name, Invocation(source), host.limits.timeout_s)
        return client.post(server.url, content=body).content

    return call


def raw_command(host: CommandHost) -> Raw:
    """Return the command line of the same invocation, run by `subprocess`."""

    def call(source: bytes = SOURCE) -> bytes:
        argv = host.runtime.argv(host._launch, Invocation(source))
        return subprocess.run(argv, input=source, capture_output=True, check=True).stdout

    return call


def compare(name: str, ours: Callable[[], object], raw: Callable[[], bytes], rounds: int) -> float:
    """Time both and return the ratio of their medians.

    Their order is shuffled in every round: workerd alternates between slow and fast by itself, and a strict
    alternation of ours would give one of them all the slow ones.
    """
    # A request that is refused, or misread, costs next to nothing.
    if b"2\n" not in raw():
        raise ValueError(f"{name}: the raw call does not run the program")
    shuffler = random.Random(SEED)
    for _ in range(5):
        ours()
        raw()
    taken: dict[Callable[[], object], list[int]] = {ours: [], raw: []}
    for _ in range(rounds):
        for call in shuffler.sample((ours, raw), 2):
            began_ns = time.perf_counter_ns()
            call()
            taken[call].append(time.perf_counter_ns() - began_ns)
    ours_ms, raw_ms = (statistics.median(taken[call]) / 1e6 for call in (ours, raw))
    sys.stdout.write(
        f"{name:13} host.run {ours_ms:8.3f} ms   raw {raw_ms:8.3f} ms   ratio {ours_ms / raw_ms:.3f}\n"
    )
    sys.stdout.flush()
    return ours_ms / raw_ms


def bench(host: Host, artifact: Artifact) -> float | None:
    """Compare one host with its raw calls; None for one that has none to compare with."""
    if isinstance(host, ServerHost):
        with httpx.Client(trust_env=False, timeout=60) as client:
            return compare(host.runtime.name, lambda: host.run(SOURCE), raw_http(host, client), ROUNDS)
    if host.runtime.name == "wasmtime":
        return compare(host.runtime.name, lambda: host.run(SOURCE), raw_wasmtime(artifact), ROUNDS)
    return None


def main() -> int:
    artifact = open_artifact(BUILTIN_ARTIFACT, Path.cwd())
    ratios = []
    for runtime in builtin_runtimes():
        if runtime.probe().available:
            with runtime.start(artifact, Limits()) as host:
                ratios.append(bench(host, artifact))
    measured = [ratio for ratio in ratios if ratio is not None]
    worst = max(measured)
    sys.stdout.write(f"worst ratio {worst:.3f}, allowed {LIMIT}, {ROUNDS} rounds each\n")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
