"""What a project says in its pyproject.toml, ``[tool.pytest-wasmedge]``; the command line comes before it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT
from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.portability.corpus import mask_of
from pytest_wasmedge.portability.document import TomlValue, parse_document
from pytest_wasmedge.portability.encodings import read_utf8
from pytest_wasmedge.portability.masks import MASKS, Mask

#: What stands in the table itself; the tables below it are read by own_glue.py.
KEYS = ("artifact", "cases", "groups", "masks")


class ProjectError(WasmEdgeError):
    """A pyproject.toml has a value that cannot be used; the text names the line."""


@dataclass(frozen=True, slots=True)
class Project:
    """``artifact`` is a name or an absolute path, empty if none is named; ``masks`` include those of the plugin."""

    artifact: str = ""
    cases: tuple[Path, ...] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    masks: Mapping[str, Mask] = field(default_factory=lambda: dict(MASKS))


def find(started_in: Path, rootdir: Path) -> Path:
    """Return the folder of the project that pytest was started in: the nearest one with a table of ours.

    pytest takes a folder further up for its root if only that one has a table for pytest.
    """
    inside = [each for each in (started_in, *started_in.parents) if each.is_relative_to(rootdir)]
    return next((each for each in inside if _has_table(each / "pyproject.toml")), rootdir)


def _has_table(path: Path) -> bool:
    try:
        return bool(re.search(rb"(?m)^\s*\[tool\.pytest-wasmedge\b", path.read_bytes()))
    except OSError:
        return False


def read(rootdir: Path) -> Project:
    """Return what the project in this folder says. Raises ProjectError."""
    path = rootdir / "pyproject.toml"
    if not path.exists():
        return Project()
    whole = parse_document(read_utf8(path, ProjectError), path, ProjectError)
    tool = whole.get("tool", {}).require(dict, "write tables below it: [tool.pytest-wasmedge].")
    table = tool.get("pytest-wasmedge", {}).require(dict, "write a table [tool.pytest-wasmedge].")
    artifact = (
        table.get("artifact", "").require(str, 'write the path of a .wasm file: "dist/guest.wasm".').value
    )
    cases = table.get("cases", []).require(list, 'write cases = ["cases"].')
    masks = table.get("masks", {}).require(dict, 'write [tool.pytest-wasmedge.masks], and NAME = "pattern".')
    groups = table.get("groups", {}).require(
        dict, 'write [tool.pytest-wasmedge.groups], and NAME = ["RUNTIME", …].'
    )
    return Project(
        artifact if artifact in ("", BUILTIN_ARTIFACT) else str(rootdir / artifact),
        tuple(rootdir / item.require(str, 'write cases = ["cases"].').value for item in cases),
        {group.key: _names(group) for group in groups},
        dict(MASKS) | {item.key: mask_of(item) for item in masks},
    )


def _names(group: TomlValue) -> list[str]:
    example = f'write {group.key} = ["RUNTIME", …].'
    if "@" in group.key or "," in group.key or group.key == "all":
        raise group.error(f'"{group.key}" cannot be the name of a group', "give it another one.")
    return [each.require(str, example).value for each in group.require(list, example)]
