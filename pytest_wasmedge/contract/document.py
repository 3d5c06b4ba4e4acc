"""Reads the TOML of a contract; every error names the line, what is wrong and what to do."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from pytest_wasmedge.contract.lines import Lines, Span, Where
from pytest_wasmedge.errors import ContractError, LatencyError, did_you_mean
from pytest_wasmedge.portability.encodings import read_utf8

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


@dataclass(frozen=True, slots=True)
class TomlValue:
    """A value in a contract; ``where`` is the path of keys and indices to it from the top of the file."""

    path: Path
    lines: Lines
    value: Any
    where: Where = ()

    def __getitem__(self, key: str | int) -> TomlValue:
        return TomlValue(self.path, self.lines, self.value[key], (*self.where, key))

    def __iter__(self) -> Iterator[TomlValue]:
        keys = self.value if isinstance(self.value, dict) else range(len(self.value))
        return (self[key] for key in keys)

    def get(self, key: str, default: object) -> TomlValue:
        """Return the value of a key of this table; a missing one is on the table's line."""
        return TomlValue(self.path, self.lines, self.value.get(key, default), (*self.where, key))

    @property
    def key(self) -> str:
        """The name of the value."""
        return str(self.where[-1])

    @property
    def span(self) -> Span:
        """The first and the last line of the value."""
        return self.lines.span(self.where)

    @property
    def origin(self) -> str:
        """The file and the line: ``portability.toml:12``."""
        return f"{self.path}:{self.span.first}"

    def error(self, what: str, remedy: str) -> ContractError:
        """Return an error: ``portability.toml:LINE: what is wrong; what to do``."""
        return ContractError(f"{self.origin}: {what}; {remedy}")

    def require(self, kind: type, remedy: str, called: str = "") -> Self:
        """Return this object. Raises ContractError unless its value is of this type."""
        if type(self.value) is not kind:
            what = _TYPES.get(type(self.value), "a date or time")
            raise self.error(f"{called or self.key} is {what}", remedy)
        return self

    def require_keys(self, known: Collection[str], called: str) -> None:
        """Raise ContractError unless all keys of the table are known."""
        for item in self:
            if item.key not in known:
                raise item.error(f'{called} has no "{item.key}"', nearest(item.key, known))

    def parsed(self, parse: Callable[[Any], T]) -> T:
        """Return the value as this function reads it; its LatencyError or ValueError becomes a ContractError."""
        try:
            return parse(self.value)
        except (LatencyError, ValueError) as error:
            raise ContractError(f"{self.origin}: {error}") from None


def parse_document(text: str, path: Path) -> TomlValue:
    """Return the whole contract as a table. Raises ContractError if it is not TOML."""
    text = text.removeprefix("\ufeff")
    try:
        table = tomllib.loads(text)
        return TomlValue(path, Lines(text), table)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(text, path, str(error)) from None
    except RecursionError:
        raise ContractError(
            f"{path}:1: arrays or tables are nested too deeply to be read; see docs/contract.md."
        ) from None


def read_text(path: Path) -> str:
    """Return the text of a contract as it is, line ends included. Raises ContractError."""
    if not path.exists():
        raise ContractError(
            f"{path} does not exist; give the path of a contract, or write one with --wasm-update-contract."
        )
    return read_utf8(path, ContractError)


def nearest(name: str, known: Collection[str]) -> str:
    """Return what to write instead of an unknown name: the nearest known one, or a list of all."""
    return _lower(did_you_mean(name, known).strip()) or f"write one of: {', '.join(known)}."


def _syntax_error(text: str, path: Path, message: str) -> ContractError:
    place = _PLACE.search(message)
    line = place[1] if place and place[1] else max(len(text.splitlines()), 1)
    what = message[: place.start()] if place else message
    if what == "Cannot overwrite a value":
        return ContractError(f"{path}:{line}: this key is given twice; delete one of the two.")
    return ContractError(
        f"{path}:{line}: this is not TOML: {_lower(what)}; correct it (see https://toml.io)."
    )


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
