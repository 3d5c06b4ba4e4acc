"""Golden files: the outcome that a case must have, as TOML that reads like the output itself."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_wasmedge.errors import CorpusError
from pytest_wasmedge.model import Content, Ending, Outcome, exited, out_of_memory, timed_out, trapped
from pytest_wasmedge.portability.document import TomlValue, parse_document
from pytest_wasmedge.portability.encodings import read_utf8

_EXITED = re.compile(r"exited\((0|[1-9]\d*)\)")
_OTHER_ENDINGS = {str(ending): ending for ending in (trapped(), timed_out(), out_of_memory())}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_REWRITE = "correct it, or delete the file and write it again with --wasm-update-golden."
_KEYS = ("ending", "stdout", "stdout_hex", "stderr", "stderr_hex", "files")


def parse_ending(text: str) -> Ending | None:
    """Read ``exited(7)``, ``trapped`` and so on, as golden files have it; None if it is no ending of a guest."""
    match = _EXITED.fullmatch(text)
    return exited(int(match[1])) if match else _OTHER_ENDINGS.get(text)


def read_golden(path: Path) -> Outcome:
    """Return the outcome in a golden file. Raises CorpusError, which names file and line."""
    return parse_golden(read_utf8(path, CorpusError), path)


def parse_golden(text: str, path: Path) -> Outcome:
    """Return the outcome in the text of a golden file. Raises CorpusError, which names file and line."""
    table = parse_document(text, path, CorpusError)
    table.require_keys(_KEYS, "a golden file")
    files = table.get("files", {}).require(dict, "write a table [files].")
    return Outcome(
        _stream(table, "stdout"),
        _stream(table, "stderr"),
        _ending(table),
        files={item.key: _content(item) for item in files},
    )


def format_golden(outcome: Outcome) -> str:
    """Return the text of a golden file. Raises CorpusError if the host failed."""
    if outcome.ending.kind == "host_failed":
        raise CorpusError(
            f"a failed host is no expectation: {outcome.runtime or 'the host'} says "
            f"{outcome.ending.detail!r}. Run the case again."
        )
    lines = [f'ending = "{outcome.ending}"']
    lines += [_format_stream(name, getattr(outcome, name)) for name in ("stdout", "stderr")]
    if outcome.files:
        lines += ["", "[files]"]
        lines += [
            f"{_quoted(path)} = {_format_content(outcome.files[path])}" for path in sorted(outcome.files)
        ]
    return "\n".join([*lines, ""])


def _ending(table: TomlValue) -> Ending:
    item = table.get("ending", None)
    if isinstance(item.value, str) and (ending := parse_ending(item.value)):
        return ending
    raise item.error(f"ending is {item.value!r}, not exited(N), {', '.join(_OTHER_ENDINGS)}", _REWRITE)


def _stream(table: TomlValue, name: str) -> bytes:
    text, digits = table.get(name, None), table.get(f"{name}_hex", None)
    if isinstance(text.value, str) and digits.value is None:
        return text.value.encode()
    if isinstance(digits.value, str) and text.value is None:
        return _from_hex(digits)
    missing = text.value is None and digits.value is None
    what = "is missing" if missing else f"must be one string, {name} or {name}_hex"
    raise (digits if text.value is None else text).error(f"{name} {what}", _REWRITE)


def _content(item: TomlValue) -> Content:
    """Read a file's text, or a table with its bytes in hex, the path that a link leads to, or ``folder = true``."""
    if isinstance(item.value, str):
        return item.value.encode()
    if isinstance(item.value, dict) and len(item.value) == 1:
        (told,) = item
        if told.key == "hex" and isinstance(told.value, str):
            return _from_hex(told)
        if told.key == "link" and isinstance(told.value, str):
            return told.value
        if told.key == "folder" and told.value is True:
            return None
    wanted = 'is no text, { hex = "00ff" }, { link = "path" } or { folder = true }'
    raise item.error(f"{item.key} {wanted}", _REWRITE)


def _from_hex(item: TomlValue) -> bytes:
    try:
        return bytes.fromhex(item.value)
    except ValueError:
        raise item.error(f"{item.key} is not hexadecimal", _REWRITE) from None


def _format_stream(name: str, data: bytes) -> str:
    try:
        return f"{name} = {_format_text(data.decode())}"
    except UnicodeDecodeError:
        return f'{name}_hex = "{data.hex()}"'


def _format_content(content: Content) -> str:
    if content is None:
        return "{ folder = true }"
    if isinstance(content, str):
        return f"{{ link = {_quoted(content)} }}"
    try:
        return _format_text(content.decode())
    except UnicodeDecodeError:
        return f'{{ hex = "{content.hex()}" }}'


def _format_text(text: str) -> str:
    """Return a string of TOML, as it is read if TOML can hold that."""
    if not text or _CONTROL.search(text) or "'''" in text or text.endswith("'"):
        return _quoted(text)
    return f"'''\n{text}'''"


def _quoted(text: str) -> str:
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in _ESCAPES or character.isprintable():
        return _ESCAPES.get(character, character)
    code = ord(character)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
