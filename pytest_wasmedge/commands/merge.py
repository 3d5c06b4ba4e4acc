"""``pytest-wasmedge merge``: one verdict on the records of several jobs."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_wasmedge.commands.console import Subparsers
from pytest_wasmedge.commands.report import publish
from pytest_wasmedge.reports import document as documents
from pytest_wasmedge.reports.merging import merge
from pytest_wasmedge.reports.writing import write


def add_to(commands: Subparsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "merge",
        help="make one verdict of the records of several jobs: shards, or one runtime each",
        description="Merge the records of runs on one artifact, whose answers are compared with one another, and write "
        "record.json, report.md and report.html. The exit status is 0 if the verdict is PORTABLE, else 1.",
    )
    parser.add_argument(
        "records", nargs="+", type=Path, metavar="RECORD", help="record.json, or the folder with it"
    )
    parser.add_argument("--into", type=Path, metavar="DIR", required=True, help="where to write")
    parser.set_defaults(action=run)


def run(options: argparse.Namespace) -> int:
    """Write the merged record with its reports, and return the exit status."""
    merged = merge({str(path): documents.load(path) for path in options.records})
    write(options.into, merged)
    return publish(merged, options.into)
