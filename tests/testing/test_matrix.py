"""What a run under faults has found, from its results to the lines, the page and the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.testing import Fault
from pytest_wasmedge.testing.matrix import (
    Matrix,
    Result,
    catching,
    first_line,
    line_of,
    matches,
    names_kind,
    read,
)
from pytest_wasmedge.testing.page import kept, lines, page

DROPS = Fault("drops", "delivery", "drops a|b", says=("argument",))
CUTS = Fault("cuts", "streams", "cuts stdout", says=("stdout",))
MIXES = Fault("mixes", "streams", "mixes streams", says=("stdout",))
GRANTS = Fault("grants", "files", "grants all", says=("folder",))


def failed(fault: str, test: str, said: str = "wrong", *, named: bool = True) -> Result:
    """Return the failure of a test under a fault."""
    return Result(fault, test, "failed", said, named)


CLEAN = [
    Result("", "a.py::one", "passed"),
    Result("", "a.py::two[x]", "passed"),
    Result("", "a.py::two[y]", "passed"),
    Result("", "a.py::idle", "passed"),
    Result("", "a.py::known", "skipped"),
]
CAUGHT = [
    failed("drops", "a.py::one"),
    failed("drops", "a.py::two[x]", "odd", named=False),
    failed("drops", "a.py::two[y]", "odd", named=False),
    failed("drops", "a.py::known"),
    failed("cuts", "a.py::two[y]", "odd", named=False),
    Result("cuts", "a.py::one", "passed"),
]
MATRIX = Matrix(
    "host",
    (DROPS, CUTS, MIXES, GRANTS),
    {"grants": "host lacks the capability preopens"},
    (*CLEAN, *CAUGHT, Result("mixes", "a.py::one", "passed")),
)


def test_lines() -> None:
    """There is a line for the run without a fault, one for each fault, and one on all."""
    assert [line for line, _ in lines(MATRIX)] == [
        "without a fault, host: 4 passed, 0 failed, 1 skipped",
        "delivery    drops   caught by a.py::one",
        "streams     cuts    caught by a.py::two[y], unnamed: odd",
        "streams     mixes   MISSED: 1 tests ran, and none that passes without it failed",
        "files       grants  cannot show: host lacks the capability preopens",
        "",
        "2 of 3 faults caught; 1 missed; 1 caught by messages that do not name them; 1 cannot show on host",
    ]


def test_page() -> None:
    """The page has faults by kind, then the tests: those that alone catch one, all others, those that catch none."""
    text = page(MATRIX, "each")

    assert (
        text.partition("\nOn host: ")[2]
        == """\
2 of 3 faults caught; 1 missed; 1 caught by messages that do not name them; 1 cannot show on host. \
The numbers in brackets are cases of one test.

## Delivery

| fault | a host that … | is caught by |
| --- | --- | --- |
| `drops` | drops a\\|b | `a.py::one`, `a.py::two` (2) |

## Streams

| fault | a host that … | is caught by |
| --- | --- | --- |
| `cuts` | cuts stdout | `a.py::two`, unnamed |
| `mixes` | mixes streams | **nothing** |

## Files

| fault | a host that … | is caught by |
| --- | --- | --- |
| `grants` | grants all | cannot show on host |
KEPT
## Tests that alone catch a fault

| test | faults |
| --- | --- |
| `a.py::two` | `cuts` |

## Tests that catch what others catch too

* `a.py::one`

## Tests that catch none of these faults

* `a.py::idle`
""".replace("KEPT", kept())
    )


@pytest.mark.parametrize(
    ("results", "ok"),
    [
        ([*CLEAN, *CAUGHT], True),
        (CLEAN, False),
        (CAUGHT, False),
        ([], False),
        ([*CLEAN, *CAUGHT, Result("", "a.py::broken", "failed")], False),
        # A test that does not pass without a fault proves nothing.
        ([*CLEAN[1:], failed("drops", "a.py::one"), failed("cuts", "a.py::two[x]")], False),
    ],
)
def test_what_is_green(results: list[Result], ok: bool) -> None:
    """Green is a run in which tests passed without a fault, none failed, and every fault was caught."""
    assert Matrix("host", (DROPS, CUTS, GRANTS), {"grants": "no"}, tuple(results)).ok is ok


def test_faults_that_cannot_show_prove_nothing() -> None:
    """A run without a fault that can show is not green."""
    assert not Matrix("host", (GRANTS,), {"grants": "no"}, tuple(CLEAN)).ok


def test_why_a_fault_was_missed() -> None:
    """Without a test that is known to catch it, a fault is missed, and the line says what to do."""
    matrix = Matrix("host", (CUTS,), {}, tuple(CLEAN))

    assert [line for line, _ in lines(matrix)][1] == (
        "streams     cuts  MISSED: no test is known to catch it; --tests=each tries others"
    )


def test_which_tests_are_kept() -> None:
    """Of the tests that catch a fault, those are kept that name it, and that catch few others."""
    results = [
        *CLEAN,
        *(failed(fault, "a.py::one") for fault in ("drops", "cuts")),
        failed("drops", "a.py::two[x]"),
        failed("drops", "a.py::two[y]", named=False),
    ]

    assert catching(Matrix("host", (DROPS, CUTS, MIXES), {}, tuple(results))) == {
        "drops": ["a.py::one", "a.py::two[x]"],
        "cuts": ["a.py::one"],
        "mixes": [],
    }


def test_a_file_of_results(tmp_path: Path) -> None:
    """What a run writes as it goes can be read at any time."""
    path = tmp_path / "results.jsonl"
    assert read(path, (DROPS,)) is None
    path.write_text(first_line("host", {"drops": "no"}) + line_of(CLEAN[0]), "utf-8")

    assert read(path, (DROPS,)) == Matrix("host", (DROPS,), {"drops": "no"}, (CLEAN[0],))


def test_patterns() -> None:
    """A star stands for any text, brackets for themselves."""
    assert matches("a.py::t[x/y]", ["b", "a.py::t[x/*]"])
    assert not matches("a.py::t[x/y]", ["a.py::t"])
    assert not matches("a.py::t", [])
    assert names_kind("The Argument is lost", ("argument",))
    assert not names_kind("assert 1 == 2", ("argument",))
