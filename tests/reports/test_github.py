"""What GitHub is told: bounded, and no text of a guest is a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.errors import RecordError
from pytest_wasmedge.reports.github import add_summary, commands, is_here
from tests.reports.sample import begin, diverging, document, end, row_of


def test_annotations() -> None:
    """Each failure is an error with the case and the runtime in its title."""
    found = document(
        begin("one"), diverging("core/a,b", "one", "100%\n::add-mask::x"), row_of("x", "one"), end(1)
    )

    assert commands(found) == [
        "::error title=core/a%2Cb on one::one: stdout 100%25%0A::add-mask::x, not expected"
    ]
    assert commands(document(begin("one"), row_of("x", "one"), end())) == []


def test_what_is_no_failure_of_a_test() -> None:
    """Breaches, and runs that did not come to their end, are errors too."""
    breached = document(begin("one"), row_of("x", "one"), end(1, broken=["size: too big"]))
    cut_off = document(begin("one"), row_of("x", "one"))

    assert [line.partition("::error title=pytest-wasmedge::")[2] for line in commands(breached)] == [
        breached["line"],
        "size: too big",
    ]
    assert "INCOMPLETE" in commands(cut_off)[0]


def test_no_more_than_are_shown() -> None:
    """GitHub shows ten of a step: the last one counts the rest."""
    found = commands(document(begin("one"), *(diverging(str(at), "one") for at in range(40)), end(1)))

    assert len(found) == 10
    assert found[-1] == "::error title=pytest-wasmedge::31 more: see the report"
    assert all(line.isprintable() for line in found)


def test_the_summary(tmp_path: Path) -> None:
    """The summary is appended to what earlier steps have written; without one, nothing is."""
    path = tmp_path / "summary"
    path.write_text("before\n")
    add_summary({"GITHUB_STEP_SUMMARY": str(path)}, "## é")
    add_summary({}, "nowhere")

    assert path.read_text() == "before\n## é\n"
    assert is_here({"GITHUB_ACTIONS": "true"})
    assert not is_here({})
    with pytest.raises(RecordError, match=r"cannot be written to .*: Is a directory"):
        add_summary({"GITHUB_STEP_SUMMARY": str(tmp_path)}, "x")
