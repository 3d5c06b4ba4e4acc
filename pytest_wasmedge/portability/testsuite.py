"""Programs in the format of WebAssembly/wasi-testsuite: ``NAME.wasm``, with its input and outcome in ``NAME.json``.

Specification: https://github.com/WebAssembly/wasi-testsuite/blob/main/doc/specification.md
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_wasmedge.errors import CorpusError, did_you_mean
from pytest_wasmedge.model import Invocation, Outcome, OutcomeField, Runtime, exited
from pytest_wasmedge.portability.encodings import read_utf8

#: The name of the format: before the path in ``--wasm-corpus``, and before the names of its cases.
FORMAT = "wasi-testsuite"

#: A folder with this file is part of the published suite, whose programs may print what they do not declare.
_MANIFEST = "manifest.json"
_PREVIEW_1 = "wasm32-wasip1"
#: Files that a failed run of the suite may leave in a root.
_LITTER = "*.cleanup"


@dataclass(frozen=True, slots=True)
class Program:
    """One program with its input and its expected outcome.

    ``name`` is the format's name and the program's path in the folder without suffix. ``folders`` are preopened, by
    guest path. ``unchecked`` are what the suite does not check: what is left in folders, and some streams.
    """

    name: str
    path: Path
    expected: Outcome
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)
    unchecked: frozenset[OutcomeField] = frozenset({"files"})

    @property
    def short_name(self) -> str:
        """The name without that of the format."""
        return self.name.removeprefix(f"{FORMAT}/")

    def lacking(self, runtime: Runtime) -> str:
        """Return why the runtime cannot be asked to run this program, by what it cannot do; empty if it can."""
        if runtime.yardstick:
            return f"{runtime.name} runs no artifact"
        if runtime.deployed:
            return f"{runtime.name} holds the artifact that it was deployed with"
        if "ending" in runtime.unchecked:
            return f"{runtime.name} does not tell how a guest ended"
        if self.folders and "preopens" not in runtime.capabilities:
            return f"{runtime.name} cannot give folders to a guest"
        return ""

    def invocation(self, scratch: Path) -> Invocation:
        """Return one run of the program, with copies of its folders in ``scratch``, since programs write into them.

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


def load_testsuite(root: Path) -> tuple[Program, ...]:
    """Return all programs below a folder, sorted by name.

    Raises CorpusError for a ``.json`` that is wrong, a folder in it that does not exist, and a folder without any
    program.
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
    _check(source, table)
    stdout, stderr = (table.get(stream, "").encode() for stream in ("stdout", "stderr"))
    undeclared: set[OutcomeField] = {"stdout", "stderr"}
    files: frozenset[OutcomeField] = frozenset({"files"})
    return Program(
        f"{FORMAT}/{path.relative_to(root).with_suffix('').as_posix()}",
        path,
        Outcome(stdout, stderr, exited(table.get("exit_code", 0))),
        tuple(table.get("args", ())),
        table.get("env", {}),
        _folders(source, table),
        files.union(undeclared - table.keys() if published else ()),
    )


def _is_published(folder: Path) -> bool:
    """Return whether the folder is part of the published suite. Raises CorpusError if it is not of preview 1."""
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
        table = json.loads(read_utf8(source, CorpusError).removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise CorpusError(f"{source}, line {error.lineno}: not JSON: {error.msg}. Correct it.") from None
    if not isinstance(table, dict):
        raise CorpusError(f"{source} holds no JSON object. Write {{…}} with any of {', '.join(_CHECKS)}.")
    return table


def _check(source: Path, table: Mapping[str, Any]) -> None:
    """Raise CorpusError for wrong values and misspelt keys; other unknown keys are ignored, as by the suite."""
    if "operations" in table:
        raise CorpusError(
            f"{source} describes its run by `operations`, which are for later versions of WASI. "
            f"Write it with {', '.join(_CHECKS)}."
        )
    for key, value in table.items():
        if key in _CHECKS:
            is_right, wanted = _CHECKS[key]
            if not is_right(value):
                raise CorpusError(f"{source}: {key} must be {wanted}. Correct it.")
        elif hint := did_you_mean(key, _CHECKS, cutoff=0.8):
            raise CorpusError(f"{source} has the unknown key {key}.{hint}")


def _folders(source: Path, table: Mapping[str, Any]) -> dict[str, Path]:
    """Return ``root``, which is preopened as ``/``, and the ``dirs`` of older files under their own names."""
    named = {"/": table["root"]} if "root" in table else {}
    named |= {name: name for name in table.get("dirs", ())}
    for name in named.values():
        if not (source.parent / name).is_dir():
            raise CorpusError(f"{source} names the folder {name}, which is not beside it. Create it.")
    return {guest_path: source.parent / name for guest_path, name in named.items()}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_beside(name: object) -> bool:
    path = Path(str(name)) if _is_text(name) else Path()
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


#: What a description may hold: by key, a check of its value and what the value must be.
_CHECKS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "args": (
        lambda args: isinstance(args, list) and all(map(_is_text, args)),
        "a list of strings without NUL",
    ),
    "env": (
        lambda env: isinstance(env, dict) and all(map(_is_text, [*env, *env.values()])),
        "an object whose values are strings without NUL",
    ),
    "root": (_is_beside, "the name of a folder beside it"),
    "dirs": (
        lambda dirs: isinstance(dirs, list) and all(map(_is_beside, dirs)),
        "a list of names of folders beside it",
    ),
    "exit_code": (lambda status: type(status) is int, "a whole number"),
    "stdout": (lambda text: isinstance(text, str), "a string"),
    "stderr": (lambda text: isinstance(text, str), "a string"),
}
