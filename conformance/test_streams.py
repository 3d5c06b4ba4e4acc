"""Bytes in, bytes out: nothing added, dropped, translated or mixed up on the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_wasmedge.model import Host, Invocation, Outcome, exited
from pytest_wasmedge.portability.compare import assert_same
from pytest_wasmedge.portability.corpus import Case
from pytest_wasmedge.portability.reference import Reference

ALL_BYTES = bytes(range(256))
ANY_GUEST = {
    "empty": b"",
    "one_line": b"hello\n",
    "no_final_newline": b"hello",
    "crlf": b"one\r\ntwo\r\n",
    "all_bytes": ALL_BYTES * 4,
    "utf8": "héllo ☃ 日本\n".encode(),
    "one_megabyte": b"# 3456789abcde\n" * 69905,
}


@pytest.mark.wasm_cases("streams")
def test_case(wasm_case: Case, check_case: Callable[[Case], Outcome]) -> None:
    """A program of the corpus writes its streams as its reference says."""
    check_case(wasm_case)


@pytest.mark.parametrize("name", ANY_GUEST)
def test_any_input_has_one_outcome(wasm_host: Host, wasm_reference: Reference, name: str) -> None:
    """Whatever the guest makes of these bytes, it makes the same of them everywhere."""
    stdin = ANY_GUEST[name]
    outcome = wasm_host.run(stdin)

    # Two guests that both ran out of time would agree, and prove nothing.
    assert outcome.ending.kind != "timed_out"
    assert_same(outcome, wasm_reference.of_invocation(Invocation(stdin)))


def test_binary_output_is_untouched(ruby: Host) -> None:
    """All 256 byte values arrive on stdout and on stderr, as they are."""
    outcome = ruby.run(
        "[$stdout, $stderr].each(&:binmode)\n"
        "$stdout.write((0..255).to_a.pack('C*'))\n"
        "$stderr.write((0..255).to_a.reverse.pack('C*'))\n"
    )

    assert outcome.stdout == ALL_BYTES
    assert outcome.stderr == ALL_BYTES[::-1]
    assert outcome.ending == exited(0)


def test_invalid_utf8_is_untouched(ruby: Host) -> None:
    """Bytes that are not UTF-8 are neither replaced nor dropped."""
    outcome = ruby.run('print "a\\xFF\\xC3b\\xE2\\x98"\n')

    assert outcome.stdout == b"a\xff\xc3b\xe2\x98"


def test_utf8_source_and_output(ruby: Host) -> None:
    """A source is UTF-8, and so is what it prints."""
    outcome = ruby.run("größe = '☃ 日本'\nputs größe, größe.size, größe.encoding\n")

    assert outcome.stdout == "☃ 日本\n4\nUTF-8\n".encode()


def test_five_megabytes_in_one_write(ruby: Host) -> None:
    """One write of 5 MB arrives whole."""
    outcome = ruby.run("$stdout.write('0123456789' * 500_000)\n")

    assert_same(outcome, Outcome(b"0123456789" * 500_000, b"", exited(0)))


def test_five_megabytes_in_many_lines(ruby: Host) -> None:
    """50,000 lines arrive whole, and in order."""
    outcome = ruby.run("50_000.times { |i| puts i.to_s.rjust(99, '.') }\n", timeout_s=120)

    lines = b"".join(b"%s\n" % str(i).rjust(99, ".").encode() for i in range(50_000))
    assert_same(outcome, Outcome(lines, b"", exited(0)))


def test_one_megabyte_on_stderr(ruby: Host) -> None:
    """Stderr is a stream like any other: 1 MB of it arrives whole, beside a full stdout."""
    outcome = ruby.run("1000.times { $stdout.write('o' * 1000); $stderr.write('e' * 1000) }\n")

    assert_same(outcome, Outcome(b"o" * 1_000_000, b"e" * 1_000_000, exited(0)))


def test_one_megabyte_of_source(ruby: Host) -> None:
    """A program of 1 MB is read whole."""
    outcome = ruby.run(b"s = '" + b"y" * 1_000_000 + b"'\nputs s.size\n")

    assert outcome.stdout == b"1000000\n"


def test_streams_stay_apart(ruby: Host) -> None:
    """Interleaved writes keep their order within each stream, and no stream gets the other's."""
    outcome = ruby.run('3.times { |i| $stdout.puts "o#{i}"; $stderr.puts "e#{i}" }\n')

    assert outcome.stdout == b"o0\no1\no2\n"
    assert outcome.stderr == b"e0\ne1\ne2\n"


def test_not_a_terminal(ruby: Host) -> None:
    """No standard stream claims to be a terminal, and so nothing is coloured."""
    outcome = ruby.run("p [$stdin, $stdout, $stderr].map(&:tty?), STDOUT.isatty\n")

    assert_same(outcome, Outcome(b"[false, false, false]\nfalse\n", b"", exited(0)))


def test_stdin_is_at_its_end(ruby: Host) -> None:
    """The program came on stdin; nothing is left there for it to read."""
    outcome = ruby.run("p $stdin.read, $stdin.gets, $stdin.eof?\n")

    assert outcome.stdout == b'""\nnil\ntrue\n'
