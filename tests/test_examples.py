"""The examples: each folder is a project of its own, and what builds their guests says what it lacks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from examples import build
from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.errors import ArtifactError
from pytest_wasmedge.model import Limits, exited
from pytest_wasmedge.plugin.project import read
from pytest_wasmedge.portability.corpus import load_corpus
from pytest_wasmedge.runtimes.wasmtime import Wasmtime

FOLDERS = sorted(path.parent for path in build.HERE.glob("*/pyproject.toml"))


def test_each_has_a_recipe() -> None:
    """What is built is what there are folders for."""
    assert sorted(build.RECIPES) == [folder.name for folder in FOLDERS]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_each_is_a_project(folder: Path) -> None:
    """Its settings name the artifact that is built for it; each case says what it shows, and has a golden outcome."""
    project = read(folder)
    assert Path(project.artifact).resolve() == build.BUILT / f"{folder.name}.wasm"
    cases = [case for place in project.cases for case in load_corpus(place)]
    assert all(case.summary.endswith(".") and case.golden for case in cases)


def test_what_is_built_greets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text module is assembled to a command that greets; a second build takes the place of the first."""
    monkeypatch.setattr(build, "BUILT", tmp_path / "build")
    assert build.main(["hello-wat"]) == build.main(["hello-wat"]) == 0
    artifact = load_artifact(tmp_path / "build" / "hello-wat.wasm")
    with Wasmtime().start(artifact, Limits()) as host:
        outcome = host.run(b"")
    assert (outcome.stdout, outcome.stderr, outcome.ending) == (b"Hello, World!\n", b"", exited(0))
    assert [path.name for path in (tmp_path / "build").iterdir()] == ["hello-wat.wasm"]


def test_a_missing_compiler_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without Rust, its example is left out, with the command that gets it; where it was named, that is an error."""
    monkeypatch.setattr(build, "BUILT", tmp_path)
    monkeypatch.setattr(build, "RECIPES", {name: build.RECIPES[name] for name in ("hello-rust", "hello-wat")})
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    (tmp_path / "hello-rust.wasm").write_bytes(b"of an earlier build")

    assert build.main([]) == 0
    told = capsys.readouterr()
    assert (
        "hello-rust: NOT BUILT: Rust's library for wasm32-wasip1 is needed, and there is no rustc" in told.err
    )
    assert "`apt-get install rustc libstd-rust-dev-wasm32 lld` on Debian" in told.err
    assert told.out.startswith("hello-wat: ")
    assert [path.name for path in tmp_path.iterdir()] == ["hello-wat.wasm"]
    assert build.main(["--strict"]) == build.main(["hello-rust"]) == 1


def test_a_compiler_without_the_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Rust that cannot compile for preview 1 is named."""
    rustc = tmp_path / "rustc"
    rustc.write_text(f"#!/bin/sh\necho {tmp_path}/no-library\n")
    rustc.chmod(0o700)
    monkeypatch.setattr("shutil.which", lambda *_, **__: str(rustc))
    with pytest.raises(ArtifactError, match=f"and {rustc} has none: `apt-get"):
        build.rust_for_wasi()


def test_an_unknown_name_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt name is answered with the nearest one and all that there are."""
    with pytest.raises(SystemExit):
        build.main(["hello-russt"])
    told = capsys.readouterr().err
    assert "no example is called 'hello-russt'. Did you mean hello-rust? There are: hello-wat" in told


def test_they_run_on_every_runtime() -> None:
    """`make examples` selects all runtimes: without a name pytest would take wasmtime alone, and be green."""
    said = subprocess.run(
        ["make", "--dry-run", "examples"], cwd=build.HERE.parent, capture_output=True, text=True, check=True
    )

    assert "pytest -q --runtimes=all " in said.stdout
