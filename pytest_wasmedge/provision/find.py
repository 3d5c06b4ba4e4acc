"""Find the program of a tool without running anything: yours, ours, this environment's, then PATH."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision.install import executable, installed, no_source
from pytest_wasmedge.provision.pins import own_way, programs, tool_names, variable, wheel_of
from pytest_wasmedge.provision.versions import program


@dataclass(frozen=True, slots=True)
class Found:
    """A program that can be started, and where it came from in words for the user."""

    path: Path
    origin: str


def find(name: str, version: str = "") -> Found | None:
    """Return the program of this tool, or None if there is none.

    The order: ``PYTEST_WASMEDGE_<NAME>``, what `install` put into the cache, the extra installed in this
    Python environment, PATH. An exact ``version`` is one that `install` put into the cache, and no other. Raises
    ProvisionError if the variable names no program or the cache is unsafe.
    """
    if version:
        exact = program(name, version)
        return Found(exact, "pytest-wasmedge install") if exact else None
    if name not in programs():
        raise ProvisionError(f"{name!r} is no program to look for; these are: {', '.join(programs())}.")
    if given := _given(name):
        return given
    if installed(name):
        return Found(executable(name), "pytest-wasmedge install")
    for path in _in_this_environment(name):
        if _runnable(path):
            return Found(path, "this Python environment")
    if on_path := shutil.which(name, path=_search_path(name)):
        return Found(Path(on_path), "PATH")
    return None


def find_system(name: str, commands: Sequence[str]) -> Found | None:
    """Return a program that people install themselves: ``PYTEST_WASMEDGE_<NAME>``, or the first of these on PATH.

    Raises ProvisionError if the variable names no program.
    """
    if given := _given(name):
        return given
    on_path = next((path for command in commands if (path := shutil.which(command))), None)
    return Found(Path(on_path), "PATH") if on_path else None


def _given(name: str) -> Found | None:
    """Return the program that the user names for this tool in the environment. Raises ProvisionError."""
    given = os.environ.get(variable(name))
    if not given:
        return None
    path = Path(given).expanduser()
    if not _runnable(path):
        problem = "cannot be executed" if path.exists() else "does not exist"
        raise ProvisionError(
            f"{variable(name)}={given}: that file {problem}. Correct the variable or unset it."
        )
    return Found(path.absolute(), variable(name))


def install_command(name: str) -> str:
    """Return the command that installs this runtime or tool here: ours, or this system's where we have no source.

    Empty if we know none.
    """
    if name in tool_names() and no_source(name):
        return own_way(name)
    return f"pytest-wasmedge install {name}"


def _in_this_environment(name: str) -> Iterator[Path]:
    wheel, home = wheel_of(name), _package_folder(name)
    if wheel is None or home is None:
        return
    for place in wheel[1]:
        # Scripts of an editable or user-wide installation lie elsewhere than beside the package.
        yield Path(os.path.normpath(home / place.replace("{scripts}", str(_scripts()))))


def _package_folder(name: str) -> Path | None:
    """Return the folder of the Python package that carries this tool, without importing it."""
    wheel = wheel_of(name)
    if wheel is None:
        return None
    try:
        spec = importlib.util.find_spec(wheel[0])
    except (ImportError, ValueError):
        return None
    # A folder that happens to bear the name is a namespace package, which has no origin.
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _search_path(name: str) -> str:
    """Return PATH, less this environment's scripts if they start an extra that was found unusable.

    The wheel of wasmtime can lack its x bit; its script of the same name then fails in the same way.
    """
    folders = os.get_exec_path()
    if _package_folder(name) is not None:
        folders = [folder for folder in folders if Path(folder) != _scripts()]
    return os.pathsep.join(folders)


def _scripts() -> Path:
    return Path(sysconfig.get_path("scripts"))


def _runnable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
