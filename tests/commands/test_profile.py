"""`pytest-wasmedge profile`: which functions an artifact spends its work in."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.commands import cli
from tests import wat


@pytest.fixture
def echo(tmp_path: Path) -> str:
    """The path of a guest that writes its stdin to stdout."""
    return str(wat.write(tmp_path / "echo.wasm", wat.ECHO))


def test_the_start(echo: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a case it is the smallest program."""
    assert cli.main(["profile", f"--artifact={echo}"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[0].startswith("echo, the start: ")
    assert lines[0].endswith("ended: exited(0)")
    assert lines[1].split() == ["function", "fuel", "itself", "fuel", "within", "calls", "bytes"]
    assert sorted(line.split()[0] for line in lines[2:]) == ["function", "read"]


def test_a_file_and_its_stacks(echo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file is given on stdin; the stacks go to another."""
    (tmp_path / "input").write_bytes(b"x" * 300_000)
    collapsed = tmp_path / "stacks.txt"
    argv = ["profile", str(tmp_path / "input"), f"--artifact={echo}", "--by=calls", "--top=1"]
    assert cli.main([*argv, f"--collapsed={collapsed}", "--looks=20"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[2].split()[0] == "read"
    assert lines[3] == "and 2 more functions"
    assert all(line.startswith("function 11") for line in collapsed.read_text().splitlines())


def test_a_case(echo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A case is found by its name; one that is not there is an error that names the nearest."""
    (tmp_path / "cases" / "load").mkdir(parents=True)
    (tmp_path / "cases" / "load" / "much.txt").write_text("x")
    argv = ["profile", f"--artifact={echo}", f"--cases={tmp_path / 'cases'}"]
    assert cli.main([*argv, "load/much"]) == 0
    assert capsys.readouterr().out.startswith("echo, load/much: ")

    assert cli.main([*argv, "load/mush"]) == 1
    assert "Did you mean load/much?" in capsys.readouterr().err


def test_a_file_without_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said why there are numbers only."""
    path = wat.write(tmp_path / "bare.wasm", '(module (memory (export "memory") 1) (func (export "_start")))')
    assert cli.main(["profile", f"--artifact={path}"]) == 0

    assert "the file has no names of functions" in capsys.readouterr().out
