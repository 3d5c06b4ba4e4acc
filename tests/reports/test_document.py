"""The published record: what a run writes as it goes, and what that adds up to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_wasmedge.errors import RecordError
from pytest_wasmedge.plugin.publishing import shared_name
from pytest_wasmedge.reports.document import fold, load
from pytest_wasmedge.reports.writing import Writer, write
from tests.reports.sample import SCHEMA, begin, diverging, document, end, measured, row_of

EVENTS = (
    begin("one", "two", missing=("three",)),
    row_of(
        "core/sum", "one", answers=[["core/sum", "one", "aa"]], reference="golden", hazards=["frozen seed"]
    ),
    diverging("core/sum", "two"),
    row_of("core/skip", "one", "skipped", reason="no folders"),
    row_of("core/deep", "two", "known", known=[3]),
    measured("one", 5, 6, 7),
    end(
        1,
        known=[
            {
                "line": 3,
                "case": "core/deep",
                "runtimes": ["two"],
                "fields": ["stdout"],
                "reason": "r",
                "issue": "i",
                "seen_on": ["two"],
                "on": ["two"],
                "cases": [],
            }
        ],
    ),
)


def valid(found: dict[str, Any]) -> None:
    """Hold a document against the published schema."""
    # Not in the environment of the oldest versions, which needs no development tools.
    pytest.importorskip("fastjsonschema").compile(SCHEMA)(found)


def test_a_whole_run() -> None:
    """Every test is in the document, with its counts, the samples and the verdict, as the schema says."""
    found = document(*EVENTS)

    valid(found)
    assert found["complete"]
    assert found["verdict"] == "NOT PORTABLE"
    counts = {row["name"]: row["counts"] for row in found["runtimes"]}
    assert counts["one"] == {"passed": 2, "failed": 0, "skipped": 1, "known": 0, "slow": 0}
    assert counts["two"] == {"passed": 0, "failed": 1, "skipped": 0, "known": 1, "slow": 0}
    assert [row["verdict"] for row in found["tests"]] == ["passed", "failed", "skipped", "known", "passed"]
    assert found["latencies"][0]["elapsed_ns"] == [5_000_000, 6_000_000, 7_000_000]
    assert found["answers"] == {"core/sum": {"one": "aa"}}
    assert found["hazards"] == {"frozen seed": ["one"]}
    assert found["references"] == ["golden"]


@pytest.mark.parametrize("kept", range(1, len(EVENTS)))
def test_a_run_that_was_cut_off(kept: int) -> None:
    """Wherever a run was cut off, what it wrote is a valid record that is incomplete, never green."""
    found = document(*EVENTS[:kept])

    valid(found)
    assert not found["complete"]
    assert found["verdict"] == "INCOMPLETE"
    assert len(found["tests"]) == kept - 1


def test_a_torn_line(tmp_path: Path) -> None:
    """A line that was being written when the run was killed does not hide those before it."""
    writer = Writer(tmp_path)
    for event in EVENTS[:3]:
        writer.add(event)
    with (tmp_path / "record.jsonl").open("ab") as file:
        file.write(b'{"event":"test","row":{"te')
    found = load(tmp_path)

    valid(found)
    assert (found["verdict"], len(found["tests"])) == ("INCOMPLETE", 2)


def test_the_document_takes_the_place_of_the_events(tmp_path: Path) -> None:
    """At the end there is one document; a new run removes it before anything else, lest it be taken for its own."""
    writer = Writer(tmp_path)
    for event in EVENTS[:-1]:
        writer.add(event)
    written = writer.end(EVENTS[-1])

    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
    assert load(tmp_path) == load(tmp_path / "record.json") == written
    valid(written)
    (tmp_path / "report.md").write_text("green")
    Writer(tmp_path).add(EVENTS[0])
    assert [path.name for path in tmp_path.iterdir()] == ["record.jsonl"]
    assert load(tmp_path)["verdict"] == "INCOMPLETE"


def test_a_verdict_is_not_taken_at_its_word(tmp_path: Path) -> None:
    """What a document says of itself is made anew from its tests when it is read."""
    found = document(*EVENTS) | {"verdict": "PORTABLE", "line": "PORTABLE", "complete": True}
    write(tmp_path, found)

    assert load(tmp_path)["verdict"] == "NOT PORTABLE"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is no JSON"),
        ("[]", "is no record of schema 1: its schema is None"),
        ('{"schema": 2}', "its schema is 2. Read it with the version"),
        ('{"schema": 1}', "is damaged"),
    ],
)
def test_what_is_no_record(tmp_path: Path, content: str, said: str) -> None:
    """A file that is no record, or of another version, is refused with what to do."""
    (tmp_path / "record.json").write_text(content)

    with pytest.raises(RecordError, match=said):
        load(tmp_path)


def test_no_file_and_no_beginning(tmp_path: Path) -> None:
    """So are a folder without a record, and events that do not begin."""
    with pytest.raises(RecordError, match="cannot be read as a record: No such file"):
        load(tmp_path)
    with pytest.raises(RecordError, match="does not begin like a record"):
        fold([end()])


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that cannot be made is refused before the run."""
    (tmp_path / "file").write_text("")

    with pytest.raises(RecordError, match=r"cannot be written to .*Give another --wasm-report"):
        Writer(tmp_path / "file" / "out")


@pytest.mark.parametrize("name", ["record.json", "report.md", "report.html"])
def test_files_of_others_are_left_alone(tmp_path: Path, name: str) -> None:
    """A file that no run has written is not replaced."""
    (tmp_path / name).write_text("{}")

    with pytest.raises(RecordError, match="was not written by a run"):
        Writer(tmp_path)
    assert (tmp_path / name).read_text() == "{}"


def test_damaged_events(tmp_path: Path) -> None:
    """Events that say something else than a run does are refused, as a damaged document is."""
    (tmp_path / "record.jsonl").write_text(json.dumps(EVENTS[0]) + '\n{"event":"test"}\n')

    with pytest.raises(RecordError, match=r"record.jsonl is damaged: KeyError\('row'\)"):
        load(tmp_path)


def test_sides_of_thousands_of_divergences_are_not_kept(tmp_path: Path) -> None:
    """A record stays of bounded size: after a thousand tests that diverge, summaries are enough."""
    writer = Writer(tmp_path)
    writer.add(EVENTS[0])
    assert writer.sides
    for _ in range(1000):
        writer.add(EVENTS[2])
    assert not writer.sides


@pytest.mark.parametrize(
    ("nodeid", "shared"),
    [
        ("a.py::test_it[one]", "a.py::test_it"),
        ("a.py::test_it[one-x]", "a.py::test_it[x]"),
        ("a.py::test_it[x-one]", "a.py::test_it[x]"),
        ("a.py::test_it[x-one-y]", "a.py::test_it[x-y]"),
        ("a.py::test_it[one-one]", "a.py::test_it[one]"),
        ("a.py::test_it[stone]", "a.py::test_it[stone]"),
        ("a.py::test_it", "a.py::test_it"),
        ("../lib/pytest_wasmedge/bundled/conformance/a.py::t[one]", "conformance/a.py::t"),
    ],
)
def test_one_name_on_all_runtimes(nodeid: str, shared: str) -> None:
    """A test has one name whatever runtime it ran on, and wherever the suite is installed."""
    assert shared_name(nodeid, "one") == shared


def test_the_schema_lists_what_a_document_has() -> None:
    """Nothing is written that the schema does not say, also where it is not checked by a validator."""
    assert set(SCHEMA["properties"]) == set(document(*EVENTS))
    assert json.dumps(SCHEMA).count('"additionalProperties": false') >= 11
