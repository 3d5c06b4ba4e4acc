"""Beside plugins that people have: our suite passes with all of them installed, and theirs is not touched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements" / "neighbours.txt"
OPTIONS = ("-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function")

#: One test for each of them, none of which has to do with us.
THEIRS = """
import asyncio
import pytest

def test_testinfra(host):
    assert host.file("/etc/passwd").exists

def test_subtests(subtests):
    for number in range(2):
        with subtests.test(number=number):
            assert number >= 0

def test_syrupy(snapshot):
    assert {"one": 1} == snapshot

@pytest.mark.asyncio
async def test_asyncio():
    await asyncio.sleep(0)

@pytest.mark.timeout(60)
def test_timeout():
    pass

attempts = []

@pytest.mark.flaky(reruns=1)
def test_rerunfailures():
    attempts.append(1)
    assert len(attempts) == 2
"""
#: Tests of ours that use theirs.
BOTH = """
import pytest

@pytest.mark.flaky(reruns=1)
def test_second_attempt(wasm_host, request):
    assert request.node.execution_count == 2

@pytest.mark.timeout(60)
def test_runs(wasm_host, snapshot):
    assert wasm_host.run("puts 1+1").stdout == b"2\\n"

def test_parts(wasm_host, subtests):
    for number in range(3):
        with subtests.test(number=number):
            assert wasm_host.run(f"puts {number}").stdout == b"%d\\n" % number
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has all of this one, this checkout among it, and their locked packages."""
    place = tmp_path_factory.mktemp("neighbours") / "venv"
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    found = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    (packages,) = place.glob("**/site-packages")
    # As if it stood in that folder itself: its own path files count, too.
    (packages / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    pip = [str(found), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-compile"]
    subprocess.run([*pip, "--require-hashes", f"-r{LOCK}"], check=True)
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with both kinds of tests."""
    (tmp_path / "test_theirs.py").write_text(THEIRS)
    (tmp_path / "test_both.py").write_text(BOTH)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def run(python: Path, project: Path, *options: str) -> str:
    """Run pytest there, and return what it printed. It has to end well."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    command = [str(python), "-m", "pytest", *OPTIONS, *options]
    ended = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.network
def test_theirs_is_not_touched(python: Path, project: Path) -> None:
    """Their tests pass as without us, testinfra's `host` among them, and nothing of ours is printed."""
    said = run(python, project, "test_theirs.py", "--snapshot-update", "--cov=.")

    assert re.search(r"=+ 6 passed, .*1 rerun", said)
    assert "portability of" not in said


@pytest.mark.network
def test_ours_works_with_theirs(python: Path, project: Path) -> None:
    """A run of ours counts each test once, whatever was tried again or had parts; the order is random."""
    said = run(python, project, "test_both.py", "--runtimes=wasmtime,node", "--cov=.")

    assert re.search(r"^wasmtime .* 3 +0 +0 +0 ", said, re.MULTILINE)
    assert re.search(r"^node .* 3 +0 +0 +0 ", said, re.MULTILINE)
    assert "ran more than once, the last attempt counts: " in said


@pytest.mark.network
def test_our_suite_passes(python: Path, project: Path) -> None:
    """The suite but its many cases, in random order, with a time limit and another attempt for what fails: none does.

    wasmtime says itself that it refuses some statuses.
    """
    said = run(
        python,
        project,
        "--runtimes=wasmtime,node",
        "--wasm-conformance=only",
        "--timeout=200",
        "--reruns=1",
        "-n2",
        "-k",
        "not latency and not test_case",
    )

    assert re.search(r"=+ \d+ passed, \d+ xfailed in", said.splitlines()[-1])
