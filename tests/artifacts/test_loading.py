"""The reader of WebAssembly files, on modules assembled here byte by byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pytest_wasmedge.artifacts.loading import inspect, load_artifact
from pytest_wasmedge.artifacts.wasi import SIGNATURES, WASI
from pytest_wasmedge.errors import ArtifactError
from tests import wat

HEADER = b"\0asm\1\0\0\0"
KINDS = {"function": 0, "table": 1, "memory": 2, "global": 3, "tag": 4}
DESCRIPTIONS = {
    "function": b"\0",
    "table": b"\x70\0\0",
    "memory": b"\0\1",
    "global": b"\x7f\0",
    "tag": b"\0\0",
}


def leb(number: int) -> bytes:
    head = b""
    while number >= 0x80:
        head += bytes([number & 0x7F | 0x80])
        number >>= 7
    return head + bytes([number])


def text(string: str) -> bytes:
    return leb(len(string.encode())) + string.encode()


def section(number: int, *entries: bytes) -> bytes:
    content = leb(len(entries)) + b"".join(entries)
    return bytes([number]) + leb(len(content)) + content


def imports(*names: tuple[str, str, str]) -> bytes:
    entries = [text(m) + text(n) + bytes([KINDS[kind]]) + DESCRIPTIONS[kind] for m, n, kind in names]
    return section(2, *entries)


def exports(**kinds: str) -> bytes:
    return section(7, *(text(name) + bytes([KINDS[kind]]) + b"\0" for name, kind in kinds.items()))


# What fd_write is, and what _start is.
TYPE = section(1, b"\x60\4\x7f\x7f\x7f\x7f\1\x7f", b"\x60\0\0")
COMMAND = (
    HEADER
    + TYPE
    + imports(("wasi_snapshot_preview1", "fd_write", "function"))
    + section(3, b"\1")
    + section(5, b"\1\2\x80\1")
    + section(7, text("memory") + b"\2\0", text("_start") + b"\0\1")
    + section(10, b"\2\0\x0b")
    + b"\0\5" + text("name")
)  # fmt: skip


def error_of(tmp_path: Path, data: bytes) -> str:
    """Return the message for these bytes, without the path that every message names."""
    path = tmp_path / "x.wasm"
    path.write_bytes(data)
    with pytest.raises(ArtifactError) as caught:
        load_artifact(path)
    message = str(caught.value)
    assert str(path) in message
    return message.replace(str(path), "x.wasm")


def test_a_command_is_loaded(tmp_path: Path) -> None:
    """A WASI command becomes an Artifact that knows its digest, size and name."""
    path = tmp_path / "echo.wasm"
    path.write_bytes(COMMAND)

    artifact = load_artifact(path)

    assert artifact.path == path
    assert artifact.sha256 == hashlib.sha256(COMMAND).hexdigest()
    assert (artifact.size_bytes, artifact.name, artifact.builtin) == (len(COMMAND), "echo", False)


def test_name_and_builtin_are_taken_as_given(tmp_path: Path) -> None:
    """The built-in artifact keeps its own name whatever its file is called."""
    path = tmp_path / "0123.wasm"
    path.write_bytes(COMMAND)

    artifact = load_artifact(path, name="ruby-worker", builtin=True)

    assert (artifact.name, artifact.builtin) == ("ruby-worker", True)


def test_a_relative_path_stays_usable_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The artifact's path is absolute: hosts are started in other folders."""
    (tmp_path / "echo.wasm").write_bytes(COMMAND)
    monkeypatch.chdir(tmp_path)

    assert load_artifact(Path("echo.wasm")).path == tmp_path / "echo.wasm"


def test_inspect_reads_what_a_module_says() -> None:
    """Imports, exports, function count, memory limits and size come out of the sections."""
    info = inspect(COMMAND)

    assert info.imports == (("wasi_snapshot_preview1", "fd_write", "function"),)
    assert info.exports == (("memory", "memory"), ("_start", "function"))
    assert info.function_count == 1
    assert (info.memory_min_pages, info.memory_max_pages) == (2, 128)
    assert info.size_bytes == len(COMMAND)


def test_inspect_reads_imports_of_every_kind() -> None:
    """Each kind of import has a description of its own length; an imported memory counts as the memory."""
    info = inspect(HEADER + imports(*(("m", kind, kind) for kind in KINDS)) + exports(_start="function"))

    assert info.imports == tuple(("m", kind, kind) for kind in KINDS)
    assert info.exports == (("_start", "function"),)
    assert (info.memory_min_pages, info.memory_max_pages) == (1, None)


def test_inspect_of_the_smallest_module() -> None:
    """A module without any section is a module."""
    info = inspect(HEADER)

    assert (info.imports, info.exports, info.function_count) == ((), (), 0)
    assert (info.memory_min_pages, info.memory_max_pages, info.size_bytes) == (None, None, 8)


def test_preview_1_has_46_functions() -> None:
    """The list of importable functions is that of the specification, sock_accept included."""
    assert len(SIGNATURES) == 46


def test_a_missing_file(tmp_path: Path) -> None:
    """A path that leads nowhere is named."""
    with pytest.raises(ArtifactError) as caught:
        load_artifact(tmp_path / "no.wasm")
    assert str(caught.value) == (
        f"there is no file {tmp_path}/no.wasm. Build the artifact first, or correct the path."
    )


def test_a_folder(tmp_path: Path) -> None:
    """A folder is named as what it is."""
    with pytest.raises(ArtifactError) as caught:
        load_artifact(tmp_path)
    assert str(caught.value) == f"{tmp_path} is a folder, not an artifact. Give the path of a .wasm file."


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says against reading is passed on."""
    path = tmp_path / "x.wasm"
    path.write_bytes(COMMAND)

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)

    with pytest.raises(ArtifactError) as caught:
        load_artifact(path)
    assert (
        str(caught.value) == f"{path} cannot be read: Permission denied. Check the path and its permissions."
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x.wasm is empty. Its build has failed or is not finished: build it again."),
        (
            b"\n;; echo\n(module)",
            "x.wasm is WebAssembly text (WAT), not the binary format. "
            "Convert it with `wat2wasm` or `wasm-tools parse` and give the result.",
        ),
        (
            b"(module)",
            "x.wasm is WebAssembly text (WAT), not the binary format. "
            "Convert it with `wat2wasm` or `wasm-tools parse` and give the result.",
        ),
        (b"\x1f\x8b\x08\0", "x.wasm is compressed with gzip. Unpack it first (gunzip)."),
        (b"\xfd7zXZ\0\0", "x.wasm is compressed with xz. Unpack it first (unxz)."),
        (b"\x28\xb5\x2f\xfd\0", "x.wasm is compressed with zstd. Unpack it first (unzstd)."),
        (b"PK\x03\x04\0", "x.wasm is a zip archive. Unpack it and give the .wasm file inside."),
        (
            b"\x7fELF\2\1\1",
            "x.wasm is a native ELF file, not WebAssembly. "
            "Precompiled files (.cwasm) are such: give the .wasm file that it was compiled from.",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "x.wasm is a Git LFS pointer, not the file itself. Fetch the file with `git lfs pull`.",
        ),
        (
            b"puts 1",
            "x.wasm is not a WebAssembly file: it begins with 70 75 74 73 instead of 00 61 73 6d. "
            "Give the path of a .wasm file.",
        ),
        (
            b"\0asm\1",
            "x.wasm is truncated: it ends inside the 8 bytes that every WebAssembly file begins with. "
            "Copy or build it again.",
        ),
        (
            b"\0asm\x0d\0\1\0",
            "x.wasm is a WebAssembly component, not a core module. Hosts here run WASI "
            "preview 1 commands: give "
            "the core module from before `wasm-tools component new` (Rust: build for wasm32-wasip1).",
        ),
        (
            b"\0asm\2\0\0\0",
            "x.wasm has the unknown WebAssembly version 0x00000002; hosts here run version 1. "
            "Build it again as a core module.",
        ),
        (
            COMMAND[:-1],
            "x.wasm is truncated: it ends inside its custom section, which begins at byte 97. "
            "Copy or build it again.",
        ),
        (
            HEADER + b"\x0a\xff\xff",
            "x.wasm is truncated: it ends inside its code section, which begins at byte 8. "
            "Copy or build it again.",
        ),
        (
            HEADER + b"\x4d\0",
            "x.wasm is damaged: there is no section number 77 (byte 8). Copy or build it again.",
        ),
        (
            HEADER + b"\2\3\1\x09e" + bytes(20),
            "x.wasm is damaged: its import section ends in the middle of a name (byte 12). "
            "Copy or build it again.",
        ),
        (
            HEADER + b"\7\1\x81",
            "x.wasm is damaged: its export section ends in the middle of an entry (byte 11). "
            "Copy or build it again.",
        ),
        (
            HEADER + b"\3\x0c" + b"\xff" * 12,
            "x.wasm is damaged: its function section holds a number that does not end (byte 20). "
            "Copy or build it again.",
        ),
        (
            HEADER + section(2, text("wasi_snapshot_preview1") + b"\0\x7f\1"),
            "x.wasm describes its import wasi_snapshot_preview1. by the unknown kind 0x7f, "
            "which hosts refuse. "
            "If wasm-merge or wasm-opt wrote the file, run it without --all-features "
            "(that turns on compact imports).",
        ),
        (
            HEADER + exports(_initialize="function"),
            "x.wasm is a reactor: it exports _initialize but no _start, so there is no program to run. "
            "Build it as a command (wasi-sdk: without -mexec-model=reactor; Rust: a binary, not a library).",
        ),
        (
            HEADER,
            "x.wasm has no _start export, so there is no program to run. Build it as a WASI "
            "preview 1 command "
            "(a main function, target wasm32-wasip1).",
        ),
        (
            HEADER + exports(_start="global"),
            "x.wasm exports _start as a global, not as a function. Build it as a WASI preview 1 command.",
        ),
    ],
)  # fmt: skip
def test_a_file_that_cannot_run(tmp_path: Path, data: bytes, message: str) -> None:
    """Each wrong file has one message: what it is, and what to do."""
    assert error_of(tmp_path, data) == message


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            [("wasi_unstable", "fd_write", "function")],
            "wasi_unstable.fd_write: no host here provides it. "
            "That is WASI from before preview 1: build again with a toolchain from 2020 or later.",
        ),
        (
            [("wasi:cli/stdin@0.2.0", "get-stdin", "function")],
            "wasi:cli/stdin@0.2.0.get-stdin: no host here provides it. These are names of "
            "WASI preview 2, for "
            "components: build for preview 1 (wasm32-wasip1), "
            "or give the core module from before `wasm-tools component new`.",
        ),
        (
            [("env", "memory", "memory")],
            "env.memory: no host here provides it. "
            "It was built for threads, with a shared memory from outside: build it without threads.",
        ),
        (
            [("wbg", "__wbg_log", "function"), ("__wbindgen_placeholder__", "__wbindgen_throw", "function")],
            "wbg.__wbg_log, __wbindgen_placeholder__.__wbindgen_throw: no host here provides them. "
            "That is wasm-bindgen's glue for JavaScript: build for wasm32-wasip1 without wasm-bindgen "
            "(look for a dependency that pulls it in).",
        ),
        (
            [("env", f"f{number}", "function") for number in range(5)],
            "env.f0, env.f1, env.f2 and 2 more: no host here provides them. Such imports are "
            "C symbols that were "
            "never linked, or Emscripten's JavaScript: link the missing library, or build with wasi-sdk "
            "(Emscripten: -sSTANDALONE_WASM).",
        ),
        (
            [("gojs", "runtime.wasmExit", "function")],
            "gojs.runtime.wasmExit: no host here provides it. "
            "That is Go for JavaScript: build with GOOS=wasip1 GOARCH=wasm.",
        ),
        (
            [("wasi_snapshot_preview1", "sock_open", "function")],
            "wasi_snapshot_preview1.sock_open: no host here provides it. "
            "sock_open is no function of WASI preview 1: build without that extension.",
        ),
        (
            [("rb-js-abi-host", "eval-js", "function")],
            "rb-js-abi-host.eval-js: no host here provides it. Build the artifact as a WASI "
            "preview 1 command: "
            "it may import functions of wasi_snapshot_preview1 alone.",
        ),
    ],
)  # fmt: skip
def test_imports_that_no_host_provides(
    tmp_path: Path, entries: list[tuple[str, str, str]], message: str
) -> None:
    """Foreign imports are named, the first three of them, with the likely reason and the remedy."""
    data = HEADER + imports(("wasi_snapshot_preview1", "fd_read", "function"), *entries)

    assert error_of(tmp_path, data + exports(_start="function")) == f"x.wasm imports {message}"


def test_names_in_a_message_are_short_and_printable(tmp_path: Path) -> None:
    """An import whose name is a megabyte, or has control characters, is named so that a terminal can show it."""
    data = HEADER + imports(("m" * (1 << 20), "\x1b[31m\u202eé", "function")) + exports(_start="function")
    message = error_of(tmp_path, data)

    assert message.startswith(f"x.wasm imports {'m' * 60}….\\x1b[31m\\u202eé: no host here provides it. ")
    assert len(message) < 400


def test_every_truncation_is_an_error_of_ours(tmp_path: Path) -> None:
    """However a file is cut off, the answer is an ArtifactError, never a crash of the reader.

    A cut right between two sections leaves a whole module; then it is the missing ``_start`` that is told.
    """
    for length in range(len(COMMAND)):
        if COMMAND[:length].endswith((exports(memory="memory", _start="function"), section(10, b"\2\0\x0b"))):
            continue
        assert error_of(tmp_path, COMMAND[:length])


def test_any_damage_is_an_error_of_ours_or_harmless() -> None:
    """Whatever a single byte is changed to, inspect returns or raises ArtifactError."""
    for at in range(8, len(COMMAND)):
        for value in (0, 1, 0x7F, 0x80, 0xFF):
            data = COMMAND[:at] + bytes([value]) + COMMAND[at + 1 :]
            try:
                assert inspect(data).size_bytes == len(data)
            except ArtifactError as error:
                assert str(error).startswith("the artifact ")  # noqa: PT017 - both ends are right


# -- what is wrong whatever the host


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (
            '(module (memory (export "memory") 1) (func (export "_start") (param i32)))',
            "exports _start as a function (i32) -> (), which hosts cannot call",
        ),
        (
            '(module (memory (export "memory") 1) (func (export "_start") (result i64) (i64.const 1)))',
            "exports _start as a function () -> (i64), which hosts cannot call",
        ),
        (
            f'(module (import "{WASI}" "fd_write" (func (param i32 i32 i32) (result i32)))'
            ' (memory (export "memory") 1) (func (export "_start")))',
            "fd_write as a function (i32, i32, i32) -> (i32); in preview 1 it is (i32, i32, i32, i32) -> (i32)",
        ),
        (
            f'(module (import "{WASI}" "proc_exit" (func (param i32) (result i32)))'
            ' (memory (export "memory") 1) (func (export "_start")))',
            "proc_exit as a function (i32) -> (i32); in preview 1 it is (i32) -> ()",
        ),
        (
            f'(module (import "{WASI}" "fd_write" (func (param i32 i32 i32 i32) (result i32)))'
            ' (memory (export "mem") 1) (func (export "_start")))',
            "does not export a memory as `memory`",
        ),
        (
            f'(module (import "{WASI}" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))'
            ' (memory 1) (func (export "_start")) (export "memory" (func $w)))',
            "does not export a memory as `memory`",
        ),
        (
            '(module (memory (export "memory") 1) (func (export "_start") (drop (i32.eqz (i64.const 2)))))',
            "is not valid WebAssembly, whatever the host: type mismatch: expected i32, found i64",
        ),
        (
            '(module (memory (export "memory") 1) (func $s (param i32)) (start $s) (func (export "_start")))',
            "is not valid WebAssembly, whatever the host: invalid start function type",
        ),
    ],
)
def test_what_no_host_takes_is_refused_beforehand(tmp_path: Path, module: str, said: str) -> None:
    """One sentence says what is wrong, before any host is started with it."""
    assert said in error_of(tmp_path, wat.assemble(module))


@pytest.mark.parametrize(
    "module",
    [
        f'(module (import "{WASI}" "proc_exit" (func (param i32))) (func (export "_start")))',
        '(module (func (export "_start")))',
        '(module (type $s (struct)) (func $f (param (ref null $s))) (memory (export "memory") 1)'
        ' (func (export "_start")))',
    ],
)
def test_what_hosts_take_is_let_through(tmp_path: Path, module: str) -> None:
    """A memory is needed by what passes something through it; types that only a proposal has are left to hosts."""
    assert load_artifact(wat.write(tmp_path / "x.wasm", wat.assemble(module))).name == "x"
