"""Reads the file, and says of what is wrong in which line it stands and what to do."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

from pytest_wasmedge.contract.lines import Lines, Where
from pytest_wasmedge.errors import ContractError

_PLACE = re.compile(r" \((?:at line (\d+), column \d+|at end of document)\)$")
_TYPES: Mapping[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a fraction",
    list: "an array",
    dict: "a table",
}


class Source:
    """The text of a contract as TOML, with the lines of everything in it. Raises ContractError."""

    def __init__(self, text: str, path: Path) -> None:
        self.path = path
        text = text.removeprefix("\ufeff")
        try:
            self.table = tomllib.loads(text)
            self.lines = Lines(text)
        except tomllib.TOMLDecodeError as error:
            raise _syntax_error(text, path, str(error)) from None
        except RecursionError:
            raise ContractError(
                f"{path}:1: arrays or tables are nested too deeply to be read; see docs/contract.md."
            ) from None

    def line(self, where: Where) -> int:
        """Return the line in which this begins."""
        return self.lines.span(where).first

    def origin(self, where: Where) -> str:
        """Return ``portability.toml:12``."""
        return f"{self.path}:{self.line(where)}"

    def error(self, where: Where, what: str, remedy: str) -> ContractError:
        """Return the error that this is wrong here: ``portability.toml:LINE: what is wrong; what to do``."""
        return ContractError(f"{self.origin(where)}: {what}; {remedy}")

    def check_keys(self, where: Where, table: Mapping[str, object], known: Collection[str], of: str) -> None:
        """Raise ContractError unless all keys of a table are known."""
        for key in table:
            if key not in known:
                raise self.error((*where, key), f'{of} has no "{key}"', nearest(key, known))


def read_text(path: Path) -> str:
    """Return the text of a contract as it is, line ends included. Raises ContractError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ContractError(
            f"{path} does not exist; give the path of a contract, or write one with --wasm-update-contract."
        ) from None
    except OSError as error:
        raise ContractError(
            f"{path} cannot be read ({error.strerror or error}); give the path of a readable file."
        ) from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ContractError(
            f"{path}:{line}: byte {data[error.start]:#04x} is not UTF-8; save the file as UTF-8."
        ) from None


def nearest(name: str, known: Collection[str]) -> str:
    """Return what to do about a name that is not known: the nearest one, or all there are."""
    found = difflib.get_close_matches(name, known, 1)
    return f'did you mean "{found[0]}"?' if found else f"write one of: {', '.join(known)}."


def type_of(value: object) -> str:
    """Return what TOML calls a value of this type."""
    return _TYPES.get(type(value), "a date or time")


def _syntax_error(text: str, path: Path, message: str) -> ContractError:
    place = _PLACE.search(message)
    line = place[1] if place and place[1] else max(len(text.splitlines()), 1)
    what = message[: place.start()] if place else message
    if what == "Cannot overwrite a value":
        return ContractError(f"{path}:{line}: this key is given twice; delete one of the two.")
    return ContractError(f"{path}:{line}: this is not TOML: {_lower(what)}; mend it (see https://toml.io).")


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
