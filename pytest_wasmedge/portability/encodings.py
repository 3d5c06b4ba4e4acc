"""Reads UTF-8 strictly, and finds text whose encoding was damaged between the guest and us."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pytest_wasmedge.errors import WasmEdgeError

# Words with which a program makes bytes that need not be UTF-8, or changes an encoding.
_BYTES = re.compile(
    rb"\\x|\\[0-3]?[0-7]{2}|\\M-|pack\b|chr\b|byte|binmode|binread|\.b\b|random|Random|Marshal"
)
_ENCODINGS = re.compile(rb"(?i:encod)|pack\b|chr\b|byte")
# The most different letters of a source that are looked for.
_LETTERS = 64


def read_utf8(path: Path, error: type[WasmEdgeError]) -> str:
    """Return the text of a file, line ends included. Raises this error: ``what is wrong; what to do``."""
    try:
        return path.read_bytes().decode()
    except OSError as cause:
        why = cause.strerror or str(cause)
        raise error(f"{path} cannot be read ({why}); check the path and its permissions.") from cause
    except UnicodeDecodeError as cause:
        line, byte = cause.object.count(b"\n", 0, cause.start) + 1, cause.object[cause.start]
        raise error(f"{path}:{line}: byte {byte:#04x} is not UTF-8; save the file as UTF-8.") from None


def invalid_utf8(data: bytes, source: bytes, *, complete: bool = True) -> Iterator[tuple[int, bytes]]:
    """Yield the first bytes that are not UTF-8, unless the source makes bytes, or the end of a stream is cut."""
    wrong = _first_invalid(data)
    if wrong and not _makes_bytes(source) and (complete or wrong.reason != "unexpected end of data"):
        yield wrong.start, data[wrong.start : wrong.end]


def is_data(data: bytes, source: bytes) -> bool:
    """Return whether a stream is not UTF-8 on purpose, because its source makes bytes."""
    return _makes_bytes(source) and _first_invalid(data) is not None


def double_encoded(data: bytes, source: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield letters of the source whose UTF-8 was read as Latin-1 and encoded once more."""
    if data.isascii() or source.isascii() or _ENCODINGS.search(source):
        return
    letters = {letter for letter in source.decode("utf-8", "ignore") if letter >= "\x80"}
    for letter in sorted(letters)[:_LETTERS]:
        for wrong in _misread(letter):
            offset = data.find(wrong)
            if offset >= 0 and wrong not in source:
                yield offset, wrong


def _makes_bytes(source: bytes) -> bool:
    return bool(_BYTES.search(source) or _ENCODINGS.search(source) or _first_invalid(source))


def _first_invalid(data: bytes) -> UnicodeDecodeError | None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error
    return None


def _misread(letter: str) -> set[bytes]:
    encoded = letter.encode()
    wrong = {encoded.decode("latin-1").encode()}
    with suppress(UnicodeDecodeError):
        wrong.add(encoded.decode("cp1252").encode())
    return wrong
