"""``pytest-wasmedge history``: what latencies did over many runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_wasmedge.commands.console import Subparsers, open_console, show, table
from pytest_wasmedge.portability.excerpt import counted
from pytest_wasmedge.reports import document as documents
from pytest_wasmedge.reports.drawing import ms
from pytest_wasmedge.reports.html import hashed, page_file
from pytest_wasmedge.reports.trends import COLD, WARM, change, history, page
from pytest_wasmedge.reports.writing import HISTORY, write_text


def add_to(commands: Subparsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "history",
        help="draw the latencies of many records over time",
        description="Print what each runtime's cold start and warm invocation took in the last of these runs, and as a "
        f"multiple of the run before on the same machine, and write {HISTORY}, one file with the trends.",
    )
    parser.add_argument(
        "records", nargs="+", type=Path, metavar="RECORD", help="record.json, or the folder with it"
    )
    parser.add_argument(
        "--into", type=Path, metavar="DIR", default=Path(), help="where to write (default: here)"
    )
    parser.set_defaults(action=run)


def run(options: argparse.Namespace) -> int:
    """Write the page, print the table, and return the exit status."""
    found = history(documents.load(path) for path in options.records)
    style = page_file("page.css")
    path = options.into / HISTORY
    write_text(path, page(found, style, hashed(style)))
    rows = []
    for kind in (COLD, WARM):
        for name, points in found.points[kind].items():
            ratio = change(points)
            values = (name, kind, points[-1].version, str(len(points)), ms(points[-1].median_ns))
            rows.append(((*values, f"{ratio:.3f}" if ratio else "-"), ""))
    console = open_console()
    show(table(("runtime", "latency", "version", "runs", "last ms", "of the run before"), rows), console)
    show([(f"{counted(len(found.began), 'run')}: {path}", "")], console)
    return 0
