"""The closing table, for the terminal."""

from __future__ import annotations

from pytest_wasmedge.portability.excerpt import visible
from pytest_wasmedge.reports.record import RunRecord, RuntimeRecord

_HEAD = ("runtime", "version", "engine", "passed", "failed", "skipped", "divergences", "cold ms", "warm ms")
_LEFT = 3


def title(record: RunRecord) -> str:
    """Return the headline: which artifact, known by its digest."""
    return _line(f"portability of {record.artifact.name}, sha256 {record.artifact.sha256[:16]}")


def printable(text: str) -> str:
    """Return the text with control characters written out, as guests and hosts may have put them there.

    Line breaks stay: our own messages have several lines.
    """
    return "\n".join(visible(line.encode("utf-8", "backslashreplace")) for line in text.split("\n"))


def table(record: RunRecord) -> list[tuple[str, str]]:
    """Return the lines of the table and what follows it, each with its mood: good, bad, warn, or plain."""
    rows = [(_cells(row), _mood(row)) for row in record.runtimes.values() if row.availability.available]
    widths = [
        max(len(cells[i]) for cells in (_HEAD, *(cells for cells, _ in rows))) for i in range(len(_HEAD))
    ]
    lines = [(_join(_HEAD, widths), "plain"), *((_join(cells, widths), mood) for cells, mood in rows)]
    for row in record.runtimes.values():
        if not row.availability.available:
            remedy = f"; get it with `{row.availability.install}`" if row.availability.install else ""
            lines.append((f"{row.name}  NOT RUN: {row.availability.reason}{remedy}", "warn"))
    if not record.ran:
        lines.append(("no test ran on any runtime: this run proves nothing", "bad"))
    lines.append((f"reference: {record.reference}", "plain"))
    kinds = sorted({row.cold_kind for row in record.runtimes.values() if row.cold_kind})
    if kinds:
        per_kind = (
            f"{kind}: {', '.join(row.name for row in record.runtimes.values() if row.cold_kind == kind)}"
            for kind in kinds
        )
        lines.append((f"cold ms, warm ms: medians; {'; '.join(per_kind)}", "plain"))
    for hazard, names in record.hazards.items():
        where = "every runtime run" if len(names) == len(rows) else ", ".join(names)
        lines.append((f"known hazard of this artifact: {hazard} (seen on {where})", "warn"))
    # Versions, reasons and hazards are words of others; each of our lines stays one line.
    return [(_line(text), mood) for text, mood in lines]


def _cells(row: RuntimeRecord) -> tuple[str, ...]:
    engine = f"{row.engine} {row.availability.engine_version}".strip()
    counts = (row.passed, row.failed, row.skipped, row.divergences)
    return (
        row.name,
        row.availability.version or "?",
        engine,
        *map(str, counts),
        _ms(row.cold_ns),
        _ms(row.warm_ns),
    )


def _ms(elapsed_ns: int | None) -> str:
    return "-" if elapsed_ns is None else f"{elapsed_ns / 1e6:.1f}"


def _mood(row: RuntimeRecord) -> str:
    if row.failed or row.divergences:
        return "bad"
    return "good" if row.ran else "warn"


def _join(cells: tuple[str, ...], widths: list[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(cells[:_LEFT], widths, strict=False)]
    right = [cell.rjust(width) for cell, width in zip(cells[_LEFT:], widths[_LEFT:], strict=True)]
    return "  ".join((*left, *right)).rstrip()


def _line(text: str) -> str:
    return printable(text).replace("\n", "\\n")
