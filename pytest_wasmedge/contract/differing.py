"""What a known divergence says that differs, and what is left of a failure once that is taken out of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_wasmedge.errors import HostFailedError
from pytest_wasmedge.model import Divergence, Ending, Leak, Outcome, host_failed
from pytest_wasmedge.portability.compare import Comparison, DivergenceError, compare
from pytest_wasmedge.portability.golden import parse_ending
from pytest_wasmedge.portability.leaks import LeakError, find_leaks
from pytest_wasmedge.portability.normalising import NORMALISATIONS

#: The fields that an entry can tell the content of.
TOLD = ("stdout", "stderr", "ending")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a failure has found: an outcome, and what was expected of it, if it was compared.

    ``source`` holds text that is no leak; streams that are ``data`` hold none at all.
    """

    outcome: Outcome
    expected: Outcome | None
    source: bytes
    unchecked: Collection[str] = ()
    host_paths: Sequence[str | Path] = ()
    data: bool = False

    def change(
        self, fields: Collection[str], ours: Callable[[bytes], bytes], theirs: Callable[[bytes], bytes]
    ) -> Seen:
        """Return this with the streams among these fields changed: in the outcome, and in what was expected."""
        seen = self
        for each in {"stdout", "stderr"}.intersection(fields):
            seen = replace(seen, outcome=_changed(seen.outcome, each, ours))
            if seen.expected is not None:
                seen = replace(seen, expected=_changed(seen.expected, each, theirs))
        return seen


def _changed(outcome: Outcome, stream: str, change: Callable[[bytes], bytes]) -> Outcome:
    data = change(getattr(outcome, stream))
    return replace(outcome, stdout=data) if stream == "stdout" else replace(outcome, stderr=data)


def _same(data: bytes) -> bytes:
    return data


def _nothing(data: bytes) -> bytes:
    return b""


@dataclass(frozen=True, slots=True)
class Normalised:
    """The streams differ by what a normalisation takes out of them."""

    name: str

    def apply(self, seen: Seen, fields: Collection[str]) -> Seen:
        """Return what was seen without that, on both sides."""
        return seen.change(fields, NORMALISATIONS[self.name], NORMALISATIONS[self.name])


@dataclass(frozen=True, slots=True)
class Replaced:
    """The streams differ by texts: pairs of what the outcome has, and what its reference has in that place."""

    texts: tuple[tuple[str, str], ...]

    def apply(self, seen: Seen, fields: Collection[str]) -> Seen:
        """Return what was seen with the reference's texts in the outcome."""
        wanted = {text.encode(): other.encode() for text, other in self.texts}
        # All at once, the longest first: what was put in is not replaced again.
        pattern = re.compile(b"|".join(map(re.escape, sorted(wanted, key=len, reverse=True))))
        return seen.change(fields, lambda data: pattern.sub(lambda found: wanted[found[0]], data), _same)


@dataclass(frozen=True, slots=True)
class Golden:
    """The outcome is another one: the text of each of its fields, an ending with words of the engine behind it."""

    fields: tuple[tuple[str, str], ...]

    def apply(self, seen: Seen, fields: Collection[str]) -> Seen:
        """Return what was seen without these fields, if each is exactly so."""
        if self.missed(seen):
            return seen
        seen = seen.change(dict(self.fields), _nothing, _nothing)
        if "ending" in dict(self.fields) and seen.expected is not None:
            seen = replace(seen, outcome=replace(seen.outcome, ending=seen.expected.ending))
        return seen

    def missed(self, seen: Seen) -> list[str]:
        """Return the fields that are not so; none of those that the runtime does not tell."""
        return [
            field
            for field, text in self.fields
            if field not in seen.unchecked
            and not (
                _ends_so(seen.outcome.ending, text)
                if field == "ending"
                else getattr(seen.outcome, field) == text.encode()
            )
        ]


Differs = Normalised | Replaced | Golden


def parse_golden_ending(text: str) -> tuple[Ending | None, str]:
    """Return the ending, None if it is none, and the engine's words: ``host_failed: invalid exit status``."""
    name, _, words = text.partition(": ")
    return (host_failed() if name == "host_failed" else parse_ending(name)), words


def _ends_so(ending: Ending, text: str) -> bool:
    wanted, words = parse_golden_ending(text)
    return ending == wanted and words in ending.detail


def what_was_seen(error: BaseException | None) -> Seen | None:
    """Return the outcome that a failure is about; None if it does not tell one, as a plain assertion."""
    if isinstance(error, LeakError) and error.searched is not None:
        return Seen(error.searched, None, error.source, host_paths=error.host_paths)
    compared = error.compared if isinstance(error, DivergenceError | HostFailedError) else None
    if not isinstance(compared, Comparison):
        return None
    # Without the invocation, what the reference has too is no leak.
    expected = compared.expected
    source = compared.source if compared.invocation else expected.stdout + b"\n" + expected.stderr
    return Seen(compared.outcome, expected, source, compared.unchecked, data=compared.data)


def remaining(seen: Seen, raw: Seen) -> tuple[tuple[Divergence, ...], tuple[Leak, ...]]:
    """Return the divergences and leaks in what was ``seen``, which was ``raw`` before anything was taken out."""
    divergences: tuple[Divergence, ...] = ()
    if seen.expected is not None and raw.expected is not None:
        divergences = compare(seen.outcome, seen.expected, seen.unchecked)
        if {raw.outcome.ending.kind, raw.expected.ending.kind} & {"timed_out", "host_failed"}:
            # An explained ending makes the streams of a guest that was stopped no more complete.
            divergences = tuple(each for each in divergences if each.field == "ending")
    leaks = () if seen.data else find_leaks(seen.outcome, seen.source, host_paths=seen.host_paths)
    return divergences, leaks
