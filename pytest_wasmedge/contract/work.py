"""Ceilings on work: the table ``[work]`` of a contract, read, held against what was counted, and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

from pytest_wasmedge.portability.document import TomlValue
from pytest_wasmedge.work.counts import CODE_BYTES, FUEL, FUNCTIONS, WORDS, Count

#: The start is called so, as a case is by its name.
START = "start"
UNIT = "unit"
#: What is written of a start.
WRITTEN = (FUEL, FUNCTIONS, CODE_BYTES)

#: What was counted, by the name of a case or `START`.
Counts = Mapping[str, Mapping[str, Count]]


@dataclass(frozen=True, slots=True)
class WorkCeiling:
    """The most that a count may be: of what (`START`, or a case), which count, and its line in the file."""

    what: str
    name: str
    limit: int
    line: int

    @property
    def key(self) -> str:
        """The key in the file: ``start``, ``start.functions`` …"""
        return self.what if self.name == FUEL else f"{self.what}.{self.name}"


@dataclass(frozen=True, slots=True)
class WorkTable:
    """The table ``[work]``: its ceilings, and the engine and version whose fuel they are in, if it says so."""

    unit: str = ""
    ceilings: tuple[WorkCeiling, ...] = ()

    @property
    def cases(self) -> frozenset[str]:
        """The names of the cases that have a ceiling."""
        return frozenset(each.what for each in self.ceilings) - {START}


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of a table: what is over its ceiling, and what was not judged, each with the reason."""

    broken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_work(table: TomlValue) -> WorkTable:
    """Read the table. Raises ContractError."""
    table.require(dict, 'write a table [work], and below it "start" = 2_000_000.')
    unit = table.get(UNIT, "").require(
        str, "write the engine and its version, as --wasm-update-contract does."
    )
    return WorkTable(unit.value, tuple(_ceiling(item) for item in table if item.key != UNIT))


def _ceiling(item: TomlValue) -> WorkCeiling:
    what, _, name = item.key.rpartition(".")
    if not what or name not in WORDS:
        what, name = item.key, FUEL
    if not what or item.key == FUEL:
        raise item.error(f'"{item.key}" names no case', f'write "{START}", or the name of a case.')
    limit = item.require(int, f'write the most that is allowed: "{item.key}" = 2_000_000.').value
    if limit < 0:
        raise item.error(f"nothing has {WORDS[name]} of {limit}", "write the most that is allowed.")
    return WorkCeiling(what, name, limit, item.span.first)


def judge(table: WorkTable, counted: Counts, unit: str, path: Path) -> Judged:
    """Hold what was counted against its ceilings; fuel only if it is in the unit of the table."""
    broken, stale, missing, varying = [], [], [], []
    for each in table.ceilings:
        count = counted.get(each.what, {}).get(each.name)
        if each.name == FUEL and table.unit not in ("", unit):
            stale.append(each.key)
        elif count is None:
            missing.append(each.key)
        elif count.lowest > each.limit:
            broken.append(
                f"{path.name}:{each.line}: {WORDS[each.name]} of {each.what}: {count}, more than {each.limit:,}: make "
                "it do less, or allow more (--wasm-update-contract)."
            )
        elif count.highest > each.limit:
            varying.append(f"{each.key} ({count})")
    notes = []
    if stale:
        notes.append(
            f"{path.name}: the fuel in [work] is that of {table.unit}, and here is {unit}, which counts otherwise: "
            f"write it anew with --wasm-update-contract. Not judged: {', '.join(stale)}"
        )
    if missing:
        notes.append(
            f"{path.name}, [work] not judged, since it was not counted in this run: {', '.join(missing)}"
        )
    if varying:
        notes.append(
            f"{path.name}, [work] undecided, since the guest varies from run to run: {', '.join(varying)}"
        )
    return Judged(tuple(broken), tuple(notes))


def values(table: WorkTable, counted: Counts, unit: str) -> dict[str, int | str]:
    """Return what to write, rounded up to two digits: the unit, the start's counts, and those that are there."""
    places = {(START, name): START if name == FUEL else f"{START}.{name}" for name in WRITTEN}
    places |= {(each.what, each.name): each.key for each in table.ceilings}
    found: dict[str, int | str] = {UNIT: unit}
    for (what, name), key in places.items():
        if name in (counts := counted.get(what, {})):
            found[key] = round_up(counts[name].highest)
    # The fuel that was not counted anew is in the old unit.
    left = any(each.name == FUEL and each.key not in found for each in table.ceilings)
    return {} if left and table.unit not in ("", unit) else found


def round_up(number: int) -> int:
    """Round up to two digits: 1,928,690 -> 2,000,000."""
    value = Decimal(number)
    return (
        int(value.quantize(Decimal(1).scaleb(max(0, value.adjusted() - 1)), ROUND_CEILING)) if number else 0
    )
