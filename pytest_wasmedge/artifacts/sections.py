"""The few parts of the WebAssembly binary format that we edit: imports and exports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_wasmedge.artifacts.binary import (
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
_TYPES, _IMPORTS, _EXPORTS = map(SECTIONS.index, ("type", "import", "export"))
_VALUE_TYPES = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64"}

Types = list[tuple[tuple[str, ...], tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Import:
    """One import; ``params`` and ``results`` are value types in text form, empty unless a function."""

    module: str
    name: str
    kind: int
    params: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    tail: bytes = b""


@dataclass(frozen=True, slots=True)
class Export:
    """One export: name, kind (0 function, 1 table, 2 memory, 3 global) and index."""

    name: str
    kind: int
    index: int


def imports(module: bytes, *, typed: bool = True) -> list[Import]:
    """Return the module's imports in order; what functions take and return is not read unless ``typed``.

    Raises ArtifactError for bytes that are not a module.
    """
    types: Types = []
    found: list[Import] = []
    for section, reader in _contents(module):
        if section == _TYPES and typed:
            types = _read_types(reader)
        elif section == _IMPORTS:
            found = [_read_import(reader, types) for _ in range(reader.number())]
    return found


def exports(module: bytes) -> list[Export]:
    """Return the module's exports in order. Raises ArtifactError for bytes that are not a module."""
    for section, reader in _contents(module):
        if section == _EXPORTS:
            return [Export(reader.name(), reader.byte(), reader.number()) for _ in range(reader.number())]
    return []


def with_imports(module: bytes, entries: Sequence[Import]) -> bytes:
    """Return the module with these imports."""
    content = (
        encode_name(one.module) + encode_name(one.name) + bytes([one.kind]) + one.tail for one in entries
    )
    return with_section(module, _IMPORTS, encode_number(len(entries)) + b"".join(content))


def redirect_imports(module: bytes, old: str, names: frozenset[str], new: str) -> bytes:
    """Let the named imports of module ``old`` come from module ``new`` instead."""
    entries = imports(module, typed=False)
    return with_imports(
        module,
        [replace(one, module=new) if one.module == old and one.name in names else one for one in entries],
    )


def keep_exports(module: bytes, names: frozenset[str]) -> bytes:
    """Drop every export but the named ones."""
    entries = [one for one in exports(module) if one.name in names]
    content = (encode_name(one.name) + bytes([one.kind]) + encode_number(one.index) for one in entries)
    return with_section(module, _EXPORTS, encode_number(len(entries)) + b"".join(content))


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
    types = []
    for _ in range(reader.number()):
        reader.byte()  # 0x60: a function type, the only form in these modules
        params = tuple(_VALUE_TYPES[reader.byte()] for _ in range(reader.number()))
        types.append((params, tuple(_VALUE_TYPES[reader.byte()] for _ in range(reader.number()))))
    return types


def _read_import(reader: Reader, types: Types) -> Import:
    module, name, kind = reader.name(), reader.name(), reader.byte()
    start = reader.at
    params: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    if kind == 0:
        index = reader.number()
        params, results = types[index] if types else ((), ())
    elif kind == 3:
        reader.value_type()
        reader.byte()
    else:
        if kind == 1:
            reader.value_type()
        reader.limits()
    return Import(module, name, kind, params, results, reader.data[start : reader.at])
