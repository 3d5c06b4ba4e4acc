"""Holds one failure against the known divergences: which of them it is, and what none of them explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_wasmedge.contract.differing import (
    TOLD,
    Golden,
    Normalised,
    Seen,
    parse_golden_ending,
    remaining,
    what_was_seen,
)
from pytest_wasmedge.contract.entries import FIELDS, Known
from pytest_wasmedge.model import Ending, Outcome
from pytest_wasmedge.portability.compare import Comparison, DivergenceError, compare
from pytest_wasmedge.portability.normalising import NORMALISATIONS

#: A golden of more bytes is not drafted: nobody would read it.
_DRAFTED_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Unexplained:
    """What no entry explains: its fields, and what a draft can say of them, in the words of the contract."""

    fields: tuple[str, ...]
    differs: str = ""
    outcome: tuple[tuple[str, str], ...] = ()

    def plus(self, other: Unexplained) -> Unexplained:
        """Return both as one; what they say differs is kept only if they say the same."""
        fields = tuple(each for each in FIELDS if each in (*self.fields, *other.fields))
        if (self.differs, self.outcome) != (other.differs, other.outcome):
            return Unexplained(fields)
        return Unexplained(fields, self.differs, self.outcome)


@dataclass(frozen=True, slots=True)
class Explained:
    """The entries that a failure met, what is left of it, and lines about that for people."""

    met: tuple[Known, ...]
    left: Unexplained
    told: tuple[str, ...] = ()
    headline: str = ""


def explain(
    error: BaseException | None, fields: Sequence[str], entries: Sequence[Known], contract: str = ""
) -> Explained:
    """Hold a failure, which is about ``fields``, against the entries of its case and runtime.

    ``contract`` is the name of their file.
    """
    raw = what_was_seen(error)
    if raw is None:
        return _by_fields(fields, entries, contract)
    seen, met, told = raw, [], []
    # A golden is about the whole of a field, so it comes before anything is taken out.
    for entry in sorted(entries, key=lambda entry: not isinstance(entry.differs, Golden)):
        if entry.differs is None:
            continue
        after = entry.differs.apply(seen, entry.fields)
        if after != seen:
            met.append(entry)
        elif isinstance(entry.differs, Golden):
            told += [
                f"{contract}:{entry.first_line} has another outcome: {each}"
                for each in _missed(entry.differs, raw)
            ]
        seen = after
    divergences, leaks = remaining(seen, raw)
    # What was found by other means than ours cannot be looked for again.
    ours = remaining(raw, raw)
    divergences += tuple(each for each in getattr(error, "divergences", ()) if each not in ours[0])
    leaks += tuple(each for each in getattr(error, "leaks", ()) if each not in ours[1])
    whole = [entry for entry in entries if entry.differs is None]
    for entry in whole:
        if (leaks and entry.excuses("leak")) or any(entry.excuses(each.field) for each in divergences):
            met.append(entry)
    divergences = tuple(each for each in divergences if not any(entry.excuses(each.field) for entry in whole))
    leaks = () if any(entry.excuses("leak") for entry in whole) else leaks
    headline = ""
    if met and (divergences or leaks):
        shown = DivergenceError(divergences, leaks, Comparison(raw.outcome, raw.expected or raw.outcome))
        headline = shown.headline
        runtime = raw.outcome.runtime or "outcome"
        told = [*(f"{runtime}: {each}" for each in leaks), *map(str, divergences), *told]
    found = [each.field for each in divergences] + ["leak"] * bool(leaks)
    left = _draft(seen, raw, tuple(each for each in FIELDS if each in found))
    met.sort(key=lambda entry: entry.first_line)
    return Explained(tuple(met), left, tuple(told), headline)


def _by_fields(fields: Sequence[str], entries: Sequence[Known], contract: str) -> Explained:
    """Hold a failure that tells no outcome against the entries: those that say what differs excuse nothing of it."""
    met = tuple(entry for entry in entries if any(map(entry.excuses, fields)))
    left = tuple(each for each in FIELDS if each in fields and not any(entry.excuses(each) for entry in met))
    told = tuple(
        f"{contract}:{entry.first_line} says what differs, and this failure has no outcome to hold that against: "
        "compare with assert_same(outcome, expected, invocation=…)"
        for entry in entries
        if entry.differs is not None and left and left != ("start",)
    )
    return Explained(met, Unexplained(left), told)


def _missed(golden: Golden, raw: Seen) -> list[str]:
    """Return what differs from a golden, as lines."""
    wanted = dict(golden.fields)
    missed = golden.missed(raw)
    ending, words = parse_golden_ending(wanted.get("ending", ""))
    if "ending" in missed and ending == raw.outcome.ending:
        detail = raw.outcome.ending.detail or "nothing"
        return [f'ending: expected the words "{words}", got "{detail}"']
    other = Outcome(
        wanted.get("stdout", "").encode(), wanted.get("stderr", "").encode(), ending or Ending("exited", -1)
    )
    return [str(each) for each in compare(raw.outcome, other) if each.field in missed]


def _draft(seen: Seen, raw: Seen, left: tuple[str, ...]) -> Unexplained:
    """Return what is left with what a draft can say of it: a normalisation, else a small golden, else nothing."""
    if not left:
        return Unexplained(left)
    for name in NORMALISATIONS:
        streams = tuple(each for each in TOLD[:2] if Normalised(name).apply(seen, [each]) != seen)
        if streams and remaining(Normalised(name).apply(seen, streams), raw) == ((), ()):
            return Unexplained(streams, name)
    # A host that failed has words of its own, and streams that ended early differ from run to run.
    if "leak" in left or raw.outcome.ending.kind in ("host_failed", "timed_out"):
        return Unexplained(left)
    told = {
        "ending": str(raw.outcome.ending).encode(),
        "stdout": raw.outcome.stdout,
        "stderr": raw.outcome.stderr,
    }
    told = {field: data for field, data in told.items() if field in left}
    try:
        outcome = tuple((field, data.decode()) for field, data in told.items())
    except UnicodeDecodeError:
        return Unexplained(left)
    return Unexplained(left, outcome=outcome if sum(map(len, told.values())) <= _DRAFTED_BYTES else ())
