"""Which proposals to WebAssembly a module needs, by the validator of wasmtime, and a module that needs just one.

Proposals that every host has had for years are not named: bulk memory, multiple values, reference types, SIMD, sign
extension, extended constant expressions.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from dataclasses import dataclass

from pytest_wasmedge.errors import ArtifactError


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposal: its name, the setting of `wasmtime.Config` that turns it on, and a command that needs it."""

    name: str
    setting: str
    text: str


def _command(before: str, body: str = "", memory: str = "1") -> str:
    return f'(module (memory (export "memory") {memory}) {before} (func (export "_start") {body}))'


#: In the order in which they are named. One that builds on another comes before it.
PROPOSALS = (
    Proposal(
        "garbage collection",
        "wasm_gc",
        _command("(type $s (struct (field i32)))", "(drop (struct.new $s (i32.const 1)))"),
    ),
    Proposal(
        "typed function references",
        "wasm_function_references",
        _command("(type $t (func)) (elem declare func $f) (func $f)", "(call_ref $t (ref.func $f))"),
    ),
    Proposal(
        "exception handling", "wasm_exceptions", _command("(tag $t)", "(block $b (try_table (catch $t $b)))")
    ),
    Proposal("tail calls", "wasm_tail_call", _command("(func $f)", "return_call $f")),
    Proposal("multiple memories", "wasm_multi_memory", _command("", memory="1) (memory 1")),
    Proposal("64-bit memory", "wasm_memory64", _command("", memory="i64 1")),
    Proposal("threads", "wasm_threads", _command("", memory="1 1 shared")),
    Proposal(
        "relaxed SIMD",
        "wasm_relaxed_simd",
        _command("", "(v128.const i64x2 0 0) (v128.const i64x2 0 0) i8x16.relaxed_swizzle drop"),
    ),
    Proposal(
        "wide arithmetic",
        "wasm_wide_arithmetic",
        _command("", "(i64.add128 (i64.const 1) (i64.const 0) (i64.const 1) (i64.const 0)) drop drop"),
    ),
    Proposal(
        "custom page sizes",
        "wasm_custom_page_sizes",
        _command("", memory="65536 (pagesize 1)"),
    ),
)
#: What compilers made before there was a standard, which browsers still take. The validator knows it, to refuse it.
LEGACY = Proposal("legacy exception handling", "", _command("(tag $t)", "try nop catch $t end"))
#: What the validator says of a module that needs what it does not know of, which another engine may.
_UNKNOWN = re.compile(
    r"not enabled|disabled|(?:feature|proposal)s? required|(?:illegal|unknown|invalid) opcode"
)


def needed(data: bytes, called: str) -> tuple[str, ...]:
    """Return the names of the proposals that a module needs. Raises ArtifactError for a module that is not valid."""
    if _problem(data, ()) is None:
        return ()
    names = [each.name for each in PROPOSALS]
    problem = _problem(data, names)
    if problem is None:
        return tuple(name for name in names if _problem(data, [other for other in names if other != name]))
    if "legacy" in problem and "exception" in problem:
        return (LEGACY.name,)
    if _UNKNOWN.search(problem):
        return (f"what no validator here knows ({problem})",)
    raise ArtifactError(
        f"{called} is not valid WebAssembly, whatever the host: {problem}. Build it again, or tell those who make its "
        "compiler."
    )


@functools.cache
def example(name: str) -> bytes | None:
    """Return a command that needs this proposal (none for ""), and ends with status 0 on a host that has it.

    None for a proposal that we have no command for.
    """
    import wasmtime

    if not name:
        return bytes(wasmtime.wat2wasm(_command("")))
    return next(
        (bytes(wasmtime.wat2wasm(each.text)) for each in (*PROPOSALS, LEGACY) if each.name == name), None
    )


def _problem(data: bytes, allowed: Collection[str]) -> str | None:
    """Return what the validator has against a module where these proposals are allowed; None if it is valid."""
    import wasmtime

    config = wasmtime.Config()
    for each in PROPOSALS:
        setattr(config, each.setting, each.name in allowed)
    config.gc_support = True
    # This engine runs nothing. One with signals puts in their handlers, over which pytest then puts those of its
    # faulthandler, and the first trap of a guest ends the process.
    config.signals_based_traps = False
    try:
        wasmtime.Module.validate(wasmtime.Engine(config), data)
    except wasmtime.WasmtimeError as error:
        lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
        return re.sub(r"^\d+: ", "", lines[-1])
    return None
