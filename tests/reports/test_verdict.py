"""The verdict on a run, to the letter."""

from __future__ import annotations

import pytest

from pytest_wasmedge.reports.verdict import Counts, Tally, judge
from tests.reports.sample import begin, diverging, document, end, measured, row_of

GOOD = Counts(passed=2000, known=52, skipped=3)


@pytest.mark.parametrize(
    ("tally", "line"),
    [
        (
            Tally({"one": GOOD, "two": GOOD}),
            "PORTABLE on 2 of 2 runtimes · 4,104 checks · 104 known divergences · 0 undecided",
        ),
        (
            Tally({"one": GOOD, "two": Counts(skipped=9)}, undecided=1),
            "PORTABLE on 1 of 2 runtimes · 2,052 checks · 52 known divergences · 1 undecided · 1 not run",
        ),
        (
            Tally({"one": Counts(passed=1)}, alone=True),
            "PORTABLE on 1 of 1 runtime · 1 check · compared with nothing · 0 known divergences · 0 undecided",
        ),
        (
            Tally({"one": GOOD, "two": Counts(passed=1, failed=2, known=1)}, status=1),
            "NOT PORTABLE: 2 failures on two · 2,056 checks on 2 of 2 runtimes · 53 known divergences · 0 undecided",
        ),
        (
            Tally({name: Counts(failed=1) for name in "abcdef"}, status=1),
            "NOT PORTABLE: 6 failures on a, b, c, d and 2 more · 6 checks on 6 of 6 runtimes · "
            "0 known divergences · 0 undecided",
        ),
        (
            Tally({"one": Counts(passed=1, failed=1, slow=1)}, status=1),
            "FAILED: 1 latency over the limit · 2 checks on 1 of 1 runtime · 0 known divergences · 0 undecided",
        ),
        (
            Tally({"one": Counts(passed=1), "two": Counts(passed=1)}, disagreeing=1),
            "NOT PORTABLE: 1 case without agreement · 2 checks on 2 of 2 runtimes · 0 known divergences · 0 undecided",
        ),
        (
            Tally({"one": Counts(passed=1)}, breaches=2, status=1),
            "FAILED: 2 breaches · 1 check on 1 of 1 runtime · 0 known divergences · 0 undecided",
        ),
        (
            Tally({"one": Counts(passed=1)}, status=1),
            "FAILED: tests that run on no runtime · 1 check on 1 of 1 runtime · 0 known divergences · 0 undecided",
        ),
        (
            Tally({"one": Counts()}, status=5),
            "INCOMPLETE: no test ran on any runtime · 0 checks on 0 of 1 runtime · 0 known divergences · "
            "0 undecided · 1 not run",
        ),
        (
            Tally({"one": Counts(passed=7, failed=1)}, status=2, stopped="the run was interrupted"),
            "INCOMPLETE: the run was interrupted · 8 checks on 1 of 1 runtime · 1 failed · 0 known divergences · "
            "0 undecided",
        ),
    ],
)
def test_lines(tally: Tally, line: str) -> None:
    """Each kind of verdict, with what stands behind it."""
    word, said = judge(tally)

    assert said == line
    assert said.startswith(word)


def test_of_documents() -> None:
    """A document's tests give its verdict: a slow one alone is no question of portability."""
    one = begin("one", "two")

    assert document(one, row_of("a", "one"), row_of("a", "two"), end())["verdict"] == "PORTABLE"
    assert document(one, diverging("a", "two"), end(1))["verdict"] == "NOT PORTABLE"
    assert document(one, measured("one", 30, verdict="fail"), end(1))["verdict"] == "FAILED"
    assert document(one, row_of("a", "one"), end(1))["verdict"] == "FAILED"
    assert document(one, row_of("a", "one"), end(2, "the run was interrupted"))["verdict"] == "INCOMPLETE"
    assert document(one, end(5))["verdict"] == "INCOMPLETE"
