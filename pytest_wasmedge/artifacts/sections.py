"""The few parts of the WebAssembly binary format that the recipe reads and edits: imports and exports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pytest_wasmedge.errors import ArtifactError

_MAGIC = b"\0asm\x01\0\0\0"
_TYPES, _IMPORTS, _EXPORTS = 1, 2, 7
_VALUE_TYPES = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64"}


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


class _Reader:
    """A cursor over the bytes of one section."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def name(self) -> str:
        size = self.number()
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def vector(self) -> range:
        return range(self.number())


def imports(module: bytes) -> list[Import]:
    """Return the module's imports in order. Raises ArtifactError for bytes that are not a module."""
    types: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    found: list[Import] = []
    for kind, content in _sections(module):
        if kind == _TYPES:
            types = _read_types(content)
        elif kind == _IMPORTS:
            reader = _Reader(content)
            found = [_read_import(reader, types) for _ in reader.vector()]
    return found


def exports(module: bytes) -> list[Export]:
    """Return the module's exports in order. Raises ArtifactError for bytes that are not a module."""
    for kind, content in _sections(module):
        if kind == _EXPORTS:
            reader = _Reader(content)
            return [Export(reader.name(), reader.byte(), reader.number()) for _ in reader.vector()]
    return []


def redirect_imports(module: bytes, old: str, names: frozenset[str], new: str) -> bytes:
    """Let the named imports of module ``old`` come from module ``new`` instead."""

    def edited(one: Import) -> Import:
        return replace(one, module=new) if one.module == old and one.name in names else one

    def rewrite(_: bytes) -> bytes:
        entries = [edited(one) for one in imports(module)]
        return _number(len(entries)) + b"".join(
            _text(one.module) + _text(one.name) + bytes([one.kind]) + one.tail for one in entries
        )

    return _rewritten(module, _IMPORTS, rewrite)


def keep_exports(module: bytes, names: frozenset[str]) -> bytes:
    """Drop every export but the named ones."""

    def rewrite(_: bytes) -> bytes:
        entries = [one for one in exports(module) if one.name in names]
        return _number(len(entries)) + b"".join(
            _text(one.name) + bytes([one.kind]) + _number(one.index) for one in entries
        )

    return _rewritten(module, _EXPORTS, rewrite)


def _sections(module: bytes) -> Iterator[tuple[int, bytes]]:
    if not module.startswith(_MAGIC):
        raise ArtifactError(
            f"expected a WebAssembly module, got {len(module)} bytes that begin with {module[:8]!r}; "
            "install the build tools again (pytest-wasmedge install)."
        )
    reader = _Reader(module, len(_MAGIC))
    while reader.at < len(module):
        kind, size = reader.byte(), reader.number()
        reader.at += size
        yield kind, module[reader.at - size : reader.at]


def _rewritten(module: bytes, wanted: int, rewrite: Callable[[bytes], bytes]) -> bytes:
    out = bytearray(_MAGIC)
    for kind, content in _sections(module):
        body = rewrite(content) if kind == wanted else content
        out += bytes([kind]) + _number(len(body)) + body
    return bytes(out)


def _read_types(content: bytes) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    reader = _Reader(content)
    types = []
    for _ in reader.vector():
        reader.byte()  # 0x60: a function type, the only form in these modules
        params = tuple(_VALUE_TYPES[reader.byte()] for _ in reader.vector())
        types.append((params, tuple(_VALUE_TYPES[reader.byte()] for _ in reader.vector())))
    return types


def _read_import(reader: _Reader, types: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> Import:
    module, name, kind = reader.name(), reader.name(), reader.byte()
    start = reader.at
    params: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    if kind == 0:
        params, results = types[reader.number()]
    elif kind == 3:
        reader.at += 2
    else:
        if kind == 1:
            reader.byte()
        bounded = reader.byte() & 1
        for _ in range(1 + bounded):
            reader.number()
    return Import(module, name, kind, params, results, reader.data[start : reader.at])


def _number(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _text(name: str) -> bytes:
    raw = name.encode()
    return _number(len(raw)) + raw
