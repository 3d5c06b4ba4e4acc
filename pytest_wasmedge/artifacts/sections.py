"""Imports and exports of a WebAssembly module: read, and edited."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_wasmedge.artifacts.binary import (
    KINDS,
    MAGIC,
    SECTIONS,
    Reader,
    encode_name,
    encode_number,
    sections,
    with_section,
)
from pytest_wasmedge.errors import ArtifactError

_HEADER = MAGIC + b"\x01\0\0\0"
_TYPES, _IMPORTS, _FUNCTIONS, _EXPORTS, _CODE = map(
    SECTIONS.index, ("type", "import", "function", "export", "code")
)
_FUNCTION = 0x60
_LOCAL_GET, _CALL = 0x20, 0x10
_VALUE_TYPES = {
    0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128", 0x70: "funcref", 0x6F: "externref",
}  # fmt: skip

Types = list[tuple[tuple[str, ...], tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Import:
    """One import: ``kind`` is its place in KINDS, ``tail`` the bytes after it.

    ``params`` and ``results`` are a function's value types in text form, if it is ``typed``; ``limits`` are a memory's
    smallest and largest size in pages.
    """

    module: str
    name: str
    kind: int
    params: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    tail: bytes = b""
    limits: tuple[int, int | None] | None = None
    typed: bool = False


@dataclass(frozen=True, slots=True)
class Export:
    """One export: its name, its kind as the place in KINDS, and its index."""

    name: str
    kind: int
    index: int


def imports(module: bytes, *, typed: bool = True) -> list[Import]:
    """Return the module's imports in order, with the types of functions if ``typed``.

    Raises ArtifactError for bytes that are not a module.
    """
    types: Types = []
    found: list[Import] = []
    for section, reader in _contents(module):
        if section == _TYPES and typed:
            types = _read_types(reader)
        elif section == _IMPORTS:
            found = read_imports(reader, types)
    return found


def exports(module: bytes) -> list[Export]:
    """Return the module's exports in order. Raises ArtifactError for bytes that are not a module."""
    for section, reader in _contents(module):
        if section == _EXPORTS:
            return read_exports(reader)
    return []


def type_of(module: bytes, export: Export) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return what an exported function takes and returns; None if its type is one that only a proposal has.

    Raises ArtifactError for bytes that are not a module.
    """
    types: Types = []
    functions: list[int] = []
    for section, reader in _contents(module):
        if section == _TYPES:
            types = _read_types(reader)
        elif section == _IMPORTS:
            imported = read_imports(reader)
            functions += [
                Reader(one.tail, 0, len(one.tail), "import", "the module").number()
                for one in imported
                if KINDS[one.kind] == "function"
            ]
        elif section == _FUNCTIONS:
            functions += [reader.number() for _ in range(reader.number())]
    index = functions[export.index] if export.index < len(functions) else len(types)
    return types[index] if index < len(types) else None


def read_imports(reader: Reader, types: Types | None = None) -> list[Import]:
    """Read an import section; functions get their parameters and results from ``types``. Raises ArtifactError."""
    return [_read_import(reader, types) for _ in range(reader.number())]


def _read_import(reader: Reader, types: Types | None) -> Import:
    module, name, kind = reader.name(), reader.name(), reader.byte()
    if kind >= len(KINDS):
        raise ArtifactError(
            f"{reader.called} describes its import {module}.{name} by the unknown kind {kind:#04x}, which hosts "
            "refuse. If wasm-merge or wasm-opt wrote the file, run it without --all-features (that turns on compact "
            "imports)."
        )
    start = reader.at
    one = Import(module, name, kind)
    match KINDS[kind]:
        case "function":
            index = reader.number()
            if types and index < len(types):
                one = replace(one, params=types[index][0], results=types[index][1], typed=True)
        case "table":
            reader.value_type()
            reader.limits()
        case "memory":
            one = replace(one, limits=reader.limits())
        case "global":
            reader.value_type()
            reader.byte()
        case "tag":
            reader.byte()
            reader.number()
    return replace(one, tail=reader.data[start : reader.at])


def read_exports(reader: Reader) -> list[Export]:
    """Read an export section. Raises ArtifactError."""
    found = []
    for _ in range(reader.number()):
        one = Export(reader.name(), reader.byte(), reader.number())
        if one.kind >= len(KINDS):
            raise reader.damaged(f"holds the unknown kind {one.kind:#04x}")
        found.append(one)
    return found


def with_imports(module: bytes, entries: Sequence[Import]) -> bytes:
    """Return the module with these imports."""
    content = (
        encode_name(one.module) + encode_name(one.name) + bytes([one.kind]) + one.tail for one in entries
    )
    return with_section(module, _IMPORTS, encode_number(len(entries)) + b"".join(content))


def redirect_imports(module: bytes, old: str, names: frozenset[str], new: str) -> bytes:
    """Return the module with the named imports of module ``old`` taken from module ``new`` instead."""
    entries = imports(module, typed=False)
    return with_imports(
        module,
        [replace(one, module=new) if one.module == old and one.name in names else one for one in entries],
    )


def keep_exports(module: bytes, names: frozenset[str]) -> bytes:
    """Return the module without any export but the named ones."""
    entries = [one for one in exports(module) if one.name in names]
    content = (encode_name(one.name) + bytes([one.kind]) + encode_number(one.index) for one in entries)
    return with_section(module, _EXPORTS, encode_number(len(entries)) + b"".join(content))


def with_call_before(module: bytes, name: str, called: str) -> bytes:
    """Return the module whose exported function ``name`` first calls the export ``called`` with its own parameters.

    Raises ArtifactError if the module does not export both.
    """
    function, other = _exported(module, name), _exported(module, called)
    params = (type_of(module, function) or ((), ()))[0]
    call = b"".join(bytes([_LOCAL_GET]) + encode_number(number) for number in range(len(params)))
    call += bytes([_CALL]) + encode_number(other.index)

    def edited(body: bytes) -> bytes:
        reader = Reader(body, 0, len(body), "code", "the module")
        for _ in range(reader.number()):  # local variables: how many, and their type
            reader.number()
            reader.value_type()
        return body[: reader.at] + call + body[reader.at :]

    return _with_body(module, function, edited)


def with_call_after(module: bytes, name: str, called: str) -> bytes:
    """Return the module whose exported function ``name``, which returns nothing, calls the export ``called`` last.

    It is not called where the function ends by ``return``. Raises ArtifactError if the module does not export both.
    """
    call = bytes([_CALL]) + encode_number(_exported(module, called).index)
    return _with_body(module, _exported(module, name), lambda body: body[:-1] + call + body[-1:])


def _exported(module: bytes, name: str) -> Export:
    for one in exports(module):
        if one.name == name and KINDS[one.kind] == "function":
            return one
    raise ArtifactError(
        f"the module exports no function {name}, which the recipe changes; "
        "check that the build tools are the pinned ones (pytest-wasmedge install)."
    )


def _with_body(module: bytes, function: Export, edit: Callable[[bytes], bytes]) -> bytes:
    imported = sum(KINDS[one.kind] == "function" for one in imports(module, typed=False))
    content = bytearray()
    for section, reader in _contents(module):
        if section == _CODE:
            count = reader.number()
            content += encode_number(count)
            for number in range(count):
                start = reader.at
                size = reader.number()
                body = module[reader.at : reader.at + size]
                reader.at += size
                if number + imported == function.index:
                    body = edit(body)
                    content += encode_number(len(body)) + body
                else:
                    content += module[start : reader.at]
    return with_section(module, _CODE, bytes(content))


def _contents(module: bytes) -> Iterator[tuple[int, Reader]]:
    """Yield the number of every section with a reader of its content."""
    if not module.startswith(_HEADER):
        raise ArtifactError(
            f"expected a WebAssembly module, got {len(module)} bytes that begin with {module[:8]!r}; "
            "install the build tools again (pytest-wasmedge install)."
        )
    for number, start, end in sections(module, "the module"):
        yield number, Reader(module, start, end, SECTIONS[number], "the module")


def _read_types(reader: Reader) -> Types:
    """Read types up to the first that is of a form or of a value type that only a proposal has."""
    types: Types = []
    for _ in range(reader.number()):
        if reader.byte() != _FUNCTION:
            break
        both = []
        for _ in ("params", "results"):
            both.append(tuple(_VALUE_TYPES.get(reader.byte(), "") for _ in range(reader.number())))
        if "" in both[0] + both[1]:
            break
        types.append((both[0], both[1]))
    return types
