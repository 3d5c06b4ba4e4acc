"""Writes every report that is made from a record's document alone."""

from __future__ import annotations

from pathlib import Path

from pytest_wasmedge.reports import badge, html, markdown
from pytest_wasmedge.reports.document import Document
from pytest_wasmedge.reports.writing import BADGE, MARKDOWN, PAGE, write_text


def write_reports(document: Document, folder: Path) -> list[Path]:
    """Write the reports into a folder, and return their paths. Raises RecordError."""
    rendered = {
        MARKDOWN: markdown.render(document),
        PAGE: html.render(document),
        BADGE: badge.render(document),
    }
    for name, text in rendered.items():
        write_text(folder / name, text)
    return [folder / name for name in rendered]
