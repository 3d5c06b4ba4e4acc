"""Programs in the format of WebAssembly/wasi-testsuite: ``NAME.wasm``, what it is given and must do in ``NAME.json``.

Its specification: https://github.com/WebAssembly/wasi-testsuite/blob/main/doc/specification.md
"""

from __future__ import annotations

import difflib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_wasmedge.errors import CorpusError
from pytest_wasmedge.model import Invocation, Outcome, OutcomeField, exited

#: The name of the format: before the path in ``--wasm-corpus``, and before the names of its cases.
FORMAT = "wasi-testsuite"

_KEYS = ("args", "env", "root", "dirs", "exit_code", "stdout", "stderr")
#: A folder that has it is a part of the published suite, which lets a program print what it does not declare.
_MANIFEST = "manifest.json"
_PREVIEW_1 = "wasm32-wasip1"
#: What a run of the suite that did not end well may have left in a root.
_LITTER = "*.cleanup"


@dataclass(frozen=True, slots=True)
class Program:
    """One program with what it is given and the outcome that it must have.

    ``name`` is its path in the folder without suffix, behind the format's name. ``folders`` are preopened, by
    guest path. ``unchecked`` are the streams about which the suite says nothing.
    """

    name: str
    path: Path
    expected: Outcome
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)
    unchecked: frozenset[OutcomeField] = frozenset()

    @property
    def short_name(self) -> str:
        """The name without the format's."""
        return self.name.removeprefix(f"{FORMAT}/")

    def invocation(self, scratch: Path) -> Invocation:
        """Return one run of it; its folders are copied into ``scratch`` first, since programs write into them.

        Symbolic links stay links. Raises CorpusError for a folder that cannot be copied.
        """
        preopens = {}
        for number, (guest_path, folder) in enumerate(self.folders.items()):
            preopens[guest_path] = scratch / f"folder-{number}"
            try:
                shutil.copytree(
                    folder, preopens[guest_path], symlinks=True, ignore=shutil.ignore_patterns(_LITTER)
                )
            except (OSError, shutil.Error) as error:
                raise CorpusError(f"{folder} cannot be copied for {self.name}: {error}.") from error
        return Invocation(args=self.args, env=self.env, preopens=preopens)


def read_corpus(spec: str, relative_to: Path) -> tuple[Program, ...]:
    """Return the programs of a corpus given as ``FORMAT:PATH``. Raises CorpusError."""
    name, _, path = spec.partition(":")
    if name != FORMAT or not path:
        raise CorpusError(
            f"--wasm-corpus={spec}: give format and folder, such as {FORMAT}:PATH; {FORMAT} is the one "
            "format that is known."
        )
    return load_testsuite(relative_to / path)


def load_testsuite(root: Path) -> tuple[Program, ...]:
    """Return all programs below a folder, sorted by name.

    Raises CorpusError for a ``.json`` that cannot be read or means nothing, a folder that it names and that is
    not there, and a folder without any program.
    """
    paths = [path for path in root.rglob("*.wasm") if path.is_file()]
    if not paths:
        what = "holds no program" if root.is_dir() else "is not a folder"
        raise CorpusError(
            f"{FORMAT} corpus {root} {what}: a program is a *.wasm file in it. Correct the path."
        )
    return tuple(sorted((_load(root, path) for path in paths), key=lambda program: program.name))


def _load(root: Path, path: Path) -> Program:
    published = _is_published(path.parent)
    source = path.with_suffix(".json")
    table = _read(source) if source.exists() else {}
    _check_keys(source, table)
    undeclared: set[OutcomeField] = {"stdout", "stderr"}
    return Program(
        f"{FORMAT}/{path.relative_to(root).with_suffix('').as_posix()}",
        path,
        Outcome(
            _text(source, table, "stdout").encode(),
            _text(source, table, "stderr").encode(),
            exited(_status(source, table)),
        ),
        _args(source, table),
        _env(source, table),
        _folders(source, table),
        frozenset(undeclared - table.keys()) if published else frozenset(),
    )


def _is_published(folder: Path) -> bool:
    """True if the folder is one of the suite as it is published. Raises CorpusError if it is not of preview 1."""
    source = folder / _MANIFEST
    if not source.exists():
        return False
    version = _read(source).get("version", _PREVIEW_1)
    if version != _PREVIEW_1:
        raise CorpusError(
            f"{source}: these programs are of {version!r}. Hosts here run WASI preview 1: give the folder "
            f"of {_PREVIEW_1}."
        )
    return True


def _read(source: Path) -> dict[str, Any]:
    try:
        table = json.loads(source.read_bytes())
    except OSError as error:
        raise CorpusError(f"{source} cannot be read: {error.strerror}. Check its permissions.") from error
    except UnicodeDecodeError:
        raise CorpusError(f"{source} is not UTF-8. Save it as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise CorpusError(f"{source}, line {error.lineno}: not JSON: {error.msg}. Correct it.") from None
    if not isinstance(table, dict):
        raise CorpusError(f"{source} holds no JSON object. Write {{…}} with any of {', '.join(_KEYS)}.")
    return table


def _check_keys(source: Path, table: Mapping[str, Any]) -> None:
    """Let unknown keys be, as the suite's own runner does, but for those that would make a run prove nothing."""
    if "operations" in table:
        raise CorpusError(
            f"{source} describes its run by `operations`, which are for later versions of WASI. "
            f"Write it with {', '.join(_KEYS)}."
        )
    for key in table.keys() - set(_KEYS):
        if near := difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.8):
            raise CorpusError(f"{source} has the unknown key {key}. Did you mean {near[0]}?")


def _text(source: Path, table: Mapping[str, Any], key: str) -> str:
    text = table.get(key, "")
    if not isinstance(text, str):
        raise _wrong(source, key, "a string")
    return text


def _status(source: Path, table: Mapping[str, Any]) -> int:
    status = table.get("exit_code", 0)
    if not isinstance(status, int) or isinstance(status, bool):
        raise _wrong(source, "exit_code", "a whole number")
    return status


def _args(source: Path, table: Mapping[str, Any]) -> tuple[str, ...]:
    args = table.get("args", [])
    if not isinstance(args, list) or not all(map(_is_passable, args)):
        raise _wrong(source, "args", "a list of strings without NUL")
    return tuple(args)


def _env(source: Path, table: Mapping[str, Any]) -> dict[str, str]:
    env = table.get("env", {})
    if not isinstance(env, dict) or not all(map(_is_passable, [*env, *env.values()])):
        raise _wrong(source, "env", "an object whose values are strings without NUL")
    return env


def _folders(source: Path, table: Mapping[str, Any]) -> dict[str, Path]:
    """Return ``root``, which is preopened as ``/``, and the ``dirs`` of older files under their own names."""
    named: dict[str, Any] = {}
    if "root" in table:
        named["/"] = table["root"]
    dirs = table.get("dirs", [])
    if not isinstance(dirs, list) or not all(map(_is_passable, dirs)):
        raise _wrong(source, "dirs", "a list of folder names")
    named |= {name: name for name in dirs}
    folders = {}
    for guest_path, name in named.items():
        key = "root" if guest_path == "/" else "dirs"
        if not _is_passable(name) or not _is_beside(Path(name)):
            raise _wrong(source, key, "the name of a folder beside it")
        folders[guest_path] = source.parent / name
        if not folders[guest_path].is_dir():
            raise CorpusError(
                f"{source}: there is no folder {name} beside it, which its {key} names. Make it."
            )
    return folders


def _is_passable(text: object) -> bool:
    return isinstance(text, str) and "\0" not in text


def _is_beside(name: Path) -> bool:
    return bool(name.parts) and not name.is_absolute() and ".." not in name.parts


def _wrong(source: Path, key: str, wanted: str) -> CorpusError:
    return CorpusError(f"{source}: {key} must be {wanted}. Correct it.")
