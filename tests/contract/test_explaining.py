"""What is left of a failure once the entries of the contract are taken out of it."""

from __future__ import annotations

import pytest

from pytest_wasmedge.contract.differing import Differs, Golden, Normalised, Replaced
from pytest_wasmedge.contract.entries import Known, parse_runtime
from pytest_wasmedge.contract.explaining import Unexplained, explain
from pytest_wasmedge.model import Ending, Invocation, Leak, Outcome, exited, timed_out, trapped
from pytest_wasmedge.portability.compare import Comparison, DivergenceError, assert_same, compare
from pytest_wasmedge.portability.leaks import LeakError

ASKED = Invocation(b"puts 'a word'")
COLOURED = b"\x1b[1ma word\x1b[m\n"
DONE = exited(0)


def known(*fields: str, differs: Differs | None = None, line: int = 1) -> Known:
    """Return an entry about one's fields."""
    return Known("*", (parse_runtime("one"),), fields, "why", "https://x", line, line + 6, differs)


def outcome(stdout: bytes = b"a word\n", stderr: bytes = b"", ending: Ending = DONE) -> Outcome:
    """Return an outcome of one."""
    return Outcome(stdout, stderr, ending, runtime="one")


def failure(got: Outcome, wanted: Outcome) -> DivergenceError:
    """Return what a comparison of these two raises."""
    with pytest.raises(DivergenceError) as caught:
        assert_same(got, wanted, invocation=ASKED)
    return caught.value


def left(error: BaseException, *entries: Known) -> tuple[str, ...]:
    """Return the fields that these entries do not explain."""
    return explain(error, [], entries, "p.toml").left.fields


COLOURS = Normalised("ANSI colours")


def test_entries_add_up_in_one_stream() -> None:
    """Colours are known by one entry, a word by another; each alone is not enough."""
    error = failure(outcome(b"\x1b[1ma term\x1b[m\n"), outcome())
    colours, word = known("stdout", differs=COLOURS), known("stdout", differs=Replaced((("term", "word"),)))

    assert left(error, colours, word) == ()
    assert left(error, word) == ("stdout",)
    assert left(error, colours) == ("stdout",)


def test_texts_are_replaced_at_once() -> None:
    """What was put in is not replaced again, and the longest text comes first."""
    error = failure(outcome(b"ab a b\n"), outcome(b"c b a\n"))

    assert left(error, known("stdout", differs=Replaced((("a", "b"), ("b", "a"), ("ab", "c"))))) == ()


def test_an_entry_is_about_its_fields() -> None:
    """What an entry says of stdout explains nothing on stderr."""
    error = failure(outcome(COLOURED, COLOURED), outcome(b"a word\n", b"a word\n"))

    assert left(error, known("stdout", differs=COLOURS)) == ("stderr",)


def test_a_golden_is_met_as_a_whole() -> None:
    """If one of its fields is otherwise, it explains none of them."""
    golden = known("stdout", "ending", differs=Golden((("stdout", ""), ("ending", "trapped"))))

    assert left(failure(outcome(b"", ending=trapped("x")), outcome()), golden) == ()
    assert left(failure(outcome(b"", ending=exited(3)), outcome()), golden) == ("stdout", "ending")


def test_streams_of_a_guest_that_was_stopped() -> None:
    """A known time-out does not make its streams comparable; what they leak is still seen."""
    golden = known("ending", differs=Golden((("ending", "timed_out"),)))

    assert left(failure(outcome(b"a w", ending=timed_out()), outcome()), golden) == ()
    assert left(failure(outcome(b"at 0x7f3a9c001234\n", ending=timed_out()), outcome()), golden) == ("leak",)


def test_what_the_runtime_does_not_tell() -> None:
    """A golden is not asked about a field that the runtime cannot report."""
    compared = Comparison(outcome(b"", ending=exited(0)), outcome(ending=exited(7)), ASKED, {"ending"})
    error = DivergenceError(compare(compared.outcome, compared.expected, {"ending"}), (), compared)
    golden = known("stdout", "ending", differs=Golden((("stdout", ""), ("ending", "exited(9)"))))

    assert left(error, golden) == ()


def test_what_was_found_by_other_means_stays() -> None:
    """A leak that only the test itself can find is not gone because we do not find it."""
    leak = Leak("secret", "stdout", 0, "hunter2", "hunter2")
    compared = Comparison(outcome(COLOURED), outcome(), ASKED)
    error = DivergenceError(compare(compared.outcome, compared.expected), [leak], compared)
    explained = explain(error, [], [known("stdout", differs=COLOURS)], "p.toml")

    assert explained.left.fields == ("leak",)
    assert "hunter2" in explained.headline
    assert left(error, known("stdout", "leak")) == ()
    assert left(LeakError("one", [leak], outcome(b"hunter2")), known("stdout", differs=COLOURS)) == ("leak",)


@pytest.mark.parametrize("data", [True, False])
def test_streams_that_are_data_leak_nothing(data: bool) -> None:
    """Where the test did not search them, what looks like a leak is none behind a known divergence either."""
    with pytest.raises(DivergenceError) as raised:
        assert_same(outcome(b"2\x1b[1m\n"), outcome(b"1\x1b[1m\n"), invocation=ASKED, leaks=not data)

    assert left(raised.value, known("stdout")) == (() if data else ("leak",))


def test_paths_of_this_machine_are_looked_for_again() -> None:
    """What a test asked to look for is looked for in what is left, too."""
    text = b"\x1b[1mat /srv/build/x\x1b[m"
    leaks = [Leak("ANSI escape", "stdout", 0, "\x1b[1m", "…")]
    error = LeakError("one", leaks, outcome(text), host_paths=["/srv/build"])

    assert left(error, known("stdout", differs=COLOURS)) == ("leak",)


def test_a_failure_without_an_outcome() -> None:
    """It is known by its fields alone; an entry that says what differs explains nothing of it."""
    error = AssertionError()
    vague, exact = known("stdout"), known("stdout", differs=COLOURS, line=9)

    assert explain(error, ["stdout"], [vague], "p.toml").met == (vague,)
    explained = explain(error, ["stdout"], [exact], "p.toml")
    assert (explained.met, explained.left.fields) == ((), ("stdout",))
    assert explained.told[0].startswith("p.toml:9 says what differs, and this failure has no outcome")
    assert explain(error, ["start"], [exact], "p.toml").told == ()


def test_what_a_draft_says() -> None:
    """One thing that a normalisation takes out, else the outcome, if it is small text without leaks."""
    assert explain(failure(outcome(COLOURED), outcome()), [], []).left == Unexplained(
        ("stdout",), "ANSI colours"
    )
    found = explain(failure(outcome("é\n".encode(), b"w", exited(2)), outcome()), [], []).left
    assert found == Unexplained(
        ("stdout", "stderr", "ending"), outcome=(("ending", "exited(2)"), ("stdout", "é\n"), ("stderr", "w"))
    )
    for stdout in (b"x" * 2049, b"\xff\n"):
        compared = Comparison(outcome(stdout), outcome(stdout + b"\xff"), Invocation(b"pack"))
        error = DivergenceError(compare(compared.outcome, compared.expected), (), compared)
        assert explain(error, [], []).left == Unexplained(("stdout",))


def test_two_failures_of_one_name_are_one_draft() -> None:
    """What they say differs is kept if it is the same, whatever their streams."""
    one, two = Unexplained(("stdout",), "ANSI colours"), Unexplained(("stderr",), "ANSI colours")
    other = Unexplained(("ending",), outcome=(("ending", "trapped"),))

    assert one.plus(two) == Unexplained(("stdout", "stderr"), "ANSI colours")
    assert other.plus(other) == other
    assert one.plus(other) == Unexplained(("stdout", "ending"))
