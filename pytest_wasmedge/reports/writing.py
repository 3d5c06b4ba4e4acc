"""Writes the folder of ``--wasm-report``: events while a run goes on, the document and the reports at its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_wasmedge.errors import RecordError
from pytest_wasmedge.provision.files import append, write_all
from pytest_wasmedge.provision.room import reason
from pytest_wasmedge.reports.document import DOCUMENT, EVENTS, Document, Event, fold

#: After so many tests that diverge, a divergence keeps its summary alone: a record stays of bounded size.
_WITH_SIDES = 1000
MARKDOWN, PAGE, BADGE = "report.md", "report.html", "badge.svg"
HISTORY = "history.html"


class Writer:
    """Appends the events of one run to a file in the folder, each by one write, so that a killed run loses none.

    What an earlier run left there is removed first. Raises RecordError if the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._diverging = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _check_ours(folder)
            for name in (DOCUMENT, MARKDOWN, PAGE, BADGE):
                (folder / name).unlink(missing_ok=True)
            (folder / EVENTS).write_bytes(b"")
        except OSError as error:
            raise _unwritable(folder, error) from error

    @property
    def sides(self) -> bool:
        """Whether the next divergence keeps its two sides."""
        return self._diverging < _WITH_SIDES

    def add(self, event: Event) -> None:
        """Write one event. Raises RecordError."""
        self._diverging += bool(event.get("row", {}).get("divergences"))
        try:
            # Opened anew, so that no end of the run has to close it.
            append(self.folder / EVENTS, _line(event))
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def end(self, event: Event) -> Document:
        """Write the last event and the document, which takes the place of the events. Raises RecordError."""
        self.add(event)
        events = self.folder / EVENTS
        with events.open(encoding="utf-8") as lines:
            document = fold(json.loads(line) for line in lines)
        write(self.folder, document)
        events.unlink()
        return document


def write(folder: Path, document: Document) -> None:
    """Write the document of a record into a folder, whole or not at all. Raises RecordError."""
    write_text(folder / DOCUMENT, json.dumps(document, separators=(",", ":")) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all. Raises RecordError."""
    try:
        write_all({path: text.encode()})
    except OSError as error:
        raise _unwritable(path.parent, error) from error


def _check_ours(folder: Path) -> None:
    """Raise RecordError if a file that we would replace may be somebody else's: no record of ours lies beside it."""
    there = [name for name in (DOCUMENT, EVENTS, MARKDOWN, PAGE, BADGE) if (folder / name).exists()]
    begins = [(folder / name).read_bytes()[:20] for name in there if name in (DOCUMENT, EVENTS)]
    if there and not any(begin.startswith((b'{"schema":', b'{"event":"begin"')) for begin in begins):
        raise RecordError(
            f"{folder / there[0]} was not written by a run, which would replace it. Give an empty folder to "
            "--wasm-report, or remove the file."
        )


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def _unwritable(folder: Path, error: OSError) -> RecordError:
    why = reason(error, folder)
    return RecordError(f"the record cannot be written to {folder}: {why}. Give another --wasm-report.")
