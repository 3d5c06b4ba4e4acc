"""Reads ``portability.toml`` strictly: anything it does not understand is an error that names the line."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from pathlib import Path

from pytest_wasmedge.contract.differing import (
    TOLD,
    Differs,
    Golden,
    Normalised,
    Replaced,
    parse_golden_ending,
)
from pytest_wasmedge.contract.entries import ANY, FIELDS, KINDS, Ceiling, Contract, Known, parse_runtime
from pytest_wasmedge.contract.limits import ArtifactLimit, ArtifactLimits, ImportRule, parse_size
from pytest_wasmedge.contract.presets import NUMBERS, presets
from pytest_wasmedge.contract.work import read_work
from pytest_wasmedge.errors import ContractError
from pytest_wasmedge.latency.units import Duration, parse_limit
from pytest_wasmedge.portability.document import TomlValue, nearest, parse_document
from pytest_wasmedge.portability.encodings import read_utf8
from pytest_wasmedge.portability.normalising import NORMALISATIONS

_MOST_PAGES = 65536
#: The keys that a ``[[known]]`` table must have, and what to write.
_EXAMPLES = {
    "case": 'case = "errors/deep_*"',
    "runtimes": 'runtimes = ["deno >=2.8,<3"]',
    "field": 'field = "stderr"',
    "reason": 'reason = "why it diverges"',
    "issue": 'issue = "https://…", where it is tracked',
}
_DIFFERS = f'write differs = "{next(iter(NORMALISATIONS))}", or {{ "its text" = "the reference\'s text" }}.'


def load_contract(path: Path) -> Contract:
    """Read a contract. Raises ContractError: ``portability.toml:LINE: what is wrong; what to do``."""
    return parse_contract(read_text(path), path)


def read_text(path: Path) -> str:
    """Return the text of a contract as it is, line ends included. Raises ContractError."""
    if not path.exists():
        raise ContractError(
            f"{path} does not exist; give the path of a contract, or write one with --wasm-update-contract."
        )
    return read_utf8(path, ContractError)


def parse_contract(text: str, path: Path) -> Contract:
    """Read a contract from its text; ``path`` is its name in messages. Raises ContractError."""
    document = parse_document(text, path, ContractError)
    document.require_keys(("ceilings", "artifact", "work", "known"), "a contract")
    runtimes = document.get("ceilings", {}).require(dict, "write a table [ceilings.RUNTIME].")
    ceilings = tuple(ceiling for table in runtimes for ceiling in _ceilings(table))
    limits = _limits(document.get("artifact", {}).require(dict, "write a table [artifact]."))
    tables = document.get("known", []).require(list, "write [[known]], with two brackets.")
    entries = [_known(table) for table in tables]
    _check_known_once([known for known, _ in entries], path)
    return Contract(
        path,
        ceilings,
        limits,
        tuple(known for known, is_draft in entries if not is_draft),
        tuple(known for known, is_draft in entries if is_draft),
        read_work(document["work"]) if "work" in document.value else None,
    )


def _ceilings(table: TomlValue) -> list[Ceiling]:
    runtime = table.key
    if runtime in KINDS or not isinstance(table.value, dict):
        header, kind = (ANY, runtime) if runtime in KINDS else (runtime, "warm/tiny")
        raise table.error(
            f'"{runtime}" is not a table of ceilings',
            f'write [ceilings."{header}"] and below it "{kind}" = "10ms".',
        )
    if not runtime:
        raise table.error("the runtime's name is empty", 'name it, or write [ceilings."*"].')
    ceilings = [ceiling for item in table for ceiling in _ceilings_of_kind(runtime, item)]
    durations = {each.kind: each.limit for each in ceilings if isinstance(each.limit, Duration)}
    cached, plain = durations.get("cold/code-cache"), durations.get("cold/no-cache")
    if cached and plain and cached > plain:
        raise table["cold/code-cache"].error(
            f"cold/code-cache may take {cached}, longer than cold/no-cache with {plain} "
            f"(line {table['cold/no-cache'].span.first})",
            "lower this one or raise the other.",
        )
    return ceilings


def _ceilings_of_kind(runtime: str, item: TomlValue) -> list[Ceiling]:
    if item.key not in KINDS:
        raise item.error(f'there is no kind of ceiling "{item.key}"', nearest(item.key, KINDS))
    if not isinstance(item.value, list):
        return [_ceiling(runtime, item.key, item)]
    ceilings: list[Ceiling] = []
    for each in item:
        ceiling = _ceiling(runtime, item.key, each)
        if any(type(ceiling.limit) is type(other.limit) for other in ceilings):
            what = "duration" if isinstance(ceiling.limit, Duration) else "multiple of the floor"
            raise each.error(f'"{each.value}" is a second {what} for {item.key}', "delete one of the two.")
        ceilings.append(ceiling)
    if not ceilings:
        raise item.error(
            f"{item.key} has no limit", 'write a duration, a multiple, or both: ["25ms", "3.5x floor"].'
        )
    return ceilings


def _ceiling(runtime: str, kind: str, item: TomlValue) -> Ceiling:
    limit = item.require(str, 'write it with its unit: "25ms".', kind).parsed(parse_limit)
    if isinstance(limit, Duration):
        if limit.ns == 0:
            raise item.error(f'a ceiling of "{item.value}" always fails', "write the longest time allowed.")
    elif not kind.startswith("cold/"):
        raise item.error(
            f'"{kind}" has no floor, so "{item.value}" means nothing',
            "write a duration; only kinds that begin with cold/ can be multiples of the floor.",
        )
    elif limit.factor < 1:
        raise item.error(
            f'"{item.value}" is less than the host alone takes', "write a multiple of 1 or more."
        )
    return Ceiling(runtime, kind, limit, item.span.first)


def _limits(artifact: TomlValue) -> ArtifactLimits:
    artifact.require_keys(("presets", *NUMBERS, "imports"), "[artifact]")
    numbers = {key: _number(artifact[key]) for key in NUMBERS if key in artifact.value}
    seen: set[str] = set()
    for preset in _strings(artifact.get("presets", []), 'presets = ["fastly-compute"]'):
        name = preset.value
        if name not in presets():
            raise preset.error(f'there is no preset "{name}"', nearest(name, presets()))
        if name in seen:
            raise preset.error(f'the preset "{name}" is given twice', "delete one of the two.")
        seen.add(name)
        for key, limit in presets()[name].limits.items():
            numbers[key] = min(numbers.get(key, limit), limit, key=lambda each: each.value)
    imports = None
    if "imports" in artifact.value:
        globs = _strings(artifact["imports"], 'imports = ["wasi_snapshot_preview1.*"]')
        imports = ImportRule(tuple(each.value for each in globs), artifact["imports"].origin)
    return ArtifactLimits(**numbers, imports=imports)


def _number(item: TomlValue) -> ArtifactLimit:
    if item.key in ("bytes", "gzip_bytes"):
        number = item.parsed(parse_size)
    else:
        number = item.require(int, f"write an integer: {item.key} = 8192.").value
    if number < 1:
        raise item.error(f"no artifact has {item.key} of {number}", "write the most that is allowed.")
    if item.key == "memory_pages" and number > _MOST_PAGES:
        raise item.error(f"{number} pages of 64 KiB are more than 4 GiB", f"write at most {_MOST_PAGES}.")
    return ArtifactLimit(number, item.origin)


def _known(table: TomlValue) -> tuple[Known, bool]:
    """Return a known divergence, and whether it is a draft."""
    table.require(dict, "write a table [[known]].", "a known divergence")
    table.require_keys((*_EXAMPLES, "differs", "outcome", "draft"), "[[known]]")
    draft = table.get("draft", False).require(bool, "write true, or delete the line.").value
    for key, example in _EXAMPLES.items():
        if key not in table.value and not (draft and key in ("reason", "issue")):
            raise table.error(f"this known divergence has no {key}", f"add {example}.")
    case = _string(table["case"])
    reason = _string(table.get("reason", ""), may_be_empty=draft)
    issue = _string(table.get("issue", ""), may_be_empty=draft)
    if issue and not issue.startswith(("https://", "http://")):
        raise table["issue"].error(f'"{issue}" is no link', 'write where it is tracked: "https://…".')
    texts = _strings(table["runtimes"], _EXAMPLES["runtimes"])
    if not texts:
        raise table["runtimes"].error("no runtime is named", 'name them, or write ["*"] for all.')
    runtimes = tuple(each.parsed(partial(parse_runtime, line=each.span.first)) for each in texts)
    fields = _fields(table["field"])
    differs = _differs(table, fields)
    return Known(case, runtimes, fields, reason, issue, table.span.first, table.span.last, differs), draft


def _fields(item: TomlValue) -> tuple[str, ...]:
    fields = [item] if isinstance(item.value, str) else _strings(item, 'field = ["stdout", "stderr"]')
    if not fields:
        raise item.error("no field is named", f"write one or more of: {', '.join(FIELDS)}.")
    for each in fields:
        if each.value not in FIELDS:
            raise each.error(f'there is no field "{each.value}"', nearest(each.value, FIELDS))
    names = tuple(each.value for each in fields)
    if twice := [name for name in names if names.count(name) > 1]:
        raise item.error(f'the field "{twice[0]}" is given twice', "delete one of the two.")
    return names


def _differs(table: TomlValue, fields: tuple[str, ...]) -> Differs | None:
    """Return what an entry says that differs, None if it does not say it."""
    if "outcome" in table.value:
        if "differs" in table.value:
            raise table["differs"].error("outcome tells all that differs", "delete one of the two.")
        return _golden(table["outcome"], table["field"], fields)
    if "differs" not in table.value:
        return None
    item = table["differs"]
    if others := [each for each in fields if each not in TOLD[:2]]:
        remedy = (
            "name stdout or stderr, where the leak shows."
            if others[0] == "leak"
            else "write outcome = {…}, or delete differs."
        )
        raise table["field"].error(f'differs is about streams, not about "{others[0]}"', remedy)
    if isinstance(item.value, str):
        if item.value not in NORMALISATIONS:
            raise item.error(f'there is no normalisation "{item.value}"', nearest(item.value, NORMALISATIONS))
        return Normalised(item.value)
    for each in item.require(dict, _DIFFERS):
        each.require(str, _DIFFERS, f'"{each.key}"')
        if not each.key:
            raise each.error("an empty text cannot be replaced", _DIFFERS)
        if each.key == each.value:
            raise each.error(
                f'"{each.key}" is replaced by itself', "delete it, or write what the reference has."
            )
    if not item.value:
        raise item.error("differs names no text", _DIFFERS)
    return Replaced(tuple(item.value.items()))


def _golden(item: TomlValue, field: TomlValue, fields: tuple[str, ...]) -> Golden:
    example = 'write outcome = { ending = "exited(7)", stdout = "…" }.'
    for each in item.require(dict, example):
        if each.key not in TOLD:
            raise each.error(f'an outcome has no "{each.key}"', nearest(each.key, TOLD))
        each.require(str, example)
        if each.key not in fields:
            raise each.error(
                f'field does not name "{each.key}"', f'add "{each.key}" to field, or delete it here.'
            )
        if each.key == "ending" and parse_golden_ending(each.value)[0] is None:
            endings = "exited(N), trapped, timed_out, out_of_memory or host_failed"
            raise each.error(
                f'"{each.value}" is no ending',
                f"write {endings}, with a colon and the engine's words if need be.",
            )
    if missing := [each for each in fields if each not in item.value]:
        remedy = f'add {missing[0]} = "…" to it, or take it out of field.'
        if missing[0] not in TOLD:
            remedy = f'take "{missing[0]}" out of field; it needs an entry of its own.'
        raise field.error(f'outcome says nothing about "{missing[0]}"', remedy)
    return Golden(tuple(item.value.items()))


def _check_known_once(entries: list[Known], path: Path) -> None:
    """Raise ContractError if two entries repeat a case, field and runtime; version ranges may differ."""
    places = [
        (known.case, name, runtime)
        for known in entries
        for runtime in known.runtimes
        for name in known.fields
    ]
    for (*place, earlier), (*other_place, runtime) in combinations(places, 2):
        if place == other_place and runtime.repeats(earlier):
            case, name = place
            raise ContractError(
                f'{path}:{runtime.line}: {name} of "{case}" on "{runtime}" is already known '
                f'(line {earlier.line}, for "{earlier}"); delete one of the two.'
            )


def _string(item: TomlValue, *, may_be_empty: bool = False) -> str:
    text = item.require(str, f"write {_EXAMPLES[item.key]}.").value
    if not text.strip() and not may_be_empty:
        raise item.error(f"{item.key} is empty", f"write {_EXAMPLES[item.key]}.")
    return str(text)


def _strings(item: TomlValue, example: str) -> list[TomlValue]:
    """Return the elements of an array of strings, none of them empty."""
    for each in item.require(list, f"write an array: {example}."):
        if not each.require(str, f"write strings: {example}.", f"an element of {item.key}").value.strip():
            raise each.error(f"{item.key} holds an empty string", "delete it, or fill it in.")
    return list(item)
