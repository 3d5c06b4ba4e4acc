"""The day on which one tool cannot be had: everything else is installed and runs, and the absence is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_wasmedge.commands import cli
from pytest_wasmedge.provision import clients, debian, installed
from pytest_wasmedge.provision import pins as pins_module
from pytest_wasmedge.provision.cache import folder
from tests.provision.archive import Archive, new_key

ABSENT = "wasmedge"
#: The real thing, on every runtime, but one test of it.
SUITE = (
    "--runtimes=all",
    "--wasm-conformance",
    "-k",
    "test_status_arrives and not hosts",
    "-p",
    "no:cacheprovider",
)


@pytest.fixture
def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A cache with all tools but one, on a machine whose Debian no longer has that one, nor has it anybody else."""
    here = {name: installed(name) for name in pins_module.tool_names()}
    kept = {name: folder(name) for name in ("artifacts", "compiled", "glue", "locks")}
    cache = tmp_path / "cache"
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(cache))
    for name, place in here.items():
        if place is not None and name != ABSENT:
            (folder("tools") / place.name).symlink_to(place)
    for name, place in kept.items():
        (cache / name).symlink_to(place)
    made = Archive(tmp_path / "archive", "forky")
    made.add("libc6", "2.41-1")
    (tmp_path / "etc").mkdir()
    with new_key(tmp_path / "archive.asc") as key:
        made.publish(key)
        (tmp_path / "etc" / "sources.list").write_text(made.source(key))
    monkeypatch.setattr(debian, "SOURCES", tmp_path / "etc")
    monkeypatch.setattr(clients, "PAUSES_S", ())
    monkeypatch.delenv("PYTEST_WASMEDGE_WASMEDGE", raising=False)
    return ABSENT


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run some of the suite on all runtimes, in a folder that is nobody's project."""
    argv = [sys.executable, "-m", "pytest", *SUITE, *options]
    return subprocess.run(argv, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)


@pytest.mark.network
def test_everything_else_is_there(without: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`install` ends with 0 and names it; a run passes on the rest and says NOT RUN; what requires all is red."""
    assert cli.main(["install"]) == 0

    told = capsys.readouterr()
    assert [without, "-", "not", "here"] in [line.split() for line in told.out.splitlines()]
    assert "it offers no such package" in told.err
    assert cli.main(["install", "--strict"]) == 1

    (tmp_path / "empty").mkdir()
    passed = run(tmp_path / "empty")
    assert passed.returncode == 0, passed.stdout
    assert (
        f"\n{without}  NOT RUN: no {without} command found; get it with `pytest-wasmedge install"
        in passed.stdout
    )
    assert "\nnode " in passed.stdout

    required = run(tmp_path / "empty", "--wasm-require=all")
    assert required.returncode not in (0, 5)
    assert f"{without}: no {without} command found" in required.stdout + required.stderr
