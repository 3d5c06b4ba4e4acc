"""Faults in what comes back on stdout and stderr."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import zip_longest

from pytest_wasmedge.model import Outcome
from pytest_wasmedge.testing import witness
from pytest_wasmedge.testing.fault import Fault, Plant
from pytest_wasmedge.testing.planting import ruby, stderr, stdout, told

_CHUNK = 64 << 10
_SIZES = {"64k": (64 << 10, "64 KiB"), "1m": (1 << 20, "1 MiB"), "8m": (8 << 20, "8 MiB")}
_STREAMS: dict[str, Callable[[Callable[[bytes], bytes]], Plant]] = {"stdout": stdout, "stderr": stderr}
#: What a length is beside a multiple of a buffer's size, as a fault's name and sentence say it.
_BESIDE = {
    "": (0, "a multiple of"),
    "_and_one": (1, "one more than a multiple of"),
    "_less_one": (-1, "one less than a multiple of"),
}


def _fault(name: str, sentence: str, plant: Plant, *says: str) -> Fault:
    return Fault(name, "streams", sentence, plant, says or ("stdout", "stderr"))


def _loses_last(size: int, beside: int, data: bytes) -> bytes:
    """Drop the last byte of data that fills buffers of this size whole, or misses that by one."""
    length = len(data) - beside
    return data[:-1] if length >= size and length % size == 0 else data


def _cut(most: int, data: bytes) -> bytes:
    return data[:most]


def _chunks(data: bytes) -> list[bytes]:
    return [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)]


def _repeated(data: bytes) -> bytes:
    return data[: 2 * _CHUNK] + data[_CHUNK:] if len(data) > 2 * _CHUNK else data


def _swapped(data: bytes) -> bytes:
    chunks = _chunks(data)
    return b"".join([*chunks[:1], *chunks[2:3], *chunks[1:2], *chunks[3:]])


def _without_partial(data: bytes) -> bytes:
    return data[: len(data) // _CHUNK * _CHUNK] if len(data) > _CHUNK else data


def _interleaved(outcome: Outcome) -> Outcome:
    pairs = zip_longest(
        outcome.stdout.splitlines(keepends=True), outcome.stderr.splitlines(keepends=True), fillvalue=b""
    )
    return replace(outcome, stdout=b"".join(part for pair in pairs for part in pair), stderr=b"")


def _failed(outcome: Outcome) -> bool:
    return outcome.ending.kind == "exited" and not outcome.ending.ok


def _if_failed(outcome: Outcome, stdout: Callable[[bytes], bytes]) -> Outcome:
    return replace(outcome, stdout=stdout(outcome.stdout)) if _failed(outcome) else outcome


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _with_final_newline(data: bytes) -> bytes:
    return data if not data or data.endswith(b"\n") else data + b"\n"


def _decoded_in_chunks(data: bytes) -> bytes:
    try:
        data.decode()
    except UnicodeDecodeError:
        return data
    return b"".join(chunk.decode("utf-8", "replace").encode() for chunk in _chunks(data))


def _terminal(*descriptors: int) -> Plant:
    streams = ", ".join(("STDIN", "STDOUT", "STDERR")[each] for each in descriptors)
    line = f"[{streams}].each {{ |io| def io.tty? = true; def io.isatty = true }}"
    return ruby(line, witness.terminal(*descriptors))


_CUT = [
    _fault(
        f"cuts_{stream}_at_{size}",
        f"cuts {stream} after {said}",
        change(partial(_cut, most)),
        stream,
    )
    for stream, change in _STREAMS.items()
    for size, (most, said) in _SIZES.items()
    # The first one has had its name from the beginning.
    if (stream, size) != ("stdout", "64k")
]
_LAST_BYTE = [
    _fault(
        f"loses_last_of_{size}{name}",
        f"loses the last byte of stdout if its length is {said} {size:,}",
        stdout(partial(_loses_last, size, beside)),
        "stdout",
    )
    for size in (4096, 8192, 65536)
    for name, (beside, said) in _BESIDE.items()
]

FAULTS = (
    _fault("truncates_stdout", "cuts stdout after 64 KiB", stdout(lambda data: data[:_CHUNK]), "stdout"),
    *_CUT,
    *_LAST_BYTE,
    _fault(
        "stderr_loses_last_of_4096",
        "loses the last byte of stderr if its length is a multiple of 4,096",
        stderr(partial(_loses_last, 4096, 0)),
        "stderr",
    ),
    _fault(
        "loses_last_chunk",
        "loses what is left after whole chunks of 64 KiB on stdout",
        stdout(_without_partial),
        "stdout",
    ),
    _fault("repeats_chunk", "writes the second chunk of 64 KiB on stdout twice", stdout(_repeated), "stdout"),
    _fault(
        "swaps_chunks", "swaps the second and the third chunk of 64 KiB on stdout", stdout(_swapped), "stdout"
    ),
    _fault(
        "swaps_stderr_chunks",
        "swaps the second and the third chunk of 64 KiB on stderr",
        stderr(_swapped),
        "stderr",
    ),
    _fault(
        "merges_stderr",
        "puts stderr after stdout",
        told(lambda each: replace(each, stdout=each.stdout + each.stderr, stderr=b"")),
    ),
    _fault(
        "swaps_streams",
        "swaps stdout and stderr",
        told(lambda each: replace(each, stdout=each.stderr, stderr=each.stdout)),
    ),
    _fault("interleaves_streams", "puts the lines of stderr between those of stdout", told(_interleaved)),
    _fault(
        "copies_stderr",
        "also puts stderr after stdout",
        told(lambda each: replace(each, stdout=each.stdout + each.stderr)),
    ),
    _fault("drops_stderr", "drops stderr", stderr(lambda data: b""), "stderr"),
    _fault(
        "adds_carriage_return",
        "turns LF on stdout into CRLF",
        stdout(lambda data: data.replace(b"\n", b"\r\n")),
        "stdout",
    ),
    _fault(
        "stderr_adds_carriage_return",
        "turns LF on stderr into CRLF",
        stderr(lambda data: data.replace(b"\n", b"\r\n")),
        "stderr",
    ),
    _fault(
        "drops_carriage_return", "drops CR on stdout", stdout(lambda data: data.replace(b"\r", b"")), "stdout"
    ),
    _fault(
        "crlf_to_lf",
        "turns CRLF on stdout into LF",
        stdout(lambda data: data.replace(b"\r\n", b"\n")),
        "stdout",
    ),
    _fault(
        "drops_final_newline",
        "drops the line break at the end of stdout",
        stdout(lambda data: data.removesuffix(b"\n")),
        "stdout",
    ),
    _fault(
        "stderr_drops_final_newline",
        "drops the line break at the end of stderr",
        stderr(lambda data: data.removesuffix(b"\n")),
        "stderr",
    ),
    _fault(
        "adds_final_newline",
        "ends stdout with a line break that was not there",
        stdout(_with_final_newline),
        "stdout",
    ),
    _fault(
        "stderr_adds_final_newline",
        "ends stderr with a line break that was not there",
        stderr(_with_final_newline),
        "stderr",
    ),
    _fault("drops_nul", "drops NUL on stdout", stdout(lambda data: data.replace(b"\0", b"")), "stdout"),
    _fault(
        "ends_at_nul",
        "takes a NUL for the end of stdout",
        stdout(lambda data: data.partition(b"\0")[0]),
        "stdout",
    ),
    _fault(
        "adds_bom",
        "puts a byte order mark before stdout",
        stdout(lambda data: b"\xef\xbb\xbf" + data if data else data),
        "stdout",
    ),
    _fault(
        "drops_bom",
        "drops a byte order mark at the start of stdout",
        stdout(lambda data: data.removeprefix(b"\xef\xbb\xbf")),
        "stdout",
    ),
    _fault(
        "replaces_invalid_utf8",
        "replaces what is not UTF-8 on stdout",
        stdout(lambda data: data.decode("utf-8", "replace").encode()),
        "stdout",
    ),
    _fault(
        "stderr_replaces_invalid_utf8",
        "replaces what is not UTF-8 on stderr",
        stderr(lambda data: data.decode("utf-8", "replace").encode()),
        "stderr",
    ),
    _fault(
        "drops_invalid_utf8",
        "drops what is not UTF-8 on stdout",
        stdout(lambda data: data.decode("utf-8", "ignore").encode()),
        "stdout",
    ),
    _fault(
        "encodes_twice",
        "takes the UTF-8 of stdout for Latin-1 and encodes it again",
        stdout(lambda data: data.decode("latin-1").encode()),
        "stdout",
    ),
    _fault(
        "output_as_ascii",
        "replaces what is not ASCII on stdout by question marks",
        stdout(lambda data: _text(data).encode("ascii", "replace")),
        "stdout",
    ),
    _fault(
        "output_in_seven_bits",
        "clears the high bit of stdout",
        stdout(lambda data: bytes(byte & 0x7F for byte in data)),
        "stdout",
    ),
    _fault(
        "splits_characters_at_64k",
        "breaks a character of UTF-8 that lies across each 64 KiB of stdout",
        stdout(_decoded_in_chunks),
        "stdout",
    ),
    _fault(
        "trims_lines",
        "trims blanks at the ends of lines of stdout",
        stdout(lambda data: re.sub(rb"[ \t]+(?=\n|\Z)", b"", data)),
        "stdout",
    ),
    _fault("trims_stdout", "trims blanks and line breaks around stdout", stdout(bytes.strip), "stdout"),
    _fault(
        "squeezes_empty_lines",
        "writes several empty lines as one on stdout",
        stdout(lambda data: re.sub(rb"\n{3,}", b"\n\n", data)),
        "stdout",
    ),
    _fault(
        "expands_tabs",
        "turns each tab on stdout into blanks",
        stdout(lambda data: data.replace(b"\t", b"        ")),
        "stdout",
    ),
    _fault(
        "drops_bell",
        "drops control characters on stdout",
        stdout(lambda data: re.sub(rb"[\x01-\x08\x0b\x0c\x0e-\x1f]", b"", data)),
        "stdout",
    ),
    _fault(
        "wraps_lines",
        "breaks lines of stdout after 1,024 bytes",
        stdout(lambda data: re.sub(rb"([^\n]{1024})(?=[^\n])", rb"\1\n", data)),
        "stdout",
    ),
    _fault(
        "drops_last_line_without_newline",
        "drops a last line of stdout that has no line break",
        stdout(lambda data: data[: data.rfind(b"\n") + 1]),
        "stdout",
    ),
    _fault(
        "drops_stderr_of_success",
        "drops stderr if the status is 0",
        told(lambda each: replace(each, stderr=b"") if each.ending.ok else each),
        "stderr",
    ),
    _fault(
        "drops_stdout_of_failure",
        "drops stdout if the status is not 0",
        told(lambda each: _if_failed(each, lambda data: b"")),
        "stdout",
    ),
    _fault(
        "cuts_stdout_of_failure",
        "drops the last line of stdout if the status is not 0",
        told(lambda each: _if_failed(each, lambda data: data[: data.rstrip(b"\n").rfind(b"\n") + 1])),
        "stdout",
    ),
    _fault(
        "stdout_of_failure_to_stderr",
        "puts stdout before stderr if the status is not 0",
        told(
            lambda each: (
                replace(each, stdout=b"", stderr=each.stdout + each.stderr) if _failed(each) else each
            )
        ),
    ),
    _fault(
        "drops_stdout_of_trap",
        "drops the output of a guest that traps",
        told(lambda each: replace(each, stdout=b"", stderr=b"") if each.ending.kind == "trapped" else each),
    ),
    _fault(
        "reports_terminal",
        "claims that every stream is a terminal",
        _terminal(0, 1, 2),
        "terminal",
        "tty",
    ),
    _fault("stdin_is_terminal", "claims that stdin is a terminal", _terminal(0), "terminal", "tty"),
    _fault("stdout_is_terminal", "claims that stdout is a terminal", _terminal(1), "terminal", "tty"),
    _fault("stderr_is_terminal", "claims that stderr is a terminal", _terminal(2), "terminal", "tty"),
)
