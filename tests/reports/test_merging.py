"""Records of several runs make one verdict."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_wasmedge.errors import RecordError
from pytest_wasmedge.reports.markdown import render
from pytest_wasmedge.reports.merging import merge
from tests.reports.sample import SCHEMA, begin, diverging, document, end, measured, row_of

TESTS = (
    row_of("a", "one", reference="golden"),
    row_of("a", "two", reference="golden"),
    diverging("b", "one"),
    row_of("b", "two", "known"),
    row_of("c", "two", "skipped", reason="no folders"),
    measured("one", 4, 5, 6),
)


def of_run(number: int, *events: dict[str, Any], names: tuple[str, ...] = ("one", "two"), **more: Any) -> Any:
    """Return the document of a run with an id of its own."""
    first = begin(*names, **more)
    first["run"]["id"] = str(number)
    return document(first, *events)


@pytest.mark.parametrize("cut", range(len(TESTS)))
def test_shards(cut: int) -> None:
    """Two shards merged have the verdict, the tests and the table of one run."""
    whole = of_run(0, *TESTS, end(1))
    merged = merge({"A": of_run(1, *TESTS[:cut], end(1)), "B": of_run(2, *TESTS[cut:], end(1))})

    assert merged["line"] == whole["line"]
    assert merged["tests"] == whole["tests"]
    assert merged["runtimes"] == whole["runtimes"]
    assert merged["latencies"] == whole["latencies"]
    assert render(merged).partition("Where and when")[0] == render(whole).partition("Where and when")[0]
    pytest.importorskip("fastjsonschema").compile(SCHEMA)(merged)


def test_one_job_for_each_runtime() -> None:
    """What runtimes answered in jobs of their own is compared: the one that stands alone is red."""
    jobs = {
        name: of_run(
            at, row_of("a", name, answers=[["a", name, digest]], reference="itself"), end(), names=(name,)
        )
        for at, (name, digest) in enumerate({"one": "x", "two": "x", "three": "y"}.items())
    }
    merged = merge(jobs)

    assert {job["verdict"] for job in jobs.values()} == {"PORTABLE"}
    assert merged["disagreements"] == ["a: three against one, two, which agree"]
    assert merged["line"].startswith("NOT PORTABLE: 1 case without agreement · 3 checks on 3 of 3 runtimes")
    del jobs["three"]
    assert merge(jobs)["verdict"] == "PORTABLE"


def test_a_job_that_was_cut_off() -> None:
    """One incomplete record makes the whole incomplete."""
    merged = merge({"A": of_run(1, *TESTS[:2], end()), "B": of_run(2, *TESTS[:2])})

    assert merged["line"].startswith("INCOMPLETE: the run was cut off before its end")


def test_a_runtime_that_one_job_lacks() -> None:
    """A runtime that could run in one of the jobs has run."""
    lacking = of_run(1, row_of("a", "one"), end(), names=("one",), missing=("two",))
    merged = merge({"A": lacking, "B": of_run(2, row_of("a", "two"), end(), names=("two",))})

    assert merged["line"].startswith("PORTABLE on 2 of 2 runtimes")


def test_a_test_that_ran_twice() -> None:
    """A test that two jobs ran counts once, as its worst."""
    merged = merge({"A": of_run(1, diverging("a", "one"), end(1)), "B": of_run(2, row_of("a", "one"), end())})

    assert merged["line"].startswith("NOT PORTABLE: 1 failure on one · 1 check")


def test_two_versions() -> None:
    """Where two jobs had different versions of a runtime, both are told."""
    other = of_run(2, row_of("b", "one"), end())
    other["runtimes"][0]["version"] = "2.0"
    merged = merge({"A": of_run(1, row_of("a", "one"), end()), "B": other})

    assert merged["runtimes"][0]["version"] == "1.0 and 2.0"
    assert merged["runtimes"][0]["engine_version"] == "15.0"


def test_what_does_not_belong_together() -> None:
    """Runs of different artifacts, and one run given twice, are refused."""
    one, other = of_run(1, *TESTS, end(1)), of_run(2, *TESTS, end(1))
    other["artifact"]["sha256"] = "cd" * 32

    with pytest.raises(RecordError, match="B is of another artifact than A: cdcdcdcdcdcdcdcd, not abab"):
        merge({"A": one, "B": other})
    with pytest.raises(RecordError, match="B has a run that another record has, too: 1"):
        merge({"A": one, "B": one})
