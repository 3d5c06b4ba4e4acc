"""Finds the lines of a TOML text in which its keys, tables and array elements stand; no parser tells them."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from dataclasses import dataclass

#: The way to a value, from the top: keys of tables and indices of arrays.
Where = tuple[str | int, ...]

_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_STRING = (
    # Up to two quotes may stand directly before the three that end a multi-line string.
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})',
    r"'''.*?'''(?:'{0,2})",
    r'"(?:\\.|[^"\\\n])*"',
    r"'[^'\n]*'",
)
_KEY = re.compile(rf"{_STRING[2]}|{_STRING[3]}|[A-Za-z0-9_-]+")
_SCALAR = re.compile(rf"{'|'.join(_STRING)}|[^,\]}}#\r\n]+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Span:
    """From the first line to the last, counted from 1."""

    first: int
    last: int


class Lines:
    """Where everything stands in a text that `tomllib` has accepted; of other texts it knows nothing sensible."""

    def __init__(self, text: str) -> None:
        scanner = _Scanner(text)
        scanner.scan()
        self._spans = scanner.spans
        self._headers = scanner.headers

    def span(self, where: Where) -> Span:
        """Return the lines of a value with its key, or of a table with all that is in it.

        What stands nowhere itself (a key that is missing) is where the table stands that it would be in.
        """
        while where and where not in self._spans:
            where = where[:-1]
        return self._spans.get(where, Span(1, 1))

    def has_header(self, where: Where) -> bool:
        """Return whether this is a table that begins with a line such as ``[a.b]``."""
        return where in self._headers

    @property
    def everything(self) -> frozenset[Where]:
        """All that stands somewhere."""
        return frozenset(self._spans)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.spans: dict[Where, Span] = {}
        self.headers: set[Where] = set()
        self._text = text
        self._at = 0
        self._table: Where = ()
        self._last_element: dict[Where, int] = {}
        self._newlines = [found.start() for found in re.finditer("\n", text)]

    def scan(self) -> None:
        while self._skip(_GAP) < len(self._text):
            if self._text[self._at] == "[":
                self._header()
            else:
                self._pair(self._table)

    def _header(self) -> None:
        start = self._at
        brackets = 2 if self._text.startswith("[[", start) else 1
        self._at += brackets
        *parents, name = self._key()
        self._at += brackets
        where: Where = ()
        for key in parents:
            where = (*where, key)
            if where in self._last_element:
                where = (*where, self._last_element[where])
        where = (*where, name)
        if brackets == 2:
            self._last_element[where] = self._last_element.get(where, -1) + 1
            where = (*where, self._last_element[where])
        elif where in self._last_element:
            where = (*where, self._last_element[where])
        self._table = where
        self.headers.add(where)
        self._record(where, start)

    def _pair(self, table: Where) -> None:
        start = self._at
        where: Where = (*table, *self._key())
        self._record(where, start)
        self._at += 1
        self._skip(_BLANK)
        self._value(where)
        self._record(where, start)

    def _key(self) -> list[str]:
        """Read a key with its dots, and stop at what follows it."""
        keys: list[str] = []
        while True:
            self._skip(_BLANK)
            token = self._take(_KEY)
            keys.append(str(tomllib.loads(f"key = {token}")["key"]) if token[0] in "\"'" else token)
            self._skip(_BLANK)
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _value(self, where: Where) -> None:
        opening = self._text[self._at]
        if opening == "[":
            self._elements(where)
        elif opening == "{":
            self._inline_table(where)
        else:
            self._take(_SCALAR)

    def _elements(self, where: Where) -> None:
        self._at += 1
        index = 0
        while self._text[self._skip(_GAP)] != "]":
            start = self._at
            self._value((*where, index))
            self._record((*where, index), start)
            index += 1
            self._skip_comma()
        self._at += 1

    def _inline_table(self, where: Where) -> None:
        self._at += 1
        while self._text[self._skip(_GAP)] != "}":
            self._pair(where)
            self._skip_comma()
        self._at += 1

    def _skip_comma(self) -> None:
        if self._text[self._skip(_GAP)] == ",":
            self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> int:
        self._take(pattern)
        return self._at

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError(f"not TOML at byte {self._at}")
        self._at = found.end()
        return found[0]

    def _record(self, where: Where, start: int) -> None:
        """Note that this stands from start to here, and so do the tables and arrays that it is in."""
        first, last = self._line(start), self._line(self._at - 1)
        for depth in range(1, len(where) + 1):
            known = self.spans.get(where[:depth], Span(first, last))
            self.spans[where[:depth]] = Span(known.first, max(known.last, last))

    def _line(self, at: int) -> int:
        return bisect_left(self._newlines, at) + 1
