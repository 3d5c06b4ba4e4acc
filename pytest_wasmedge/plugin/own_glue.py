"""A project's own glue: named in its pyproject.toml, run instead of our glue, under the plain contract.

``[tool.pytest-wasmedge.runtimes.NAME]`` names the file that serves, and where it expects the artifact. The folder that
holds both is copied for each host, with the artifact under test in its place: the project's own files are only read.
"""

from __future__ import annotations

import copy
import os
import shutil
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_wasmedge.drivers.http import Plain
from pytest_wasmedge.drivers.process import Announcement
from pytest_wasmedge.drivers.program import Versions
from pytest_wasmedge.drivers.server import OwnGlueLaunch, ServerRuntime, ServingLaunch
from pytest_wasmedge.errors import HostStartError, WasmEdgeError, did_you_mean
from pytest_wasmedge.model import Availability, Runtime
from pytest_wasmedge.plugin import project

_TABLE = "tool.pytest-wasmedge.runtimes"

# Folders that are part of no glue. Packages are linked: they are large, and do not depend on the artifact.
_LEFT_OUT = frozenset({".git", ".hg", ".venv", ".wrangler", "__pycache__"})
_LINKED = "node_modules"
_MOST_BYTES = 256 << 20
_MOST_FILES = 5000


class GlueError(WasmEdgeError):
    """A pyproject.toml names glue or flags that cannot be used; the text names the file and the key."""


@dataclass(frozen=True, slots=True)
class Glue:
    """One table. ``folder`` is copied; ``entry`` (the file that serves) and ``artifact`` are paths in it."""

    key: str
    folder: Path
    entry: Path
    artifact: Path
    args: tuple[str, ...] = ()


def runtimes(rootdir: Path, known: Iterable[Runtime]) -> list[Runtime]:
    """Return a runtime for each table of the project's pyproject.toml; it replaces the known one of its name.

    A table may name glue, or give ``flags`` for the command line of the runtime's own program. Raises GlueError.
    """
    path = rootdir / "pyproject.toml"
    kinds = {each.name: each for each in known if _keys_of(each)}
    found: list[Runtime] = []
    for name, table in _tables(path, kinds).items():
        key, kind = f"{_TABLE}.{name}", kinds[name]
        _check_keys(path, key, table, _keys_of(kind))
        if isinstance(kind, ServerRuntime) and kind.own_key and list(table) != ["flags"]:
            found.append(OwnGlue(kind, _glue(path, key, table, kind.own_key)))
        elif "flags" in table:
            flagged = copy.copy(kind)
            flagged.flags = _strings(path, f"{key}.flags", table["flags"])
            found.append(flagged)
    return found


def _keys_of(runtime: Runtime) -> list[str]:
    """Return the keys that a runtime's table may have."""
    own_key = runtime.own_key if isinstance(runtime, ServerRuntime) else ""
    glue = [own_key, "artifact", "args"] if own_key else []
    return glue if runtime.flags_at is None else [*glue, "flags"]


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
    _check_keys(path, _TABLE.rpartition(".")[0], table, [*project.KEYS, "runtimes"])
    tables: dict[str, Any] = table.get("runtimes", {})
    _check_keys(path, _TABLE, tables, known)
    return tables


def _glue(path: Path, key: str, table: Mapping[str, Any], entry_key: str) -> Glue:
    root = Path(os.path.normpath(path.parent.absolute()))
    if "flags" in table:
        raise GlueError(f"{path}: [{key}] has flags beside glue of your own: give them as args.")
    if entry_key not in table:
        raise GlueError(
            f'{path}: [{key}] lacks {entry_key}: the path of the file that serves, such as "edge/…".'
        )
    entry = _place(path, root, f"{key}.{entry_key}", table[entry_key])
    if not entry.is_file():
        raise GlueError(f"{path}: {key}.{entry_key} names {table[entry_key]}, which is not a file.")
    artifact = entry.parent / "artifact.wasm"
    if "artifact" in table:
        artifact = _place(path, root, f"{key}.artifact", table["artifact"])
        if artifact.is_dir() or artifact == entry:
            raise GlueError(
                f"{path}: {key}.artifact names {table['artifact']}, where no artifact can be: give the path "
                "where the glue looks for it."
            )
    args = _strings(path, f"{key}.args", table.get("args", []))
    folder = Path(os.path.commonpath((entry.parent, artifact.parent)))
    return Glue(key, folder, entry.relative_to(folder), artifact.relative_to(folder), args)


def _strings(path: Path, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise GlueError(f'{path}: {key} is {value!r}; give a list of strings, such as ["--experimental"].')
    return tuple(value)


def _place(path: Path, root: Path, key: str, value: object) -> Path:
    """Return the absolute path of a file in the project. Raises GlueError."""
    if not isinstance(value, str) or not value:
        raise GlueError(f"{path}: {key} is {value!r}; give a path, as a string.")
    place = Path(os.path.normpath(root / value))
    if not place.is_relative_to(root) or place == root:
        raise GlueError(f"{path}: {key} is {value!r}; give a path inside the project.")
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


def lay_out(glue: Glue, place: Path, artifact: Path) -> None:
    """Copy the glue's folder to this place, with the artifact where the glue expects it. Raises HostStartError."""
    files = size_bytes = 0
    try:
        for file in _copying(glue.folder, place, glue.folder / glue.artifact):
            files += 1
            size_bytes += file.stat().st_size
            if files > _MOST_FILES or size_bytes > _MOST_BYTES:
                raise HostStartError(
                    f"{glue.key}: {glue.folder} holds more than {_MOST_FILES:,} files or {_MOST_BYTES >> 20} MiB, "
                    "and is copied for each start: move the glue and the place of its artifact into a folder of "
                    "their own."
                )
        target = place / glue.artifact
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(artifact)
    except OSError as error:
        raise HostStartError(f"{glue.key}: the folder {glue.folder} cannot be copied: {error}.") from error


def _copying(source: Path, target: Path, left_out: Path) -> Iterator[Path]:
    """Copy a folder; yield each file before it is copied."""
    target.mkdir()
    with os.scandir(source) as entries:
        for entry in entries:
            path, to = Path(entry.path), target / entry.name
            if path == left_out or entry.name in _LEFT_OUT:
                continue
            if entry.name == _LINKED or (entry.is_symlink() and path.is_dir()):
                to.symlink_to(path.resolve())
            elif entry.is_dir():
                yield from _copying(path, to, left_out)
            elif path.is_file():
                yield path
                shutil.copy(path, to)


class OwnGlue(ServerRuntime):
    """A runtime with glue of the project: it passes on stdin and stdout alone, and a kill is its time limit.

    ``inner`` is the runtime itself: it knows its program, and how that serves the copy of the glue.
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
        if not place.exists():  # once per host
            lay_out(self.glue, place, launch.artifact.path.absolute())
        own = OwnGlueLaunch(launch.executable, place, place / self.glue.entry, self.glue.args)
        try:
            return self.inner.own_argv(own)
        except ValueError as error:
            raise HostStartError(f"{self.glue.key}: {self.glue.entry} {error}") from error

    def probe(self) -> Availability:
        found = super().probe()
        serving = f"{found.path}, serving {self.glue.folder / self.glue.entry}"
        return replace(found, path=serving) if found.available else found
