"""``pytest-wasmedge init``: the starting files of a project that proves its artifact portable."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import tomlkit

from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.commands.console import Subparsers, open_console, progress_on, show
from pytest_wasmedge.errors import ArtifactError, WasmEdgeError
from pytest_wasmedge.model import Artifact, Invocation, Limits
from pytest_wasmedge.portability.golden import format_golden
from pytest_wasmedge.provision.files import write_all
from pytest_wasmedge.provision.room import reason
from pytest_wasmedge.runtimes import DEFAULT, builtin_runtimes

#: The first two cases: nothing at all, and a line to read and an argument.
_CASES = {
    "nothing": ('summary = "Nothing is given: no input, no arguments."\n', Invocation()),
    "hello": (
        'summary = "A line on stdin, and one argument."\nstdin = "hello\\n"\nargs = ["world"]\n',
        Invocation(b"hello\n", ("world",)),
    ),
}
_SECTION = """\
# pytest --runtimes=all runs these cases on every runtime.
[tool.pytest-wasmedge]
artifact = "{artifact}"
cases = ["cases"]
"""
_WORKFLOW = """\
# One artifact, every runtime, on each pull request.
name: portability
on:
  pull_request:
  push:
    branches: [main]
permissions:
  contents: read
jobs:
  portability:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0
        with:
          persist-credentials: false
      - uses: actions/setup-python@a26af69be951a213d495a4c3e4e4022e16d87065 # v5.6.0
        with:
          python-version: "3.13"
      - run: pip install pytest-wasmedge
      - run: pytest-wasmedge install
      # Build {artifact} here, unless it is in the repository.
      # Failures are annotated, and the report is the summary of the job.
      - run: pytest --runtimes=all --wasm-report=report
      - uses: actions/upload-artifact@ea165f8d65b6e75b540449e92b4886f43607fa02 # v4.6.2
        if: always()
        with:
          name: portability
          path: report
"""
_CONTRACT = """\
# What holds of {artifact} on each runtime; see `pytest-wasmedge --help` and the documentation of portability.toml.
# Measured by `pytest-wasmedge init`, on this machine: {measured}.
# A multiple of the floor, the same start of an artifact that does nothing, holds on other machines too. Durations do
# not: write those where they are judged, with `pytest --runtimes=all --wasm-conformance --wasm-update-contract`.
"""
#: Where no artifact is looked for.
_LEFT_OUT = frozenset({"node_modules", "__pycache__", "venv", "deps", "incremental"})
_CONTRACT_NAME, _WORKFLOW_NAME = "portability.toml", ".github/workflows/portability.yml"


def find_artifact(folder: Path) -> Path:
    """Return the one .wasm file in a folder. Raises ArtifactError if there is none, or more than one."""
    found = sorted(_artifacts(folder))
    if len(found) == 1:
        return found[0]
    if not found:
        raise ArtifactError(
            f"{folder} holds no .wasm file. Build yours first, or give its path: init PATH.wasm"
        )
    names = ", ".join(str(path.relative_to(folder)) for path in found[:5])
    raise ArtifactError(
        f"{folder} holds {len(found)} .wasm files ({names}). Give the path of one: init PATH.wasm"
    )


def _artifacts(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".") and each not in _LEFT_OUT]
        yield from (Path(place, name) for name in files if name.endswith(".wasm"))


def starting_files(folder: Path, artifact: Artifact, progress: Callable[[str], None]) -> dict[Path, str]:
    """Return what to write, by path; nothing that is there already, but for the end of a pyproject.toml.

    The two cases are run with the artifact, in this process. Raises WasmEdgeError.
    """
    files: dict[Path, str] = {}
    named = artifact.path.absolute()
    path = named.relative_to(folder).as_posix() if named.is_relative_to(folder) else str(named)
    project = folder / "pyproject.toml"
    if not project.exists():
        files[project] = _SECTION.format(artifact=path)
    elif not _has_section(project):
        files[project] = f"{project.read_text('utf-8').rstrip()}\n\n{_SECTION.format(artifact=path)}"
    if not (folder / "cases").exists():
        progress("running two cases")
        files |= {folder / "cases" / name: text for name, text in _cases(artifact)}
    if not (folder / _WORKFLOW_NAME).exists():
        files[folder / _WORKFLOW_NAME] = _WORKFLOW.format(artifact=path)
    if not (folder / _CONTRACT_NAME).exists():
        progress("measuring starts")
        files[folder / _CONTRACT_NAME] = _contract(artifact, path)
    return files


def _has_section(project: Path) -> bool:
    try:
        tool = tomlkit.parse(project.read_text("utf-8")).unwrap().get("tool", {})
    except (OSError, ValueError) as error:
        raise WasmEdgeError(f"{project} cannot be read: {error}. Correct it first.") from error
    return isinstance(tool, dict) and "pytest-wasmedge" in tool


def _cases(artifact: Artifact) -> Iterator[tuple[str, str]]:
    """Yield the files of the two cases; a golden file only if the guest answers the same twice."""
    runtime = next(each for each in builtin_runtimes() if each.name == DEFAULT)
    with runtime.start(artifact, Limits()) as host:
        for name, (sidecar, invocation) in _CASES.items():
            first, second = host.invoke(invocation), host.invoke(invocation)
            yield f"{name}.toml", sidecar
            if first == second and first.ending.kind in ("exited", "trapped"):
                yield f"{name}.golden", format_golden(first)


def _contract(artifact: Artifact, name: str) -> str:
    """Measure cold and warm starts in this process as `--wasm-update-contract` does, and return a contract."""
    with tempfile.TemporaryDirectory(prefix="pytest-wasmedge-") as scratch:
        contract = Path(scratch) / _CONTRACT_NAME
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={scratch}"]
        argv += [f"--runtimes={DEFAULT}", f"--wasm-artifact={artifact.path.absolute()}", "-k", "test_latency"]
        argv += ["--wasm-conformance=only", "--wasm-update-contract", f"--wasm-contract={contract}"]
        ended = subprocess.run(argv, cwd=scratch, capture_output=True, text=True, check=False)
        if not contract.exists():
            last = " ".join(ended.stdout.split())[-300:]
            raise WasmEdgeError(
                f"the starts of {artifact.name} could not be measured: {last}. Correct it, and run init again."
            )
        measured = tomlkit.parse(contract.read_text("utf-8")).unwrap()["ceilings"][DEFAULT]
    told = {kind: limits if isinstance(limits, list) else [limits] for kind, limits in measured.items()}
    durations = ", ".join(f"{kind} within {limits[0]}" for kind, limits in told.items())
    multiples = [f'"{kind}" = "{limits[1]}"\n' for kind, limits in told.items() if len(limits) > 1]
    return (
        _CONTRACT.format(artifact=name, measured=durations) + f"[ceilings.{DEFAULT}]\n" + "".join(multiples)
    )


def add_to(commands: Subparsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "init",
        help="write the starting files of a project: cases, contract, workflow",
        description="Write the starting files of a project that tests its artifact: a section in pyproject.toml, a "
        "folder of two cases made by running the artifact, portability.toml with what was measured, and a workflow "
        "for pull requests. It asks nothing, and leaves what is there already as it is.",
    )
    parser.add_argument(
        "artifact",
        nargs="?",
        type=Path,
        metavar="PATH.wasm",
        help="the artifact (default: the one in this folder)",
    )
    parser.set_defaults(action=run)


def run(options: argparse.Namespace) -> int:
    """Write the files, say what was written and what to do next, and return the exit status. Raises WasmEdgeError."""
    folder = Path.cwd()
    artifact = load_artifact(options.artifact or find_artifact(folder))
    console = open_console()
    with progress_on(console) as progress:
        files = starting_files(folder, artifact, progress)
    extended = {path for path in files if path.exists()}
    try:
        write_all({path: text.encode() for path, text in files.items()})
    except OSError as error:
        raise WasmEdgeError(
            f"{error.filename or folder} cannot be written: {reason(error, folder)}."
        ) from error
    show(_told(folder, files, extended), console)
    return 0


def _told(folder: Path, files: dict[Path, str], extended: set[Path]) -> Iterator[tuple[str, str]]:
    for path in files:
        yield f"{'extended' if path in extended else 'wrote'} {path.relative_to(folder)}", "green"
    for name in ("pyproject.toml", "cases", _WORKFLOW_NAME, _CONTRACT_NAME):
        if not any(path.is_relative_to(folder / name) for path in files):
            yield f"left {name} as it is", ""
    yield "next:", "bold"
    steps = {
        "pytest-wasmedge install": "fetch the runtimes (`pytest-wasmedge doctor` shows what can run here)",
        "pytest --runtimes=all": "run the cases on every runtime",
        "pytest --runtimes=all --wasm-update-golden": "accept what all runtimes agree on, after you changed a case",
    }
    width = max(map(len, steps))
    for step, what in steps.items():
        yield f"  {step:<{width}}  {what}", ""
