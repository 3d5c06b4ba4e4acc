"""Reads just enough of a WebAssembly file to say whether hosts can run it, and if not, what to do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.artifacts.binary import KINDS, MAGIC, SECTIONS, Reader, sections
from pytest_wasmedge.artifacts.proposals import needed
from pytest_wasmedge.artifacts.wasi import SIGNATURES, WASI
from pytest_wasmedge.errors import ArtifactError
from pytest_wasmedge.model import Artifact

_MODULE = 0x00000001
_COMPONENT = 0x0001000D
_SHOWN_IMPORTS = 3

# Files that people give by mistake: how they begin, what they are, what to do.
_LOOKALIKES = (
    (b"\x1f\x8b", "is compressed with gzip", "Unpack it first (gunzip)."),
    (b"\xfd7zXZ\0", "is compressed with xz", "Unpack it first (unxz)."),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "Unpack it first (unzstd)."),
    (b"PK\x03\x04", "is a zip archive", "Unpack it and give the .wasm file inside."),
    (
        b"\x7fELF",
        "is a native ELF file, not WebAssembly",
        "Precompiled files (.cwasm) are such: give the .wasm file that it was compiled from.",
    ),
    (
        b"version https://git-lfs",
        "is a Git LFS pointer, not the file itself",
        "Fetch the file with `git lfs pull`.",
    ),
)

_NO_HOST = "no host here provides it"
_BUILD_FOR_WASI = f"Build the artifact as a WASI preview 1 command: it may import functions of {WASI} alone."
_WASM_BINDGEN = (
    "That is wasm-bindgen's glue for JavaScript: build for wasm32-wasip1 without wasm-bindgen "
    "(look for a dependency that pulls it in)."
)


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """What a module says of itself.

    ``imports`` are (module, name, kind), ``exports`` (name, kind); a kind is function, table, memory, global
    or tag. ``function_count`` leaves out imported functions. Pages are of 64 KiB; None: no memory, or no
    maximum.
    """

    imports: tuple[tuple[str, str, str], ...]
    exports: tuple[tuple[str, str], ...]
    function_count: int
    memory_min_pages: int | None
    memory_max_pages: int | None
    size_bytes: int


def load_artifact(path: Path, *, name: str | None = None, builtin: bool = False) -> Artifact:
    """Return the artifact at this path, named after the file unless told otherwise.

    Raises ArtifactError if it is not a core module that runs as a WASI preview 1 command.
    """
    data = _read(path)
    _check_runnable(inspect(data, str(path)), str(path))
    # The built-in one is known to be valid, and checking it takes longer than some hosts take to start.
    proposals = () if builtin else needed(data, str(path))
    digest = hashlib.sha256(data).hexdigest()
    name = path.stem if name is None else name
    return Artifact(path.absolute(), digest, len(data), name, builtin, proposals)


def inspect(data: bytes, called: str = "the artifact") -> ModuleInfo:
    """Read imports, exports, function count and memory; ``called`` names the bytes in messages.

    Raises ArtifactError if the bytes are not one whole core module.
    """
    _check_header(data, called)
    imports: tuple[tuple[str, str, str], ...] = ()
    exports: tuple[tuple[str, str], ...] = ()
    function_count = 0
    memories: list[tuple[int, int | None]] = []
    for number, start, end in sections(data, called):
        section = SECTIONS[number]
        reader = Reader(data, start, end, section, called)
        if section == "import":
            imports = tuple(_imports(reader, memories))
        elif section == "function":
            function_count = reader.number()
        elif section == "memory":
            memories += [reader.limits() for _ in range(reader.number())]
        elif section == "export":
            exports = tuple(_exports(reader))
    smallest, largest = memories[0] if memories else (None, None)
    return ModuleInfo(imports, exports, function_count, smallest, largest, len(data))


def _imports(reader: Reader, memories: list[tuple[int, int | None]]) -> Iterator[tuple[str, str, str]]:
    """Yield (module, name, kind); limits of imported memories are added to ``memories``."""
    for _ in range(reader.number()):
        module, name, kind = reader.name(), reader.name(), reader.byte()
        if kind >= len(KINDS):
            raise ArtifactError(
                f"{reader.called} describes its import {module}.{name} by the unknown kind "
                f"{kind:#04x}, which hosts refuse. If wasm-merge or wasm-opt wrote the file, run "
                "it without "
                "--all-features (that turns on compact imports)."
            )
        match KINDS[kind]:
            case "function":
                reader.number()
            case "table":
                reader.value_type()
                reader.limits()
            case "memory":
                memories.append(reader.limits())
            case "global":
                reader.value_type()
                reader.byte()
            case "tag":
                reader.byte()
                reader.number()
        yield module, name, KINDS[kind]


def _exports(reader: Reader) -> Iterator[tuple[str, str]]:
    """Yield (name, kind)."""
    for _ in range(reader.number()):
        name, kind = reader.name(), reader.byte()
        reader.number()
        if kind >= len(KINDS):
            raise reader.damaged(f"holds the unknown kind {kind:#04x}")
        yield name, KINDS[kind]


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ArtifactError(f"{path} is a folder, not an artifact. Give the path of a .wasm file.")
        if path.exists() and not path.is_file():
            raise ArtifactError(f"{path} is not a regular file. Give the path of a .wasm file.")
        return path.read_bytes()
    except FileNotFoundError:
        raise ArtifactError(
            f"there is no file {path}. Build the artifact first, or correct the path."
        ) from None
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read: {error.strerror}. Check the path and its permissions."
        ) from error


def _check_header(data: bytes, called: str) -> None:
    if not data:
        raise ArtifactError(f"{called} is empty. Its build has failed or is not finished: build it again.")
    if not data.startswith(MAGIC[: len(data)]):
        raise ArtifactError(_not_wasm(data, called))
    if len(data) < 8:
        raise ArtifactError(
            f"{called} is truncated: it ends inside the 8 bytes that every WebAssembly file begins with. "
            "Copy or build it again."
        )
    version = int.from_bytes(data[4:8], "little")
    if version == _COMPONENT:
        raise ArtifactError(
            f"{called} is a WebAssembly component, not a core module. Hosts here run WASI preview 1 "
            "commands: give the core module from before `wasm-tools component new` (Rust: build for "
            "wasm32-wasip1)."
        )
    if version != _MODULE:
        raise ArtifactError(
            f"{called} has the unknown WebAssembly version {version:#010x}; hosts here run version 1. "
            "Build it again as a core module."
        )


def _not_wasm(data: bytes, called: str) -> str:
    for beginning, what, remedy in _LOOKALIKES:
        if data.startswith(beginning):
            return f"{called} {what}. {remedy}"
    head = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith((b"(module", b"(component", b"(;", b";;")):
        return (
            f"{called} is WebAssembly text (WAT), not the binary format. "
            "Convert it with `wat2wasm` or `wasm-tools parse` and give the result."
        )
    found, wanted = data[:4].hex(" "), MAGIC.hex(" ")
    return (
        f"{called} is not a WebAssembly file: it begins with {found} instead of {wanted}. "
        "Give the path of a .wasm file."
    )


def _check_runnable(module: ModuleInfo, called: str) -> None:
    kinds = dict(module.exports)
    start = kinds.get("_start")
    if start is None and "_initialize" in kinds:
        raise ArtifactError(
            f"{called} is a reactor: it exports _initialize but no _start, so there is no program to run. "
            "Build it as a command (wasi-sdk: without -mexec-model=reactor; Rust: a binary, not a library)."
        )
    if start is None:
        raise ArtifactError(
            f"{called} has no _start export, so there is no program to run. Build it as a WASI preview 1 "
            "command (a main function, target wasm32-wasip1)."
        )
    if start != "function":
        raise ArtifactError(
            f"{called} exports _start as a {start}, not as a function. Build it as a WASI preview 1 command."
        )
    unknown = [entry for entry in module.imports if not _is_provided(*entry)]
    if unknown:
        raise ArtifactError(_foreign_imports(unknown, called))


def _is_provided(module: str, name: str, kind: str) -> bool:
    return module == WASI and kind == "function" and name in SIGNATURES


def _foreign_imports(unknown: list[tuple[str, str, str]], called: str) -> str:
    names = [f"{module}.{name}" for module, name, _ in unknown]
    more = len(names) - _SHOWN_IMPORTS
    listed = ", ".join(names[:_SHOWN_IMPORTS]) + (f" and {more} more" if more > 0 else "")
    none = _NO_HOST if len(names) == 1 else _NO_HOST.replace("it", "them")
    return f"{called} imports {listed}: {none}. {_import_hint(unknown)}"


def _import_hint(unknown: list[tuple[str, str, str]]) -> str:
    """Say what the first import that tells something about its toolchain tells."""
    for module, name, kind in unknown:
        if module == "wasi_unstable":
            return "That is WASI from before preview 1: build again with a toolchain from 2020 or later."
        if module.startswith("wasi:"):
            return (
                "These are names of WASI preview 2, for components: build for preview 1 (wasm32-wasip1), "
                "or give the core module from before `wasm-tools component new`."
            )
        if (module, kind) == ("env", "memory") or (module, name) == ("wasi", "thread-spawn"):
            return "It was built for threads, with a shared memory from outside: build it without threads."
        if (
            module in ("wbg", "__wbindgen_placeholder__", "__wbindgen_externref_xform__")
            or "_bg.js" in module
        ):
            return _WASM_BINDGEN
        if module in ("go", "gojs"):
            return "That is Go for JavaScript: build with GOOS=wasip1 GOARCH=wasm."
        if module == "env":
            return (
                "Such imports are C symbols that were never linked, or Emscripten's JavaScript: link "
                "the missing library, or build with wasi-sdk (Emscripten: -sSTANDALONE_WASM)."
            )
        if module == WASI:
            return f"{name} is no function of WASI preview 1: build without that extension."
    return _BUILD_FOR_WASI
