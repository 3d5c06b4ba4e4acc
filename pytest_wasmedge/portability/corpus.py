"""Cases: what a guest is given once, with what is expected of it in a golden file beside it. docs/cases.md."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from pytest_wasmedge.errors import CorpusError, UnsupportedError
from pytest_wasmedge.model import Invocation, Outcome, OutcomeField, base_name
from pytest_wasmedge.portability.document import TomlValue, nearest, parse_document
from pytest_wasmedge.portability.encodings import read_utf8
from pytest_wasmedge.portability.golden import format_golden, read_golden
from pytest_wasmedge.portability.masks import MASKS, Mask, parse_mask
from pytest_wasmedge.provision.files import whole
from pytest_wasmedge.provision.room import reason

#: A file of this kind describes a case, beside its input file or without one.
SIDECAR = ".toml"
GOLDEN = ".golden"
_FIELDS: tuple[OutcomeField, ...] = get_args(OutcomeField)
_STREAMS = ("stdout", "stderr")
_INPUTS = ("stdin", "stdin_hex", "stdin_file")
#: What a sidecar may say; docs/case.schema.json describes the same to editors.
KEYS = (
    "summary",
    *_INPUTS,
    "args",
    "env",
    "files",
    "timeout_s",
    "memory_mib",
    "compare",
    "masks",
    "mask",
    "sorted_lines",
    "not_for",
)


@dataclass(frozen=True, slots=True)
class Case:
    """What a guest is given once, and how its outcome is compared.

    ``name`` is the path of its file in the corpus without suffix (``errors/uncaught_raise``). ``folders`` are given to
    the guest by guest path, None for an empty one. ``timeout_s``, ``memory_mib`` and ``golden`` are None if the case
    has none; ``kind`` is that of the corpus of others it comes from, and ``declared`` the stdout that they expect.
    ``not_for`` tells by runtime why the case does not apply to it.
    """

    name: str
    path: Path
    stdin: bytes = b""
    summary: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, Path | None] = field(default_factory=dict)
    timeout_s: float | None = None
    memory_mib: int | None = None
    compared: frozenset[OutcomeField] = frozenset(_FIELDS)
    masks: tuple[Mask, ...] = ()
    sorted_lines: frozenset[str] = frozenset()
    not_for: Mapping[str, str] = field(default_factory=dict)
    golden: Outcome | None = None
    declared: bytes | None = None
    kind: str = ""

    @property
    def topic(self) -> str:
        """The first folder of its name; empty for a case that is in none."""
        return self.name.rpartition("/")[0].partition("/")[0]

    @property
    def golden_path(self) -> Path:
        """Where the golden file is, or would be."""
        return self.path.with_suffix(GOLDEN)

    @property
    def unchecked(self) -> frozenset[OutcomeField]:
        """The fields of an outcome that are not compared."""
        return frozenset(_FIELDS) - self.compared

    def reason_not_for(self, runtime: str) -> str:
        """Return why the case does not apply to a runtime, by its name with or without a version; empty if it does."""
        return self.not_for.get(runtime) or self.not_for.get(base_name(runtime), "")

    def invocation(self, empty: Path | None = None) -> Invocation:
        """Return one run of the case; ``empty`` is an empty folder, for those that are."""
        preopens = {guest: folder or empty for guest, folder in self.folders.items()}
        return Invocation(
            self.stdin,
            self.args,
            self.env,
            {guest: folder for guest, folder in preopens.items() if folder},
            self.timeout_s,
        )


def load_corpus(root: Path, masks: Mapping[str, Mask] = MASKS, *, orphans: bool = False) -> tuple[Case, ...]:
    """Return all cases of a folder, sorted by name; ``masks`` are those that they may name.

    Raises CorpusError for a sidecar or golden file that cannot be read, two cases of one name, a golden file without
    its case unless there may be ``orphans``, and a folder without any case: a missing corpus must not look like one
    that passes.
    """
    files = sorted(_files(root))
    tables, named = _sidecars(path for path in files if path.suffix == SIDECAR)
    inputs: dict[Path, Path] = {}
    for path in files:
        if path.suffix in (SIDECAR, GOLDEN) or _is_given(path, named):
            continue
        if (other := inputs.setdefault(_stem(path), path)) != path:
            raise CorpusError(f"{other} and {path} would both be the case {path.stem}; rename one of them.")
    if not inputs and not tables:
        what = "holds no case: a case is an input file of any kind, or a NAME.toml" if root.is_dir() else ""
        wrong = "is not a folder" if root.exists() else "does not exist"
        raise CorpusError(f"the folder of cases {root} {what or wrong}. Correct the path.")
    stems = inputs.keys() | tables.keys()
    cases = [_load(root, stem, inputs.get(stem), tables.get(stem), masks) for stem in stems]
    if not orphans and (lost := find_orphans(root, cases)):
        raise CorpusError(f"{lost[0]} is a golden file that belongs to no case. Delete or rename it.")
    return tuple(sorted(cases, key=lambda case: case.name))


def find_orphans(root: Path, cases: Iterable[Case]) -> list[Path]:
    """Return the golden files in a folder that belong to none of these cases."""
    known, given = set(), set()
    for case in cases:
        known.add(case.golden_path)
        given |= {_normal(folder) for folder in case.folders.values() if folder}
    found = (path for path in _files(root) if path.suffix == GOLDEN and path not in known)
    return sorted(path for path in found if not _is_given(path, given))


def write_golden(case: Case, outcome: Outcome) -> None:
    """Write the outcome as the case's golden file. Raises CorpusError if the host failed, or it cannot be written."""
    try:
        with whole(case.golden_path) as part:
            part.write_bytes(format_golden(outcome).encode())
    except OSError as error:
        why = reason(error, case.golden_path.parent)
        raise CorpusError(
            f"{case.golden_path} cannot be written: {why}. What was there is unchanged."
        ) from error


def _files(root: Path) -> Iterator[Path]:
    """Yield what may belong to a case: no hidden files, none in hidden folders, and no README."""
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        if any(part.startswith((".", "__pycache__")) for part in parts) or path.stem == "README":
            continue
        if path.is_file():
            yield path


def _stem(path: Path) -> Path:
    return path.with_suffix("")


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path))


def _is_given(path: Path, named: Collection[Path]) -> bool:
    """Return whether a file is, or is in, what a sidecar gives to the guest."""
    return any(each in named for each in (path, *path.parents))


def _sidecars(paths: Iterable[Path]) -> tuple[dict[Path, TomlValue], set[Path]]:
    """Return all sidecars by the stem of their case, and the files and folders that they give to guests.

    A file of TOML in such a folder is the guest's, and may say anything. Raises CorpusError for the others.
    """
    read: dict[Path, TomlValue | CorpusError] = {}
    named: set[Path] = set()
    for path in paths:
        try:
            table = read[path] = parse_document(read_utf8(path, CorpusError), path, CorpusError)
        except CorpusError as error:
            read[path] = error
            continue
        with suppress(CorpusError):
            named |= set(_named(table))
    tables = {}
    for path, found in read.items():
        if _is_given(path, named):
            continue
        if isinstance(found, CorpusError):
            raise found
        found.require_keys(KEYS, "a case")
        _ = list(_named(found))
        tables[_stem(path)] = found
    return tables, named


def _named(table: TomlValue) -> Iterator[Path]:
    """Yield the files and folders that a sidecar gives to the guest: they are no cases. Raises CorpusError."""
    if "stdin_file" in table.value:
        item = table["stdin_file"].require(str, 'write the name of a file beside it: "big.bin".')
        yield _beside(item, is_folder=False)
    for item in table.get("files", {}).require(dict, 'write { "/data" = "a folder beside it" }.'):
        item.require(str, 'write the name of a folder beside it, or "" for an empty one.')
        if item.value:
            yield _beside(item, is_folder=True)


def _beside(item: TomlValue, *, is_folder: bool) -> Path:
    place = item.document.path.parent / item.value
    kind = "folder" if is_folder else "file"
    if not (place.is_dir() if is_folder else place.is_file()):
        raise item.error(f'"{item.value}" is no {kind} beside it', "create it, or correct its name.")
    if is_folder and item.document.path.parent.is_relative_to(place):
        raise item.error(f'"{item.value}" holds this case itself', "give a folder of its own.")
    return _normal(place)


def _load(
    root: Path, stem: Path, path: Path | None, table: TomlValue | None, masks: Mapping[str, Mask]
) -> Case:
    name = stem.relative_to(root).as_posix()
    if not name.isprintable():
        raise CorpusError(f"{str(stem)!a} has a name that cannot be printed. Rename it.")
    told = _told(table, path, masks) if table else {}
    if path:
        try:
            told["stdin"] = path.read_bytes()
        except OSError as error:
            raise CorpusError(f"{path} cannot be read: {error.strerror or error}.") from error
    case = Case(name, path or stem.with_name(f"{stem.name}{SIDECAR}"), **told)
    try:
        # What no host can carry: found before anything starts.
        case.invocation()
    except UnsupportedError as error:
        raise CorpusError(f"{table.document.path if table else case.path}: {error}") from None
    return replace(case, golden=read_golden(case.golden_path)) if case.golden_path.exists() else case


def _told(table: TomlValue, path: Path | None, masks: Mapping[str, Mask]) -> dict[str, Any]:
    """Return the fields of a case that its sidecar tells. Raises CorpusError."""
    inputs = [key for key in _INPUTS if key in table.value]
    if len(inputs) + bool(path) > 1:
        given = [*([f"the file {path.name}"] if path else []), *inputs]
        raise table[inputs[-1]].error(f"stdin is given twice, by {' and '.join(given)}", "keep one of them.")
    told: dict[str, Any] = {
        "summary": table.get("summary", "").require(str, 'write one sentence: "What it shows."').value,
        "args": tuple(_texts(table, "args", 'write args = ["--verbose", "file"].')),
        "env": _table_of_texts(table, "env", 'write env = { NAME = "value" }.'),
        "folders": {
            item.key: table.document.path.parent / item.value if item.value else None
            for item in table.get("files", {})
        },
        "timeout_s": _positive(table, "timeout_s", "a time limit in seconds, such as 60."),
        "masks": tuple(_masks(table, masks)),
        "sorted_lines": frozenset(_chosen(table, "sorted_lines", _STREAMS)),
        "not_for": _table_of_texts(table, "not_for", 'write [not_for], and RUNTIME = "the reason".'),
    }
    if inputs:
        told["stdin"] = _stdin(table[inputs[0]])
    if "memory_mib" in table.value:
        item = table["memory_mib"].require(int, "write whole mebibytes, such as 64.")
        if not 0 < item.value <= 4096:
            raise item.error(f"memory_mib is {item.value}", "write 1 to 4096 mebibytes.")
        told["memory_mib"] = item.value
    if "compare" in table.value:
        told["compared"] = frozenset(_chosen(table, "compare", _FIELDS))
        if not told["compared"]:
            raise table["compare"].error("compare is empty", f"name some of {', '.join(_FIELDS)}.")
    return told


def _stdin(item: TomlValue) -> bytes:
    if item.key == "stdin_file":
        return bytes(_beside(item, is_folder=False).read_bytes())
    item.require(str, 'write a string, such as stdin = "text".')
    if item.key == "stdin":
        return str(item.value).encode()
    try:
        return bytes.fromhex(item.value)
    except ValueError:
        raise item.error("stdin_hex is not hexadecimal", 'write pairs of digits: "00ff".') from None


def _texts(table: TomlValue, key: str, remedy: str) -> Iterator[str]:
    for item in table.get(key, []).require(list, remedy):
        yield item.require(str, remedy, f"an element of {key}").value


def _table_of_texts(table: TomlValue, key: str, remedy: str) -> dict[str, str]:
    items = table.get(key, {}).require(dict, remedy)
    return {item.key: item.require(str, remedy).value for item in items}


def _chosen(table: TomlValue, key: str, known: tuple[str, ...]) -> Iterator[str]:
    example = f'write {key} = ["{known[0]}"].'
    for item in table.get(key, []).require(list, example):
        if item.require(str, example, f"an element of {key}").value not in known:
            raise item.error(f'{key} has no "{item.value}"', nearest(item.value, known))
        yield item.value


def _positive(table: TomlValue, key: str, wanted: str) -> float | None:
    if key not in table.value:
        return None
    item = table[key]
    number = item.value if type(item.value) in (int, float) else math.nan
    if not 0 < number < math.inf:
        raise item.error(f"{key} is {item.value!r}", f"write {wanted}")
    return float(number)


def _masks(table: TomlValue, known: Mapping[str, Mask]) -> Iterator[Mask]:
    """Yield the masks that a case names, in this order, then those that it defines itself."""
    for item in table.get("masks", []).require(list, 'write masks = ["elapsed"].'):
        name = item.require(str, 'write its name: "elapsed".', "an element of masks").value
        if name not in known:
            raise item.error(f'there is no mask "{name}"', nearest(name, known))
        yield known[name]
    for item in table.get("mask", {}).require(dict, 'write [mask], and NAME = "a regular expression".'):
        yield mask_of(item)


def mask_of(item: TomlValue) -> Mask:
    """Return the mask that a value defines under its own key. Raises the document's error."""
    pattern = item.require(str, "write a regular expression, as a string.").value
    return item.parsed(lambda _: parse_mask(item.key, pattern))
