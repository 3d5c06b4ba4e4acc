"""pytest-wasmedge init: what it writes, what it leaves alone, and what it says."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_wasmedge.commands.cli import main
from pytest_wasmedge.contract.read import load_contract
from pytest_wasmedge.portability.corpus import load_corpus
from tests import wat

WRITTEN = [
    ".github/workflows/portability.yml",
    "cases/hello.golden",
    "cases/hello.toml",
    "cases/nothing.golden",
    "cases/nothing.toml",
    "portability.toml",
    "pyproject.toml",
]


#: Writes eight random bytes.
VARIES = """(module
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $random_get (i32.const 64) (i32.const 8)))
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 8))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that commands are run in, with an artifact in dist/."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dist").mkdir()
    wat.write(tmp_path / "dist" / "guest.wasm", wat.ECHO)
    return tmp_path


def files_in(folder: Path) -> list[str]:
    """Return the files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_new_project(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything that a first run needs, and only that; what to do next is printed."""
    assert main(["init"]) == 0

    assert files_in(folder) == sorted([*WRITTEN, "dist/guest.wasm"])
    table = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["pytest-wasmedge"]
    assert table == {"artifact": "dist/guest.wasm", "cases": ["cases"]}
    hello, nothing = load_corpus(folder / "cases")
    assert [case.golden and case.golden.stdout for case in (hello, nothing)] == [b"hello\n", b""]
    (ceiling,) = load_contract(folder / "portability.toml").ceilings
    assert (ceiling.runtime, str(ceiling.limit)[-6:]) == ("wasmtime", " floor")
    told = capsys.readouterr().out
    assert [line for line in WRITTEN if f"wrote {line}\n" not in told] == []
    assert "  pytest --runtimes=all  " in told


def test_what_is_there_is_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run changes nothing, and a pyproject.toml keeps all that it says."""
    (folder / "pyproject.toml").write_text('[project]\nname = "mine"  # mine\n')
    (folder / "portability.toml").write_text("# mine\n")
    assert main(["init", "dist/guest.wasm"]) == 0
    assert (folder / "pyproject.toml").read_text().startswith('[project]\nname = "mine"  # mine\n\n#')
    assert (folder / "portability.toml").read_text() == "# mine\n"
    said = capsys.readouterr().out
    assert "extended pyproject.toml" in said
    assert "left portability.toml as it is" in said

    before = {path: (folder / path).read_bytes() for path in files_in(folder)}
    assert main(["init"]) == 0
    assert {path: (folder / path).read_bytes() for path in files_in(folder)} == before
    assert "wrote" not in capsys.readouterr().out


def none(folder: Path) -> None:
    (folder / "dist" / "guest.wasm").unlink()


def two(folder: Path) -> None:
    wat.write(folder / "other.wasm", wat.ECHO)


def broken(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[project")


def no_module(folder: Path) -> None:
    (folder / "dist" / "guest.wasm").write_bytes(b"text")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (none, "holds no .wasm file. Build yours first, or give its path: init PATH.wasm"),
        (two, "holds 2 .wasm files (dist/guest.wasm, other.wasm). Give the path of one: init PATH.wasm"),
        (broken, "pyproject.toml cannot be read: "),
        (no_module, "guest.wasm"),
    ],
)
def test_what_cannot_be_done(
    folder: Path, spoil: Callable[[Path], None], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, and no file is written."""
    spoil(folder)
    before = files_in(folder)

    assert main(["init"]) == 1
    assert message in capsys.readouterr().err
    assert files_in(folder) == before


def test_a_guest_that_varies_gets_no_golden_file(folder: Path) -> None:
    """What it answered once is no expectation."""
    wat.write(folder / "dist" / "guest.wasm", VARIES)
    assert main(["init"]) == 0

    assert not [path for path in files_in(folder) if path.endswith(".golden")]
