"""Finds host and engine internals in the text that a guest's user sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

from pytest_wasmedge.model import Leak, Outcome
from pytest_wasmedge.portability import encodings
from pytest_wasmedge.portability.detectors import DETECTORS, machine_paths
from pytest_wasmedge.portability.excerpt import around, line_bounds

#: The most leaks of one kind that are reported of one outcome: the first ones say enough.
REPORTED = 3

_TEXT_BYTES = 100
_EXCERPT_BYTES = 120

_Find = Callable[[bytes, bytes], Iterator[tuple[int, bytes]]]


class LeakError(AssertionError):
    """An outcome shows internals of host or engine; ``leaks`` has the places and the texts.

    ``searched`` is the outcome, and ``source`` and ``host_paths`` are what it was searched with.
    """

    def __init__(
        self,
        runtime: str,
        leaks: Sequence[Leak],
        searched: Outcome | None = None,
        source: bytes = b"",
        host_paths: Sequence[str | Path] = (),
    ) -> None:
        super().__init__("\n".join(f"{runtime}: {leak}" for leak in leaks))
        self.leaks, self.searched, self.source, self.host_paths = tuple(leaks), searched, source, host_paths
        self.headline = headline_of(runtime, leaks)


def headline_of(runtime: str, leaks: Sequence[Leak]) -> str:
    """Return one line for a list of failures."""
    return f"{runtime or 'outcome'}: {leaks[0].field} leaks {leaks[0].detector}, {leaks[0].text[:40]!r}"


def find_leaks(
    outcome: Outcome, source: bytes = b"", *, host_paths: Iterable[str | Path] = ()
) -> tuple[Leak, ...]:
    """Return the leaks in stdout and stderr, at most REPORTED of each kind.

    ``source`` is the program that the guest ran: text that is in it literally, or that it clearly asks for, is no
    leak. ``host_paths`` are paths of this machine: the artifact's folder, the cache, the working folder.
    """
    complete = outcome.ending.kind not in ("timed_out", "host_failed")
    finders: list[tuple[str, _Find]] = [
        *((detector.name, detector.find) for detector in (*DETECTORS, *machine_paths(host_paths))),
        ("double-encoded text", encodings.double_encoded),
        ("bytes that are not UTF-8", partial(encodings.invalid_utf8, complete=complete)),
    ]
    return tuple(
        leak for name, find in finders for leak in islice(_leaks(name, find, outcome, source), REPORTED)
    )


def assert_no_leaks(outcome: Outcome, source: bytes = b"", *, host_paths: Iterable[str | Path] = ()) -> None:
    """Raise LeakError with every leak if the outcome shows internals of host or engine."""
    __tracebackhide__ = True
    paths = tuple(host_paths)
    leaks = find_leaks(outcome, source, host_paths=paths)
    if leaks:
        raise LeakError(outcome.runtime or "outcome", leaks, outcome, source, paths)


def _leaks(name: str, find: _Find, outcome: Outcome, source: bytes) -> Iterator[Leak]:
    streams: tuple[Literal["stdout", "stderr"], ...] = ("stdout", "stderr")
    for stream in streams:
        data = getattr(outcome, stream)
        for offset, text in find(data, source):
            piece, before, after = around(data, *line_bounds(data, offset), offset, _EXCERPT_BYTES)
            shown, line = (each.decode("utf-8", "backslashreplace") for each in (text[:_TEXT_BYTES], piece))
            yield Leak(name, stream, offset, shown, f"{'…' if before else ''}{line}{'…' if after else ''}")
