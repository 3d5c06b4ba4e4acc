"""Says what a difference between an outcome and its reference usually means, by how the two are related."""

from __future__ import annotations

import re
from collections import Counter

from pytest_wasmedge.model import Ending, Outcome
from pytest_wasmedge.portability.offsets import first_difference

_ESCAPE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")
_BOM = b"\xef\xbb\xbf"
#: The sizes of buffers in pipes, sockets and standard libraries.
_BUFFERS = (1 << 20, 1 << 16, 1 << 13, 1 << 12)
#: Beyond this size only what costs little is looked at.
_LARGE_BYTES = 32 << 20


def diagnose(outcome: Outcome, expected: Outcome) -> list[str]:
    """Return what the difference usually means, as sentences without an end mark; empty if nothing is recognised."""
    found = []
    if outcome.ending != expected.ending:
        found += _ending(outcome.ending, expected.ending)
    if "timed_out" in (outcome.ending.kind, expected.ending.kind):
        return found
    swapped = (outcome.stdout, outcome.stderr) == (expected.stderr, expected.stdout)
    if swapped and outcome.stdout != outcome.stderr:
        return [*found, "stdout and stderr are swapped"]
    for name, other in (("stdout", "stderr"), ("stderr", "stdout")):
        got, wanted, other_wanted = getattr(outcome, name), getattr(expected, name), getattr(expected, other)
        if got != wanted and max(len(got), len(wanted)) <= _LARGE_BYTES:
            if other_wanted and not getattr(outcome, other) and sorted(got) == sorted(wanted + other_wanted):
                return [*found, f"{other} arrives on {name}: the host merges the streams"]
            found += [f"{name}: {each}" for each in [_stream(got, wanted)] if each]
    return found


def _ending(got: Ending, wanted: Ending) -> list[str]:
    if got.kind == wanted.kind == "exited":
        if got.status == 0:
            return [f"the host drops the exit status {wanted.status}: a failed guest passes for a good one"]
        if wanted.status == 0:
            return ["the guest failed, or the host made this exit status up"]
        assert wanted.status is not None
        if got.status == wanted.status & 0x7F:
            return ["the host keeps the low 7 bits of the exit status alone"]
        return ["the host turns the exit status of the guest into another one"]
    sentences = {
        (
            "exited",
            "trapped",
        ): "the host tells a trap as an exit status: a crash looks like a decision of the guest",
        ("trapped", "exited"): "the guest crashed, or the host tells an exit status as a trap",
        ("timed_out", "trapped"): "the host tells a trap as a time-out, or hangs after one",
        ("trapped", "timed_out"): "the host tells a time-out as a trap, or the guest ran out of stack",
        ("timed_out", "exited"): "the guest did not end within its time limit, or was stopped too early",
        (
            "exited",
            "timed_out",
        ): "a guest that never ends was not stopped at its time limit, or the host tells that as "
        "an exit status",
        ("out_of_memory", "exited"): "the guest needs more memory than this host gives",
    }
    sentence = sentences.get((got.kind, wanted.kind))
    return [sentence] if sentence else [f"the host tells {wanted.kind} as {got.kind}"]


def _stream(got: bytes, wanted: bytes) -> str:
    for meaning, undone, original in (
        ("all of it is lost", got, b"" if wanted else None),
        ("the final newline is dropped", got + b"\n", wanted),
        ("a final newline is added", got, wanted + b"\n"),
        ("line ends are translated: a carriage return is added", got.replace(b"\r\n", b"\n"), wanted),
        ("line ends are translated: carriage returns are dropped", got, wanted.replace(b"\r\n", b"\n")),
        ("line ends are translated: carriage returns are dropped", got, wanted.replace(b"\r", b"")),
        (
            "colours (escape sequences) are added: the guest was told that it writes to a terminal",
            _plain(got),
            wanted,
        ),
        ("escape sequences are removed", got, _plain(wanted)),
        ("decoded as text on its way: bytes that are not UTF-8 are replaced", got, _replaced(wanted)),
        ("encoded twice: bytes are taken for Latin-1 characters", got, wanted.decode("latin-1").encode()),
        ("NUL bytes are dropped", got, wanted.replace(b"\0", b"")),
        ("it ends at the first NUL byte", got, wanted.partition(b"\0")[0]),
        ("the byte order mark is dropped", got, wanted.replace(_BOM, b"", 1)),
        ("a byte order mark is added", got, _BOM + wanted),
        ("blanks at the ends of lines are dropped", got, re.sub(rb"[ \t]+(?=\n|\Z)", b"", wanted)),
        ("blanks around it are dropped", got, wanted.strip()),
        ("empty lines are dropped", got, re.sub(rb"\n{2,}", b"\n", wanted)),
        ("tabs are expanded", got, wanted.expandtabs()),
        ("tabs are expanded", got, wanted.expandtabs(4)),
    ):
        if undone == original:
            return meaning
    return _moved(got, wanted)


def _moved(got: bytes, wanted: bytes) -> str:
    at = first_difference(wanted, got)
    if wanted.startswith(got):
        return f"cut off after {_size(len(got))}, {_size(len(wanted) - len(got))} lost{_buffer(len(got))}"
    if got.startswith(wanted):
        return f"{_size(len(got) - len(wanted))} added behind it"
    if got.endswith(wanted):
        return f"{_size(len(got) - len(wanted))} added before it"
    if wanted.endswith(got):
        return f"its beginning is lost, {_size(len(wanted) - len(got))}"
    more = len(got) - len(wanted)
    if more > 0 and got[at + more :] == wanted[at:]:
        again = " again" if got[at : at + more] in wanted[:at] else ""
        return f"{_size(more)} inserted{again} at byte {at}{_buffer(at)}"
    if more < 0 and wanted[at - more :] == got[at:]:
        return f"{_size(-more)} lost at byte {at}{_buffer(at)}"
    if not more and Counter(got) == Counter(wanted):
        return f"the same bytes in another order: pieces are swapped from byte {at} on"
    return ""


def _plain(data: bytes) -> bytes:
    return _ESCAPE.sub(b"", data) if b"\x1b" in data else data


def _replaced(data: bytes) -> bytes:
    return data.decode("utf-8", "replace").encode()


def _size(count: int) -> str:
    return f"{count} byte{'' if count == 1 else 's'}"


def _buffer(count: int) -> str:
    """Return a remark on a place at, or one byte beside, a multiple of a usual buffer's size."""
    for size in _BUFFERS:
        if count >= size and (count % size in (0, 1) or count % size == size - 1):
            return f", beside a multiple of {size}: a buffer's end"
    return ""
