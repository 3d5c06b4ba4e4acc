"""Reads a WebAssembly file as far as needed to say whether hosts can run it, and if not, what to do."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.artifacts.binary import KINDS, MAGIC, SECTIONS, Reader, sections
from pytest_wasmedge.artifacts.proposals import needed
from pytest_wasmedge.artifacts.sections import exports, imports, read_exports, read_imports, type_of
from pytest_wasmedge.artifacts.wasi import SIGNATURES, WASI
from pytest_wasmedge.errors import ArtifactError
from pytest_wasmedge.model import Artifact

_MODULE = 0x00000001
_COMPONENT = 0x0001000D
_SHOWN_IMPORTS = 3
_LONGEST_NAME = 60

# Files given by mistake: their first bytes, what they are, what to do.
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


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """The imports, exports and sizes of a module.

    ``imports`` are (module, name, kind), ``exports`` (name, kind); a kind is function, table, memory, global or tag.
    ``function_count`` excludes imported functions. Pages are 64 KiB; None means no memory, or no maximum.
    """

    imports: tuple[tuple[str, str, str], ...]
    exports: tuple[tuple[str, str], ...]
    function_count: int
    memory_min_pages: int | None
    memory_max_pages: int | None
    size_bytes: int


def load_artifact(path: Path, *, name: str | None = None, builtin: bool = False) -> Artifact:
    """Return the artifact at this path, named after the file unless ``name`` is given.

    Raises ArtifactError if it is not a core module that runs as a WASI preview 1 command.
    """
    data = _read(path)
    _check_runnable(inspect(data, str(path)), str(path))
    _check_types(data, str(path))
    # The built-in one is known to be valid, and checking it takes longer than some hosts take to start.
    proposals = () if builtin else needed(data, str(path))
    digest = hashlib.sha256(data).hexdigest()
    name = path.stem if name is None else name
    return Artifact(path.absolute(), digest, len(data), name, builtin, proposals)


def inspect(data: bytes, called: str = "the artifact") -> ModuleInfo:
    """Read imports, exports, function count and memory; ``called`` names the bytes in messages.

    Raises ArtifactError if the bytes are not one complete core module.
    """
    _check_header(data, called)
    imported: tuple[tuple[str, str, str], ...] = ()
    exported: tuple[tuple[str, str], ...] = ()
    function_count = 0
    memories: list[tuple[int, int | None]] = []
    for number, start, end in sections(data, called):
        reader = Reader(data, start, end, SECTIONS[number], called)
        match SECTIONS[number]:
            case "import":
                found = read_imports(reader)
                imported = tuple((one.module, one.name, KINDS[one.kind]) for one in found)
                memories = [one.limits for one in found if one.limits]
            case "function":
                function_count = reader.number()
            case "memory":
                memories += [reader.limits() for _ in range(reader.number())]
            case "export":
                exported = tuple((one.name, KINDS[one.kind]) for one in read_exports(reader))
    smallest, largest = memories[0] if memories else (None, None)
    return ModuleInfo(imported, exported, function_count, smallest, largest, len(data))


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
    unknown = [
        (origin, name, kind)
        for origin, name, kind in module.imports
        if origin != WASI or kind != "function" or name not in SIGNATURES
    ]
    if unknown:
        raise ArtifactError(_foreign_imports(unknown, called))


#: Functions of preview 1 that pass nothing through memory.
_WITHOUT_MEMORY = frozenset({"proc_exit", "proc_raise", "sched_yield", "fd_close", "fd_sync", "fd_datasync"})
_TYPES = {"i": "i32", "I": "i64"}


def _check_types(data: bytes, called: str) -> None:
    """Raise ArtifactError for what no host takes: a `_start` or an import of another type, a memory that is hidden."""
    exported = {one.name: one for one in exports(data)}
    start = type_of(data, exported["_start"])
    if start not in (None, ((), ())):
        raise ArtifactError(
            f"{called} exports _start as a function {_signature(*start)}, which hosts cannot call: a command's takes "
            "nothing and returns nothing. Build it as a WASI preview 1 command."
        )
    imported = imports(data)
    for one in imported:
        params = tuple(_TYPES[letter] for letter in SIGNATURES[one.name])
        results = () if one.name == "proc_exit" else ("i32",)
        if one.typed and (one.params, one.results) != (params, results):
            raise ArtifactError(
                f"{called} imports {one.module}.{one.name} as a function {_signature(one.params, one.results)}; in "
                f"preview 1 it is {_signature(params, results)}. Build it with a toolchain for preview 1."
            )
    memory = exported.get("memory")
    if (memory is None or KINDS[memory.kind] != "memory") and {
        one.name for one in imported
    } - _WITHOUT_MEMORY:
        raise ArtifactError(
            f"{called} does not export a memory as `memory`, through which hosts pass what it reads and writes. "
            "Export it under that name (wasm-ld: --export-memory)."
        )


def _signature(params: tuple[str, ...], results: tuple[str, ...]) -> str:
    return f"({', '.join(params)}) -> ({', '.join(results)})"


def _foreign_imports(unknown: list[tuple[str, str, str]], called: str) -> str:
    names = [f"{_shown(module)}.{_shown(name)}" for module, name, _ in unknown]
    more = len(names) - _SHOWN_IMPORTS
    listed = ", ".join(names[:_SHOWN_IMPORTS]) + (f" and {more} more" if more > 0 else "")
    none = f"no host here provides {'it' if len(names) == 1 else 'them'}"
    return f"{called} imports {listed}: {none}. {_import_hint(unknown)}"


def _shown(name: str) -> str:
    """Return a name of the artifact's as a message can hold it: it may be long, or have control characters."""
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in name[:_LONGEST_NAME])
    return shown + "…" * (len(name) > _LONGEST_NAME)


def _import_hint(unknown: list[tuple[str, str, str]]) -> str:
    """Explain the first import that gives its toolchain away."""
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
            return (
                "That is wasm-bindgen's glue for JavaScript: build for wasm32-wasip1 without wasm-bindgen "
                "(look for a dependency that pulls it in)."
            )
        if module in ("go", "gojs"):
            return "That is Go for JavaScript: build with GOOS=wasip1 GOARCH=wasm."
        if module == "env":
            return (
                "Such imports are C symbols that were never linked, or Emscripten's JavaScript: link "
                "the missing library, or build with wasi-sdk (Emscripten: -sSTANDALONE_WASM)."
            )
        if module == WASI:
            return f"{_shown(name)} is no function of WASI preview 1: build without that extension."
    return f"Build the artifact as a WASI preview 1 command: it may import functions of {WASI} alone."
