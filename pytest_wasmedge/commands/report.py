"""``pytest-wasmedge report``: renders a record, with no runtime installed."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_wasmedge.commands.console import Subparsers, open_console, show
from pytest_wasmedge.portability.excerpt import printable
from pytest_wasmedge.reports import document as documents
from pytest_wasmedge.reports import verdict
from pytest_wasmedge.reports.document import Document
from pytest_wasmedge.reports.rendering import write_reports

_COLOURS = {"good": "bold green", "bad": "bold red"}


def add_to(commands: Subparsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "report",
        help="make Markdown and HTML of the record of a run (--wasm-report)",
        description="Make report.md and report.html of a record alone; no runtime has to be installed. "
        "The exit status is 0 if the record's verdict is PORTABLE, else 1.",
    )
    parser.add_argument(
        "record", type=Path, help="record.json, the folder with it, or record.jsonl of a run cut off"
    )
    parser.add_argument(
        "--into", type=Path, metavar="DIR", help="where to write (default: beside the record)"
    )
    parser.set_defaults(action=run)


def run(options: argparse.Namespace) -> int:
    """Write both and return the exit status."""
    record: Path = options.record
    beside = record if record.is_dir() else record.parent
    return publish(documents.load(record), options.into or beside)


def publish(document: Document, folder: Path) -> int:
    """Write the reports of a document, say its verdict and where they are, and return the exit status."""
    written = write_reports(document, folder)
    word, line = verdict.of_document(document)
    lines = [(printable(line), _COLOURS[verdict.MOODS[word]])]
    show([*lines, *((str(path), "") for path in written)], open_console())
    return 0 if word == "PORTABLE" else 1
