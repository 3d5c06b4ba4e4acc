"""What a run tells GitHub when it runs there: annotations on the pull request, and the summary of its job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_wasmedge.errors import RecordError
from pytest_wasmedge.portability.excerpt import cut, printable
from pytest_wasmedge.provision.room import reason
from pytest_wasmedge.reports.document import Document
from pytest_wasmedge.reports.shown import needing_a_person

#: GitHub shows no more of one step.
_MOST = 10
_CHARACTERS = 500


def is_here(environment: Mapping[str, str]) -> bool:
    """Return whether this runs in a job of GitHub Actions."""
    return environment.get("GITHUB_ACTIONS") == "true"


def commands(document: Document) -> list[str]:
    """Return the lines that GitHub takes for annotations: an error for each failure, at most ten."""
    found = [_command(title, told) for title, told in _errors(document)]
    if len(found) <= _MOST:
        return found
    rest = _command("pytest-wasmedge", f"{len(found) - _MOST + 1} more: see the report")
    return [*found[: _MOST - 1], rest]


def add_summary(environment: Mapping[str, str], markdown: str) -> None:
    """Append the report to the summary of the job, if there is one. Raises RecordError."""
    if path := environment.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(markdown + "\n")
        except OSError as error:
            why = reason(error, Path(path).parent)
            raise RecordError(f"the summary of the job cannot be written to {path}: {why}.") from error


def _errors(document: Document) -> Iterator[tuple[str, str]]:
    if not document["complete"] or document["verdict"] == "FAILED":
        yield "pytest-wasmedge", document["line"]
    for line in (*document["disagreements"], *document["broken"]):
        yield "pytest-wasmedge", line
    for row in needing_a_person(document):
        yield f"{row['case']} on {row['runtime']}", _told(row)


def _told(row: dict[str, Any]) -> str:
    return row.get("message") or f"{row['test']} failed on {row['runtime']}"


def _command(title: str, told: str) -> str:
    """Return a workflow command; nothing in a text of others can begin another one."""
    title, told = (
        printable(cut(text, _CHARACTERS)).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        for text in (title, told)
    )
    return f"::error title={title.replace(':', '%3A').replace(',', '%2C')}::{told}"
