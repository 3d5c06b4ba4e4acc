"""What counts come to, and how two artifacts compare."""

from __future__ import annotations

import pytest

from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.work.counts import (
    Change,
    Count,
    CountedRun,
    Work,
    apart,
    changes,
    grown_calls,
    grown_most,
    total,
)


def exactly(number: int) -> Count:
    """Return a count that does not vary."""
    return Count(number, number)


def test_runs_that_count_the_same() -> None:
    """Every count is a number, and says so."""
    run = CountedRun(1_928_690, (3, 0, 1), 40, 2, 5, {"fd_write": 1, "fd_read": 2})
    work = Work((run, run))

    assert (work.fuel, work.functions, work.code_bytes) == (1_928_690, 2, 40)
    assert (work.pages_grown, work.pages_changed) == (2, 5)
    assert work.wasi == {"fd_read": 2, "fd_write": 1}
    assert not work.varies
    assert str(work) == (
        "1,928,690 fuel, 2 functions executed, 40 bytes of code executed, 2 pages of memory grown, "
        "5 pages of memory changed, 3 WASI calls"
    )


def test_runs_that_vary() -> None:
    """The attribute is the highest, the count the range."""
    work = Work((CountedRun(10, (1,), 5), CountedRun(12, (1,), 5)))

    assert work.varies
    assert work.fuel == 12
    assert str(work.counts["fuel"]) == "10 to 12"


def test_what_is_not_counted() -> None:
    """It is absent, and asking for it is an error that says what can be had."""
    work = Work((CountedRun(10, (1,), 5),))

    assert set(work.counts) == {"fuel", "functions", "code_bytes"}
    with pytest.raises(UnsupportedError, match="WASI calls cannot be counted"):
        _ = work.wasi
    with pytest.raises(UnsupportedError, match="pages of memory grown cannot be counted"):
        _ = work.pages_grown


@pytest.mark.parametrize(
    ("head", "baseline", "beyond", "text"),
    [
        (exactly(1_010), exactly(1_000), True, "+1.0 % fuel in start (1,000 → 1,010)"),
        (exactly(808_001), exactly(800_001), True, "+1.0 % fuel in start (800,001 → 808,001)"),
        (exactly(1_009), exactly(1_000), False, "+0.9 % fuel in start (1,000 → 1,009)"),
        (exactly(100_001), exactly(100_000), False, "+0.001 % fuel in start (100,000 → 100,001)"),
        (exactly(1_124), exactly(1_000), True, "+12.4 % fuel in start (1,000 → 1,124)"),
        (exactly(500), exactly(1_000), False, "-50.0 % fuel in start (1,000 → 500)"),
        (exactly(5), exactly(0), True, "new fuel in start (0 → 5)"),
        (Count(90, 150), Count(80, 100), False, "+0 % fuel in start (80 to 100 → 90 to 150)"),
        (Count(101, 150), Count(80, 100), True, "+1.0 % fuel in start (80 to 100 → 101 to 150)"),
    ],
)
def test_a_change(head: Count, baseline: Count, beyond: bool, text: str) -> None:
    """It is judged by what is certain: the lowest beside the baseline's highest, at the margin or over it."""
    change = Change("start", "fuel", head, baseline)

    assert change.beyond(0.01) is beyond
    assert str(change) == text


def test_only_work_is_judged() -> None:
    """More memory or more calls are listed, and not red."""
    assert not Change("start", "pages_grown", exactly(9), exactly(0)).beyond(0.01)
    assert not Change("start", "wasi_calls", exactly(9), exactly(1)).beyond(0.01)
    assert Change("start", "functions", exactly(9), exactly(1)).beyond(0.01)


def test_what_changed() -> None:
    """Counts that only one side has, and ranges that overlap, have not; the greatest change comes first."""
    head = {"fuel": exactly(110), "functions": exactly(1), "code_bytes": Count(4, 6)}
    baseline = {"fuel": exactly(100), "pages_grown": exactly(1), "code_bytes": Count(5, 5)}
    found = changes("a", head, baseline)

    assert [str(each) for each in found] == ["+10.0 % fuel in a (100 → 110)"]
    more = Change("b", "fuel", exactly(50), exactly(100))
    new = Change("c", "fuel", exactly(1), exactly(0))
    assert [each.what for each in grown_most([*found, more, new])] == ["c", "b", "a"]


def test_sums() -> None:
    """Several invocations of one test are one count; what one of them lacks, the sum lacks."""
    assert total([{"fuel": Count(1, 2), "functions": exactly(1)}, {"fuel": exactly(5)}]) == {
        "fuel": Count(6, 7)
    }
    assert total([]) == {}


def test_ranges_apart() -> None:
    """Two ranges are apart if they have nothing in common."""
    assert apart(Count(1, 2), Count(3, 4))
    assert apart(Count(3, 4), Count(1, 2))
    assert not apart(Count(1, 3), Count(3, 4))


def test_functions_that_grew() -> None:
    """The calls that grew most come first; those that shrank are left out."""
    found = grown_calls({"a": 5, "b": 9, "new": 20}, {"a": 4, "b": 1, "gone": 3}, most=2)

    assert found == [("new", 0, 20), ("b", 1, 9)]
