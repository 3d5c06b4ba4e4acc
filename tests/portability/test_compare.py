"""Divergences and the diffs that show them."""

from __future__ import annotations

import random

import pytest

from pytest_wasmedge.model import (
    Ending,
    Files,
    Outcome,
    exited,
    host_failed,
    out_of_memory,
    timed_out,
    trapped,
)
from pytest_wasmedge.portability.compare import assert_same, compare, describe
from pytest_wasmedge.portability.offsets import first_difference

OK = exited(0)


def outcome(stdout: bytes = b"", stderr: bytes = b"", ending: Ending = OK) -> Outcome:
    return Outcome(stdout, stderr, ending, runtime="deno")


def diff(expected: bytes, actual: bytes) -> str:
    """Return the one divergence in stdout, as shown."""
    (divergence,) = compare(outcome(actual), outcome(expected))
    return str(divergence)


def test_equal_outcomes_have_no_divergence() -> None:
    """Runtime, timings and invocation number are not compared."""
    assert compare(outcome(b"a", b"b"), Outcome(b"a", b"b", exited(0), invocation=7, runtime="bun")) == ()
    assert describe(()) == "no divergence"


def test_another_status() -> None:
    """An ending is shown as the words of both sides."""
    divergences = compare(outcome(ending=exited(1)), outcome())

    assert describe(divergences) == "deno: ending: expected exited(0), got exited(1)"


def test_the_wording_of_a_trap_is_shown_but_not_compared() -> None:
    """A trap equals a trap; where an exit was expected, the engine's words help and stand in the diff."""
    assert compare(outcome(ending=trapped("unreachable")), outcome(ending=trapped("wasm trap"))) == ()

    divergences = compare(outcome(ending=trapped("stack \x1b[1moverflow")), outcome(ending=exited(1)))
    assert describe(divergences) == (
        "deno: ending: expected exited(1), got trapped\ntrapped: stack \\x1b[1moverflow"
    )


@pytest.mark.parametrize(
    ("ours", "expected"),
    [(timed_out(), exited(0)), (exited(0), timed_out()), (host_failed("died"), exited(0))],
)
def test_streams_of_a_stopped_invocation_are_not_compared(ours: Ending, expected: Ending) -> None:
    """What was written before a stop may be incomplete: the ending alone diverges."""
    divergences = compare(outcome(b"1\n2\n", b"x", ours), outcome(b"1\n", b"", expected))

    assert [divergence.field for divergence in divergences] == ["ending"]


def test_two_that_timed_out_agree() -> None:
    """Both stopped at the limit is agreement, whatever they had written by then."""
    assert compare(outcome(b"1\n2\n", ending=timed_out()), outcome(b"1\n", ending=timed_out())) == ()


def test_a_failed_host_never_agrees() -> None:
    """Two hosts that failed say nothing about the guest; that must not pass for agreement."""
    divergences = compare(outcome(ending=host_failed("no answer")), outcome(ending=host_failed()))

    assert describe(divergences) == (
        "deno: ending: expected an outcome, got host_failed\nhost_failed: no answer"
    )


def test_streams_are_compared_when_memory_ran_out() -> None:
    """Other endings compare all three fields, in a fixed order."""
    divergences = compare(outcome(b"a", b"b", trapped()), outcome(b"c", b"d", out_of_memory()))

    assert [divergence.field for divergence in divergences] == ["ending", "stdout", "stderr"]


def test_a_changed_line() -> None:
    """Offset, line and byte are named; two lines before and what follows are shown."""
    expected = b"one\ntwo\nthree\nfour\nfive\nsix\n"
    actual = b"one\ntwo\nthree\nfOur\nfive\nsix\n"

    assert diff(expected, actual) == (
        "deno: stdout first differs at byte 15, line 4: "
        'expected 28 bytes "…four\\n…", got 28 bytes "…fOur\\n…"\n'
        "@@ byte 15: expected 0x6f, got 0x4f @@\n"
        " two\n"
        " three\n"
        "-four\n"
        "+fOur\n"
        " five\n"
        " six"
    )


def test_a_missing_final_newline() -> None:
    """A final newline that got lost is said in words."""
    assert diff(b"15\n", b"15") == (
        'deno: stdout first differs at byte 2, line 1: expected 3 bytes "15\\n", got 2 bytes "15"\n'
        "@@ byte 2: expected 0x0a, got the end @@\n"
        "-15\n"
        "+15\n"
        "\\ No newline at end of output"
    )


def test_nothing_came() -> None:
    """An empty output is shown as 0 bytes, without quotes."""
    assert diff(b"a\n", b"") == (
        'deno: stdout first differs at byte 0, line 1: expected 2 bytes "a\\n", got 0 bytes\n'
        "@@ byte 0: expected 0x61, got the end @@\n"
        "-a"
    )


def test_more_came_than_expected() -> None:
    """Lines behind the expected end are shown as added, below the last common ones."""
    assert diff(b"a\n", b"a\nb") == (
        'deno: stdout first differs at byte 2, line 2: expected 2 bytes "a\\n", got 3 bytes "…b"\n'
        "@@ byte 2: expected the end, got 0x62 @@\n"
        " a\n"
        "+b\n"
        "\\ No newline at end of output"
    )


def test_carriage_returns_are_visible() -> None:
    r"""A \r that a host added shows as such, in every line."""
    assert diff(b"a\nb\n", b"a\r\nb\r\n") == (
        'deno: stdout first differs at byte 1, line 1: expected 4 bytes "a\\n…", got 6 bytes "a\\r\\n…"\n'
        "@@ byte 1: expected 0x0a, got 0x0d @@\n"
        "-a\n"
        "-b\n"
        "+a\\r\n"
        "+b\\r"
    )


def test_bytes_that_would_not_show() -> None:
    r"""Control characters, broken UTF-8 and invisible letters are \xNN; other letters stay as they are."""
    assert diff("é\x1b[1m\u200b\n".encode(), b"\xc3\xff\0\t\n") == (
        "deno: stdout first differs at byte 1, line 1: "
        'expected 10 bytes "é\\x1b[1m\\xe2\\x80\\x8b\\n", got 5 bytes "\\xc3\\xff\\x00\\t\\n"\n'
        "@@ byte 1: expected 0xa9, got 0xff @@\n"
        "-é\\x1b[1m\\xe2\\x80\\x8b\n"
        "+\\xc3\\xff\\x00\\t"
    )


def test_text_that_looks_the_same_is_told_apart() -> None:
    r"""A NUL byte and the four characters \x00 look alike; the header says which is which."""
    shown = diff(b"\0\n", b"\\x00\n").splitlines()

    assert shown[1:] == ["@@ byte 0: expected 0x00, got 0x5c @@", "-\\x00", "+\\x00"]


def test_a_lost_line_does_not_blame_the_rest() -> None:
    """One line fewer is shown as one line, though the window ends before the texts do."""
    expected = b"".join(b"line %d\n" % number for number in range(50))
    actual = expected.replace(b"line 7\n", b"")

    assert diff(expected, actual).splitlines()[2:] == [
        " line 5",
        " line 6",
        "-line 7",
        " line 8",
        " line 9",
        " line 10",
    ]


def test_long_lines_are_cut_around_the_difference() -> None:
    """Of a line of a megabyte, at most 120 characters are shown, the differing one among them."""
    expected = b"x" * 500_000 + b"A" + b"y" * 500_000
    actual = b"x" * 500_000 + b"B" + b"y" * 500_000

    lines = diff(expected, actual).splitlines()

    head = "…" + "x" * 39
    assert lines[1:] == [
        "@@ byte 500000: expected 0x41, got 0x42 @@",
        f"-{head}A{'y' * 78}…",
        "\\ No newline at end of output",
        f"+{head}B{'y' * 78}…",
        "\\ No newline at end of output",
    ]
    assert [len(line) for line in lines[2::2]] == [121, 121]


def test_binary_garbage_stays_bounded() -> None:
    """Whatever the bytes, a diff has at most 13 lines of at most 121 characters, summaries apart."""
    chance = random.Random(2026)
    for _ in range(300):
        expected = chance.randbytes(chance.randrange(3000))
        at = chance.randrange(len(expected) + 1)
        actual = expected[:at] + chance.randbytes(chance.randrange(3000))
        for divergence in compare(outcome(actual), outcome(expected)):
            lines = divergence.diff.split("\n")
            assert len(lines) <= 13
            assert max(map(len, lines)) <= 121
            assert all(line.isprintable() for line in lines)
            assert len(divergence.expected) + len(divergence.actual) < 300


def test_first_difference_agrees_with_counting() -> None:
    """Halving finds the same byte as looking at each one."""
    chance = random.Random(7)
    for _ in range(500):
        left = bytes(chance.choices(b"ab", k=chance.randrange(40)))
        right = bytes(chance.choices(b"ab", k=chance.randrange(40)))
        counted = next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), None)
        assert first_difference(left, right) == (min(len(left), len(right)) if counted is None else counted)


def test_first_difference_in_megabytes() -> None:
    """The last of five million bytes is found."""
    data = bytes(5_000_000)

    assert first_difference(data + b"a", data + b"b") == 5_000_000
    assert first_difference(data, data + b"b") == 5_000_000


def test_assert_same_tells_all_divergences() -> None:
    """One message has every divergence; equal outcomes raise nothing."""
    assert_same(outcome(b"a"), outcome(b"a"))

    with pytest.raises(AssertionError) as caught:
        assert_same(outcome(b"a", b"", exited(3)), outcome(b"", b"b\n"))
    assert str(caught.value) == (
        "deno: ending: expected exited(0), got exited(3)\n"
        'deno: stdout first differs at byte 0, line 1: expected 0 bytes, got 1 byte "a"\n'
        "@@ byte 0: expected the end, got 0x61 @@\n"
        "+a\n"
        "\\ No newline at end of output\n"
        'deno: stderr first differs at byte 0, line 1: expected 2 bytes "b\\n", got 0 bytes\n'
        "@@ byte 0: expected 0x62, got the end @@\n"
        "-b\n"
        'outcome: exited(3); stdout 1 byte "a"; stderr 0 bytes\n'
        "meaning: the guest failed, or the host made this exit status up\n"
        "meaning: stdout: 1 byte added behind it\n"
        "meaning: stderr: all of it is lost"
    )


@pytest.mark.parametrize(
    ("expected", "actual", "told"),
    [
        ({"/a": b"x"}, {"/a": b"x", "/b": b"more"}, ('"/b": not there', '"/b": a file of 4 bytes "more"')),
        ({"/a": None, "/b": b""}, {"/a": b"", "/b": b""}, ('"/a": a folder', '"/a": a file of 0 bytes')),
        ({"/a": None}, {}, ('"/a": a folder', '"/a": not there')),
        ({"/a": "b"}, {"/a": "c"}, ('"/a": a link to "b"', '"/a": a link to "c"')),
    ],
)
def test_files_are_compared(expected: Files, actual: Files, told: tuple[str, str]) -> None:
    """The first path where the two differ is told, with what is there and what should be."""
    outcome = Outcome(b"", b"", exited(0), runtime="deno", files=actual)
    (divergence,) = compare(outcome, Outcome(b"", b"", exited(0), files=expected))

    assert divergence.field == "files"
    assert (divergence.expected, divergence.actual) == told
    assert compare(outcome, Outcome(b"", b"", exited(0), files=expected), {"files"}) == ()


def test_files_of_a_stopped_guest_are_not_compared() -> None:
    """What a guest that was stopped has left by then says nothing."""
    outcome = Outcome(b"", b"", timed_out(), files={"/a": b""})
    assert compare(outcome, Outcome(b"", b"", timed_out())) == ()
