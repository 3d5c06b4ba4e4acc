"""Reads just enough of a WebAssembly file to say whether hosts can run it, and if not, what to do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.errors import ArtifactError
from pytest_wasmedge.model import Artifact

WASI = "wasi_snapshot_preview1"

_WASI_FUNCTION_NAMES = """
    args_get args_sizes_get environ_get environ_sizes_get clock_res_get clock_time_get
    fd_advise fd_allocate fd_close fd_datasync fd_fdstat_get fd_fdstat_set_flags fd_fdstat_set_rights
    fd_filestat_get fd_filestat_set_size fd_filestat_set_times fd_pread fd_prestat_dir_name fd_prestat_get
    fd_pwrite fd_read fd_readdir fd_renumber fd_seek fd_sync fd_tell fd_write
    path_create_directory path_filestat_get path_filestat_set_times path_link path_open path_readlink
    path_remove_directory path_rename path_symlink path_unlink_file
    poll_oneoff proc_exit proc_raise sched_yield random_get sock_accept sock_recv sock_send sock_shutdown
"""
#: The functions of WASI preview 1: all that an artifact may import.
WASI_FUNCTIONS = frozenset(_WASI_FUNCTION_NAMES.split())

_MAGIC = b"\0asm"
_MODULE = 0x00000001
_COMPONENT = 0x0001000D
_KINDS = ("function", "table", "memory", "global", "tag")
_SECTIONS = (
    "custom", "type", "import", "function", "table", "memory", "global",
    "export", "start", "element", "code", "data", "data count", "tag",
)  # fmt: skip
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
    digest = hashlib.sha256(data).hexdigest()
    return Artifact(path.absolute(), digest, len(data), path.stem if name is None else name, builtin)


def inspect(data: bytes, called: str = "the artifact") -> ModuleInfo:
    """Read imports, exports, function count and memory; ``called`` names the bytes in messages.

    Raises ArtifactError if the bytes are not one whole core module.
    """
    _check_header(data, called)
    imports: tuple[tuple[str, str, str], ...] = ()
    exports: tuple[tuple[str, str], ...] = ()
    function_count = 0
    memories: list[tuple[int, int | None]] = []
    for section, start, end in _sections(data, called):
        reader = _Reader(data, start, end, section, called)
        if section == "import":
            imports = tuple(reader.imports(memories))
        elif section == "function":
            function_count = reader.number()
        elif section == "memory":
            memories += [reader.limits() for _ in range(reader.number())]
        elif section == "export":
            exports = tuple(reader.exports())
    smallest, largest = memories[0] if memories else (None, None)
    return ModuleInfo(imports, exports, function_count, smallest, largest, len(data))


class _Reader:
    """Reads the values of one section, and never beyond its end."""

    def __init__(self, data: bytes, start: int, end: int, section: str, called: str) -> None:
        self._data = data
        self._at = start
        self._end = end
        self._section = section
        self._called = called

    def byte(self) -> int:
        if self._at >= self._end:
            raise self._damaged("ends in the middle of an entry")
        self._at += 1
        return self._data[self._at - 1]

    def number(self) -> int:
        """Read an unsigned LEB128 number of at most 64 bits."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise self._damaged("holds a number that does not end")

    def name(self) -> str:
        length = self.number()
        if length > self._end - self._at:
            raise self._damaged("ends in the middle of a name")
        raw = self._data[self._at : self._at + length]
        self._at += length
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise self._damaged("holds a name that is not UTF-8") from None

    def limits(self) -> tuple[int, int | None]:
        flags = self.byte()
        smallest = self.number()
        largest = self.number() if flags & 1 else None
        if flags & 8:  # custom page sizes: the binary logarithm of the size
            self.number()
        return smallest, largest

    def imports(self, memories: list[tuple[int, int | None]]) -> Iterator[tuple[str, str, str]]:
        """Yield (module, name, kind); limits of imported memories are added to ``memories``."""
        for _ in range(self.number()):
            module, name, kind = self.name(), self.name(), self.byte()
            if kind >= len(_KINDS):
                raise ArtifactError(
                    f"{self._called} describes its import {module}.{name} by the unknown kind "
                    f"{kind:#04x}, which hosts refuse. If wasm-merge or wasm-opt wrote the file, run "
                    "it without "
                    "--all-features (that turns on compact imports)."
                )
            match _KINDS[kind]:
                case "function":
                    self.number()
                case "table":
                    self._value_type()
                    self.limits()
                case "memory":
                    memories.append(self.limits())
                case "global":
                    self._value_type()
                    self.byte()
                case "tag":
                    self.byte()
                    self.number()
            yield module, name, _KINDS[kind]

    def exports(self) -> Iterator[tuple[str, str]]:
        """Yield (name, kind)."""
        for _ in range(self.number()):
            name, kind = self.name(), self.byte()
            self.number()
            if kind >= len(_KINDS):
                raise self._damaged(f"holds the unknown kind {kind:#04x}")
            yield name, _KINDS[kind]

    def _value_type(self) -> None:
        if self.byte() in (0x63, 0x64):  # a typed reference names its heap type
            self.number()

    def _damaged(self, what: str) -> ArtifactError:
        return ArtifactError(
            f"{self._called} is damaged: its {self._section} section {what} (byte {self._at}). "
            "Copy or build it again."
        )


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
    if not data.startswith(_MAGIC[: len(data)]):
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
    found, wanted = data[:4].hex(" "), _MAGIC.hex(" ")
    return (
        f"{called} is not a WebAssembly file: it begins with {found} instead of {wanted}. "
        "Give the path of a .wasm file."
    )


def _sections(data: bytes, called: str) -> Iterator[tuple[str, int, int]]:
    """Yield (section, start, end) of every section's content."""
    at = 8
    while at < len(data):
        if data[at] >= len(_SECTIONS):
            raise ArtifactError(
                f"{called} is damaged: there is no section number {data[at]} (byte {at}). "
                "Copy or build it again."
            )
        section = _SECTIONS[data[at]]
        start, size = _section_size(data, at + 1)
        if start < 0 or start + size > len(data):
            raise ArtifactError(
                f"{called} is truncated: it ends inside its {section} section, which begins at byte {at}. "
                "Copy or build it again."
            )
        yield section, start, start + size
        at = start + size


def _section_size(data: bytes, at: int) -> tuple[int, int]:
    """Return where a section's content starts and its size; (-1, 0) if the file ends before that is told."""
    size = 0
    for position in range(at, min(at + 5, len(data))):
        size |= (data[position] & 0x7F) << 7 * (position - at)
        if data[position] < 0x80:
            return position + 1, size
    return -1, 0


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
    return module == WASI and kind == "function" and name in WASI_FUNCTIONS


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
