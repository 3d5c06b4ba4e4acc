"""The text of the modules that are merged with ruby.wasm: the driver, and stubs for its JavaScript imports."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pytest_wasmedge.artifacts.sections import Import

#: WASI functions that ruby.wasm calls in the driver, which asks the host or answers itself.
INTERPOSED = frozenset({"clock_time_get", "environ_get", "environ_sizes_get", "random_get"})

#: Exports of the driver: the program's start, which the artifact keeps, and its start at build time.
START, INITIALIZE = "_start", "wizer.initialize"

#: What the driver adds to functions of ruby.wasm: which of its exports they call first, and which last.
CALLED_FIRST = {"asyncify_start_unwind": "before_unwind", "asyncify_stop_unwind": "before_stop_unwind"}
CALLED_LAST = {"asyncify_stop_unwind": "after_unwind"}

# Sizes in the driver, in bytes: what CRuby was built with, the deepest stack that can be saved, and the table of
# those that no buffer of CRuby's holds.
_SIZES = {"BUFFER_BYTES": 24_576, "ARENA_BYTES": 4 << 20, "TABLE_BYTES": 1024 * 12}

#: Modules that ruby.wasm imports from a JavaScript host; the artifact runs without one.
FOREIGN = ("rb-js-abi-host", "canonical_abi")

# The boot code has an <internal: …> name, whose frames CRuby hides from backtraces: see boot.rb.
_COMPILE_BOOT = (
    "RubyVM::InstructionSequence.compile(<<'END_OF_BOOT', '<internal:worker>', '<internal:worker>').eval\n"
    "{boot}END_OF_BOOT\n"
)


def driver_wat() -> str:
    """Return the driver as WebAssembly text."""
    here = Path(__file__).parent
    boot = (here / "boot.rb").read_text(encoding="utf-8")
    wat = (here / "driver.wat").read_text(encoding="utf-8")
    pieces = {
        "ARG0": "ruby.wasm",
        "ARG1": "--disable-gems",
        "ARG2": "-e_=0",
        "METHOD": "run_as_main",
        "BOOT": _COMPILE_BOOT.format(boot=boot),
        "DEEP": f"main.rb: the stack is too deep to be saved: more than {_SIZES['ARENA_BYTES']} bytes\n",
    }
    for name, size in _SIZES.items():
        wat = wat.replace(f"@{name}@", str(size))
    text = bytearray()
    for name, piece in pieces.items():
        raw = piece.encode()
        wat = wat.replace(f"@{name}_AT@", str(len(text)))
        wat = wat.replace(f"@{name}_SIZE@", str(len(raw))).replace(f"@{name}_SIZE0@", str(len(raw) + 1))
        text += raw + b"\0"
    return wat.replace("@TEXT@", "".join(f"\\{byte:02x}" for byte in text))


def stub_wat(functions: Iterable[Import]) -> str:
    """Return a module that exports these functions: those for resource handles work, all others trap."""
    lines = ["(module"]
    for one in functions:
        params = f" (param {' '.join(one.params)})" if one.params else ""
        results = f" (result {' '.join(one.results)})" if one.results else ""
        body = "" if one.name.startswith("resource_drop_") else "(unreachable)"
        # ruby.wasm lets its host make the handles of resources; here a handle is the object's own address.
        if one.name.startswith(("resource_new_", "resource_get_")):
            body = "(local.get 0)"
        lines.append(f'  (func (export "{one.name}"){params}{results} {body})')
    return "\n".join([*lines, ")"]) + "\n"
