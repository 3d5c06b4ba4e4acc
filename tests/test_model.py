"""The nouns: what is equal, what is shown, what cannot change."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pytest_wasmedge
from pytest_wasmedge.errors import ArtifactError, UnsupportedError
from pytest_wasmedge.model import (
    Divergence,
    Ending,
    Invocation,
    Leak,
    Limits,
    Outcome,
    Timings,
    exited,
    host_failed,
    out_of_memory,
    timed_out,
    trapped,
)
from tests import wat


def test_endings_are_never_mixed_up() -> None:
    """The five kinds of ending differ from each other, and exits by their status."""
    endings = [exited(0), exited(1), trapped(), timed_out(), out_of_memory(), host_failed()]

    assert len(set(endings)) == len(endings)
    assert [str(ending) for ending in endings] == [
        "exited(0)",
        "exited(1)",
        "trapped",
        "timed_out",
        "out_of_memory",
        "host_failed",
    ]


@pytest.mark.parametrize("make", [trapped, timed_out, out_of_memory, host_failed])
def test_the_engine_s_wording_is_not_compared(make: Callable[[str], Ending]) -> None:
    """A trap is a trap, whatever words an engine has for it."""
    assert make("unreachable") == make("RuntimeError: unreachable")
    assert hash(make("a")) == hash(make("b"))
    assert make("a").detail == "a"


def test_only_status_zero_is_ok() -> None:
    """An ending is ok if the guest exited with 0, and in no other case."""
    assert exited(0).ok
    assert not any(ending.ok for ending in (exited(1), trapped(), timed_out(), host_failed()))


def test_outcomes_are_equal_by_what_the_guest_did() -> None:
    """Two outcomes are equal if streams and ending are; number, timings and runtime do not count."""
    outcome = Outcome(b"out", b"err", exited(0), 1, Timings(5), "one", "abc")

    assert outcome == Outcome(b"out", b"err", exited(0), 2, Timings(7), "two", "def")
    for change in ({"stdout": b"Out"}, {"stderr": b""}, {"ending": exited(1)}):
        assert outcome != dataclasses.replace(outcome, **change)


def test_text_shows_every_byte() -> None:
    """The text of a stream is its UTF-8; other bytes are written out, none is lost."""
    outcome = Outcome("☃".encode() + b"\xff", b"\xc3(", exited(0))

    assert outcome.stdout_text == "☃\\xff"
    assert outcome.stderr_text == "\\xc3("


def test_nothing_is_granted_by_default() -> None:
    """An invocation that asks for nothing gets nothing, and the host's own time limit."""
    assert Invocation() == Invocation(b"", (), {}, {}, None)
    assert Limits().timeout_s == 30.0


@pytest.mark.parametrize("noun", [exited(0), Invocation(), Limits(), Timings(1)])
def test_nouns_are_frozen(noun: object) -> None:
    """No fact can be changed once it is stated."""
    field = dataclasses.fields(noun)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(noun, field, None)


def test_divergence_reads_as_a_sentence() -> None:
    """A divergence names runtime, field, first differing byte and line, and both sides."""
    divergence = Divergence("stdout", "one", '2 bytes "a"', '2 bytes "b"', 7, 2, "-a\n+b")

    assert str(divergence) == (
        'one: stdout first differs at byte 7, line 2: expected 2 bytes "a", got 2 bytes "b"\n-a\n+b'
    )
    assert str(Divergence("ending", "one", "exited(0)", "trapped")) == (
        "one: ending: expected exited(0), got trapped"
    )


def test_leak_reads_as_a_sentence_without_control_characters() -> None:
    """A leak names its detector and its place; what it found is shown with its escapes written out."""
    leak = Leak("ANSI escape", "stderr", 4, "\x1b[31m", "x\x1b[31my")

    assert str(leak) == r"stderr leaks ANSI escape: '\x1b[31m' at byte 4, in 'x\x1b[31my'"


def test_a_changed_artifact_is_found_out(tmp_path: Path) -> None:
    """An artifact whose file changed after it was loaded is refused, with both digests."""
    artifact = wat.artifact(tmp_path, wat.ECHO)
    artifact.verify()
    wat.write(artifact.path, wat.TRAP)

    with pytest.raises(ArtifactError, match=f"changed during the run: it was {artifact.sha256[:16]}"):
        artifact.verify()


def test_every_public_name_is_there() -> None:
    """Each name of the package's ``__all__`` can be had, and ``dir`` lists it."""
    assert all(getattr(pytest_wasmedge, name) for name in pytest_wasmedge.__all__)
    assert set(pytest_wasmedge.__all__) <= set(dir(pytest_wasmedge))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pytest_wasmedge.nonsense


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"args": ("fine", "a\0b")}, "argument 2, 'a\\x00b', holds a NUL"),
        ({"args": ("\udc80",)}, "argument 1, '\\udc80', holds a lone surrogate"),
        ({"env": {"A\ud800": "x"}}, "the name of a variable, 'A\\ud800', holds a lone surrogate"),
        ({"env": {"A": "b\0"}}, "the value of A, 'b\\x00', holds a NUL"),
        ({"env": {"": "x"}}, "'' is no name of a variable"),
        ({"env": {"A=B": "x"}}, "'A=B' is no name of a variable"),
        ({"args": (1,)}, "argument 1 is 1, of type int"),
        ({"env": {"A": None}}, "the value of A is None, of type NoneType"),
    ],
)
def test_text_that_no_host_can_pass_on(given: dict[str, Any], words: str) -> None:
    """It is refused before anything starts, since hosts would each make something else of it."""
    with pytest.raises(UnsupportedError, match=re.escape(words)):
        Invocation(b"", **given)


def test_text_of_all_alphabets_can_be_passed_on() -> None:
    """Everything that UTF-8 can carry is given as it is, also an equals sign in a value."""
    Invocation(
        b"",
        args=(
            "",
            "ü ☃ 🎉\n",
        ),
        env={"Ü": "=\r\n"},
    )
