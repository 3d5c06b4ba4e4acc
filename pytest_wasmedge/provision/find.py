"""Finds the program of a tool, and runs nothing: the user's, the installed one, this environment's, then PATH's."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision.install import executable, installed, no_source
from pytest_wasmedge.provision.pins import own_way, pin, programs, tool_names, variable, wheel_of
from pytest_wasmedge.provision.versions import installed_version


@dataclass(frozen=True, slots=True)
class Found:
    """A program, and its origin in words for the user."""

    path: Path
    origin: str


def find(name: str, version: str = "") -> Found | None:
    """Return the program of this tool, or None.

    The order: ``PYTEST_WASMEDGE_<NAME>``, the tool that `install` put into the cache, the extra in this Python
    environment, PATH. With an exact ``version``, only the cache is searched. Raises ProvisionError if the variable
    names no program or the cache is unsafe.
    """
    if version:
        exact = installed_version(name, version)
        return Found(exact / pin(name).entry, "pytest-wasmedge install") if exact else None
    if name not in programs():
        raise ProvisionError(f"{name!r} is not a program to look for; these are: {', '.join(programs())}.")
    if given := _given(name):
        return given
    if installed(name):
        return Found(executable(name), "pytest-wasmedge install")
    folders = os.get_exec_path()
    module, places = wheel_of(name) or ("", ())
    if home := _package_folder(module):
        scripts = Path(sysconfig.get_path("scripts"))
        for place in places:
            # The scripts of an editable or user-wide installation are not beside the package.
            path = Path(os.path.normpath(home / place.replace("{scripts}", str(scripts))))
            if _runnable(path):
                return Found(path, "this Python environment")
        # The wheel of wasmtime can lack its x bit; its script of the same name then fails in the same way.
        folders = [each for each in folders if Path(each) != scripts]
    on_path = shutil.which(name, path=os.pathsep.join(folders))
    return Found(Path(on_path), "PATH") if on_path else None


def find_system(name: str, commands: Sequence[str]) -> Found | None:
    """Return a program that users install themselves: ``PYTEST_WASMEDGE_<NAME>``, else the first command on PATH.

    A command that is a path, with ``*`` for what differs between systems, is looked for there. Raises ProvisionError if
    the variable names no program.
    """
    if given := _given(name):
        return given
    for command in commands:
        if not command.startswith("/"):
            if on_path := shutil.which(command):
                return Found(Path(on_path), "PATH")
        elif there := next(filter(_runnable, sorted(Path("/").glob(command[1:]))), None):
            return Found(there, "this system")
    return None


def _given(name: str) -> Found | None:
    """Return the program that the environment variable of this tool names. Raises ProvisionError."""
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
    """Return the command that installs this runtime or tool, ours or the system's; empty if neither has it."""
    if name in tool_names() and no_source(name):
        return own_way(name)
    return f"pytest-wasmedge install {name}"


def _package_folder(module: str) -> Path | None:
    """Return the folder of this Python package, without importing it."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    # A mere folder of that name is a namespace package, which has no origin.
    return Path(spec.origin).parent if spec and spec.origin else None


def _runnable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
