"""What the README says is so: its commands run, its example passes, its options exist."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_wasmedge.model import Artifact
from tests import wat

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
EXAMPLES = re.findall(r"```python\n# (test_\w+\.py)\n(.*?)```", README, re.DOTALL)
# Bounds what a command that collects the whole suite, or measures on every runtime, does here; CI runs all of the
# suite with `make conformance`, and the examples of latency run on few runtimes.
SOME_OF_THE_SUITE = "test_sum or test_failure or test_agreement or test_status_arrives or test_starts"
OUTCOMES_ALONE = "test_sum or test_failure or test_agreement"
# `make conformance`, documented too, runs on all of them. Of an option that is given twice the last one counts.
TWO_RUNTIMES = "--runtimes=wasmtime,deno"


@pytest.fixture
def project(tmp_path: Path, builtin_artifact: Artifact) -> Path:
    """A user's repository: the README's example, and an artifact of its own in dist/."""
    assert [name for name, _ in EXAMPLES] == ["test_portable.py", "test_fast.py"]
    for name, text in EXAMPLES:
        (tmp_path / name).write_text(text)
    (tmp_path / "dist").mkdir()
    for name in ("ruby.wasm", "main.wasm"):
        shutil.copy(builtin_artifact.path, tmp_path / "dist" / name)
    return tmp_path


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as from a shell in which this environment is active."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=600
    )


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("pytest ")])
def test_pytest_commands(project: Path, command: str) -> None:
    """Each pytest command of the README ends well in a project that holds the README's example."""
    bound = ["-k", SOME_OF_THE_SUITE] if "--wasm-conformance" in command else []
    bound = ["-k", OUTCOMES_ALONE] if "--runtimes=all" in command else bound
    bound += [TWO_RUNTIMES] if "--runtimes=all" in command else []
    # Samples for a moment: here it counts that the command works.
    bound += ["--wasm-latency-budget=5"]
    ended = run([*shlex.split(command), *bound, "-p", "no:cacheprovider"], project)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "portability of" in ended.stdout
    assert "NOT RUN" not in ended.stdout


@pytest.mark.parametrize(
    "command", [command for command in COMMANDS if command.startswith("pytest-wasmedge ")]
)
def test_own_commands(tmp_path: Path, command: str) -> None:
    """Each pytest-wasmedge command of the README ends well."""
    (tmp_path / "dist").mkdir()
    wat.write(tmp_path / "dist" / "guest.wasm", wat.ECHO)
    ended = run(shlex.split(command), tmp_path)

    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make ")])
def test_make_commands(command: str) -> None:
    """Each make command of the README is a target that CI runs."""
    ended = run([*shlex.split(command), "--dry-run"], ROOT)

    assert ended.returncode == 0, ended.stderr
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


def test_no_command_is_left_out() -> None:
    """Every command of the README is one that a test here, or test_wheel.py, runs."""
    tested = ("pytest ", "pytest-wasmedge ", "make ")

    assert [command for command in COMMANDS if not command.startswith(tested)] == [
        "pip install pytest-wasmedge"
    ]


def test_options_are_those_of_the_help() -> None:
    """The README speaks of no option that is not in --help, and --help of no public one that is not in the README."""
    helped = run([sys.executable, "-m", "pytest", "--help"], ROOT).stdout
    group = helped[helped.index("one WebAssembly artifact on every host runtime") :]
    of_help = set(re.findall(r"^  (--(?:wasm-[a-z-]+|runtimes))", group, re.MULTILINE))
    of_readme = set(re.findall(r"--(?:wasm-[a-z-]+|runtimes)\b", README))

    assert of_help == of_readme


def test_fixtures_are_those_of_the_plugin() -> None:
    """Every fixture that the README names is one that pytest lists."""
    listed = run([sys.executable, "-m", "pytest", "--fixtures", "-q"], ROOT).stdout
    table = README[README.index("| fixture |") : README.index("`@pytest.mark.runtimes")]

    for name in re.findall(
        r"`([a-z_]+)`", "".join(line.split("|")[1] for line in table.splitlines() if line)
    ):
        assert re.search(rf"^{name} \[|^{name} --", listed, re.MULTILINE), name


def test_files_exist() -> None:
    """Every file that the README links to is there."""
    for link in re.findall(r"\]\(([^):]+)\)", README):
        assert (ROOT / link).exists(), link
