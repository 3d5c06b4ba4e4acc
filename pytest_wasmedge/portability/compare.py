"""Compares an outcome with its reference and describes the differences, in bounded space and time."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from pytest_wasmedge.errors import HostFailedError
from pytest_wasmedge.model import Divergence, Ending, Files, Invocation, Leak, Outcome, OutcomeField
from pytest_wasmedge.portability.diagnosis import diagnose
from pytest_wasmedge.portability.excerpt import around, cut, line_bounds, visible
from pytest_wasmedge.portability.leaks import find_leaks, headline_of
from pytest_wasmedge.portability.offsets import first_difference

_CONTEXT_LINES = 2
_SHOWN_LINES = 4
_LINE_CHARACTERS = 120
_SUMMARY_CHARACTERS = 50
_HEAD_CHARACTERS = 40
_PIECE_CHARACTERS = 30
_GIVEN_CHARACTERS = 300
_NO_NEWLINE = "\\ No newline at end of output"


@dataclass(frozen=True, slots=True)
class Comparison:
    """An outcome, what was expected of it, and the invocation, if it is known; ``unchecked`` fields do not count.

    Streams that are ``data`` are not searched for leaks.
    """

    outcome: Outcome
    expected: Outcome
    invocation: Invocation | None = None
    unchecked: Collection[str] = ()
    data: bool = False

    @property
    def source(self) -> bytes:
        """What the guest was given to read: its text is no leak."""
        return self.invocation.stdin if self.invocation else b""


class DivergenceError(AssertionError):
    """An outcome differs from its reference, or shows internals of its host.

    The text has a part for each of ``divergences`` and ``leaks``, then what was asked and the whole outcome, and what
    such a difference usually means, and the ``notes``. ``compared`` is what that was found in.
    """

    def __init__(
        self,
        divergences: Sequence[Divergence],
        leaks: Sequence[Leak] = (),
        compared: Comparison | None = None,
        meaning: str = "",
        notes: Sequence[str] = (),
    ) -> None:
        self.divergences, self.leaks, self.compared = tuple(divergences), tuple(leaks), compared
        runtime = compared.outcome.runtime if compared else ""
        parts = [f"{runtime or 'outcome'}: {leak}" for leak in leaks] + list(map(str, divergences))
        if compared:
            parts += _told(compared, meaning)
        parts += notes
        super().__init__("\n".join(parts))

    @property
    def headline(self) -> str:
        """One line for a list of failures: runtime, field and what differs; a leak before anything else."""
        if self.leaks:
            return headline_of(self.compared.outcome.runtime if self.compared else "", self.leaks)
        first = self.divergences[0]
        pieces = (re.sub(r'^\d+ bytes? (?=")', "", each) for each in (first.actual, first.expected))
        got, wanted = (cut(piece, _PIECE_CHARACTERS) for piece in pieces)
        return f"{first.runtime}: {first.field} {got}, not {wanted}"


def compare(outcome: Outcome, reference: Outcome, unchecked: Collection[str] = ()) -> tuple[Divergence, ...]:
    """Return the divergences of an outcome from its reference, in ending, streams and files; empty if none.

    Streams of an invocation that was stopped (timed out, or the host failed) may be incomplete and are not
    compared. A failed host says nothing about the guest, so its ending equals no other, not even a failed host's.
    ``unchecked`` are the fields that the outcome's runtime cannot report; a failed host is a divergence anyway.
    """
    return tuple(
        each
        for each in _divergences(outcome, reference)
        if each.field not in unchecked or outcome.ending.kind == "host_failed"
    )


def assert_same(
    outcome: Outcome,
    reference: Outcome,
    unchecked: Collection[str] = (),
    *,
    invocation: Invocation | None = None,
    meaning: str = "",
    leaks: bool = True,
) -> None:
    """Raise DivergenceError with every divergence unless outcome and reference are the same.

    With the ``invocation``, the failure says what was asked, and the outcome is also searched for ``leaks``, unless its
    streams are data. ``meaning`` is one sentence on what a difference usually means. Raises HostFailedError if one of
    the two hosts failed: then the guest gave no answer to compare.
    """
    __tracebackhide__ = True
    compared = Comparison(outcome, reference, invocation, unchecked, data=not leaks)
    for each in (outcome, reference):
        if each.ending.kind == "host_failed":
            reason = _detail(each.ending) or "it gave no reason"
            head = f"{each.runtime or 'outcome'}: the host failed: {reason}"
            raise HostFailedError("\n".join([head, *_told(compared, meaning)]), compared)
    divergences = compare(outcome, reference, unchecked)
    found = find_leaks(outcome, invocation.stdin) if invocation and leaks else ()
    if divergences or found:
        raise DivergenceError(divergences, found, compared, meaning)


def key_of(invocation: Invocation) -> object:
    """Return what two invocations have in common if they give a guest the same; folders aside."""
    return invocation.stdin, invocation.args, tuple(invocation.env.items())


def describe(divergences: Sequence[Divergence]) -> str:
    """Return all divergences as text for people; each begins on a new line."""
    return "\n".join(map(str, divergences)) or "no divergence"


def _divergences(outcome: Outcome, reference: Outcome) -> Iterator[Divergence]:
    runtime = outcome.runtime or "outcome"
    kinds = {outcome.ending.kind, reference.ending.kind}
    if outcome.ending != reference.ending or "host_failed" in kinds:
        # If both hosts failed, neither ending is what was expected of the other.
        expected = "an outcome" if kinds == {"host_failed"} else str(reference.ending)
        detail = f"{outcome.ending}: {_detail(outcome.ending)}" if outcome.ending.detail else ""
        yield Divergence("ending", runtime, expected, str(outcome.ending), diff=detail)
    if kinds & {"timed_out", "host_failed"}:
        return
    if outcome.stdout != reference.stdout:
        yield _stream_divergence("stdout", runtime, reference.stdout, outcome.stdout)
    if outcome.stderr != reference.stderr:
        yield _stream_divergence("stderr", runtime, reference.stderr, outcome.stderr)
    if outcome.files != reference.files:
        yield _files_divergence(runtime, reference.files, outcome.files)


def _told(compared: Comparison, meaning: str) -> list[str]:
    """Return what was asked, the whole outcome, and what the difference usually means."""
    outcome, lines = compared.outcome, []
    if compared.invocation:
        lines.append(f"asked: {describe_invocation(compared.invocation)}")
    told = [str(outcome.ending), f"stdout {_start(outcome.stdout)}", f"stderr {_start(outcome.stderr)}"]
    lines.append(f"outcome: {'; '.join(told)}")
    meanings = diagnose(outcome, compared.expected)
    return [*lines, *(f"meaning: {each}" for each in [*meanings, *([meaning] if meaning else [])])]


def describe_invocation(invocation: Invocation) -> str:
    """Return what a guest was given, in one line of bounded length."""
    told = [f"stdin {_start(invocation.stdin)}"]
    if invocation.args:
        told.append(cut(f"arguments {', '.join(map(_quoted, invocation.args))}", _GIVEN_CHARACTERS))
    if invocation.env:
        given = ", ".join(
            f"{visible(name.encode())}={_quoted(value)}" for name, value in invocation.env.items()
        )
        told.append(cut(f"variables {given}", _GIVEN_CHARACTERS))
    if invocation.preopens:
        told.append(cut(f"folders {', '.join(map(_quoted, invocation.preopens))}", _GIVEN_CHARACTERS))
    if invocation.timeout_s is not None:
        told.append(f"a time limit of {invocation.timeout_s:g} s")
    return "; ".join(told)


def _quoted(text: str) -> str:
    return f'"{visible(text.encode("utf-8", "surrogateescape"))}"'


def _start(data: bytes) -> str:
    return _summary(data, 0) if data else "0 bytes"


def _detail(ending: Ending) -> str:
    return cut(visible(ending.detail[:4096].encode()), 3 * _LINE_CHARACTERS)


def _stream_divergence(stream: OutcomeField, runtime: str, expected: bytes, actual: bytes) -> Divergence:
    offset = first_difference(expected, actual)
    return Divergence(
        stream,
        runtime,
        _summary(expected, offset),
        _summary(actual, offset),
        offset,
        expected.count(b"\n", 0, offset) + 1,
        _diff(expected, actual, offset),
    )


def _files_divergence(runtime: str, expected: Files, actual: Files) -> Divergence:
    """Tell the first path, in order of names, where the two are not the same."""
    paths = sorted(expected.keys() | actual.keys())
    path = next(each for each in paths if expected.get(each, 0) != actual.get(each, 0))
    wanted, got = (f"{_quoted(path)}: {_content(files, path)}" for files in (expected, actual))
    return Divergence("files", runtime, wanted, got)


def _content(files: Files, path: str) -> str:
    content = files.get(path)
    if isinstance(content, bytes):
        return f"a file of {_start(content)}"
    if isinstance(content, str):
        return f"a link to {_quoted(content)}"
    return "a folder" if path in files else "not there"


def _summary(data: bytes, offset: int) -> str:
    """Return the size and the text around the first difference: ``12 bytes "abc…"``."""
    size = f"{len(data)} byte{'' if len(data) == 1 else 's'}"
    if not data:
        return size
    # If this stream ended too early, show its last byte.
    offset = min(offset, len(data) - 1)
    start, end = line_bounds(data, offset)
    piece, before, after = around(data, start, min(end + 1, len(data)), offset, _SUMMARY_CHARACTERS)
    head = "…" if before or start > 0 else ""
    tail = "…" if after or end + 1 < len(data) else ""
    return f'{size} "{head}{cut(visible(piece), 2 * _SUMMARY_CHARACTERS)}{tail}"'


def _diff(expected: bytes, actual: bytes, offset: int) -> str:
    """Return the lines around the first difference: expected ones after ``-``, actual ones after ``+``."""
    line_start = expected.rfind(b"\n", 0, offset) + 1
    column = offset - line_start
    shown = [f"@@ byte {offset}: expected {_byte(expected, offset)}, got {_byte(actual, offset)} @@"]
    shown += [_shown(" ", line) for line in _lines_before(expected, line_start)]
    old, more_old = _lines_from(expected, line_start)
    new, more_new = _lines_from(actual, line_start)
    operations = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    if len(operations) > 1 and operations[-1][0] != "equal" and (more_old or more_new):
        # Lines after a common line at the end of the window differ only because the window ends.
        operations.pop()
    for kind, old_from, old_to, new_from, new_to in operations:
        if kind == "equal":
            shown += [_shown(" ", line) for line in old[old_from:old_to]]
            continue
        # The line of the first difference is shown around that difference, all others from their beginning.
        shown += [_shown("-", old[at], 0 if at else column) for at in range(old_from, old_to)]
        shown += [_shown("+", new[at], 0 if at else column) for at in range(new_from, new_to)]
    return "\n".join(shown)


def _byte(data: bytes, offset: int) -> str:
    return f"0x{data[offset]:02x}" if offset < len(data) else "the end"


def _lines_before(data: bytes, line_start: int) -> list[bytes]:
    """Return the last lines that end right before ``line_start``, newlines included."""
    lines: list[bytes] = []
    while line_start > 0 and len(lines) < _CONTEXT_LINES:
        previous = data.rfind(b"\n", 0, line_start - 1) + 1
        lines.insert(0, data[previous:line_start])
        line_start = previous
    return lines


def _lines_from(data: bytes, start: int) -> tuple[list[bytes], bool]:
    """Return the first lines from ``start``, newlines included, and whether there are more of them."""
    lines: list[bytes] = []
    while start < len(data) and len(lines) < _SHOWN_LINES:
        end = data.find(b"\n", start) + 1 or len(data)
        lines.append(data[start:end])
        start = end
    return lines, start < len(data)


def _shown(sign: str, line: bytes, column: int = 0) -> str:
    """Return one line of output after its sign, cut so that the byte in this column is visible."""
    text = line.removesuffix(b"\n")
    marker = "" if line.endswith(b"\n") else f"\n{_NO_NEWLINE}"
    while 0 < column < len(text) and text[column] & 0xC0 == 0x80:
        column -= 1
    head = visible(text[max(0, column - _LINE_CHARACTERS) : column])
    tail = visible(text[column : column + _LINE_CHARACTERS])
    if column > _LINE_CHARACTERS or len(head) + len(tail) > _LINE_CHARACTERS:
        head = head if len(head) <= _HEAD_CHARACTERS else "…" + head[1 - _HEAD_CHARACTERS :]
    if len(text) > column + _LINE_CHARACTERS:
        tail += "…"
    return sign + cut(head + tail, _LINE_CHARACTERS) + marker
