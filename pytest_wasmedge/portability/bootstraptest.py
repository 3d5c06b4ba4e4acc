"""Corpora that others have written for Ruby: CRuby's bootstraptest, and Prism's fixtures of errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_wasmedge.model import Host, Invocation
from pytest_wasmedge.portability.corpus import Case

#: Some cases of the garbage collector take a minute and a half on a slow host.
_TIMEOUT_S = 120.0

# The files of bootstraptest are programs that call assertions with sources, so a Ruby runs them to read them. Each line
# that this prints has words in hex: the program as the runner of bootstraptest wraps it, what it declares to print (or
# -), and the message (or -).
_READER = r"""
def __told(src, expected = nil, message = nil, frozen_string_literal: nil, **)
  head = frozen_string_literal.nil? ? "" : "# frozen_string_literal: #{frozen_string_literal}\n"
  words = [head + "print(begin; #{src}; end)\n", expected, message]
  puts words.map { |text| text ? "+" + text.to_s.b.unpack1("H*") : "-" }.join(" ")
end
def assert_equal(expected, src, message = "", *, **opts) = __told(src, expected, message, **opts)
def assert_valid_syntax(src, message = "", *, **opts) = __told(src, nil, message, **opts)
def assert_normal_exit(src, message = "", *, **opts) = __told(src, nil, message, **opts)
def assert_check(src, message = "", *, **opts) = __told(src, nil, message, **opts)
def assert_match(_pattern, src, message = "", *, **opts) = __told(src, nil, message, **opts)
def assert_not_match(_pattern, src, message = "", *, **opts) = __told(src, nil, message, **opts)
def assert_finish(_seconds, src, message = "", *, **opts) = __told(src, nil, message, **opts)
def assert_fail(src, message = "", *, **opts) = __told(src, nil, message, **opts)
def assert_warning(_pattern, src, message = "", *, **opts) = __told(src, nil, message, **opts)
def show_limit(*, **) = nil
def flunk(*) = nil
# What its files ask of the runner: here nothing compiles just in time.
def yjit_enabled? = false
def rjit_enabled? = false
def zjit_enabled? = false
def target_platform = RUBY_PLATFORM
module BT
  def self.ruby = "ruby"
  def self.method_missing(*) = nil
end
begin
  eval(DATA.read.force_encoding("UTF-8"), TOPLEVEL_BINDING, "FILE", 1)
rescue Exception => error
  puts "!" + "#{error.class}: #{error.message}".lines.first.to_s.strip.b.unpack1("H*")
end
__END__
"""


def prism_errors(root: Path, _reader: object, _notes: object) -> Iterator[Case]:
    """Yield the sources of Prism's fixtures of errors, without the lines that point at them."""
    for path in sorted(root.rglob("*.txt")):
        lines = path.read_bytes().splitlines(keepends=True)
        source = b"".join(line for line in lines if not re.match(rb"\s*\^", line)).rstrip(b"\n")
        name = path.relative_to(root).with_suffix("").as_posix()
        yield Case(f"prism-errors/{name}", path, source, kind="prism-errors")


def bootstraptest(root: Path, reader: Callable[[], Host], notes: list[str]) -> Iterator[Case]:
    """Yield the sources that the assertions of CRuby's bootstraptest are about, as its runner wraps them.

    A file that ends in an exception is read up to there, and noted.
    """
    for path in sorted(root.rglob("test_*.rb")):
        invocation = Invocation(_READER.encode() + path.read_bytes(), timeout_s=_TIMEOUT_S)
        outcome = reader().invoke(invocation)
        lines = outcome.stdout.decode("ascii", "replace").splitlines()
        told = [
            line.split(" ") for line in lines if re.fullmatch(r"([+][0-9a-f]*|-)( ([+][0-9a-f]*|-)){2}", line)
        ]
        raised = [
            bytes.fromhex(line[1:]).decode("utf-8", "replace") for line in lines if line.startswith("!")
        ]
        if raised or not outcome.ending.ok:
            why = raised[0] if raised else f"{outcome.ending} {outcome.stderr_text[:200]}"
            notes.append(f"{path}: read up to its case {len(told)}, where it ended: {why}")
        for number, words in enumerate(told, 1):
            src, declared, message = (bytes.fromhex(word[1:]) if word != "-" else None for word in words)
            yield Case(
                f"bootstraptest/{path.stem.removeprefix('test_')}/{number:03}",
                path,
                src or b"",
                (message or b"").decode("utf-8", "replace").partition("\n")[0],
                timeout_s=_TIMEOUT_S,
                declared=declared,
                kind="bootstraptest",
            )
