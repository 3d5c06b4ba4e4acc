"""The copy that counts, and what stands in a file."""

from __future__ import annotations

import pytest

from pytest_wasmedge.artifacts.counting import (
    Function,
    Standing,
    counting_copy,
    functions,
    gate_texts,
    standing,
    starts_by_itself,
)
from pytest_wasmedge.artifacts.sections import imports
from pytest_wasmedge.errors import ArtifactError
from tests import wat

EVERYTHING = """(module
  (type $pair (func (param i32 f64) (result i64)))
  (memory (export "memory") 2 5) (memory 1)
  (table 2 funcref) (elem (i32.const 0) $first $second)
  (global $g (mut i32) (i32.const 0))
  (tag $t)
  (data "passive") (data (i32.const 8) "active")
  (func $first (type $pair) (local i32 i64 v128 externref) (i64.const 1))
  (func $second (block $b (try_table (catch $t $b))) (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 0)))
  (func $third (export "_start") (loop $l (br_if $l (i32.const 0))))
  (start $second))"""


@pytest.mark.parametrize("text", [EVERYTHING, wat.ECHO, wat.TRAP, '(module (func (export "_start")))'])
def test_the_copy_is_valid(text: str) -> None:
    """Every section of a module keeps its place, and an engine takes the copy."""
    import wasmtime

    config = wasmtime.Config()
    config.wasm_exceptions = config.gc_support = True
    engine = wasmtime.Engine(config)
    copy = counting_copy(wat.assemble(text))

    wasmtime.Module.validate(engine, copy)
    with pytest.raises(wasmtime.WasmtimeError, match="duplicate export"):
        wasmtime.Module.validate(engine, counting_copy(copy))


def test_functions_have_their_names() -> None:
    """Names come from the name section; a function without one is called by its index, imports counted first."""
    found = functions(wat.assemble(wat.ECHO))

    assert [each.name for each in found] == ["read", "write", "function 11"]
    assert all(each.code_bytes > 10 for each in found)
    assert functions(wat.assemble("(module)")) == []


def test_a_damaged_name_section_is_passed_over() -> None:
    """Hosts ignore custom sections that are wrong, and so do we: names are only for people."""
    module = wat.assemble('(module (func (export "_start")))') + b"\0\x08\x04name\x01\x7f\x05"

    assert functions(module) == [Function("function 0", 2)]


def test_what_stands_in_the_file() -> None:
    """Functions, code, data and the memory that it begins with, as the file says."""
    module = wat.assemble(
        '(module (memory 3) (data (i32.const 0) "abc") (func nop) (func (export "_start")))'
    )

    assert standing(module) == Standing(functions=2, code_bytes=5, data_bytes=9, memory_pages=3)
    assert standing(wat.assemble("(module)")) == Standing(0, 0, 0, 0)


def test_a_start_function_is_seen() -> None:
    """A module with one runs before its imports can be led through a gate."""
    assert starts_by_itself(wat.assemble(EVERYTHING))
    assert not starts_by_itself(wat.assemble(wat.ECHO))


def test_what_cannot_be_copied() -> None:
    """A module without functions, and damaged code, are errors that say so."""
    with pytest.raises(ArtifactError, match="no function"):
        counting_copy(wat.assemble("(module)"))
    damaged = wat.assemble('(module (func (export "_start") nop))').replace(
        b"\x0a\x05\x01\x03", b"\x0a\x05\x01\x7f"
    )
    with pytest.raises(ArtifactError, match="in the middle of a function"):
        counting_copy(damaged)


def test_an_import_that_cannot_be_handed_on() -> None:
    """A function with a type of its own proposal is not led through the gate."""
    module = wat.assemble('(module (import "a" "b" (func (param externref))))')
    with pytest.raises(ArtifactError, match=r"a\.b is no plain function"):
        gate_texts(imports(module), "memory")
