"""Bytes in, bytes out: nothing added, dropped, translated or mixed up on the way."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from conformance.asking import Asking
from pytest_wasmedge.model import Host, Outcome
from pytest_wasmedge.portability.corpus import Case

ALL_BYTES = bytes(range(256))
MEBIBYTE = 1 << 20
#: Around the sizes of the buffers of pipes, sockets and standard libraries, and their multiples.
SIZES = (
    1, 4095, 4096, 4097, 8191, 8192, 8193, 12288, 16384, 32768, 65535, 65536, 65537, 131071, 131072, 131073, 196608,
    262144, MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1,
)  # fmt: skip
BUFFERS = "a buffer of the host is not flushed at its end, or is cut there"


@pytest.mark.wasm_cases("inputs", given=False)
def test_any_input_has_one_outcome(wasm_case: Case, check_case: Callable[[Case], Outcome]) -> None:
    """Whatever the guest makes of these bytes, it makes the same of them everywhere."""
    outcome = check_case(wasm_case)

    # Two guests that both ran out of time would agree, and prove nothing.
    assert outcome.ending.kind != "timed_out"


@pytest.mark.wasm_cases("streams", given=False)
def test_case(wasm_case: Case, ruby: Host, check_case: Callable[[Case], Outcome]) -> None:
    """A program of the corpus writes its streams as its reference says."""
    check_case(wasm_case)


@pytest.mark.parametrize("size", SIZES)
def test_output_of_any_size(ask: Asking, size: int) -> None:
    """A guest of any kind writes so many bytes on both streams, and all of them arrive, in order."""
    ask(b"fill %d %d 65536\n" % (size, size), _counted(size), _counted(size), meaning=BUFFERS)


@pytest.mark.parametrize("size", SIZES[1:])
def test_input_of_any_size(ask: Asking, size: int) -> None:
    """A guest of any kind reads a stdin of so many bytes whole, and gives its payload back."""
    payload = _counted(size - len(b"echo\n"))
    ask(b"echo\n" + payload, payload, payload, meaning=BUFFERS)


@pytest.mark.parametrize(
    ("stdout", "stderr", "piece"),
    [
        pytest.param(9_000_001, 2_500_003, 65536, id="large_pieces"),
        pytest.param(8 * MEBIBYTE, 2 * MEBIBYTE, 4096, id="small_pieces"),
        pytest.param(60_000, 30_000, 7, id="tiny_pieces_in_turn"),
        pytest.param(0, 1_500_000, 65536, id="stderr_alone"),
        pytest.param(17 * MEBIBYTE + 1, 0, MEBIBYTE, id="stdout_alone"),
    ],
)
def test_large_output(ask: Asking, stdout: int, stderr: int, piece: int) -> None:
    """Megabytes on one stream or on both, in pieces of several sizes, arrive whole and in order."""
    ask(b"fill %d %d %d\n" % (stdout, stderr, piece), _counted(stdout), _counted(stderr), meaning=BUFFERS)


def test_large_input(ask: Asking) -> None:
    """Nine megabytes of stdin are read whole."""
    payload = _counted(9_000_001)
    ask(b"echo\n" + payload, payload, payload, meaning=BUFFERS)


def test_binary_output_is_untouched(run: Asking) -> None:
    """All 256 byte values arrive on stdout and on stderr, as they are."""
    run(
        "[$stdout, $stderr].each(&:binmode)\n"
        "$stdout.write((0..255).to_a.pack('C*'))\n"
        "$stderr.write((0..255).to_a.reverse.pack('C*'))\n",
        ALL_BYTES,
        ALL_BYTES[::-1],
        data=True,
    )


def test_invalid_utf8_is_untouched(run: Asking) -> None:
    """Bytes that are not UTF-8 are neither replaced nor dropped."""
    run('print "a\\xFF\\xC3b\\xE2\\x98"\n', b"a\xff\xc3b\xe2\x98", data=True)


def test_marks_and_line_ends_are_untouched(run: Asking) -> None:
    """A byte order mark, NUL and the line ends of other systems are output like any other."""
    text = b"\xef\xbb\xbfa\0b\r\nc\rd\n\n\n \t \n"
    run(
        f"[$stdout, $stderr].each {{ |io| io.binmode.write ['{text.hex()}'].pack('H*') }}\n",
        text,
        text,
        data=True,
    )


def test_utf8_source_and_output(run: Asking) -> None:
    """A source is UTF-8, and so is what it prints."""
    run("größe = '☃ 日本'\nputs größe, größe.size, größe.encoding\n", "☃ 日本\n4\nUTF-8\n".encode())


def test_five_megabytes_in_one_write(run: Asking) -> None:
    """One write of 5 MB arrives whole."""
    run("$stdout.write('0123456789' * 500_000)\n", b"0123456789" * 500_000, meaning=BUFFERS)


def test_nine_megabytes_in_many_lines(run: Asking) -> None:
    """9,000 lines of a thousand bytes arrive whole, and in order."""
    lines = b"".join(b"%s\n" % str(i).rjust(999, ".").encode() for i in range(9_000))
    run("9_000.times { |i| puts i.to_s.rjust(999, '.') }\n", lines, timeout_s=120, meaning=BUFFERS)


def test_megabytes_on_stderr(run: Asking) -> None:
    """Stderr is a stream like any other: 1.5 MB of it arrive whole, beside a full stdout."""
    run(
        "1500.times { $stdout.write('o' * 1000); $stderr.write('e' * 1000) }\n",
        b"o" * 1_500_000,
        b"e" * 1_500_000,
        meaning=BUFFERS,
    )


def test_megabytes_of_source(run: Asking) -> None:
    """A program of 1.5 MB is read whole."""
    run(b"s = '" + b"y" * 1_500_000 + b"'\nputs s.size\n", b"1500000\n", meaning=BUFFERS)


def test_megabytes_of_data(run: Asking) -> None:
    """So is what stands behind `__END__`."""
    data = _counted(1_200_000)
    run(b"$stdout.write DATA.read\n__END__\n" + data, data, meaning=BUFFERS)


def test_streams_stay_apart(run: Asking) -> None:
    """Interleaved writes keep their order within each stream, and no stream gets the other's."""
    run('3.times { |i| $stdout.puts "o#{i}"; $stderr.puts "e#{i}" }\n', b"o0\no1\no2\n", b"e0\ne1\ne2\n")


def test_not_a_terminal(run: Asking) -> None:
    """No standard stream claims to be a terminal, and so nothing is coloured."""
    run(
        "p [$stdin, $stdout, $stderr].map(&:tty?), STDOUT.isatty\n",
        b"[false, false, false]\nfalse\n",
        meaning="the host claims that a stream is a terminal: guests colour what they write",
    )


def test_stdin_is_at_its_end(run: Asking) -> None:
    """The program came on stdin; nothing is left there for it to read."""
    run("p $stdin.read, $stdin.gets, $stdin.eof?\n", b'""\nnil\ntrue\n')


def _counted(size: int) -> bytes:
    """Return so many bytes of numbered lines: no piece of it is like another."""
    return _lines(1 << (size // 8).bit_length())[:size]


@cache
def _lines(count: int) -> bytes:
    """Return so many numbered lines; kept, since each runtime is sent the same ones."""
    return b"".join(b"%07d\n" % number for number in range(count))
