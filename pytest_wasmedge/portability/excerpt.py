"""Bounded, readable pieces of guest output, for any bytes and any number of them."""

from __future__ import annotations

from collections.abc import Sequence

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def around(data: bytes, start: int, end: int, focus: int, length: int) -> tuple[bytes, bool, bool]:
    """Return at most ``length`` bytes of ``data[start:end]`` around ``focus``.

    The two flags say whether bytes are missing before and after. UTF-8 characters are kept whole.
    """
    first = max(start, min(focus, end) - length // 2) if end - start > length else start
    last = min(end, first + length)
    while start < first < last and data[first] & 0xC0 == 0x80:
        first += 1
    while first < last < end and data[last] & 0xC0 == 0x80:
        last -= 1
    return data[first:last], first > start, last < end


def visible(data: bytes) -> str:
    r"""Return the text with every invisible character written as \n, \r, \t or \xNN."""
    return "".join(map(_visible_character, data.decode("utf-8", "backslashreplace")))


def cut(text: str, length: int) -> str:
    """Return at most ``length`` characters, with an ellipsis if some are left out."""
    return text if len(text) <= length else text[: length - 1] + "…"


def counted(number: int, noun: str, plural: str = "s") -> str:
    """Return a number with its noun, in the plural unless it is one."""
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def line_bounds(data: bytes, offset: int) -> tuple[int, int]:
    """Return start and end of the line that holds this offset, without its newline."""
    start = data.rfind(b"\n", 0, offset) + 1
    end = data.find(b"\n", offset)
    return start, len(data) if end < 0 else end


def _visible_character(character: str) -> str:
    if character.isprintable():
        return character
    return _SHORT.get(character) or "".join(f"\\x{byte:02x}" for byte in character.encode())


def printable(text: str) -> str:
    """Return a text of guests or hosts with control characters written out; line breaks stay."""
    return "\n".join(visible(line.encode("utf-8", "backslashreplace")) for line in text.split("\n"))


def aligned(rows: Sequence[Sequence[str]], sides: str = "") -> list[str]:
    """Return rows of cells as lines, in columns as wide as their widest cell.

    ``sides`` aligns each column to the left, ``<``, or to the right, ``>``; all are to the left by default.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = sides or "<" * len(widths)
    return [
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
