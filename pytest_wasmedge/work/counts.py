"""The counts of a guest, what they come to in several runs, and how two artifacts compare. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.model import Ending, exited

#: What is counted, with the words for it. Fuel alone depends on the engine's version.
FUEL, FUNCTIONS, CODE_BYTES, PAGES, CHANGED, WASI_CALLS = (
    "fuel",
    "functions",
    "code_bytes",
    "pages_grown",
    "pages_changed",
    "wasi_calls",
)
WORDS = {
    FUEL: "fuel",
    FUNCTIONS: "functions executed",
    CODE_BYTES: "bytes of code executed",
    PAGES: "pages of memory grown",
    CHANGED: "pages of memory changed",
    WASI_CALLS: "WASI calls",
}
#: What is judged against a baseline; the others are listed where they changed.
JUDGED = (FUEL, FUNCTIONS, CODE_BYTES)


@dataclass(frozen=True, slots=True, order=True)
class Count:
    """A number, or the range of what several runs counted."""

    lowest: int
    highest: int

    @property
    def varies(self) -> bool:
        """True if not every run counted the same."""
        return self.lowest != self.highest

    def __str__(self) -> str:
        return f"{self.lowest:,}" if not self.varies else f"{self.lowest:,} to {self.highest:,}"


def apart(one: Count, other: Count) -> bool:
    """Return whether two ranges have nothing in common."""
    return one.lowest > other.highest or one.highest < other.lowest


@dataclass(frozen=True, slots=True)
class CountedRun:
    """One run of a counting copy; what could not be counted is None. ``calls`` are those of each function."""

    fuel: int
    calls: tuple[int, ...]
    code_bytes: int
    pages_grown: int | None = None
    pages_changed: int | None = None
    wasi: Mapping[str, int] | None = None
    ending: Ending = field(default_factory=lambda: exited(0))
    out_of_fuel: bool = False

    def counts(self) -> dict[str, int]:
        """Return what was counted, by its name."""
        found = {
            FUEL: self.fuel,
            FUNCTIONS: sum(map(bool, self.calls)),
            CODE_BYTES: self.code_bytes,
            PAGES: self.pages_grown,
            CHANGED: self.pages_changed,
            WASI_CALLS: None if self.wasi is None else sum(self.wasi.values()),
        }
        return {name: number for name, number in found.items() if number is not None}


@dataclass(frozen=True, slots=True)
class Work:
    """What a guest does in one invocation, as exact counts of one or several runs.

    Where runs differ (random seeds, clocks), each attribute is the highest, ``varies`` is true and ``counts`` has the
    range. An attribute raises UnsupportedError where it could not be counted.
    """

    runs: tuple[CountedRun, ...]

    @property
    def counts(self) -> dict[str, Count]:
        """What was counted, by name: fuel, functions, code_bytes, pages_grown, pages_changed, wasi_calls."""
        each = [run.counts() for run in self.runs]
        return {
            name: Count(min(run[name] for run in each), max(run[name] for run in each))
            for name in WORDS
            if all(name in run for run in each)
        }

    @property
    def varies(self) -> bool:
        """True if two runs did not count the same."""
        return any(count.varies for count in self.counts.values())

    @property
    def fuel(self) -> int:
        """The work of the guest, in the engine's unit: about one for each instruction."""
        return self._highest(FUEL)

    @property
    def functions(self) -> int:
        """How many functions were executed at least once."""
        return self._highest(FUNCTIONS)

    @property
    def code_bytes(self) -> int:
        """The bytes of the code of these functions: what an engine that compiles lazily has to compile."""
        return self._highest(CODE_BYTES)

    @property
    def pages_grown(self) -> int:
        """By how many pages of 64 KiB the memory grew."""
        return self._highest(PAGES)

    @property
    def pages_changed(self) -> int:
        """How many pages of 64 KiB differ at the end from the beginning: what each guest has for itself."""
        return self._highest(CHANGED)

    @property
    def wasi(self) -> dict[str, int]:
        """How often each function of WASI was called, the highest of all runs."""
        if any(run.wasi is None for run in self.runs):
            raise _not_counted(WASI_CALLS)
        names = sorted({name for run in self.runs for name in run.wasi or ()})
        return {name: max((run.wasi or {}).get(name, 0) for run in self.runs) for name in names}

    @property
    def ending(self) -> Ending:
        """How the guest ended."""
        return self.runs[0].ending

    @property
    def out_of_fuel(self) -> bool:
        """True if a run was stopped at the limit: the guest may never end."""
        return any(run.out_of_fuel for run in self.runs)

    def _highest(self, name: str) -> int:
        if name not in (counts := self.counts):
            raise _not_counted(name)
        return counts[name].highest

    def __str__(self) -> str:
        return ", ".join(f"{count} {WORDS[name]}" for name, count in self.counts.items())


def _not_counted(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"{WORDS[name]} cannot be counted in this artifact: it has no memory of that name, or imports what cannot be "
        "handed on. Its fuel can: take .fuel."
    )


def total(counts: Iterable[Mapping[str, Count]]) -> dict[str, Count]:
    """Return the sums of the counts that all of these have."""
    many = list(counts)
    return {
        name: Count(sum(each[name].lowest for each in many), sum(each[name].highest for each in many))
        for name in WORDS
        if many and all(name in each for each in many)
    }


@dataclass(frozen=True, slots=True)
class Change:
    """One count of something that differs from the baseline's: ``what`` is a start or a case."""

    what: str
    name: str
    head: Count
    baseline: Count

    @property
    def relative(self) -> Fraction | None:
        """The change as a part of the baseline's; 0 for ranges that overlap, None where the baseline has nothing."""
        if self.head.lowest > self.baseline.highest:
            gained, base = self.head.lowest - self.baseline.highest, self.baseline.highest
        elif self.head.highest < self.baseline.lowest:
            gained, base = self.head.highest - self.baseline.lowest, self.baseline.lowest
        else:
            return Fraction(0)
        return Fraction(gained, base) if base else None

    def beyond(self, margin: float) -> bool:
        """Return whether it is judged, and more by the margin or beyond it, in hundredths of a percent."""
        relative = self.relative
        # Rounded, since 1 % more rounds of a loop are 0.9999 % more work.
        grown = relative is None or (relative > 0 and round(relative, 4) >= Fraction(str(margin)))
        return self.name in JUDGED and grown

    def __str__(self) -> str:
        relative = self.relative
        much = "new" if relative is None else f"{float(relative) * 100:+{_format(relative)}} %"
        return f"{much} {WORDS[self.name]} in {self.what} ({self.baseline} → {self.head})"


def _format(relative: Fraction) -> str:
    """Return the format in which a small change still shows."""
    return ".1f" if abs(relative) >= Fraction(1, 1000) else ".2g"


def changes(
    what: str, head: Mapping[str, Count], baseline: Mapping[str, Count], names: Sequence[str] = tuple(WORDS)
) -> list[Change]:
    """Return what differs, for certain, in those of these counts that both have."""
    found = [
        Change(what, name, head[name], baseline[name]) for name in names if name in head and name in baseline
    ]
    return [each for each in found if each.relative != 0]


def grown_most(changes: Iterable[Change]) -> list[Change]:
    """Return changes in the order of how much they changed, most first."""
    return sorted(changes, key=lambda each: (each.relative is not None, -abs(each.relative or 0), each.what))


def grown_calls(
    head: Mapping[str, int], baseline: Mapping[str, int], most: int = 10
) -> list[tuple[str, int, int]]:
    """Return the functions whose calls grew most: name, calls before, calls now."""
    names = sorted(head.keys() | baseline.keys())
    found = [(name, baseline.get(name, 0), head.get(name, 0)) for name in names]
    grown = [each for each in found if each[2] > each[1]]
    return sorted(grown, key=lambda each: each[1] - each[2])[:most]
