"""Writes measured ceilings and new divergences into a contract; everything else in it stays byte for byte.

tomlkit replaces values. It would put a new key after the comment that belongs to the next table, so new keys and
tables are inserted by line instead.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError

from pytest_wasmedge.contract.entries import KINDS, Ceiling, Contract, parse_runtime
from pytest_wasmedge.contract.read import parse_contract, read_text
from pytest_wasmedge.errors import ContractError
from pytest_wasmedge.latency.units import Duration, FloorMultiple, Limit
from pytest_wasmedge.portability.document import nearest
from pytest_wasmedge.portability.lines import Lines
from pytest_wasmedge.provision.files import whole
from pytest_wasmedge.provision.room import reason

_BOM = "\ufeff"
_CACHED, _PLAIN = "cold/code-cache", "cold/no-cache"
_AS_TABLES = "write its content as tables, [ceilings.RUNTIME] and [[known]]."
_NS_PER_MS = 1_000_000
_ENDED_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_LONE_NEWLINE = re.compile(r"(?<!\r)\n")

#: What our comments begin with, by which they are told from anybody else's.
_OURS = "# measured by --wasm-update-contract on "
_MEASURED_ON = re.compile(rf"[ \t]*{_OURS}[^\r\n]*")

_Place = tuple[str, str]
_Limits = tuple[Limit, ...]


@dataclass(frozen=True, slots=True)
class MeasuredCeiling:
    """A latency measured on one runtime; ``floor_ns`` is the floor of the same run, for multiples of it."""

    runtime: str
    kind: str
    value_ns: int
    floor_ns: int | None = None


@dataclass(frozen=True, slots=True)
class KnownDraft:
    """A divergence to write as a draft; ``case`` is a glob, ``runtimes`` are as in the file: ``"deno >=2.8,<3"``.

    ``differs`` and ``outcome`` are those of the file, empty if it says neither.
    """

    case: str
    runtimes: tuple[str, ...]
    fields: tuple[str, ...]
    differs: str = ""
    outcome: tuple[tuple[str, str], ...] = ()

    def only(self, runtimes: Sequence[str], fields: tuple[str, ...]) -> KnownDraft:
        """Return what this says about some of its runtimes and fields."""
        outcome = tuple(each for each in self.outcome if each[0] in fields)
        return replace(self, runtimes=tuple(runtimes), fields=fields, outcome=outcome)


def update_contract(
    path: Path,
    measured: Sequence[MeasuredCeiling],
    known_to_add: Sequence[KnownDraft] = (),
    headroom: float = 1.5,
    today: date | None = None,
    machine: str = "",
    work: Mapping[str, int | str] | None = None,
) -> str:
    """Write measured values x headroom as ceilings, and divergences as drafts; return the diff, empty if none.

    Values are in ms, rounded up to two digits, and multiples of the floor where that was measured. A ceiling that is
    there stays of its kind; a multiple without a measured floor is left alone, which the end of the returned text
    says. Behind a duration stands the ``machine`` that it was measured on. ``work`` has the values to write into the
    table ``[work]``, which must be there. A missing file is created. Raises
    ContractError, and then leaves the file as it was.
    """
    old = read_text(path) if path.exists() else ""
    contract = parse_contract(old, path)
    changes, left_alone = _changes(contract, measured, Decimal(str(headroom)))
    new = _with_ceilings(old, changes, machine, path)
    new = _with_work(new, work, path) if work else new
    new = _with_drafts(new, _new_drafts(contract, known_to_add), today or date.today(), path)
    _check(new, contract, changes, path)
    if new != old:
        _write(path, new)
    diff = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), str(path), f"{path} (updated)"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in (*diff, *left_alone))


def round_up(value: Decimal) -> Decimal:
    """Round up to two digits: 24.9 -> 25, 0.1234 -> 0.13, 1201 -> 1300."""
    return value.quantize(Decimal(1).scaleb(value.adjusted() - 1), ROUND_CEILING)


def _changes(
    contract: Contract, measured: Iterable[MeasuredCeiling], headroom: Decimal
) -> tuple[dict[_Place, _Limits], list[str]]:
    """Return the ceilings to write, and a line about each that is left alone."""
    if headroom < 1:
        raise ContractError(f"a head-room of {headroom} puts ceilings below what was measured; give 1.5.")
    written = _by_place(contract)
    found: dict[_Place, dict[type, Limit]] = {}
    left_alone = []
    for each in measured:
        place = (each.runtime, each.kind)
        if each.kind not in KINDS:
            raise ContractError(f'there is no kind of ceiling "{each.kind}"; {nearest(each.kind, KINDS)}')
        rounded_ms = round_up(Decimal(each.value_ns) * headroom / _NS_PER_MS)
        new: list[Limit] = [Duration(round(rounded_ms * _NS_PER_MS))]
        if each.floor_ns:
            # An artifact that does next to nothing starts like the floor, a little above or below it.
            factor = round_up(max(Decimal(each.value_ns) / each.floor_ns, Decimal(1)) * headroom)
            new.append(FloorMultiple(float(factor)))
        limits = found.setdefault(place, {})
        for limit in new:
            limits[type(limit)] = max(limit, limits.get(type(limit), limit), key=_amount)
        left_alone += [
            f'left alone: {contract.path}:{ceiling.line} "{each.kind}" = "{ceiling.limit}" for {each.runtime}: '
            "its floor was not measured"
            for ceiling in written.get(place, ())
            if isinstance(ceiling.limit, FloorMultiple) and not each.floor_ns
        ]
    # What is there stays of its kind, what is new is all that was measured.
    changed = {
        place: tuple(limits.get(type(each.limit), each.limit) for each in written[place])
        if place in written
        else tuple(limits.values())
        for place, limits in found.items()
    }
    _keep_order_of_caches(contract.path, written, changed)
    current = {place: _limits(ceilings) for place, ceilings in written.items()}
    return {place: limits for place, limits in changed.items() if current.get(place) != limits}, left_alone


def _by_place(contract: Contract) -> dict[_Place, list[Ceiling]]:
    places: dict[_Place, list[Ceiling]] = {}
    for each in contract.ceilings:
        places.setdefault((each.runtime, each.kind), []).append(each)
    return places


def _limits(ceilings: Iterable[Ceiling]) -> _Limits:
    return tuple(each.limit for each in ceilings)


def _amount(limit: Limit) -> float:
    return limit.factor if isinstance(limit, FloorMultiple) else limit.ns


def _keep_order_of_caches(
    path: Path, written: Mapping[_Place, Sequence[Ceiling]], changed: dict[_Place, _Limits]
) -> None:
    """Give both cold starts one ceiling if noise made the one with a code cache the higher one."""
    final = {place: _limits(ceilings) for place, ceilings in written.items()} | changed
    for runtime in {runtime for runtime, _ in changed}:
        cached, plain = (_duration(final.get((runtime, kind), ())) for kind in (_CACHED, _PLAIN))
        if cached is None or plain is None or cached <= plain:
            continue
        if (runtime, _PLAIN) not in changed:
            raise ContractError(
                f"{path}:{written[runtime, _PLAIN][0].line}: {_CACHED} of {runtime} now needs "
                f"{_text(cached)}, above its {_PLAIN} of {plain}; measure {_PLAIN} as well, or raise it by hand."
            )
        changed[runtime, _PLAIN] = tuple(
            cached if each == plain else each for each in changed[runtime, _PLAIN]
        )


def _duration(limits: _Limits) -> Duration | None:
    return next((each for each in limits if isinstance(each, Duration)), None)


def _text(limit: Limit) -> str:
    """Return a limit as in the file; durations are in ms, without an exponent and without trailing zeros."""
    if isinstance(limit, FloorMultiple):
        return str(limit)
    milliseconds = f"{Decimal(limit.ns) / _NS_PER_MS:f}"
    return f"{milliseconds.rstrip('0').rstrip('.') if '.' in milliseconds else milliseconds}ms"


def _with_ceilings(text: str, changes: Mapping[_Place, _Limits], machine: str, path: Path) -> str:
    bom, text = text[: text.startswith(_BOM)], text.removeprefix(_BOM)
    document = _parse(text, path)
    new: dict[str, dict[str, str | list[str]]] = {}
    lines = Lines(text)
    for (runtime, kind), limits in changes.items():
        texts = [_text(limit) for limit in limits]
        value = texts if len(texts) > 1 else texts[0]
        table = document.get("ceilings", {}).get(runtime)
        if table is not None and isinstance(table.get(kind), list) and len(table[kind]) == len(texts):
            # One by one: comments in the array stay.
            for index, limit in enumerate(texts):
                if table[kind][index] != limit:
                    table[kind][index] = limit
        elif table is not None and (kind in table or ("ceilings", runtime) not in lines.headers):
            table[kind] = value
        else:
            new.setdefault(runtime, {})[kind] = value
    only_crlf = "\r\n" in text and not _LONE_NEWLINE.search(text)
    text = tomlkit.dumps(document)
    if only_crlf:
        text = _LONE_NEWLINE.sub("\r\n", text)
    for runtime, ceilings in new.items():
        lines = Lines(text)
        entries = [_pair(kind, limits) for kind, limits in ceilings.items()]
        if ("ceilings", runtime) in lines.headers:
            text = _insert(text, lines.span(("ceilings", runtime)).last, entries)
            continue
        header = f"[ceilings.{tomlkit.key(runtime).as_string()}]"
        ends = [lines.span(where).last for where in lines.headers if where[0] == "ceilings"]
        after = max(ends, default=len(text.splitlines()))
        text = _insert(text, after, ["", header, *entries])
    return bom + _with_machine(
        text, [place for place, limits in changes.items() if _duration(limits)], machine
    )


def _with_work(text: str, values: Mapping[str, int | str], path: Path) -> str:
    """Return the text with these values in its table ``[work]``; numbers with underscores, as people write them."""
    bom, text = text[: text.startswith(_BOM)], text.removeprefix(_BOM)
    table = _parse(text, path).get("work", {})
    changed = {key: value for key, value in values.items() if table.get(key) != value}
    for key, value in changed.items():
        written = tomlkit.value(f"{value:_}" if isinstance(value, int) else tomlkit.item(value).as_string())
        lines = Lines(text)
        if key in table or ("work",) not in lines.headers:
            document = _parse(text, path)
            document["work"][key] = written
            text = tomlkit.dumps(document)
        else:
            # Behind the others, or first, if it is the unit, and the table was empty.
            text = _insert(text, lines.span(("work",)).last, [_pair(key, written)])
    return bom + text


def _with_machine(text: str, places: Iterable[_Place], machine: str) -> str:
    """Return the text with a comment behind each of these ceilings on which machine it was measured.

    It takes the place of an earlier one of ours, and stands behind a comment of anybody else's.
    """
    if not machine:
        return text
    spans = Lines(text).spans
    lines = _ENDED_LINE.findall(text)
    for runtime, kind in places:
        at = spans["ceilings", runtime, kind].last
        if sum(len(where) == 3 and span.last == at for where, span in spans.items()) > 1:
            continue  # Several values share the line.
        line = _MEASURED_ON.sub("", lines[at - 1])
        content = line.rstrip("\r\n")
        lines[at - 1] = f"{content}  {_OURS}{machine}{line[len(content) :]}"
    return "".join(lines)


def _new_drafts(contract: Contract, drafts: Iterable[KnownDraft]) -> list[KnownDraft]:
    """Return the drafts that the contract does not have yet, neither as known nor as drafts."""
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
        left += [draft.only(texts, fields) for fields, texts in runtimes_of.items()]
    return left


def _with_drafts(text: str, drafts: Sequence[KnownDraft], today: date, path: Path) -> str:
    if not drafts:
        return text
    lines = Lines(text.removeprefix(_BOM))
    if ("known",) in lines.spans and ("known", 0) not in lines.headers:
        line = lines.span(("known",)).first
        raise ContractError(f"{path}:{line}: known is an array; write its entries as [[known]] tables.")
    added: list[str] = []
    for draft in drafts:
        outcome = ", ".join(_pair(field, text) for field, text in draft.outcome)
        added += [
            "",
            "[[known]]",
            f"draft = true  # recorded on {today}; give reason and issue, then delete this line: until then it "
            "excuses nothing",
            _pair("case", draft.case),
            _pair("runtimes", list(draft.runtimes)),
            _pair("field", draft.fields[0] if len(draft.fields) == 1 else list(draft.fields)),
            *([_pair("differs", draft.differs)] if draft.differs else []),
            *([f"outcome = {{ {outcome} }}"] if outcome else []),
            _pair("reason", ""),
            _pair("issue", ""),
        ]
    after = lines.span(("known",)).last if ("known",) in lines.spans else len(text.splitlines())
    return _insert(text, after, added)


def _pair(key: str, value: object) -> str:
    """Return a key and its value as one line of TOML."""
    return tomlkit.dumps({key: value}).strip()


def _insert(text: str, after: int, added: Sequence[str]) -> str:
    """Return the text with lines added after line number ``after``, with the line ends of the others."""
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = _ENDED_LINE.findall(text)
    before, rest = lines[:after], lines[after:]
    if before and not before[-1].endswith("\n"):
        before[-1] += newline
    added = [f"{line}{newline}" for line in added]
    if added[0] == newline:  # A table: blank lines around it, but none at either end of the file.
        added = added[not before :] + [newline] * bool(rest and rest[0].strip())
    return "".join([*before, *added, *rest])


def _check(text: str, before: Contract, changes: Mapping[_Place, _Limits], path: Path) -> None:
    """Raise ContractError unless the new text means the same as the old one, plus the changes."""
    try:
        after = parse_contract(text, path)
    except ContractError as error:
        why = str(error).rstrip(".")
        raise ContractError(
            f"{path} cannot be updated: the new text would be wrong ({why}); {_AS_TABLES}"
        ) from error
    expected, found = (
        {place: _limits(ceilings) for place, ceilings in _by_place(contract).items()}
        for contract in (before, after)
    )
    old_known, new_known = (
        [replace(each, first_line=0, last_line=0) for each in contract.known] for contract in (before, after)
    )
    if found != expected | dict(changes) or new_known != old_known:
        raise ContractError(f"{path} cannot be updated; {_AS_TABLES}")


def _parse(text: str, path: Path) -> tomlkit.TOMLDocument:
    try:
        document = tomlkit.parse(text)
        if tomlkit.dumps(document) == text:
            return document
        why = "other lines would change"
    except TOMLKitError as error:
        why = str(error)
    raise ContractError(f"{path} cannot be updated ({why}); write the values by hand.")


def _write(path: Path, text: str) -> None:
    """Replace the file in one step, so that nobody reads half of it; a link stays a link."""
    try:
        with whole(path.resolve()) as part:
            part.write_bytes(text.encode())
    except OSError as error:
        raise ContractError(
            f"{path} cannot be written ({reason(error, path.parent)}); make its folder writable, or give another path."
        ) from error
