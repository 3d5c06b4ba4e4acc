"""The badge: a small picture for a README, ``portable: 15/15``."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_wasmedge.reports import verdict
from pytest_wasmedge.reports.document import Document

_HEIGHT, _PAD, _LETTER = 20, 7, 6.6
_COLOURS: Mapping[str, str] = {"good": "#1f7a33", "bad": "#b3202f"}
_BADGE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" role="img" aria-label="{label}">'
    "<title>{label}</title>"
    '<rect width="{width:.0f}" height="{height}" rx="3" fill="#444"/>'
    '<rect x="{left:.0f}" width="{right:.0f}" height="{height}" rx="3" fill="{colour}"/>'
    '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
    '<text x="{first:.1f}" y="14">{name}</text><text x="{second:.1f}" y="14">{value}</text></g></svg>\n'
)


def render(document: Document) -> str:
    """Return the badge of a record, as SVG: how many of its runtimes ran without a failure, of how many."""
    word, _ = verdict.of_document(document)
    counts = [row["counts"] for row in document["runtimes"]]
    good = sum(bool(each["passed"] + each["known"]) and not each["failed"] for each in counts)
    name = "portable"
    value = f"{good}/{len(counts)}" if word != "INCOMPLETE" else "incomplete"
    left, right = (len(text) * _LETTER + 2 * _PAD for text in (name, value))
    return _BADGE.format(
        width=left + right,
        height=_HEIGHT,
        label=f"{name}: {value}",
        left=left,
        right=right,
        colour=_COLOURS[verdict.MOODS[word]],
        first=left / 2,
        second=left + right / 2,
        name=name,
        value=value,
    )
