"""The wasmtime command with its baseline compiler, which makes code in one pass: quickly, and slow code."""

from __future__ import annotations

from pytest_wasmedge.drivers.wasmtime_run import WasmtimeRuntime


class WasmtimeWinch(WasmtimeRuntime):
    """``wasmtime run``, with the code of its baseline compiler."""

    name = "wasmtime-winch"
    engine = "Winch"
    groups = frozenset({"engines", "fast"})
    generator = ("-C", "compiler=winch")
    lacking = ("threads", "gc", "function-references", "tail-call", "relaxed-simd", "stack-switching")


RUNTIME = WasmtimeWinch
