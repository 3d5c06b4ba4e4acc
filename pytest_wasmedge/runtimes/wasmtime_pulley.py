"""The wasmtime command with its interpreter, as on processors that its compilers do not know."""

from __future__ import annotations

from pytest_wasmedge.drivers.wasmtime_run import WasmtimeRuntime


class WasmtimePulley(WasmtimeRuntime):
    """``wasmtime run``, with the portable code that its interpreter runs."""

    name = "wasmtime-pulley"
    engine = "Pulley"
    groups = frozenset({"engines"})
    generator = ("--target", "pulley64")
    lacking = ("threads", "stack-switching")


RUNTIME = WasmtimePulley
