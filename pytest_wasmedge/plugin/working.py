"""Counts the work of one pytest run: of the start, and of each case that it is asked for, beside the baseline's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import islice

from pytest_wasmedge.contract.entries import Contract
from pytest_wasmedge.contract.work import START, Counts, WorkTable, judge, values
from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.model import Artifact, Invocation
from pytest_wasmedge.portability.compare import key_of
from pytest_wasmedge.portability.excerpt import counted
from pytest_wasmedge.reports.record import CountedPair, RunRecord
from pytest_wasmedge.work.counting import FUEL_LIMIT, CountedArtifact, compared, unit
from pytest_wasmedge.work.counts import FUEL, WORDS, Count, Work, changes, grown_calls, grown_most, total

#: What is written into the table ``[work]`` of a contract.
Values = dict[str, int | str]
_SHOWN = 10
_ENDLESS = f"not ended within {FUEL_LIMIT:,} fuel: it may never end"
_TOO_MUCH = f"it, and the baseline, or nearly, take more than the {FUEL_LIMIT:,} fuel up to which we count"


class Working:
    """The work of the artifact and of the baseline; making it runs nothing."""

    def __init__(self, artifact: Artifact, baseline: Artifact | None, table: WorkTable | None) -> None:
        self.counted = CountedArtifact(artifact, FUEL_LIMIT)
        self._table = table
        self._baseline = None
        if baseline is not None:
            same = baseline.sha256 == artifact.sha256
            self._baseline = self.counted if same else CountedArtifact(baseline, FUEL_LIMIT)

    @property
    def asked_for(self) -> bool:
        """True if a baseline or a table ``[work]`` asks for counts."""
        return self._baseline is not None or self._table is not None

    def count(self, name: str, invocation: Invocation) -> list[object] | None:
        """Return what an invocation of a test counts, as the end of a fact; None if nobody asks for it."""
        if self._baseline is None and (self._table is None or name not in self._table.cases):
            return None
        key = repr((key_of(invocation), sorted(invocation.preopens)))
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        try:
            head, baseline = self._works(invocation)
        except WasmEdgeError as error:
            return [digest, {}, {}, str(error)]
        return [digest, _raw(head), _raw(baseline), _stopped(head, baseline)]

    @cached_property
    def start(self) -> tuple[Work, Work | None]:
        """The work of a start, and of the baseline's. Raises WasmEdgeError."""
        return self._works(self.counted.smallest)

    def _works(self, invocation: Invocation) -> tuple[Work, Work | None]:
        if self._baseline is None:
            return self.counted.of_invocation(invocation), None
        return compared(self.counted, self._baseline, invocation)

    def count_start(self) -> str:
        """Count the start, once; return why it cannot be counted, empty if it can."""
        try:
            _ = self.start
        except WasmEdgeError as error:
            return str(error)
        return ""

    def conclude(
        self, record: RunRecord, contract: Contract | None, margin: float, *, writing: bool
    ) -> Values:
        """Judge what was counted, into the record; return what to write into the contract.

        A table that is ``writing`` is not judged.
        """
        if not self.asked_for:
            return {}
        heads, pairs = self._counts(record)
        record.totals = dict(pairs)
        record.closing += [
            (f"work not counted: {name}: {problem}", "warn")
            for name, problem in islice(record.uncounted.items(), _SHOWN)
            if problem != _ENDLESS
        ]
        record.broken += [
            f"work: {name} has {_ENDLESS}"
            for name, problem in record.uncounted.items()
            if problem == _ENDLESS
        ]
        if self._baseline is not None and pairs:
            self._judge_baseline(record, pairs, margin)
        if contract is None or contract.work is None:
            return {}
        if writing:
            return values(contract.work, heads, unit())
        judged = judge(contract.work, heads, unit(), contract.path)
        record.broken += judged.broken
        record.closing += [(note, "warn") for note in judged.notes]
        return {}

    def _counts(self, record: RunRecord) -> tuple[Counts, list[tuple[str, CountedPair]]]:
        """Return the counts of start and cases for the contract, and for the baseline both sides of each."""
        heads: dict[str, Mapping[str, Count]] = {}
        pairs: list[tuple[str, CountedPair]] = []
        if problem := self.count_start():
            record.uncounted[START] = problem
        else:
            head, baseline = self.start
            if problem := _stopped(head, baseline):
                record.uncounted[START] = problem
            else:
                heads[START] = head.counts
                pairs.append((START, (head.counts, baseline.counts if baseline else {})))
        for name, on in record.work.items():
            sums = {
                runtime: (
                    total(head for head, _ in pairs_of.values()),
                    total(base for _, base in pairs_of.values()),
                )
                for runtime, pairs_of in on.items()
            }
            # Every runtime is given the same, as a rule.
            first = next(iter(sums.values()))
            alike = all(each == first for each in sums.values())
            pairs += (
                [(name, first)] if alike else [(f"{name} on {where}", both) for where, both in sums.items()]
            )
            heads[name] = max((both[0] for both in sums.values()), key=lambda counts: counts[FUEL].highest)
        return heads, pairs

    def _judge_baseline(
        self, record: RunRecord, pairs: Sequence[tuple[str, CountedPair]], margin: float
    ) -> None:
        found = [change for what, both in pairs for change in changes(what, *both, names=_names(what))]
        beyond = grown_most(change for change in found if change.beyond(margin))
        within = grown_most(change for change in found if not change.beyond(margin))
        cases = f" and {counted(len(pairs) - 1, 'case')}" if pairs[0][0] == START else ""
        what = f"the start{cases}" if cases else counted(len(pairs), "case")
        head = f"work of {what}, counted exactly, with the baseline's (margin {margin * 100:g} %)"
        if beyond:
            record.broken += [f"{head}: changed:", *(f"  {change}" for change in beyond[:_SHOWN])]
        else:
            record.closing.append((f"{head}: {'changed:' if found else 'the same'}", "plain"))
        record.closing += [(f"  {change}", "plain") for change in within[:_SHOWN]]
        for what, left in (("beyond the margin", beyond[_SHOWN:]), ("within it, or less", within[_SHOWN:])):
            if left:
                record.closing.append(
                    (f"  and {len(left)} more {what}", "bad" if left[0] in beyond else "plain")
                )
        varying = [f"{what} ({both[0][FUEL]})" for what, both in pairs if both[0][FUEL].varies]
        if varying:
            more = ", …" if varying[_SHOWN:] else ""
            text = f"fuel that varies from run to run, told as a range: {', '.join(varying[:_SHOWN])}{more}"
            record.closing.append((text, "warn"))
        if any((change.what, change.name) == (START, FUEL) for change in beyond):
            record.broken += self._grown_functions()

    def _grown_functions(self) -> list[str]:
        """Return a line on the functions whose calls in a start grew most."""
        head, baseline = (each and each.calls_of_start() for each in (self.counted, self._baseline))
        grown = grown_calls(head or {}, baseline or {})
        told = ", ".join(f"{name} {before:,} → {now:,}" for name, before, now in grown)
        return [f"  calls in the start that grew most: {told}"] if grown else []

    def close(self) -> None:
        """Close the hosts that count."""
        for each in (self.counted, self._baseline):
            if each is not None:
                each.close()


def _names(what: str) -> tuple[str, ...]:
    """Return what is compared of a start, and of a case: functions are compiled in both, but counted in the start."""
    return tuple(WORDS) if what == START else (FUEL,)


def _stopped(head: Work, baseline: Work | None) -> str:
    """Return what is to be said of a guest that was stopped at the limit of fuel; empty if none was."""
    if not head.out_of_fuel and (baseline is None or not baseline.out_of_fuel):
        return ""
    ended = baseline is None or (not baseline.out_of_fuel and baseline.fuel * 2 < FUEL_LIMIT)
    return _ENDLESS if head.out_of_fuel and ended else _TOO_MUCH


def _raw(work: Work | None) -> dict[str, list[int]]:
    return {name: [count.lowest, count.highest] for name, count in work.counts.items()} if work else {}
