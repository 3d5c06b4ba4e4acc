"""docs/adding-a-runtime.md, followed word for word: a package of its own adds a runtime, and an engine runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_wasmedge
from pytest_wasmedge.provision import find
from tests import wat

PAGE = Path(__file__).parents[1] / "docs" / "adding-a-runtime.md"
NAME = "plain-wasmtime"
#: Who adds a runtime writes fewer lines than this.
MOST_LINES = 40
#: A block of the page: its language, and what is in it.
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> dict[str, str]:
    """Return the page's code by the file that its first line names; the commands are ``sh``."""
    found = {}
    for language, text in _BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        name = language if language == "sh" else text.partition("\n")[0].removeprefix("# ")
        assert name not in found, f"two blocks are {name}"
        found[name] = text
    return found


@pytest.fixture
def wasmtime() -> str:
    """The real command, which the page's runtime finds as any program that people install."""
    found = find("wasmtime")
    assert found, "no wasmtime command found; run `make setup`"
    return str(found.path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the page's package and its test, and an artifact."""
    for name in ("plain_wasmtime.py", "pyproject.toml", "test_echo.py"):
        (tmp_path / name).write_text(blocks()[name])
    wat.write(tmp_path / "echo.wasm", wat.ECHO)
    return tmp_path


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the page in this Python environment, with pip kept from the network."""
    words = shlex.split(command)
    if words[0] == "pytest":
        words = ["python", "-m", *words]
    assert words[0] == "python"
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_QUIET": "1"}
    # Installed beside this environment, not into it.
    installed = {"PIP_TARGET": str(folder / "installed"), "PYTHONPATH": str(folder / "installed")}
    return subprocess.run(
        [sys.executable, *words[1:]],
        cwd=folder,
        env={**os.environ, **offline, **installed, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_package(folder: Path, wasmtime: str) -> None:
    """The page's package, installed by the page's command, adds a runtime that really runs the artifact."""
    install, run = blocks()["sh"].splitlines()
    installed = shell(install, folder)
    assert installed.returncode == 0, installed.stderr
    assert list((folder / "installed").glob("*.dist-info/entry_points.txt"))
    # What pytest finds is what was installed.
    (folder / "plain_wasmtime.py").unlink()
    version = subprocess.run(
        [wasmtime, "--version"], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()[1]

    ran = shell(run, folder, PYTEST_WASMEDGE_PLAIN_WASMTIME=wasmtime)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout
    row = next(line for line in ran.stdout.splitlines() if line.startswith(NAME)).split()
    assert row[:6] == [NAME, version, "Cranelift", version, "2", "0"]

    listed = shell("pytest --runtimes=all --collect-only -q test_echo.py", folder)
    assert f"test_echo[{NAME}]" in listed.stdout
    missing = shell(run, folder, PYTEST_WASMEDGE_PLAIN_WASMTIME="", PATH=str(folder))
    assert missing.returncode == pytest.ExitCode.USAGE_ERROR
    remedy = "get it with `see https://wasmtime.dev`"
    assert f"{NAME}: wasmtime is not on PATH; {remedy}" in missing.stderr


def test_it_is_short() -> None:
    """The page's runtime is whole, hook and all, in fewer lines than it promises, empty ones and comments included."""
    assert f"less than {MOST_LINES} lines" in PAGE.read_text(encoding="utf-8")
    assert len(blocks()["plain_wasmtime.py"].splitlines()) < MOST_LINES


def test_endings(folder: Path, wasmtime: str) -> None:
    """The page's runtime tells the endings apart, and the engine's report from the guest's stderr."""
    wat.write(folder / "traps.wasm", wat.reports_and_traps("mine\n"))
    wat.write(folder / "exits.wasm", wat.reports("mine\n", 3))
    (folder / "test_endings.py").write_text(
        "from pytest_wasmedge import exited, timed_out, trapped\n"
        "def test_ending(host):\n"
        "    outcome = host.run()\n"
        "    expected = {'exits': exited(3), 'traps': trapped()}[host.artifact.name]\n"
        "    assert (outcome.stdout, outcome.stderr, outcome.ending) == (b'', b'mine\\n', expected)\n"
    )
    for artifact in ("traps", "exits"):
        command = (
            f"pytest -p plain_wasmtime --runtimes={NAME} --wasm-artifact={artifact}.wasm test_endings.py"
        )
        ran = shell(command, folder, PYTEST_WASMEDGE_PLAIN_WASMTIME=wasmtime, PYTHONPATH=str(folder))
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_one_file_in_this_repository(folder: Path, wasmtime: str) -> None:
    """The same file with the page's last line, put among the runtimes, is a built-in one: nothing else lists them."""
    place = folder / "runtimes"
    place.mkdir()
    source = blocks()["plain_wasmtime.py"].partition("\n\ndef pytest_wasmedge_runtimes")[0]
    (place / "plain_wasmtime.py").write_text(f"{source}\n\n{blocks()['at the end of plain_wasmtime.py']}")
    code = (
        "import sys, pytest_wasmedge.runtimes as runtimes\n"
        "from pathlib import Path\n"
        "from pytest_wasmedge import Limits, load_artifact\n"
        "runtimes.__path__.append(sys.argv[1])\n"
        "found = {each.name: each for each in runtimes.builtin_runtimes()}\n"
        f"with found[{NAME!r}].start(load_artifact(Path('echo.wasm')), Limits()) as host:\n"
        "    print(host.run(b'hello').stdout_text)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(place)],
        cwd=folder,
        env={**os.environ, "PYTEST_WASMEDGE_PLAIN_WASMTIME": wasmtime},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert (ran.stdout, ran.returncode) == ("hello\n", 0), ran.stderr


def test_wrapped(folder: Path) -> None:
    """The page's conftest.py puts a faulty runtime in the place of a built-in one, and its fault shows."""
    (folder / "conftest.py").write_text(blocks()["conftest.py"])
    (folder / "test_fault.py").write_text(
        "def test_fault(host):\n    assert len(host.run(b'x' * (1 << 20)).stdout) == 1 << 16\n"
    )
    ran = shell("pytest --runtimes=wasmtime --wasm-artifact=echo.wasm test_fault.py", folder)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_what_the_page_names_is_there() -> None:
    """Every file and table that the page points to exists."""
    text = PAGE.read_text(encoding="utf-8")
    package = Path(pytest_wasmedge.__file__).parent
    for name in re.findall(r"`((?:runtimes|provision)/[\w.]+)`", text):
        assert name == "runtimes/NAME.py" or (package / name).exists(), name
    for name in re.findall(r"`(tests/[\w./]+)`", text):
        assert (PAGE.parents[1] / name).exists(), name
    assert "BENT" in (PAGE.parents[1] / "tests" / "test_runtime_contract.py").read_text(encoding="utf-8")
