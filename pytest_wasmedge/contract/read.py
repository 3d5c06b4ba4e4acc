"""Reads ``portability.toml`` strictly: whatever is not understood is an error that names its line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from pytest_wasmedge.contract.entries import (
    ANY,
    FIELDS,
    KINDS,
    Ceiling,
    Contract,
    Known,
    RuntimeRange,
    parse_runtime,
)
from pytest_wasmedge.contract.limits import ArtifactLimit, ArtifactLimits, ImportRule
from pytest_wasmedge.contract.lines import Where
from pytest_wasmedge.contract.presets import NUMBERS, presets
from pytest_wasmedge.contract.sizes import parse_size
from pytest_wasmedge.contract.source import Source, nearest, read_text, type_of
from pytest_wasmedge.errors import ContractError, LatencyError
from pytest_wasmedge.latency.units import Duration, FloorMultiple, parse_limit

_TABLES = ("ceilings", "artifact", "known")
_ARTIFACT_KEYS = ("presets", *NUMBERS, "imports")
_REQUIRED = ("case", "runtimes", "field", "reason", "issue")
_KNOWN_KEYS = (*_REQUIRED, "draft")
_MOST_PAGES = 65536
_EXAMPLES = {
    "case": 'case = "errors/deep_*"',
    "runtimes": 'runtimes = ["deno >=2.8,<3"]',
    "field": 'field = "stderr"',
    "reason": 'reason = "why it diverges"',
    "issue": 'issue = "https://…", where it is tracked',
}


def load_contract(path: Path) -> Contract:
    """Read a contract. Raises ContractError: ``portability.toml:LINE: what is wrong; what to do``."""
    return parse_contract(read_text(path), path)


def parse_contract(text: str, path: Path) -> Contract:
    """Read a contract from its text; ``path`` is what messages call it. Raises ContractError."""
    source = Source(text, path)
    source.check_keys((), source.table, _TABLES, "a contract")
    ceilings = tuple(_ceilings(source))
    limits = _limits(source)
    entries = list(_known(source))
    _check_known_once(source, [known for known, _ in entries])
    return Contract(
        path,
        ceilings,
        limits,
        tuple(known for known, is_draft in entries if not is_draft),
        tuple(known for known, is_draft in entries if is_draft),
    )


def _ceilings(source: Source) -> Iterator[Ceiling]:
    table = source.table.get("ceilings", {})
    if not isinstance(table, dict):
        raise source.error(
            ("ceilings",), f"ceilings is {type_of(table)}", "write a table [ceilings.RUNTIME]."
        )
    for runtime, kinds in table.items():
        where: Where = ("ceilings", runtime)
        if runtime in KINDS or not isinstance(kinds, dict):
            example = "warm/tiny" if runtime not in KINDS else runtime
            header = ANY if runtime in KINDS else runtime
            raise source.error(
                where,
                f'"{runtime}" is not a table of ceilings',
                f'write [ceilings."{header}"] and below it "{example}" = "10ms".',
            )
        if not runtime:
            raise source.error(where, "the runtime's name is empty", 'name it, or write [ceilings."*"].')
        own = [_ceiling(source, runtime, kind, text) for kind, text in kinds.items()]
        _check_caches(source, own)
        yield from own


def _ceiling(source: Source, runtime: str, kind: str, text: object) -> Ceiling:
    where = ("ceilings", runtime, kind)
    if kind not in KINDS:
        raise source.error(where, f'there is no kind of ceiling "{kind}"', nearest(kind, KINDS))
    if not isinstance(text, str):
        raise source.error(where, f"a ceiling cannot be {type_of(text)}", 'write it with its unit: "25ms".')
    try:
        limit = parse_limit(text)
    except (LatencyError, OverflowError) as error:
        what = error if isinstance(error, LatencyError) else f'{text!r} is beyond all measure; write "25ms".'
        raise ContractError(f"{source.origin(where)}: {what}") from None
    if isinstance(limit, Duration):
        if limit.ns <= 0:
            raise source.error(where, f'no latency is below "{text}"', "write what it may take at most.")
    elif not kind.startswith("cold/"):
        raise source.error(
            where,
            f'"{kind}" has no floor, so "{text}" means nothing',
            "write a duration; only kinds that begin with cold/ can be multiples of the floor.",
        )
    elif not 1 <= limit.factor < math.inf:
        raise source.error(
            where, f'"{text}" is less than the host alone takes', "write a multiple of 1 or more."
        )
    return Ceiling(runtime, kind, limit, source.line(where))


def _check_caches(source: Source, ceilings: list[Ceiling]) -> None:
    """Raise ContractError if a start with compiled code at hand may take longer than one without."""
    by_kind = {each.kind: each for each in ceilings}
    cached, plain = by_kind.get("cold/code-cache"), by_kind.get("cold/no-cache")
    if cached is None or plain is None:
        return
    if isinstance(cached.limit, FloorMultiple) or isinstance(plain.limit, FloorMultiple):
        return
    if cached.limit > plain.limit:
        raise source.error(
            ("ceilings", cached.runtime, cached.kind),
            f"cold/code-cache may take {cached.limit}, longer than cold/no-cache with {plain.limit} "
            f"(line {plain.line})",
            "lower this one or raise the other.",
        )


def _limits(source: Source) -> ArtifactLimits:
    table = source.table.get("artifact", {})
    where: Where = ("artifact",)
    if not isinstance(table, dict):
        raise source.error(where, f"artifact is {type_of(table)}", "write a table [artifact].")
    source.check_keys(where, table, _ARTIFACT_KEYS, "[artifact]")
    numbers = {key: _number(source, key, table[key]) for key in NUMBERS if key in table}
    names = _strings(source, (*where, "presets"), table.get("presets", []), 'presets = ["fastly-compute"]')
    for index, name in enumerate(names):
        here = (*where, "presets", index)
        if name not in presets():
            raise source.error(here, f'there is no preset "{name}"', nearest(name, presets()))
        if name in names[:index]:
            raise source.error(here, f'the preset "{name}" is given twice', "delete one of the two.")
        for key, limit in presets()[name].limits.items():
            numbers[key] = min(numbers.get(key, limit), limit, key=lambda each: each.value)
    imports = None
    if "imports" in table:
        here = (*where, "imports")
        globs = _strings(source, here, table["imports"], 'imports = ["wasi_snapshot_preview1.*"]')
        imports = ImportRule(globs, source.origin(here))
    return ArtifactLimits(**numbers, imports=imports)


def _number(source: Source, key: str, value: object) -> ArtifactLimit:
    where = ("artifact", key)
    if key in ("bytes", "gzip_bytes"):
        try:
            number = parse_size(value)
        except ValueError as error:
            raise ContractError(f"{source.origin(where)}: {key} = {error}") from None
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        raise source.error(where, f"{key} is {type_of(value)}", f"write an integer: {key} = 8192.")
    if number < 1:
        raise source.error(where, f"no artifact has {key} of {number}", "write what it may have at most.")
    if key == "memory_pages" and number > _MOST_PAGES:
        raise source.error(
            where, f"{number} pages of 64 KiB are more than 4 GiB", f"write at most {_MOST_PAGES}."
        )
    return ArtifactLimit(number, source.origin(where))


def _known(source: Source) -> Iterator[tuple[Known, bool]]:
    """Yield each known divergence, and whether it is a draft."""
    entries = source.table.get("known", [])
    if not isinstance(entries, list):
        raise source.error(("known",), f"known is {type_of(entries)}", "write [[known]], with two brackets.")
    for index, entry in enumerate(entries):
        where: Where = ("known", index)
        if not isinstance(entry, dict):
            raise source.error(where, f"a known divergence is {type_of(entry)}", "write a table [[known]].")
        yield _one_known(source, where, entry)


def _one_known(source: Source, where: Where, entry: dict[str, object]) -> tuple[Known, bool]:
    source.check_keys(where, entry, _KNOWN_KEYS, "[[known]]")
    draft = entry.get("draft", False)
    if not isinstance(draft, bool):
        raise source.error((*where, "draft"), f"draft is {type_of(draft)}", "write true, or delete the line.")
    for key in _REQUIRED:
        if key not in entry and not (draft and key in ("reason", "issue")):
            raise source.error(where, f"this known divergence has no {key}", f"add {_EXAMPLES[key]}.")
    span = source.lines.span(where)
    case = _string(source, (*where, "case"), entry["case"])
    reason = _string(source, (*where, "reason"), entry.get("reason", ""), may_be_empty=draft)
    issue = _string(source, (*where, "issue"), entry.get("issue", ""), may_be_empty=draft)
    if issue and not issue.startswith(("https://", "http://")):
        raise source.error(
            (*where, "issue"), f'"{issue}" is no link', 'write where it is tracked: "https://…".'
        )
    runtimes, fields = _runtimes(source, where, entry["runtimes"]), _fields(source, where, entry["field"])
    return Known(case, runtimes, fields, reason, issue, span.first, span.last), draft


def _runtimes(source: Source, where: Where, value: object) -> tuple[RuntimeRange, ...]:
    where = (*where, "runtimes")
    texts = _strings(source, where, value, _EXAMPLES["runtimes"])
    if not texts:
        raise source.error(where, "no runtime is named", 'name them, or write ["*"] for all.')
    found: list[RuntimeRange] = []
    for index, text in enumerate(texts):
        here = (*where, index)
        try:
            runtime = parse_runtime(text, source.line(here))
        except ValueError as error:
            raise ContractError(f"{source.origin(here)}: {error}") from None
        found.append(runtime)
    return tuple(found)


def _fields(source: Source, where: Where, value: object) -> tuple[str, ...]:
    where = (*where, "field")
    if isinstance(value, str):
        value, places = [_string(source, where, value)], [where]
    else:
        value = list(_strings(source, where, value, 'field = "stderr" or ["stdout", "stderr"]'))
        places = [(*where, index) for index in range(len(value))]
    if not value:
        raise source.error(where, "no field is named", f"write one or more of: {', '.join(FIELDS)}.")
    for place, name in zip(places, value, strict=True):
        if name not in FIELDS:
            raise source.error(place, f'there is no field "{name}"', nearest(name, FIELDS))
        if value.count(name) > 1:
            raise source.error(where, f'the field "{name}" is given twice', "delete one of the two.")
    return tuple(value)


def _check_known_once(source: Source, entries: list[Known]) -> None:
    """Raise ContractError if the same runtime diverges in the same field of the same case twice.

    Different version ranges may each have an entry of their own; one without a range covers them all.
    """
    seen: dict[tuple[str, str, str], list[tuple[RuntimeRange, int]]] = {}
    for known in entries:
        for runtime in known.runtimes:
            for name in known.fields:
                earlier = seen.setdefault((known.case, runtime.name, name), [])
                for other, line in earlier:
                    if runtime.repeats(other):
                        raise ContractError(
                            f'{source.path}:{runtime.line}: {name} of "{known.case}" on "{runtime}" is already '
                            f'known (line {line}, for "{other}"); delete one of the two.'
                        )
                earlier.append((runtime, runtime.line))


def _string(source: Source, where: Where, value: object, *, may_be_empty: bool = False) -> str:
    if not isinstance(value, str):
        raise source.error(where, f"{where[-1]} is {type_of(value)}", f"add {_EXAMPLES[str(where[-1])]}.")
    if not value.strip() and not may_be_empty:
        raise source.error(where, f"{where[-1]} is empty", f"write {_EXAMPLES[str(where[-1])]}.")
    return value


def _strings(source: Source, where: Where, value: object, example: str) -> tuple[str, ...]:
    """Return an array of strings, none of them empty."""
    if not isinstance(value, list):
        raise source.error(where, f"{where[-1]} is {type_of(value)}", f"write an array: {example}.")
    for index, each in enumerate(value):
        if not isinstance(each, str):
            raise source.error(
                (*where, index), f"{where[-1]} holds {type_of(each)}", f"write strings: {example}."
            )
        if not each.strip():
            raise source.error((*where, index), f"{where[-1]} holds an empty string", "delete or name it.")
    return tuple(value)
