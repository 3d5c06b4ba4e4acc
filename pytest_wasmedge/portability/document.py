"""Reads TOML that people write; every error names the line, what is wrong and what to do."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

from pytest_wasmedge.errors import LatencyError, WasmEdgeError, did_you_mean
from pytest_wasmedge.portability.lines import Lines, Span, Where

_PLACE = re.compile(r" \((?:at line (\d+), column \d+|at end of document)\)$")
_TYPES = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a fraction",
    list: "an array",
    dict: "a table",
}
T = TypeVar("T")


@dataclass(frozen=True)
class Document:
    """The text of a file, and the error that is raised for what is wrong in it."""

    path: Path
    text: str
    problem: type[WasmEdgeError]

    @cached_property
    def lines(self) -> Lines:
        """Where everything in it is: found when first asked for, since most documents are right."""
        return Lines(self.text)

    def error(self, line: int, what: str) -> WasmEdgeError:
        """Return the error ``portability.toml:LINE: what is wrong; what to do``."""
        return self.problem(f"{self.path}:{line}: {what}")


@dataclass(frozen=True, slots=True)
class TomlValue:
    """A value in a document; ``where`` is the path of keys and indices to it from the top of the file."""

    document: Document
    value: Any
    where: Where = ()

    def __getitem__(self, key: str | int) -> TomlValue:
        return TomlValue(self.document, self.value[key], (*self.where, key))

    def __iter__(self) -> Iterator[TomlValue]:
        keys = self.value if isinstance(self.value, dict) else range(len(self.value))
        return (self[key] for key in keys)

    def get(self, key: str, default: object) -> TomlValue:
        """Return the value of a key of this table; a missing one is on the table's line."""
        return TomlValue(self.document, self.value.get(key, default), (*self.where, key))

    @property
    def key(self) -> str:
        """The name of the value."""
        return str(self.where[-1])

    @property
    def span(self) -> Span:
        """The first and the last line of the value."""
        return self.document.lines.span(self.where)

    @property
    def origin(self) -> str:
        """The file and the line: ``portability.toml:12``."""
        return f"{self.document.path}:{self.span.first}"

    def error(self, what: str, remedy: str) -> WasmEdgeError:
        """Return an error: ``portability.toml:LINE: what is wrong; what to do``."""
        return self.document.error(self.span.first, f"{what}; {remedy}")

    def require(self, kind: type, remedy: str, called: str = "") -> Self:
        """Return this object. Raises the document's error unless its value is of this type."""
        if type(self.value) is not kind:
            what = _TYPES.get(type(self.value), "a date or time")
            raise self.error(f"{called or self.key} is {what}", remedy)
        return self

    def require_keys(self, known: Collection[str], called: str) -> None:
        """Raise the document's error unless all keys of the table are known."""
        for item in self:
            if item.key not in known:
                raise item.error(f'{called} has no "{item.key}"', nearest(item.key, known))

    def parsed(self, parse: Callable[[Any], T]) -> T:
        """Return the value as this function reads it; its LatencyError or ValueError becomes the document's."""
        try:
            return parse(self.value)
        except (LatencyError, ValueError) as error:
            raise self.document.error(self.span.first, str(error)) from None


def parse_document(text: str, path: Path, problem: type[WasmEdgeError]) -> TomlValue:
    """Return the whole text as a table. Raises ``problem`` if it is not TOML."""
    document = Document(path, text.removeprefix("\ufeff"), problem)
    try:
        return TomlValue(document, tomllib.loads(document.text))
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(document, str(error)) from None
    except RecursionError:
        raise document.error(1, "arrays or tables are nested too deeply to be read; flatten them.") from None


def nearest(name: str, known: Collection[str]) -> str:
    """Return what to write instead of an unknown name: the nearest known one, or a list of all."""
    return _lower(did_you_mean(name, known).strip()) or f"write one of: {', '.join(known)}."


def _syntax_error(document: Document, message: str) -> WasmEdgeError:
    place = _PLACE.search(message)
    line = int(place[1]) if place and place[1] else max(len(document.text.splitlines()), 1)
    what = message[: place.start()] if place else message
    if what == "Cannot overwrite a value":
        return document.error(line, "this key is given twice; delete one of the two.")
    return document.error(line, f"this is not TOML: {_lower(what)}; correct it (see https://toml.io).")


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
