"""docs/new-project.md is a transcript: its commands, run from an empty folder, print what it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples.build import compile_c

PAGE = (Path(__file__).parents[1] / "docs" / "new-project.md").read_text()
#: Two runtimes stand for all, which the suite of this project starts in each of its runs; five tests instead of 45.
ALL, FEW = "--runtimes=all", "--runtimes=wasmtime,node"
COUNTS = {"45 passed": "5 passed", "22 failed, 23 passed": "2 failed, 3 passed"}


def steps() -> list[tuple[str, list[str]]]:
    """Return each command of the page with the lines that it prints."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def fits(line: str, printed: str) -> bool:
    """Return whether a line of the page is this one, where … stands for anything."""
    return bool(re.fullmatch(".*".join(map(re.escape, line.split("…"))), printed))


def check(command: str, lines: list[str], printed: list[str]) -> None:
    """Fail unless these lines were printed in this order; a line that is only … stands for any number of others."""
    at, may_skip = 0, False
    for line in lines:
        if line == "…":
            may_skip = True
            continue
        if may_skip:
            while at < len(printed) and not fits(line, printed[at]):
                at += 1
        shown = "\n".join(printed)
        assert fits(line, "".join(printed[at : at + 1])), f"$ {command}\nshould print: {line}\n\n{shown}"
        at, may_skip = at + 1, False
    assert may_skip or at == len(printed), f"$ {command} prints more: {printed[at:]}"


def test_the_page_is_a_transcript(tmp_path: Path) -> None:
    """From C to red to green, as shown."""
    source = re.findall(r"```c\n// guest.c\n(.*?)```", PAGE, re.DOTALL)[0]
    assert len(source.splitlines()) <= 20
    (tmp_path / "guest.c").write_text(source)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command, lines in steps():
        if command.startswith("zig cc "):
            assert command.split()[2:] == [
                "-target",
                "wasm32-wasi",
                "-O2",
                "-s",
                "-o",
                "guest.wasm",
                "guest.c",
            ]
            compile_c([tmp_path / "guest.c"], tmp_path / "guest.wasm", "-target", "wasm32-wasi", "-O2", "-s")
            continue
        ended = subprocess.run(
            command.replace(ALL, FEW),
            shell=True,
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "COLUMNS": "80"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        expected = lines
        for every, few in COUNTS.items():
            expected = [line.replace(every, few) for line in expected]
        check(command, expected, ended.stdout.splitlines())
        assert (ended.returncode == 0) is not any("failed" in line for line in lines), ended.stdout


def test_a_transcript_can_be_wrong() -> None:
    """What was not printed, or is not shown, is found."""
    check("x", ["a", "…", "b …", "c"], ["a", "z", "b 1", "c"])
    for lines in (["a"], ["a", "c", "…"], ["a", "…", "d"]):
        with pytest.raises(AssertionError):
            check("x", lines, ["a", "b", "c"])
