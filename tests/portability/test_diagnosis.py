"""What a difference between two outcomes usually means, told by how they are related."""

from __future__ import annotations

import pytest

from pytest_wasmedge.model import Ending, Outcome, exited, out_of_memory, timed_out, trapped
from pytest_wasmedge.portability.diagnosis import diagnose

TEXT = b"".join(b"line %d\n" % number for number in range(2000))


def told(stdout: bytes, expected: bytes) -> str:
    """Return what is told of a stdout."""
    return "; ".join(diagnose(Outcome(stdout, b"", exited(0)), Outcome(expected, b"", exited(0))))


@pytest.mark.parametrize(
    ("got", "wanted", "words"),
    [
        (exited(0), exited(3), "drops the exit status 3"),
        (exited(1), exited(0), "failed"),
        (exited(72), exited(200), "low 7 bits"),
        (exited(1), exited(3), "into another one"),
        (exited(134), trapped(), "tells a trap as an exit status"),
        (trapped(), exited(0), "crashed"),
        (timed_out(), trapped(), "tells a trap as a time-out"),
        (trapped(), timed_out(), "tells a time-out as a trap"),
        (timed_out(), exited(0), "did not end within its time limit"),
        (exited(0), timed_out(), "was not stopped at its time limit"),
        (out_of_memory(), exited(0), "more memory"),
        (out_of_memory(), trapped(), "tells trapped as out_of_memory"),
    ],
)
def test_endings(got: Ending, wanted: Ending, words: str) -> None:
    """Each pair of endings has a sentence."""
    assert words in "; ".join(diagnose(Outcome(b"", b"", got), Outcome(b"", b"", wanted)))


@pytest.mark.parametrize(
    ("got", "wanted", "words"),
    [
        (b"", TEXT, "all of it is lost"),
        (b"a", b"a\n", "final newline is dropped"),
        (b"a\n\n", b"a\n", "final newline is added"),
        (b"a\r\nb\r\n", b"a\nb\n", "carriage return is added"),
        (b"a\nb\n", b"a\r\nb\r\n", "carriage returns are dropped"),
        (b"\x1b[1mred\x1b[m\n", b"red\n", "writes to a terminal"),
        (b"red\n", b"\x1b[1mred\x1b[m\n", "escape sequences are removed"),
        (b"a\xef\xbf\xbdb", b"a\xffb", "decoded as text"),
        ("Ã¤".encode(), "ä".encode(), "encoded twice"),
        (b"ab", b"a\0b", "NUL bytes are dropped"),
        (b"a", b"a\0b", "first NUL"),
        (b"text", b"\xef\xbb\xbftext", "byte order mark is dropped"),
        (b"\xef\xbb\xbftext", b"text", "byte order mark is added"),
        (b"a\nb\n", b"a  \nb\t\n", "blanks at the ends of lines"),
        (b"a", b"  a  ", "blanks around it"),
        (b"a\nb\n", b"a\n\n\nb\n", "empty lines are dropped"),
        (b"a       b", b"a\tb", "tabs are expanded"),
        (
            TEXT[:4096],
            TEXT,
            "cut off after 4096 bytes, 14794 bytes lost, beside a multiple of 4096: a buffer's end",
        ),
        (TEXT[:100], TEXT, "cut off after 100 bytes, 18790 bytes lost"),
        (TEXT + b"more", TEXT, "4 bytes added behind it"),
        (b"more" + TEXT, TEXT, "4 bytes added before it"),
        (TEXT[7:], TEXT, "its beginning is lost, 7 bytes"),
        (TEXT[:8192] + TEXT[8193:], TEXT, "1 byte lost at byte 8192, beside a multiple of 8192"),
        (TEXT[:8192] + TEXT[4096:8192] + TEXT[8192:], TEXT, "4096 bytes inserted again at byte"),
        (TEXT[:50] + b"??" + TEXT[50:], TEXT, "2 bytes inserted at byte 50"),
        (TEXT[4096:8192] + TEXT[:4096] + TEXT[8192:], TEXT, "another order"),
        (b"abc", b"xyz", ""),
    ],
)
def test_streams(got: bytes, wanted: bytes, words: str) -> None:
    """What was done to a stream on its way is recognised; what is not, is not guessed at."""
    assert words in told(got, wanted)
    assert bool(words) == bool(told(got, wanted))


def test_two_streams() -> None:
    """Swapped and merged streams are told as that, and once."""
    expected = Outcome(b"out\n", b"err\n", exited(0))

    assert diagnose(Outcome(b"err\n", b"out\n", exited(0)), expected) == ["stdout and stderr are swapped"]
    (merged,) = diagnose(Outcome(b"out\nerr\n", b"", exited(0)), expected)
    assert "stderr arrives on stdout" in merged


def test_equal_outcomes_mean_nothing() -> None:
    """There is nothing to say about outcomes that are the same."""
    assert diagnose(Outcome(TEXT, b"", trapped()), Outcome(TEXT, b"", trapped())) == []
