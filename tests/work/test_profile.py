"""Where the work is: calls are exact, and what runs is looked at in the same places every time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_wasmedge.model import Invocation
from pytest_wasmedge.work.counting import CountingHost
from pytest_wasmedge.work.profile import DEEPER, Profile, profile
from tests import wat

#: Works nine times as much in one function as in the other, which is named so that a tool could mistake it.
TWO = wat.command("(call $much) (call $little) (call $little)").replace(
    "  (func (export",
    """  (func $round (param $i i32)
    (loop $more (br_if $more (local.tee $i (i32.sub (local.get $i) (i32.const 1))))))
  (func $much (call $round (i32.const 9000)))
  (func $little (@name "lit;tle") (call $round (i32.const 500)))
  (func (export""",
    1,
)
DEEP = wat.command("(call $down (i32.const 30))").replace(
    "  (func (export",
    """  (func $down (param $left i32) (local $i i32)
    (if (local.get $left) (then (call $down (i32.sub (local.get $left) (i32.const 1)))))
    (loop $more (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100)))))
  (func (export""",
    1,
)


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Profile]:
    """The profile of a guest with two functions that call a third."""
    with CountingHost(wat.artifact(tmp_path, TWO)) as host:
        yield profile(host, Invocation(), looks=100)


def test_calls_are_exact(found: Profile) -> None:
    """Every function that was executed has a row, with its calls."""
    assert {row.name: row.calls for row in found.rows} == {
        "round": 3,
        "much": 1,
        "lit;tle": 2,
        "function 14": 1,
    }
    assert [row.name for row in found.most("calls", 2)] == ["round", "lit;tle"]


def test_the_stacks_tell_who_works(found: Profile) -> None:
    """Looks are at even distances of fuel, so that stacks have them by the work that is done there."""
    rows = {row.name: row for row in found.rows}

    assert found.looks == 100
    assert (rows["round"].itself, rows["much"].within, rows["lit;tle"].within) == (100, 90, 10)
    assert rows["function 14"].within == 100
    assert found.most("fuel", 1) == [rows["round"]]


def test_the_format_of_flame_graphs(found: Profile) -> None:
    """One line for each stack, outermost first; a semicolon in a name would be another function."""
    assert found.collapsed() == ["function 14;lit:tle;round 10", "function 14;much;round 90"]


def test_a_deep_stack(tmp_path: Path) -> None:
    """The engine tells the innermost twenty, and what is missing is shown."""
    with CountingHost(wat.artifact(tmp_path, DEEP)) as host:
        stacks = profile(host, Invocation(), looks=50).stacks

    assert any(names[0] == DEEPER and len(names) == 21 for names in stacks)
    assert any(names[0] == "function 12" for names in stacks)


def test_twice_the_same(tmp_path: Path) -> None:
    """Another engine sees the same."""
    seen = []
    for _ in range(2):
        with CountingHost(wat.artifact(tmp_path, wat.ECHO)) as host:
            seen.append(profile(host, Invocation(b"x" * 500_000), looks=30))

    assert seen[0] == seen[1]
    assert seen[0].looks > 20


def test_a_guest_that_does_nothing(tmp_path: Path) -> None:
    """There is little to look at, and that is no error."""
    with CountingHost(wat.artifact(tmp_path, wat.command(""))) as host:
        found = profile(host, Invocation())

    assert [row.name for row in found.rows] == ["function 11"]
