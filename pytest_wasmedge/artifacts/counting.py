"""A copy of a module that counts the calls of its functions and imports, and what stands in the file.

The artifact itself is never changed: the copy is run for its counts alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_wasmedge.artifacts.binary import (
    HEADER_BYTES,
    KINDS,
    SECTIONS,
    Reader,
    encode_name,
    encode_number,
    sections,
)
from pytest_wasmedge.artifacts.sections import Import, imports
from pytest_wasmedge.errors import ArtifactError

#: The memory of the copy that holds the counts: of each function that the module defines, 8 bytes.
COUNTS = "pytest-wasmedge counts"
COUNT_BYTES = 8
#: What a function without a name is called by, before its index.
UNNAMED = "function "
#: The name of the two modules of ours through which a guest calls its imports.
GATE = "pytest-wasmedge-gate"
#: The way of counting is part of the name of the compiled copy.
WAY = "counting 1"
#: What the instructions of ours cost in fuel, one each: at the beginning of a function, and for a call of an import,
#: by the number of its parameters: two functions more, each entered, called and given them all.
ENTRY_FUEL = 6


def import_fuel(parameters: int) -> int:
    """Return what the way through our two functions costs one call of an import."""
    return 9 + 2 * parameters


_ORDER = [
    SECTIONS.index(name)
    for name in (
        *("type", "import", "function", "table", "memory", "tag", "global"),
        *("export", "start", "element", "data count", "code", "data"),
    )
]
_MEMORY, _EXPORT, _START, _CODE, _DATA = map(SECTIONS.index, ("memory", "export", "start", "code", "data"))
_PAGE = 1 << 16
_FUNCTION_NAMES = 1
_TYPE_CHARACTERS = {"i32": "i32", "i64": "i64", "f32": "f32", "f64": "f64"}


@dataclass(frozen=True, slots=True)
class Function:
    """A function that a module defines: its name, if the file has one, else its index, and the bytes of its code."""

    name: str
    code_bytes: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands in a file: functions, bytes of code and of data, and the pages of memory that it begins with."""

    functions: int
    code_bytes: int
    data_bytes: int
    memory_pages: int


def counting_copy(module: bytes) -> bytes:
    """Return the copy, in which each function counts its calls in a memory of its own.

    No index changes: the memory comes after all others. Raises ArtifactError for bytes that are not such a module.
    """
    contents = {number: module[start:end] for number, start, end in sections(module, "the module") if number}
    if _CODE not in contents:
        raise ArtifactError("the module defines no function, so there is nothing to count.")
    imported = sum(KINDS[one.kind] == "memory" for one in imports(module, typed=False))
    memory = _reader(contents.get(_MEMORY, b"\0"), "memory")
    defined = memory.number()
    index = encode_number(imported + defined)
    functions, code = _counting_code(contents[_CODE], index)
    pages = encode_number(max(1, -(-functions * COUNT_BYTES // _PAGE)))
    export = _reader(contents.get(_EXPORT, b"\0"), "export")
    exported = export.number()
    contents[_CODE] = code
    contents[_MEMORY] = encode_number(defined + 1) + memory.data[memory.at :] + b"\x01" + pages + pages
    entry = encode_name(COUNTS) + bytes([KINDS.index("memory")]) + index
    contents[_EXPORT] = encode_number(exported + 1) + export.data[export.at :] + entry
    # Custom sections go: some tell offsets in the code, which has moved.
    ordered = (bytes([each]) + _sized(contents[each]) for each in _ORDER if each in contents)
    return module[:HEADER_BYTES] + b"".join(ordered)


def functions(module: bytes) -> list[Function]:
    """Return the functions that a module defines, in their order. Raises ArtifactError for damaged bytes."""
    imported = sum(KINDS[one.kind] == "function" for one in imports(module, typed=False))
    names = _names(module)
    for number, start, end in sections(module, "the module"):
        if number == _CODE:
            sizes = [len(body) for body in _bodies(module[start:end])]
            return [
                Function(names.get(index, f"{UNNAMED}{index}"), size)
                for index, size in enumerate(sizes, imported)
            ]
    return []


def standing(module: bytes) -> Standing:
    """Return what stands in the file. Raises ArtifactError for damaged bytes."""
    contents = {number: module[start:end] for number, start, end in sections(module, "the module") if number}
    memory = _reader(contents.get(_MEMORY, b"\0"), "memory")
    pages = [one.limits[0] for one in imports(module, typed=False) if one.limits]
    pages += [memory.limits()[0] for _ in range(memory.number())]
    bodies = list(_bodies(contents.get(_CODE, b"\0")))
    return Standing(len(bodies), sum(map(len, bodies)), len(contents.get(_DATA, b"")), sum(pages))


def starts_by_itself(module: bytes) -> bool:
    """Return whether the module has a start function, which runs before anything of it can be linked."""
    return any(number == _START for number, _, _ in sections(module, "the module"))


def gate_texts(imported: Sequence[Import], memory: str) -> tuple[str, str]:
    """Return two modules as text, through which a guest calls its imports, so that each call is counted.

    The guest imports from the first, which counts, and calls the second by a table; the second has the guest's
    ``memory``, under the name that WASI looks for, and calls the real import. Raises ArtifactError for an import that
    cannot be handed on.
    """
    first = [f'(module ${GATE} (table (export "table") {len(imported)} funcref)']
    second = [
        *(
            f'(import "{one.module}" "{one.name}" (func $real{i} {_type(one)}))'
            for i, one in enumerate(imported)
        )
    ]
    second += [
        f'(import "guest" "{memory}" (memory 0))',
        f'(import "gate" "table" (table {len(imported)} funcref))',
    ]
    second.insert(0, f"(module ${GATE}")
    second.append('(export "memory" (memory 0))')
    for i, one in enumerate(imported):
        given = " ".join(f"(local.get {number})" for number in range(len(one.params)))
        first.append(
            f'(type $type{i} (func {_type(one)})) (global $count{i} (export "count{i}") (mut i64) (i64.const 0))'
            f'(func (export "{i}") {_type(one)} (global.set $count{i} (i64.add (global.get $count{i}) (i64.const 1)))'
            f" (call_indirect (type $type{i}) {given} (i32.const {i})))"
        )
        second.append(f"(func $on{i} {_type(one)} (call $real{i} {given}))")
    second.append(f"(elem (i32.const 0) {' '.join(f'$on{i}' for i in range(len(imported)))})")
    return "\n".join([*first, ")"]), "\n".join([*second, ")"])


def _type(one: Import) -> str:
    if not one.typed or not {*one.params, *one.results} <= _TYPE_CHARACTERS.keys():
        raise ArtifactError(f"its import {one.module}.{one.name} is no plain function.")
    return f"(param {' '.join(one.params)}) (result {' '.join(one.results)})"


def _counting_code(code: bytes, memory: bytes) -> tuple[int, bytes]:
    content = bytearray()
    count = 0
    for count, body in enumerate(_bodies(code), 1):
        reader = _reader(body, "code")
        for _ in range(reader.number()):  # local variables: how many, and their type
            reader.number()
            reader.value_type()
        place = memory + encode_number((count - 1) * COUNT_BYTES)
        # i32.const 0, twice: the address to load from, and to store at. Bit 6 of an alignment: a memory is named.
        counted = b"\x41\0\x41\0\x29\x43" + place + b"\x42\x01\x7c\x37\x43" + place
        content += _sized(body[: reader.at] + counted + body[reader.at :])
    return count, encode_number(count) + bytes(content)


def _bodies(code: bytes) -> Iterator[bytes]:
    reader = _reader(code, "code")
    for _ in range(reader.number()):
        size = reader.number()
        if size > reader.end - reader.at:
            raise reader.damaged("ends in the middle of a function")
        yield code[reader.at : reader.at + size]
        reader.at += size


def _names(module: bytes) -> dict[int, str]:
    """Return the names of functions by index, as far as they can be read: hosts ignore a name section that is wrong."""
    found: dict[int, str] = {}
    try:
        for number, start, end in sections(module, "the module"):
            reader = Reader(module, start, end, "name", "the module")
            if number or reader.name() != "name":
                continue
            while reader.at < reader.end:
                part, size = reader.byte(), reader.number()
                following = reader.at + size
                if part == _FUNCTION_NAMES:
                    for _ in range(reader.number()):
                        index = reader.number()
                        found[index] = reader.name()
                reader.at = following
    except ArtifactError:
        pass
    return found


def _sized(content: bytes) -> bytes:
    return encode_number(len(content)) + content


def _reader(content: bytes, section: str) -> Reader:
    return Reader(content, 0, len(content), section, "the module")
