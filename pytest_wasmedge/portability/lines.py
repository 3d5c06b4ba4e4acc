"""Finds the lines of keys, tables and array elements in a TOML text, which TOML parsers do not report."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from dataclasses import dataclass

#: The way to a value, from the top: keys of tables and indices of arrays.
Where = tuple[str | int, ...]

_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING = (
    # Up to two quotes may come directly before the three that end a multi-line string.
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
    """The lines of everything in a TOML text that `tomllib` accepts; other texts give wrong lines."""

    def __init__(self, text: str) -> None:
        #: The lines of each value with its key, and of each table with all that is in it.
        self.spans: dict[Where, Span] = {}
        #: The tables that begin with a line such as ``[a.b]``.
        self.headers: set[Where] = set()
        self._text = text
        self._at = 0
        self._last_element: dict[Where, int] = {}
        self._newlines = [found.start() for found in re.finditer("\n", text)]
        table: Where = ()
        while self._skip_gap() < len(text):
            if text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def span(self, where: Where) -> Span:
        """Return the lines of a value or table; those of the table around it for a key that is missing."""
        while where and where not in self.spans:
            where = where[:-1]
        return self.spans.get(where, Span(1, 1))

    def _header(self) -> Where:
        start = self._at
        brackets = 2 if self._text.startswith("[[", start) else 1
        self._at += brackets
        keys = self._key()
        self._at += brackets
        where: Where = ()
        for depth, key in enumerate(keys, 1):
            where = (*where, key)
            if brackets == 2 and depth == len(keys):
                self._last_element[where] = self._last_element.get(where, -1) + 1
            if where in self._last_element:
                where = (*where, self._last_element[where])
        self.headers.add(where)
        self._record(where, start)
        return where

    def _pair(self, table: Where) -> None:
        start = self._at
        where: Where = (*table, *self._key())
        self._at += 1
        self._skip_gap()
        self._value(where)
        self._record(where, start)

    def _key(self) -> list[str]:
        """Read a key with its dots, and stop at what follows it."""
        keys: list[str] = []
        while True:
            self._skip_gap()
            token = self._take(_KEY)
            keys.append(str(tomllib.loads(f"key = {token}")["key"]) if token[0] in "\"'" else token)
            if self._text[self._skip_gap()] != ".":
                return keys
            self._at += 1

    def _value(self, where: Where) -> None:
        opening = self._text[self._at]
        if opening not in "[{":
            self._take(_SCALAR)
            return
        self._at += 1
        index = 0
        while self._text[self._skip_gap()] not in "]}":
            if opening == "{":
                self._pair(where)
            else:
                start = self._at
                self._value((*where, index))
                self._record((*where, index), start)
                index += 1
            if self._text[self._skip_gap()] == ",":
                self._at += 1
        self._at += 1

    def _skip_gap(self) -> int:
        self._take(_GAP)
        return self._at

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        assert found, "tomllib has accepted the text"
        self._at = found.end()
        return found[0]

    def _record(self, where: Where, start: int) -> None:
        """Note the lines of this value from ``start`` to here, also for the tables and arrays around it."""
        first, last = self._line(start), self._line(self._at - 1)
        for depth in range(1, len(where) + 1):
            known = self.spans.get(where[:depth], Span(first, last))
            self.spans[where[:depth]] = Span(min(known.first, first), max(known.last, last))

    def _line(self, at: int) -> int:
        return bisect_left(self._newlines, at) + 1
