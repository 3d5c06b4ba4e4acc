"""What a record tells of a failure: bounded, and readable whatever the guest wrote."""

from __future__ import annotations

import pytest

from pytest_wasmedge.errors import HostFailedError
from pytest_wasmedge.model import Invocation, Outcome, exited, host_failed
from pytest_wasmedge.portability.compare import DivergenceError, assert_same
from pytest_wasmedge.portability.sides import excerpt, told


def outcome(stdout: bytes, status: int = 0) -> Outcome:
    """Return an outcome."""
    return Outcome(stdout, b"", exited(status), runtime="one")


def test_both_sides() -> None:
    """Each difference is told with the bytes around it, on both sides, and what the guest was given."""
    with pytest.raises(DivergenceError) as caught:
        assert_same(outcome(b"a\nb\x1b[1m\r\n", 1), outcome(b"a\nc\n"), invocation=Invocation(b"in"))
    found = told(caught.value)

    assert found["asked"] == 'stdin 2 bytes "in"'
    assert [each["field"] for each in found["divergences"]] == ["ending", "stdout", "leak"]
    assert found["divergences"][1]["sides"] == ["a\nc\n", "a\nb\\x1b[1m\\r\n"]
    assert (found["divergences"][1]["offset"], found["divergences"][1]["line"]) == (2, 2)


def test_of_any_length() -> None:
    """Ten megabytes in one line are told in a few kilobytes, around the difference."""
    with pytest.raises(DivergenceError) as caught:
        assert_same(outcome(b"x" * 9_000_000 + b"y" * 1_000_000), outcome(b"x" * 10_000_000))
    [found] = told(caught.value)["divergences"]
    expected, actual = found["sides"]

    assert found["offset"] == 9_000_000
    assert len(expected) == len(actual) == 1502
    assert actual.startswith("…x")
    assert "xyyy" in actual


def test_other_failures_have_no_sides() -> None:
    """A host that failed has given no outcome; of any other error there is nothing to tell."""
    with pytest.raises(HostFailedError) as caught:
        assert_same(Outcome(b"", b"", host_failed("it\x1bcrashed"), runtime="one"), outcome(b""))

    [found] = told(caught.value)["divergences"]
    assert found == {
        "field": "ending",
        "expected": "an outcome",
        "actual": "one: the host failed: it\\x1bcrashed",
    }
    assert told(AssertionError("x")) == told(None) == {}


def test_invisible_bytes_are_written_out() -> None:
    """Bytes that are no text, and marks that turn it round, are written out; line breaks stay."""
    assert excerpt(b"a\xff\tb\n" + "\u202e".encode(), 0) == "a\\xff\\tb\n\\xe2\\x80\\xae"
