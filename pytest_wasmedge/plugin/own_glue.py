"""Glue that a project brings itself: named in its pyproject.toml, run in place of ours, under the plain contract.

``[tool.pytest-wasmedge.runtimes.NAME]`` names the file that serves, and where it expects the artifact. What is
started is a copy of the folder that holds both, with the artifact under test in its place: the project's own tree
is only read.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pytest_wasmedge.drivers import nodes
from pytest_wasmedge.drivers.http import Framed, Plain
from pytest_wasmedge.drivers.process import Announcement
from pytest_wasmedge.drivers.server import Launch, ServerRuntime
from pytest_wasmedge.errors import HostStartError, WasmEdgeError
from pytest_wasmedge.model import Availability, Capability, OutcomeField, Runtime
from pytest_wasmedge.runtimes.bun import Bun
from pytest_wasmedge.runtimes.cloudflare import Cloudflare
from pytest_wasmedge.runtimes.deno import Deno
from pytest_wasmedge.runtimes.node import Node
from pytest_wasmedge.runtimes.workerd import Workerd

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


def runtimes(rootdir: Path) -> list[Runtime]:
    """Return a runtime for each table of the project's pyproject.toml; it replaces the built-in one of its name.

    Raises GlueError.
    """
    return [_KINDS[name](glue) for name, glue in read(rootdir).items()]


def read(rootdir: Path) -> dict[str, Glue]:
    """Return what the project's pyproject.toml says, by runtime. Raises GlueError."""
    path = rootdir / _FILE
    try:
        whole = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise GlueError(f"{path} cannot be read: {error}.") from error
    tool = whole.get("tool")
    table = tool.get("pytest-wasmedge", {}) if isinstance(tool, dict) else {}
    _known(path, _TABLE.rpartition(".")[0], table, ["runtimes"])
    tables = table.get("runtimes", {})
    _known(path, _TABLE, tables, _KINDS)
    return {
        name: _glue(path, f"{_TABLE}.{name}", entry, _KINDS[name].entry_key) for name, entry in tables.items()
    }


def _glue(path: Path, key: str, table: Mapping[str, Any], entry_key: str) -> Glue:
    _known(path, key, table, [entry_key, "artifact", "args"])
    root = Path(os.path.normpath(path.parent.absolute()))
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
    args = table.get("args", [])
    if not isinstance(args, list) or not all(isinstance(arg, str) for arg in args):
        raise GlueError(
            f'{path}: {key}.args is {args!r}; give a list of strings, such as ["--experimental"].'
        )
    folder = Path(os.path.commonpath((entry.parent, artifact.parent)))
    return Glue(key, folder, entry.relative_to(folder), artifact.relative_to(folder), tuple(args))


def _place(path: Path, root: Path, key: str, value: object) -> Path:
    """Return the absolute path of a file in the project. Raises GlueError."""
    if not isinstance(value, str) or not value:
        raise GlueError(f"{path}: {key} is {value!r}; give a path, as a string.")
    place = Path(os.path.normpath(root / value))
    if not place.is_relative_to(root) or place == root:
        raise GlueError(f"{path}: {key} is {value!r}; give a path inside of the project.")
    return place


def _known(path: Path, key: str, table: object, known: Iterable[str]) -> None:
    """Raise GlueError unless this is a table of these keys only."""
    if not isinstance(table, dict):
        raise GlueError(f"{path}: {key} is {table!r}; write it as a table, [{key}].")
    known = list(known)
    for name in table:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
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
    """What the runtimes of other glue share: stdin and stdout are all that it passes on, and a kill is its limit."""

    entry_key: ClassVar[str] = "server"
    wire: ClassVar[Framed] = Plain()
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    limits_itself: ClassVar[bool] = False
    stops_guests: ClassVar[bool] = True
    unchecked: frozenset[OutcomeField] = frozenset({"stderr", "ending"})

    def __init__(self, glue: Glue) -> None:
        self.glue = glue

    def missing(self) -> str:
        return ""

    def probe(self) -> Availability:
        told = super().probe()
        if not told.available:
            return told
        serving = f"{told.path}, serving {self.glue.folder / self.glue.entry}"
        return Availability(True, told.version, told.engine_version, path=serving)

    def greeting(self, launch: Launch) -> bytes:
        return b""

    def entry(self, launch: Launch) -> str:
        """Return the path of what serves, in a copy that is made once per host."""
        place = launch.workspace / "glue"
        if not place.exists():
            lay_out(self.glue, place, launch.artifact.path.absolute())
        return str(place / self.glue.entry)


class OwnServer(OwnGlue):
    """A script that listens where PORT and HOST say."""

    def told_port(self, port: int) -> Mapping[str, str]:
        return {"PORT": str(port), "HOST": "127.0.0.1"}


class OwnNode(OwnServer, Node):
    """``node SERVER``."""

    def argv(self, launch: Launch) -> Sequence[str]:
        return [str(launch.executable), *self.glue.args, self.entry(launch)]


class OwnBun(OwnServer, Bun):
    """``bun run SERVER``."""

    def argv(self, launch: Launch) -> Sequence[str]:
        return [str(launch.executable), "--no-install", *self.glue.args, "run", self.entry(launch)]


class OwnDeno(OwnServer, Deno):
    """``deno serve SERVER`` for a module with a default export, ``deno run SERVER`` for a script that serves."""

    def told_port(self, port: int) -> Mapping[str, str]:
        # Also tells `deno serve`, and `Deno.serve` wherever a script wants to listen.
        return {**super().told_port(port), "DENO_SERVE_ADDRESS": f"tcp:127.0.0.1:{port}"}

    def argv(self, launch: Launch) -> Sequence[str]:
        entry = self.entry(launch)
        text = Path(entry).read_text(encoding="utf-8", errors="replace")
        return [
            str(launch.executable),
            "serve" if re.search(r"\bexport\s+default\b|\bas\s+default\b", text) else "run",
            "--quiet",
            "--no-prompt",
            f"--allow-read={launch.workspace / 'glue'}",
            "--allow-net",
            "--allow-env",
            *self.glue.args,
            entry,
        ]


class OwnWorkerd(OwnGlue, Workerd):
    """``workerd serve CONFIG``, its one socket moved to a port of the system's choice."""

    entry_key = "config"

    def argv(self, launch: Launch) -> Sequence[str]:
        config = self.entry(launch)
        socket = self._socket(Path(config).read_text(encoding="utf-8", errors="replace"))
        return [
            str(launch.executable),
            "serve",
            "--control-fd=1",
            f"--socket-addr={socket}=127.0.0.1:0",
            *self.glue.args,
            config,
        ]

    def _socket(self, config: str) -> str:
        """Return the name of the socket that a configuration listens on. Raises HostStartError."""
        without_comments = re.sub(r"#.*", "", config)
        sockets = re.search(r"\bsockets\s*=\s*\[(.*?)\]", without_comments, re.DOTALL)
        names: list[str] = re.findall(r'\(\s*name\s*=\s*"([^"]+)"', sockets[1]) if sockets else []
        if len(names) != 1:
            raise HostStartError(
                f"{self.glue.key}: {self.glue.entry} has {len(names)} sockets that can be found "
                f'({", ".join(names) or "none"}); give it one, as `sockets = [(name = "http", …)]`.'
            )
        return names[0]


class OwnCloudflare(OwnGlue, Cloudflare):
    """``wrangler dev --config CONFIG``."""

    entry_key = "config"

    def announcement(self, line: bytes) -> Announcement | None:
        found = re.search(rb"Ready on http://127\.0\.0\.1:(\d+)", line)
        return {"port": int(found[1])} if found else None

    def argv(self, launch: Launch) -> Sequence[str]:
        return [
            str(nodes.node()),
            # Its path among the packages is how it finds them.
            str(launch.executable.resolve()),
            "dev",
            f"--config={self.entry(launch)}",
            "--ip=127.0.0.1",
            "--port=0",
            *self.glue.args,
        ]


_KINDS: Mapping[str, type[OwnGlue]] = {
    "workerd": OwnWorkerd,
    "deno": OwnDeno,
    "node": OwnNode,
    "bun": OwnBun,
    "cloudflare": OwnCloudflare,
}
