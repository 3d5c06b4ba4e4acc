"""Corpora that others have written for Ruby: CRuby's bootstraptest, and Prism's fixtures of errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_wasmedge.errors import CorpusError
from pytest_wasmedge.model import Host, Invocation
from pytest_wasmedge.portability.corpus import Case

#: Some cases of the garbage collector take a minute and a half on a slow host.
_TIMEOUT_S = 120.0

# The files of bootstraptest are programs that call assertions with sources, so a Ruby runs them to read them. Each line
# that this prints has words in hex: the source, what it declares to print (or -), and the message (or -).
_READER = r"""
def self.told(src, expected = nil, message = nil)
  puts [src, expected, message].map { |text| text ? "+" + text.to_s.b.unpack1("H*") : "-" }.join(" ")
end
def assert_equal(expected, src, message = "", *, **) = told(src, expected, message)
def assert_valid_syntax(src, message = "", *, **) = told(src, nil, message)
def assert_normal_exit(src, *rest, **) = told(src, nil, rest.first)
def assert_check(src, message = "", *, **) = told(src, nil, message)
def assert_match(_pattern, src, message = "", *, **) = told(src, nil, message)
def assert_not_match(_pattern, src, message = "", *, **) = told(src, nil, message)
def assert_finish(_seconds, src, message = "", *, **) = told(src, nil, message)
def assert_fail(src, message = "", *, **) = told(src, nil, message)
def assert_warning(_pattern, src, message = "", *, **) = told(src, nil, message)
def show_limit(src, *, **) = nil
def flunk(*) = nil
module BT; def self.method_missing(*) = nil; end
begin
  eval(DATA.read.force_encoding("UTF-8"), TOPLEVEL_BINDING, "FILE", 1)
rescue Exception => error
  puts "!" + "#{error.class}: #{error.message}".lines.first.b.unpack1("H*")
end
__END__
"""


def prism_errors(root: Path, _: object) -> Iterator[Case]:
    """Yield the sources of Prism's fixtures of errors, without the lines that point at them."""
    for path in sorted(root.rglob("*.txt")):
        lines = path.read_bytes().splitlines(keepends=True)
        source = b"".join(line for line in lines if not re.match(rb"\s*\^", line)).rstrip(b"\n")
        name = path.relative_to(root).with_suffix("").as_posix()
        yield Case(f"prism-errors/{name}", path, source, kind="prism-errors")


def bootstraptest(root: Path, ruby: Callable[[], Host]) -> Iterator[Case]:
    """Yield the sources that the assertions of CRuby's bootstraptest are about, as its runner wraps them."""
    for path in sorted(root.rglob("test_*.rb")):
        source = path.read_bytes()
        outcome = ruby().invoke(Invocation(_READER.encode() + source, timeout_s=_TIMEOUT_S))
        lines = outcome.stdout.decode("ascii", "replace").splitlines()
        if not outcome.ending.ok or any(line.startswith("!") for line in lines):
            raised = next((_text(line[1:]) for line in lines if line.startswith("!")), b"")
            why = raised.decode("utf-8", "replace") or f"{outcome.ending} {outcome.stderr_text[:200]}"
            raise CorpusError(
                f"{path} cannot be read as a file of bootstraptest: {why}. Leave it out of the folder."
            )
        for number, line in enumerate(lines, 1):
            src, declared, message = (_text(word[1:]) if word != "-" else None for word in line.split(" "))
            yield Case(
                f"bootstraptest/{path.stem.removeprefix('test_')}/{number:03}",
                path,
                b"print(begin; %b; end)\n" % (src or b""),
                (message or b"").decode("utf-8", "replace").partition("\n")[0],
                timeout_s=_TIMEOUT_S,
                declared=declared,
                kind="bootstraptest",
            )


def _text(digits: str) -> bytes:
    return bytes.fromhex(digits)
