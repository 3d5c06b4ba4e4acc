"""Cases: one source program each, with its expectations in a golden file beside it."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_wasmedge.errors import CorpusError
from pytest_wasmedge.model import Ending, Outcome, exited, out_of_memory, timed_out, trapped
from pytest_wasmedge.portability.encodings import read_utf8
from pytest_wasmedge.portability.language import RUBY

_GOLDEN_SUFFIX = ".golden"
# Lines of the header, or parts of them, that are for Ruby and not for people.
_MAGIC_COMMENT = re.compile(
    r"^#!.*|^#\s*(-\*-.*?-\*-|((en)?coding|frozen[_-]string[_-]literal|warn[_-]indent|shareable[_-]constant[_-]value)"
    r"\s*[:=]\s*\S+)[\s-]*",
    re.IGNORECASE,
)
_TIMEOUT = re.compile(r"#\s*(time[ _-]?(?:out|limit)[\w-]*)\s*:\s*(.*)")
_EXITED = re.compile(r"exited\((0|[1-9]\d*)\)")
_OTHER_ENDINGS = {str(ending): ending for ending in (trapped(), timed_out(), out_of_memory())}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


@dataclass(frozen=True, slots=True)
class Case:
    """One source program: all of ``source`` is the guest's stdin.

    ``name`` is its path in the corpus without suffix (``errors/uncaught_raise``), ``summary`` the first sentence of
    its header; ``timeout_s`` and ``golden`` are None if the case has none.
    """

    name: str
    path: Path
    source: bytes
    summary: str
    timeout_s: float | None = None
    golden: Outcome | None = None

    @property
    def topic(self) -> str:
        """The first folder of its name; empty for a case that is in none."""
        return self.name.rpartition("/")[0].partition("/")[0]

    @property
    def golden_path(self) -> Path:
        """Where the golden file is, or would be."""
        return self.path.with_suffix(_GOLDEN_SUFFIX)


def load_corpus(root: Path) -> tuple[Case, ...]:
    """Return all cases of a folder, sorted by name.

    Raises CorpusError for a header or golden file that cannot be read, a golden file without its case, and a
    folder without any case: a missing corpus must not look like one that passes.
    """
    sources = [path for path in root.rglob(f"*{RUBY.suffix}") if not path.name.startswith(".")]
    if not sources:
        what = "holds no case" if root.is_dir() else "is not a folder"
        raise CorpusError(f"corpus {root} {what}: a case is a *{RUBY.suffix} file in it. Correct the path.")
    for golden in sorted(root.rglob(f"*{_GOLDEN_SUFFIX}")):
        if not golden.with_suffix(RUBY.suffix).exists():
            raise CorpusError(
                f"{golden} has no case {golden.stem}{RUBY.suffix} beside it. Delete or rename it."
            )
    return tuple(sorted((_load_case(root, path) for path in sources), key=lambda case: case.name))


def parse_ending(text: str) -> Ending | None:
    """Read ``exited(7)``, ``trapped`` and so on, as golden files have it; None if it is no ending of a guest."""
    match = _EXITED.fullmatch(text)
    return exited(int(match[1])) if match else _OTHER_ENDINGS.get(text)


def read_golden(path: Path) -> Outcome:
    """Return the outcome in a golden file. Raises CorpusError, which names file and line."""
    try:
        table = tomllib.loads(read_utf8(path, CorpusError))
    except tomllib.TOMLDecodeError as error:
        # Python 3.11 has the line only in the text: "… (at line 3, column 4)".
        raise CorpusError(f"{path}: not TOML: {error}. {_REWRITE}") from None
    unknown = sorted(table.keys() - {"ending", "stdout", "stderr", "stdout_hex", "stderr_hex"})
    if unknown:
        raise _wrong(path, unknown[0], f"unknown key {unknown[0]}")
    return Outcome(_stream(path, table, "stdout"), _stream(path, table, "stderr"), _ending(path, table))


def format_golden(outcome: Outcome) -> str:
    """Return the text of a golden file. Raises CorpusError if the host failed."""
    if outcome.ending.kind == "host_failed":
        raise CorpusError(
            f"a failed host is no expectation: {outcome.runtime or 'the host'} says "
            f"{outcome.ending.detail!r}. Run the case again."
        )
    streams = (_format_stream("stdout", outcome.stdout), _format_stream("stderr", outcome.stderr))
    return "\n".join([f'ending = "{outcome.ending}"', *streams, ""])


def write_golden(case: Case, outcome: Outcome) -> None:
    """Write the outcome as the case's golden file. Raises CorpusError if the host failed."""
    case.golden_path.write_bytes(format_golden(outcome).encode())


_REWRITE = "Correct it, or delete the file and write it again from a run."


def _load_case(root: Path, path: Path) -> Case:
    source = path.read_bytes()
    case = Case(path.relative_to(root).with_suffix("").as_posix(), path, source, *_header(path, source))
    return replace(case, golden=read_golden(case.golden_path)) if case.golden_path.exists() else case


def _header(path: Path, source: bytes) -> tuple[str, float | None]:
    summary, timeout_s = "", None
    last = 0
    for last, line in _header_lines(source):
        timeout = _TIMEOUT.fullmatch(line)
        if timeout:
            timeout_s = _timeout(path, last, *timeout.groups())
        elif not summary:
            summary = line.lstrip("#").strip()
    if not summary:
        raise CorpusError(
            f"{path}, line {last + 1}: no header. Begin the case with one sentence: `# What it shows.`"
        )
    return summary, timeout_s


def _header_lines(source: bytes) -> Iterator[tuple[int, str]]:
    """Yield number and text of the comment lines at the start of a source, without those meant for Ruby."""
    start, number = 0, 0
    source = source.removeprefix(b"\xef\xbb\xbf")
    while source.startswith(b"#", start):
        end = source.find(b"\n", start) + 1 or len(source)
        number += 1
        line = source[start:end].decode("utf-8", "backslashreplace").strip()
        # Ruby ignores the rest of such a line: `# encoding: Shift_JIS -- the sentence`.
        if sentence := _MAGIC_COMMENT.sub("", line, count=1):
            yield number, sentence
        start = end


def _timeout(path: Path, line: int, key: str, value: str) -> float:
    try:
        timeout_s = float(value)
    except ValueError:
        timeout_s = math.nan
    if key != "timeout_s" or not 0 < timeout_s < math.inf:
        raise CorpusError(
            f"{path}, line {line}: `{key}: {value}` is no time limit. Write it in seconds: `# timeout_s: 60`."
        )
    return timeout_s


def _stream(path: Path, table: dict[str, object], name: str) -> bytes:
    text, digits = table.get(name), table.get(f"{name}_hex")
    if isinstance(text, str) and digits is None:
        return text.encode()
    if isinstance(digits, str) and text is None:
        try:
            return bytes.fromhex(digits)
        except ValueError:
            raise _wrong(path, f"{name}_hex", f"{name}_hex is not hexadecimal") from None
    what = "is missing" if text is None and digits is None else f"must be one string, {name} or {name}_hex"
    raise _wrong(path, name, f"{name} {what}")


def _ending(path: Path, table: dict[str, object]) -> Ending:
    text = table.get("ending")
    if isinstance(text, str) and (ending := parse_ending(text)):
        return ending
    raise _wrong(path, "ending", f"ending is {text!r}, not exited(N), {', '.join(_OTHER_ENDINGS)}")


def _wrong(path: Path, key: str, what: str) -> CorpusError:
    """Return an error with the line of a key; without a line if the file does not have the key."""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if re.match(rf"{re.escape(key)}(_hex)?\s*=", line):
            return CorpusError(f"{path}, line {number}: {what}. {_REWRITE}")
    return CorpusError(f"{path}: {what}. {_REWRITE}")


def _format_stream(name: str, data: bytes) -> str:
    if not data:
        return f'{name} = ""'
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f'{name}_hex = "{data.hex()}"'
    if not _CONTROL.search(text) and "'''" not in text and not text.endswith("'"):
        return f"{name} = '''\n{text}'''"
    return f'{name} = "{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in _ESCAPES or character.isprintable():
        return _ESCAPES.get(character, character)
    code = ord(character)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
