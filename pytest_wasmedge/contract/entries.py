"""What a contract holds: ceilings, artifact limits, known divergences. `read` makes them from the file."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from pytest_wasmedge.contract.differing import Differs
from pytest_wasmedge.contract.limits import ArtifactLimits
from pytest_wasmedge.contract.work import WorkTable
from pytest_wasmedge.errors import ContractError
from pytest_wasmedge.latency.units import WORKLOADS, Limit
from pytest_wasmedge.model import base_name
from pytest_wasmedge.portability.document import nearest

#: The kinds of ceilings: the cold start in each cache state, and the warm invocations.
KINDS = ("cold/no-cache", "cold/code-cache", "cold/evicted", *(f"warm/{workload}" for workload in WORKLOADS))
#: Where a divergence can show: an outcome's fields, a leak, a host that does not start with the artifact, or a
#: test's own assertion that names no field.
FIELDS = ("stdout", "stderr", "ending", "files", "leak", "start", "assertion")
#: Every runtime.
ANY = "*"

_DATE = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_RANGE = re.compile(r"([^\s<>=!~,]+)\s*([<>=!~].*)?")


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most that a latency may be on one runtime, or on every other (``*``); ``line`` is its line in the file.

    A kind may have two: a duration, and a multiple of the floor.
    """

    runtime: str
    kind: str
    limit: Limit
    line: int


@dataclass(frozen=True, slots=True)
class RuntimeRange:
    """A runtime (or ``*``) in certain versions, or in all (None); ``deno`` includes ``deno@2.9.6``."""

    name: str
    versions: SpecifierSet | None = None
    line: int = field(default=0, compare=False)

    def matches(self, runtime: str, version: str | None) -> bool:
        """Return whether this version of a runtime is included; one that cannot be parsed is in no range."""
        if self.name not in (runtime, base_name(runtime), ANY):
            return False
        if self.versions is None:
            return True
        read = _read_version(version)
        return read is not None and self.versions.contains(read, prereleases=True)

    def repeats(self, other: RuntimeRange) -> bool:
        """Return whether both have the same range of one runtime, or one of them has all versions."""
        return self.name == other.name and (
            self.versions == other.versions or None in (self.versions, other.versions)
        )

    def __str__(self) -> str:
        return self.name if self.versions is None else f"{self.name} {self.versions}"


@dataclass(frozen=True, slots=True)
class Known:
    """A divergence that is expected: in which cases (a glob), on which runtimes, in which fields, and why.

    ``differs`` is what differs in these fields; without it, whatever does is excused. Delete the lines ``first_line``
    to ``last_line`` when it has disappeared.
    """

    case: str
    runtimes: tuple[RuntimeRange, ...]
    fields: tuple[str, ...]
    reason: str
    issue: str
    first_line: int
    last_line: int
    differs: Differs | None = None

    def matches(self, case: str, runtime: str, version: str | None) -> bool:
        """Return whether this entry includes a case on this version of a runtime."""
        return fnmatchcase(case, self.case) and any(each.matches(runtime, version) for each in self.runtimes)

    def excuses(self, field: str) -> bool:
        """Return whether this entry excuses any divergence in a field, whatever differs there."""
        return self.differs is None and field in self.fields


@dataclass(frozen=True, slots=True)
class Contract:
    """The content of a contract. ``drafts`` are divergences that nobody has explained yet: they excuse nothing."""

    path: Path
    ceilings: tuple[Ceiling, ...] = ()
    limits: ArtifactLimits = field(default_factory=ArtifactLimits)
    known: tuple[Known, ...] = ()
    drafts: tuple[Known, ...] = ()
    work: WorkTable | None = None

    def ceilings_of(self, runtime: str, kind: str) -> tuple[Ceiling, ...]:
        """Return the ceilings of a runtime: its own, else those of its name without a version, else those of ``*``."""
        for name in (runtime, base_name(runtime), ANY):
            if found := tuple(each for each in self.ceilings if (each.runtime, each.kind) == (name, kind)):
                return found
        return ()

    def known_for(self, case: str, runtime: str, version: str | None) -> list[Known]:
        """Return the known divergences of a case on this version of a runtime."""
        return [each for each in self.known if each.matches(case, runtime, version)]

    def check_runtimes(self, known: Collection[str]) -> None:
        """Raise ContractError if the contract names a runtime that is not among these; the first by line."""
        named = [(each.line, each.runtime) for each in self.ceilings]
        for entry in (*self.known, *self.drafts):
            named += [(each.line, each.name) for each in entry.runtimes]
        for line, name in sorted(named):
            if name not in known and base_name(name) not in known and name != ANY:
                raise ContractError(
                    f'{self.path}:{line}: there is no runtime "{name}"; {nearest(name, known)}'
                )


def parse_runtime(text: str, line: int = 0) -> RuntimeRange:
    """Read ``"node"``, ``"deno >=2.8,<3"`` or ``"*"``. Raises ValueError: ``what is wrong; what to do``."""
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f'"{text}" is no runtime with versions; write "deno" or "deno >=2.8,<3".')
    name, versions = found.groups()
    if versions is None:
        return RuntimeRange(name, line=line)
    if name == ANY:
        raise ValueError(f'"{text}" has versions for every runtime at once; write "*", or name the runtimes.')
    try:
        return RuntimeRange(name, SpecifierSet(_without_dates(versions)), line)
    except InvalidSpecifier:
        raise ValueError(
            f'"{versions}" is no range of versions; write it like ">=2.8,<3" or ">=2026-11-01".'
        ) from None


def _read_version(version: str | None) -> Version | None:
    try:
        # Firefox calls its version 153.7.0esr.
        return Version(_without_dates(version or "").removesuffix("esr"))
    except InvalidVersion:
        return None


def _without_dates(text: str) -> str:
    """Write dates, which some runtimes have as versions, with dots: 2026.11.17."""
    return _DATE.sub(r"\1.\2.\3", text)
