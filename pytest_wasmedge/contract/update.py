"""Writes measured ceilings and new divergences into a contract; everything else in it stays byte for byte.

tomlkit replaces values. It puts a new key behind the comment that belongs to the next table, so new keys and tables
are placed by line instead.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from pytest_wasmedge.contract.entries import KINDS, Contract, Known, parse_runtime
from pytest_wasmedge.contract.lines import Lines
from pytest_wasmedge.contract.read import parse_contract
from pytest_wasmedge.contract.source import nearest, read_text
from pytest_wasmedge.errors import ContractError
from pytest_wasmedge.latency.units import Duration, FloorMultiple, parse_limit
from pytest_wasmedge.provision.files import whole

_BOM = "\ufeff"
_CACHED, _PLAIN = "cold/code-cache", "cold/no-cache"
_AS_TABLES = "write what stands there as tables, [ceilings.RUNTIME] and [[known]]."
_NS_PER_MS = 1_000_000
_ENDED_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_LONE_NEWLINE = re.compile(r"(?<!\r)\n")

_Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class MeasuredCeiling:
    """What was measured for one runtime and kind; ``floor_ns`` is the floor of the same run, for multiples."""

    runtime: str
    kind: str
    value_ns: int
    floor_ns: int | None = None


@dataclass(frozen=True, slots=True)
class KnownDraft:
    """A divergence to be written down: ``case`` is a glob, a runtime is as in the file: ``"deno >=2.8,<3"``."""

    case: str
    runtimes: tuple[str, ...]
    fields: tuple[str, ...]


def update_contract(
    path: Path,
    measured: Sequence[MeasuredCeiling],
    known_to_add: Sequence[KnownDraft] = (),
    headroom: float = 1.5,
    today: date | None = None,
) -> str:
    """Write measured values x headroom as ceilings, and divergences as drafts; return the diff, empty if none.

    Values are rounded up to two digits, in ms; a ceiling that is a multiple of the floor stays one, and is left
    alone (the end of the text says so) where no floor was measured. A missing file is made. Raises ContractError,
    and then the file is as it was.
    """
    old = read_text(path) if path.exists() else ""
    contract = parse_contract(old, path)
    changes, left_alone = _changes(contract, measured, Decimal(str(headroom)))
    new = _with_ceilings(old, changes, path)
    new = _with_drafts(new, _not_noted(contract, known_to_add), today or date.today(), path)
    _check(new, contract, changes, path)
    if new != old:
        _write(path, new)
    diff = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), str(path), f"{path} (updated)"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in (*diff, *left_alone))


def round_up(value: Decimal) -> Decimal:
    """Return the next number of two digits that is not smaller: 24.9 -> 25, 0.1234 -> 0.13, 1201 -> 1300."""
    return value.quantize(Decimal(1).scaleb(value.adjusted() - 1), ROUND_CEILING)


def _changes(
    contract: Contract, measured: Iterable[MeasuredCeiling], headroom: Decimal
) -> tuple[dict[_Place, str], list[str]]:
    """Return the ceilings to be written, and a line about each that is left alone."""
    if headroom < 1:
        raise ContractError(f"a head-room of {headroom} puts ceilings below what was measured; give 1.5.")
    standing = {(each.runtime, each.kind): each for each in contract.ceilings}
    limits: dict[_Place, Duration | FloorMultiple] = {}
    left_alone = []
    for each in measured:
        place = (each.runtime, each.kind)
        if each.kind not in KINDS:
            raise ContractError(f'there is no kind of ceiling "{each.kind}"; {nearest(each.kind, KINDS)}')
        ceiling = standing.get(place)
        if ceiling is not None and isinstance(ceiling.limit, FloorMultiple):
            if not each.floor_ns:
                left_alone.append(
                    f'left alone: {contract.path}:{ceiling.line} "{each.kind}" = "{ceiling.limit}" for '
                    f"{each.runtime}: its floor was not measured"
                )
                continue
            factor = round_up(max(Decimal(each.value_ns) * headroom / each.floor_ns, Decimal(1)))
            limit = parse_limit(f"{_plain(factor)}x floor")
        else:
            limit = parse_limit(f"{_plain(round_up(Decimal(each.value_ns) * headroom / _NS_PER_MS))}ms")
        limits[place] = _larger(limit, limits.get(place, limit))
    _keep_order_of_caches(contract, limits)
    changes = {
        place: _text(limit)
        for place, limit in limits.items()
        if place not in standing or standing[place].limit != limit
    }
    return changes, left_alone


def _larger(one: Duration | FloorMultiple, other: Duration | FloorMultiple) -> Duration | FloorMultiple:
    if isinstance(one, FloorMultiple) and isinstance(other, FloorMultiple):
        return one if one.factor > other.factor else other
    if isinstance(one, Duration) and isinstance(other, Duration):
        return max(one, other)
    raise AssertionError("a ceiling is written in one way")


def _keep_order_of_caches(contract: Contract, limits: dict[_Place, Duration | FloorMultiple]) -> None:
    """Where a code cache does not help, noise can make its ceiling the higher one: give both the same."""
    final = {(each.runtime, each.kind): each.limit for each in contract.ceilings} | limits
    for runtime in {runtime for runtime, _ in limits}:
        cached, plain = final.get((runtime, _CACHED)), final.get((runtime, _PLAIN))
        if not isinstance(cached, Duration) or not isinstance(plain, Duration) or cached <= plain:
            continue
        if (runtime, _PLAIN) not in limits:
            line = next(
                each.line for each in contract.ceilings if (each.runtime, each.kind) == (runtime, _PLAIN)
            )
            raise ContractError(
                f"{contract.path}:{line}: {_CACHED} of {runtime} now needs {_text(cached)}, above its {_PLAIN} "
                f"of {plain}; measure {_PLAIN} as well, or raise it by hand."
            )
        limits[runtime, _PLAIN] = cached


def _text(limit: Duration | FloorMultiple) -> str:
    if isinstance(limit, FloorMultiple):
        return str(limit)
    return f"{_plain(Decimal(limit.ns) / _NS_PER_MS)}ms"


def _plain(number: Decimal) -> str:
    """Return a number without an exponent and without zeros that say nothing."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _with_ceilings(text: str, changes: Mapping[_Place, str], path: Path) -> str:
    bom, text = text[: text.startswith(_BOM)], text.removeprefix(_BOM)
    document = _parse(text, path)
    new: dict[str, dict[str, str]] = {}
    lines = Lines(text)
    for (runtime, kind), limit in changes.items():
        table = document.get("ceilings", {}).get(runtime)
        if table is not None and (kind in table or not lines.has_header(("ceilings", runtime))):
            table[kind] = limit
        else:
            new.setdefault(runtime, {})[kind] = limit
    only_crlf = "\r\n" in text and not _LONE_NEWLINE.search(text)
    text = tomlkit.dumps(document)
    if only_crlf:
        text = _LONE_NEWLINE.sub("\r\n", text)
    for runtime, ceilings in new.items():
        lines = Lines(text)
        entries = [tomlkit.dumps({kind: limit}).strip() for kind, limit in ceilings.items()]
        if lines.has_header(("ceilings", runtime)):
            text = _insert(text, lines.span(("ceilings", runtime)).last, entries)
            continue
        header = f"[ceilings.{tomlkit.key(runtime).as_string()}]"
        tables = [where for where in lines.everything if where[0] == "ceilings" and lines.has_header(where)]
        after = max((lines.span(where).last for where in tables), default=len(text.splitlines()))
        text = _insert(text, after, ["", header, *entries])
    return bom + text


def _not_noted(contract: Contract, drafts: Iterable[KnownDraft]) -> list[KnownDraft]:
    """Return what of the drafts stands nowhere yet, neither as known nor as a draft."""
    noted = [
        (known.case, name, runtime)
        for known in (*contract.known, *contract.drafts)
        for name in known.fields
        for runtime in known.runtimes
    ]
    left: list[KnownDraft] = []
    for draft in drafts:
        runtimes_of: dict[tuple[str, ...], list[str]] = {}
        for text in draft.runtimes:
            runtime = parse_runtime(text)
            fields = tuple(
                name
                for name in draft.fields
                if not any(each[:2] == (draft.case, name) and each[2].repeats(runtime) for each in noted)
            )
            noted += [(draft.case, name, runtime) for name in fields]
            if fields:
                runtimes_of.setdefault(fields, []).append(text)
        left += [KnownDraft(draft.case, tuple(texts), fields) for fields, texts in runtimes_of.items()]
    return left


def _with_drafts(text: str, drafts: Sequence[KnownDraft], today: date, path: Path) -> str:
    if not drafts:
        return text
    lines = Lines(text.removeprefix(_BOM))
    if ("known",) in lines.everything and not lines.has_header(("known", 0)):
        line = lines.span(("known",)).first
        raise ContractError(f"{path}:{line}: known is an array; write its entries as [[known]] tables.")
    added: list[str] = []
    for draft in drafts:
        field: object = draft.fields[0] if len(draft.fields) == 1 else list(draft.fields)
        added += [
            "",
            "[[known]]",
            f"draft = true  # recorded on {today}; give reason and issue, then delete this line: until then it "
            "excuses nothing",
            *(
                tomlkit.dumps({key: value}).strip()
                for key, value in {
                    "case": draft.case,
                    "runtimes": list(draft.runtimes),
                    "field": field,
                    "reason": "",
                    "issue": "",
                }.items()
            ),
        ]
    after = lines.span(("known",)).last if ("known",) in lines.everything else len(text.splitlines())
    return _insert(text, after, added)


def _insert(text: str, after: int, added: Sequence[str]) -> str:
    """Return the text with lines added after line number ``after``, ended as its other lines are."""
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = _ENDED_LINE.findall(text)
    before, rest = lines[:after], lines[after:]
    if before and not before[-1].endswith("\n"):
        before[-1] += newline
    added = [f"{line}{newline}" for line in added]
    if added[0] == newline:  # A table: blank lines around it, but none at either end of the file.
        added = added[not before :] + [newline] * bool(rest and rest[0].strip())
    return "".join([*before, *added, *rest])


def _check(text: str, before: Contract, changes: Mapping[_Place, str], path: Path) -> None:
    """Raise ContractError unless the new text says what the old one did, and the changes."""
    try:
        after = parse_contract(text, path)
    except ContractError as error:
        why = str(error).rstrip(".")
        raise ContractError(
            f"{path} cannot be updated: it would be wrong then ({why}); {_AS_TABLES}"
        ) from error
    expected = {(each.runtime, each.kind): each.limit for each in before.ceilings}
    expected |= {place: parse_limit(limit) for place, limit in changes.items()}
    same_known = [_content(each) for each in after.known] == [_content(each) for each in before.known]
    if {(each.runtime, each.kind): each.limit for each in after.ceilings} != expected or not same_known:
        raise ContractError(f"{path} cannot be updated; {_AS_TABLES}")


def _content(known: Known) -> tuple[object, ...]:
    return known.case, known.runtimes, known.fields, known.reason, known.issue


def _parse(text: str, path: Path) -> Any:
    try:
        document = tomlkit.parse(text)
        same = tomlkit.dumps(document) == text
    except TOMLKitError as error:
        raise ContractError(f"{path} cannot be updated ({error}); write the values by hand.") from error
    if not same:
        raise ContractError(
            f"{path} cannot be updated without changing other lines; write the values by hand."
        )
    return document


def _write(path: Path, text: str) -> None:
    """Replace the file at once, so that nobody ever sees half of it; a link stays a link."""
    try:
        with whole(path.resolve()) as part:
            part.write_bytes(text.encode())
    except OSError as error:
        raise ContractError(
            f"{path} cannot be written ({error.strerror or error}); make its folder writable, or give another path."
        ) from error
