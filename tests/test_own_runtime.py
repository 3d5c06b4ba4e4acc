"""examples/own-runtime runs as it is, and what docs/platforms.md puts on top of it is a runtime, too."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pytest_wasmedge import Invocation, Limits
from pytest_wasmedge.drivers.command import CommandLaunch, CommandRuntime
from pytest_wasmedge.provision import find
from tests import wat

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "own-runtime"
PAGE = (ROOT / "docs" / "platforms.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the folder, as people make it."""
    return Path(
        shutil.copytree(FOLDER, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    )


def pytest_in(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in this folder on the runtime of its conftest.py, with the wasmtime command as its host."""
    command = find("wasmtime")
    assert command, "no wasmtime command found; run `make setup`"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--runtimes=own-host", *options],
        cwd=project,
        env={**os.environ, "PYTEST_WASMEDGE_OWN_HOST": str(command.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_it_runs_as_it_is(project: Path) -> None:
    """All that a new host is looked at for first holds on the host that the folder comes with."""
    ran = pytest_in(project)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "PORTABLE" in ran.stdout
    tests = re.findall(r"^def test_", (FOLDER / "test_own_host.py").read_text(), re.MULTILINE)
    assert f"{len(tests)} passed" in ran.stdout


def test_the_suite_runs_on_it(project: Path) -> None:
    """The bundled suite is held against it as against any other runtime, golden files included."""
    ran = pytest_in(project, "--wasm-conformance=only", "-k", "test_stdout and (strings or unicode)")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "0 known divergences" in ran.stdout


def test_a_wrong_report_is_seen(project: Path) -> None:
    """Who leaves out what the host prints at a trap is told by the folder's own tests."""
    place = project / "conftest.py"
    place.write_text(place.read_text().replace("Error: failed to run", "Error: never said to run"))
    ran = pytest_in(project, "-k", "test_trap or test_streams")

    assert ran.returncode == 1
    assert "FAILED test_own_host.py::test_trap[own-host]" in ran.stdout
    assert "1 failed, 1 passed" in ran.stdout


@pytest.fixture(scope="module")
def template() -> ModuleType:
    """The folder's conftest.py as a module."""
    spec = importlib.util.spec_from_file_location("own_runtime_conftest", FOLDER / "conftest.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.findall(r"class (\w+)", block)[0])
def test_each_platform_of_the_page_is_a_runtime(template: ModuleType, block: str, tmp_path: Path) -> None:
    """The page's class is whole, on top of the template, and gives the guest its arguments; it says who lacks what."""
    names: dict[str, object] = {"OwnHost": template.OwnHost}
    exec(block, names)
    (kind,) = (each for each in names.values() if isinstance(each, type) and each is not template.OwnHost)
    runtime = kind()
    assert isinstance(runtime, CommandRuntime)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    artifact = wat.artifact(tmp_path, wat.ECHO)
    launch = CommandLaunch(Path("/program"), artifact, Limits(), workspace)
    runtime.prepare(launch)

    assert launch.artifact_link.read_bytes() == artifact.path.read_bytes()
    command = list(runtime.argv(launch, Invocation(args=("a b",))))
    assert (command[0], command[-1]) == ("/program", "a b")
    assert runtime.probe().available or runtime.probe().reason == f"{runtime.name} is not on PATH"


def test_the_page_tells_how_long_it_is() -> None:
    """The template is as short as the page says, and so is each platform."""
    lines = (FOLDER / "conftest.py").read_text(encoding="utf-8").splitlines()
    body = lines[next(i for i, line in enumerate(lines) if line.startswith("class ")) :]

    assert len(BLOCKS) == 3
    assert "`pytest --runtimes=NAME` in the copied folder: seven tests" in PAGE
    assert "a class of 60 lines" in PAGE
    assert 50 <= len(body) <= 70
    assert all(len(block.splitlines()) <= 24 for block in BLOCKS)
