"""The wasmtime command: a new process per invocation, which runs code that was compiled beforehand."""

from __future__ import annotations

from pytest_wasmedge.drivers.wasmtime_run import WasmtimeRuntime


class WasmtimeCli(WasmtimeRuntime):
    """``wasmtime run``, with the code of its optimising compiler."""

    name = "wasmtime-cli"
    engine = "Cranelift"
    groups = frozenset({"fast"})


RUNTIME = WasmtimeCli
