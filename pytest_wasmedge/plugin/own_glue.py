"""Glue that a project brings itself: named in its pyproject.toml, run in place of ours, under the plain contract.

``[tool.pytest-wasmedge.runtimes.NAME]`` names the file that serves, and where it expects the artifact. What is
started is a copy of the folder that holds both, with the artifact under test in its place: the project's own tree
is only read.
"""

from __future__ import annotations

import copy
import os
import shutil
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_wasmedge.drivers.http import Plain
from pytest_wasmedge.drivers.process import Announcement
from pytest_wasmedge.drivers.program import Versions
from pytest_wasmedge.drivers.server import OwnGlueLaunch, ServerRuntime, ServingLaunch
from pytest_wasmedge.errors import HostStartError, WasmEdgeError, did_you_mean
from pytest_wasmedge.model import Availability, Runtime

_FILE = "pyproject.toml"
_TABLE = "tool.pytest-wasmedge.runtimes"
_DEFAULT_ARTIFACT = "artifact.wasm"

# Neither is part of any glue. Packages are linked: they are large, and know nothing of the artifact.
_LEFT_OUT = frozenset({".git", ".hg", ".venv", ".wrangler", "__pycache__"})
_LINKED = "node_modules"
_MOST_BYTES = 256 << 20
_MOST_FILES = 5000


class GlueError(WasmEdgeError):
    """A project's own glue cannot be used as its pyproject.toml names it; the text begins with the key."""


@dataclass(frozen=True, slots=True)
class Glue:
    """One table. ``folder`` is what is copied; ``entry`` (what serves) and ``artifact`` are paths inside of it."""

    key: str
    folder: Path
    entry: Path
    artifact: Path
    args: tuple[str, ...] = ()


def runtimes(rootdir: Path, known: Iterable[Runtime]) -> list[Runtime]:
    """Return a runtime for each table of the project's pyproject.toml; it replaces the one of its name among these.

    A table may name glue, or give ``flags`` for the command line of the runtime's own program. Raises GlueError.
    """
    path = rootdir / _FILE
    kinds = {each.name: each for each in known if _keys_of(each)}
    found: list[Runtime] = []
    for name, table in _tables(path, kinds).items():
        key, kind = f"{_TABLE}.{name}", kinds[name]
        _check_keys(path, key, table, _keys_of(kind))
        has_glue = isinstance(kind, ServerRuntime) and bool(kind.own_key)
        if "flags" in table and (len(table) == 1 or not has_glue):
            flagged = copy.copy(kind)
            flagged.flags = _strings(path, f"{key}.flags", table["flags"], "--experimental")
            found.append(flagged)
        elif isinstance(kind, ServerRuntime) and has_glue:
            found.append(OwnGlue(kind, _glue(path, key, table, kind.own_key)))
    return found


def _keys_of(runtime: Runtime) -> list[str]:
    """Return what a table of a runtime may say."""
    glue = (
        [runtime.own_key, "artifact", "args"]
        if isinstance(runtime, ServerRuntime) and runtime.own_key
        else []
    )
    return [*glue, *(["flags"] if runtime.flags_at is not None else [])]


def _tables(path: Path, known: Iterable[str]) -> dict[str, Any]:
    """Return the tables of a pyproject.toml, by runtime. Raises GlueError."""
    try:
        whole = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise GlueError(f"{path} cannot be read: {error}.") from error
    tool = whole.get("tool")
    table = tool.get("pytest-wasmedge", {}) if isinstance(tool, dict) else {}
    _check_keys(path, _TABLE.rpartition(".")[0], table, ["runtimes"])
    tables: dict[str, Any] = table.get("runtimes", {})
    _check_keys(path, _TABLE, tables, known)
    return tables


def _glue(path: Path, key: str, table: Mapping[str, Any], entry_key: str) -> Glue:
    root = Path(os.path.normpath(path.parent.absolute()))
    if "flags" in table:
        raise GlueError(f"{path}: [{key}] has flags beside glue of your own: give them as args.")
    if entry_key not in table:
        raise GlueError(
            f'{path}: [{key}] lacks the key {entry_key}: the path of what serves, such as "edge/…".'
        )
    entry = _place(path, root, f"{key}.{entry_key}", table[entry_key])
    if not entry.is_file():
        raise GlueError(f"{path}: {key}.{entry_key} names {table[entry_key]}, which is no file.")
    artifact = entry.parent / _DEFAULT_ARTIFACT
    if "artifact" in table:
        artifact = _place(path, root, f"{key}.artifact", table["artifact"])
        if artifact.is_dir() or artifact == entry:
            raise GlueError(
                f"{path}: {key}.artifact names {table['artifact']}, where no artifact can be: give the path "
                "at which the glue looks for it."
            )
    args = _strings(path, f"{key}.args", table.get("args", []), "--experimental")
    folder = Path(os.path.commonpath((entry.parent, artifact.parent)))
    return Glue(key, folder, entry.relative_to(folder), artifact.relative_to(folder), args)


def _strings(path: Path, key: str, value: object, example: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise GlueError(f'{path}: {key} is {value!r}; give a list of strings, such as ["{example}"].')
    return tuple(value)


def _place(path: Path, root: Path, key: str, value: object) -> Path:
    """Return the absolute path of a file in the project. Raises GlueError."""
    if not isinstance(value, str) or not value:
        raise GlueError(f"{path}: {key} is {value!r}; give a path, as a string.")
    place = Path(os.path.normpath(root / value))
    if not place.is_relative_to(root) or place == root:
        raise GlueError(f"{path}: {key} is {value!r}; give a path inside of the project.")
    return place


def _check_keys(path: Path, key: str, table: object, known: Iterable[str]) -> None:
    """Raise GlueError unless this is a table of these keys only."""
    if not isinstance(table, dict):
        raise GlueError(f"{path}: {key} is {table!r}; write it as a table, [{key}].")
    known = list(known)
    for name in table:
        if name not in known:
            hint = did_you_mean(name, known)
            raise GlueError(f"{path}: [{key}] has the unknown key {name}.{hint} Known: {', '.join(known)}.")


# -- the copy ------------------------------------------------------------------------------------------------


def lay_out(glue: Glue, place: Path, artifact: Path) -> None:
    """Copy the glue's folder to this place, with the artifact where the glue expects it. Raises HostStartError."""
    try:
        _copy(glue.folder, place, glue.folder / glue.artifact, _Budget(glue))
        target = place / glue.artifact
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(artifact)
    except OSError as error:
        raise HostStartError(f"{glue.key}: the folder {glue.folder} cannot be copied: {error}.") from error


class _Budget:
    """Counts what is copied: a folder that is no glue alone would delay every start."""

    def __init__(self, glue: Glue) -> None:
        self._glue = glue
        self._files = self._bytes = 0

    def take(self, size_bytes: int) -> None:
        self._files += 1
        self._bytes += size_bytes
        if self._files > _MOST_FILES or self._bytes > _MOST_BYTES:
            raise HostStartError(
                f"{self._glue.key}: {self._glue.folder} holds more than {_MOST_FILES:,} files or "
                f"{_MOST_BYTES >> 20} MiB, and is copied for each start: move the glue and the place of its "
                "artifact into a folder of their own."
            )


def _copy(source: Path, target: Path, left_out: Path, budget: _Budget) -> None:
    target.mkdir()
    with os.scandir(source) as entries:
        for entry in entries:
            path, to = Path(entry.path), target / entry.name
            if path == left_out or entry.name in _LEFT_OUT:
                continue
            if entry.name == _LINKED or (entry.is_symlink() and path.is_dir()):
                to.symlink_to(path.resolve())
            elif entry.is_dir():
                _copy(path, to, left_out, budget)
            elif path.is_file():
                budget.take(path.stat().st_size)
                shutil.copy(path, to)


# -- the runtimes --------------------------------------------------------------------------------------------


class OwnGlue(ServerRuntime):
    """A runtime with other glue: stdin and stdout are all that it passes on, and a kill is its limit.

    The program is that of ``inner``, which says how it serves the copy of a project's glue.
    """

    wire = Plain()
    limits_itself = False
    unchecked = frozenset({"stderr", "ending"})

    def __init__(self, inner: ServerRuntime, glue: Glue) -> None:
        self.name, self.engine, self.tool = inner.name, inner.engine, inner.tool
        self.tools, self.minimum = inner.tools, inner.minimum
        self.inner, self.glue = inner, glue

    def missing(self) -> str:
        return ""

    def version_argv(self, executable: Path) -> Sequence[str]:
        return self.inner.version_argv(executable)

    def read_versions(self, said: str) -> Versions:
        return self.inner.read_versions(said)

    def environment(self, workspace: Path) -> dict[str, str]:
        return self.inner.environment(workspace)

    def announcement(self, line: bytes) -> Announcement | None:
        return self.inner.own_announcement(line)

    def port_environment(self, port: int) -> Mapping[str, str]:
        return self.inner.own_port_environment(port)

    def greeting(self, launch: ServingLaunch) -> bytes:
        return b""

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        place = launch.workspace / "glue"
        # Once per host.
        if not place.exists():
            lay_out(self.glue, place, launch.artifact.path.absolute())
        own = OwnGlueLaunch(launch.executable, place, place / self.glue.entry, self.glue.args)
        try:
            return self.inner.own_argv(own)
        except ValueError as error:
            raise HostStartError(f"{self.glue.key}: {self.glue.entry} {error}") from error

    def probe(self) -> Availability:
        told = super().probe()
        if not told.available:
            return told
        return replace(told, path=f"{told.path}, serving {self.glue.folder / self.glue.entry}")
