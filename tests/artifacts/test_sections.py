"""Reading and editing imports and exports of WebAssembly modules."""

from __future__ import annotations

import pytest
from wasmtime import Engine, Func, FuncType, Instance, Module, Store, ValType, wat2wasm

from pytest_wasmedge.artifacts import sections
from pytest_wasmedge.errors import ArtifactError

WAT = """(module
  (import "wasi" "read" (func (param i32 i64) (result f32)))
  (import "wasi" "write" (func))
  (import "other" "read" (func))
  (import "other" "memory" (memory 1 2))
  (import "other" "table" (table 1 funcref))
  (import "other" "global" (global (mut f64)))
  (func (export "run"))
  (func (export "extra"))
  (export "memory" (memory 0)))"""


@pytest.fixture(scope="module")
def module() -> bytes:
    """A module with imports of every kind and three exports."""
    return bytes(wat2wasm(WAT))


def test_imports_are_read_with_their_types(module: bytes) -> None:
    """Functions carry their signature; other kinds are told apart."""
    found = sections.imports(module)

    assert [(one.module, one.name, one.kind) for one in found] == [
        ("wasi", "read", 0),
        ("wasi", "write", 0),
        ("other", "read", 0),
        ("other", "memory", 2),
        ("other", "table", 1),
        ("other", "global", 3),
    ]
    assert (found[0].params, found[0].results) == (("i32", "i64"), ("f32",))


def test_redirecting_imports_changes_only_the_named_ones(module: bytes) -> None:
    """Only the given names of the given module move, and an engine still accepts the module."""
    edited = sections.redirect_imports(module, "wasi", frozenset({"read"}), "driver")

    assert [one.module for one in sections.imports(edited)] == ["driver", "wasi", "other"] + ["other"] * 3
    assert sections.exports(edited) == sections.exports(module)
    Module(Engine(), edited)


def test_keeping_exports_drops_the_others(module: bytes) -> None:
    """What is kept keeps its kind and index, and an engine still accepts the module."""
    edited = sections.keep_exports(module, frozenset({"run", "memory"}))

    assert [one.name for one in sections.exports(edited)] == ["run", "memory"]
    assert set(sections.exports(edited)) < set(sections.exports(module))
    assert sections.imports(edited) == sections.imports(module)
    Module(Engine(), edited)


def test_functions_call_others_first_and_last() -> None:
    """A call is added before and after what a function does, whatever stands around it in the module."""
    module = bytes(
        wat2wasm("""(module
          (import "host" "note" (func $note (param i32)))
          (func (export "first") (param i32 i32) (call $note (i32.add (local.get 0) (local.get 1))))
          (func (export "work") (param i32 i32) (local i64 f32)
            (if (local.get 0) (then (call $note (i32.const 2)))))
          (func (export "last") (call $note (i32.const 3))))""")
    )
    edited = sections.with_call_before(module, "work", "first")
    edited = sections.with_call_after(edited, "work", "last")

    noted: list[int] = []
    store = Store(Engine())
    note = Func(store, FuncType([ValType.i32()], []), noted.append)
    instance = Instance(store, Module(store.engine, edited), [note])
    work = instance.exports(store)["work"]
    assert isinstance(work, Func)
    work(store, 40, 1)
    work(store, 0, 7)
    assert noted == [41, 2, 3, 7, 3]
    assert sections.exports(edited) == sections.exports(module)


def test_a_function_that_is_not_there_cannot_call(module: bytes) -> None:
    """The message names it, and what to do."""
    with pytest.raises(ArtifactError, match=r"no function walk, which.*pytest-wasmedge install"):
        sections.with_call_before(module, "walk", "run")


def test_a_module_without_imports_or_exports_has_none() -> None:
    """Absent sections read as empty lists."""
    empty = bytes(wat2wasm("(module)"))

    assert sections.imports(empty) == []
    assert sections.exports(empty) == []


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\0asm"])
def test_other_bytes_are_an_error(content: bytes) -> None:
    """Bytes that are no module are named as such, with what to do."""
    with pytest.raises(ArtifactError, match=r"expected a WebAssembly module.*install the build tools again"):
        sections.imports(content)
