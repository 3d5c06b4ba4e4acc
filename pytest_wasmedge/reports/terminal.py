"""The closing table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_wasmedge.latency.units import WORKLOADS
from pytest_wasmedge.model import Artifact
from pytest_wasmedge.portability.excerpt import aligned, counted, printable
from pytest_wasmedge.reports import verdict as judging
from pytest_wasmedge.reports.record import RunRecord, RuntimeRecord

_HEAD = ("runtime", "version", "engine", "passed", "failed", "skipped", "divergences", "cold ms", "warm ms")
_SHOWN_SKIPS = 4
_COLUMNS = ("floor", "cold", "evicted", "no-cache", *WORKLOADS)


def title(record: RunRecord) -> str:
    """Return the headline: the artifact's name and digest."""
    return _line(f"portability of {record.artifact.name}, sha256 {record.artifact.sha256[:16]}")


def verdict(record: RunRecord) -> tuple[str, str]:
    """Return the verdict on the run, in one line, and its mood."""
    word, line = judging.of_run(record)
    return _line(line), judging.MOODS[word]


def table(record: RunRecord) -> list[tuple[str, str]]:
    """Return the lines of the table and those that follow, each with its mood: good, bad, warn or plain."""
    rows = list(record.runtimes.values())
    here, ran = [row for row in rows if row.availability.available], [row for row in rows if row.ran]
    head, *cells = aligned([_HEAD, *map(_cells, here)], "<<<>>>>>>")
    lines = [(head, "plain"), *zip(cells, map(_mood, here), strict=True)]
    for row in rows:
        if not row.availability.available:
            remedy = f"; get it with `{row.availability.install}`" if row.availability.install else ""
            not_run = "" if row.availability.lacks else "NOT RUN: "
            lines.append((f"{row.name}  {not_run}{row.availability.reason}{remedy}", "warn"))
    if not ran:
        lines.append(("no test ran on any runtime: this run proves nothing", "bad"))
    if record.references:
        told = ["golden files"] if "golden" in record.references else []
        told += [record.reference] if record.references != {"golden"} else []
        lines.append((f"reference: {', else '.join(dict.fromkeys(told))}", "plain"))
    if record.references == {"itself"}:
        only = ", ".join(row.name for row in ran)
        text = f"nothing was compared with anything: {only} alone is its own reference; select another runtime too"
        lines.append((text, "warn"))
    cold = {row.name: row.cold.kind for row in rows if row.cold}
    if cold:
        per_kind = (
            f"{kind}: {', '.join(name for name in cold if cold[name] == kind)}"
            for kind in sorted(set(cold.values()))
        )
        lines.append((f"cold ms, warm ms: medians; {'; '.join(per_kind)}", "plain"))
    if known := [f"{row.name} {row.known}" for row in rows if row.known]:
        lines.append(
            (f"known divergences, by the contract or by the runtime itself: {', '.join(known)}", "warn")
        )
    for row in ran:
        if row.runtime.unchecked:
            fields = " and ".join(sorted(row.runtime.unchecked))
            lines.append((f"{row.name} does not report {fields}: not checked there", "warn"))
        if row.runtime.flags:
            lines.append((f"{row.name}: started with {' '.join(row.runtime.flags)}", "plain"))
        if row.runtime.wrapped:
            lines.append((f"{row.name}: wrapped, not unchanged ({row.runtime.wrapped})", "plain"))
    for note in dict.fromkeys(row.runtime.statuses for row in ran if row.runtime.statuses):
        names = [row.name for row in ran if row.runtime.statuses == note]
        lines.append((f"known hazard of {', '.join(names)}: {note}", "plain"))
    for hazard, names in record.hazards.items():
        lines.append((f"known hazard of this artifact: {hazard} (seen on {_where(record, names)})", "warn"))
    lines += _latency(record)
    for finding in record.findings:
        mood = {"pass": "good", "fail": "bad"}.get(finding.verdict, "warn")
        lines.append((f"{finding.verdict}: {finding.sentence}", mood))
    if record.baseline:
        lines += _changes(record, record.baseline)
    skips = record.skips.most_common()
    for reason, count in skips[:_SHOWN_SKIPS]:
        lines.append((f"not checked, {counted(count, 'test')} skipped: {reason}", "warn"))
    if rest := sum(count for _, count in skips[_SHOWN_SKIPS:]):
        text = f"not checked, {counted(rest, 'test')} skipped for other reasons: -rs shows them"
        lines.append((text, "warn"))
    if record.again:
        lines.append((f"ran more than once, the last attempt counts: {', '.join(record.again)}", "warn"))
    lines += [(line, "bad") for line in record.broken]
    lines += record.closing
    # Versions, reasons and hazards come from elsewhere and could have line breaks or colours.
    return [(_line(text), mood) for text, mood in lines]


def _changes(record: RunRecord, against: Artifact) -> list[tuple[str, str]]:
    """Return the lines on what differs from the baseline."""
    baseline = f"{against.name}, sha256 {against.sha256[:16]}"
    where = [name for name, count in record.compared.items() if count]
    count = counted(sum(record.compared.values()), "outcome")
    compared = f"{count} compared on {counted(len(where), 'runtime')} with the baseline {baseline}"
    changed = "no outcome changed" if not record.changed else "changed:"
    lines = [(f"{compared}: {changed}", "warn" if record.changed else "plain")] if where else []
    lines += [
        (f"  {what} on {_where(record, names)}", "warn") for what, names in sorted(record.changed.items())
    ]
    if record.varying:
        names = ", ".join(sorted(record.varying))
        lines.append((f"not compared with the baseline, since they vary from run to run: {names}", "warn"))
    return lines


def _where(record: RunRecord, names: Sequence[str]) -> str:
    """Return the names of runtimes, or one phrase if they are all that ran."""
    ran = [row.name for row in record.runtimes.values() if row.ran]
    return "every runtime run" if len(names) == len(ran) > 1 else ", ".join(names)


def _latency(record: RunRecord) -> list[tuple[str, str]]:
    """Return the table of all measurements; nothing if the first table shows them all."""
    measured = [
        ({_label(row, kind): each for kind, each in row.latencies.items()}, row)
        for row in record.runtimes.values()
        if row.latencies
    ]
    labels = sorted({label for latencies, _ in measured for label in latencies}, key=_order)
    if len(labels) <= 2:
        return []
    head = ("latency, medians in ms", *labels, "cold CPU ms", "peak MB", "MB per guest")
    rows = [
        (
            row.name,
            *(_millions(each[label].median_ns if label in each else None) for label in labels),
            *_usage(row),
        )
        for each, row in measured
    ]
    return [(line, "plain") for line in aligned([head, *rows], "<" + ">" * (len(head) - 1))]


def _label(row: RuntimeRecord, kind: str) -> str:
    """Return the column of a kind: a runtime's own cold start and its floor have one each, in any cache state."""
    name, _, variety = kind.partition("/")
    if row.cold is not None and row.cold.kind == kind:
        return "cold"
    return name if name == "floor" else variety


def _order(label: str) -> tuple[int, str]:
    return (_COLUMNS.index(label) if label in _COLUMNS else len(_COLUMNS), label)


def _usage(row: RuntimeRecord) -> tuple[str, str, str]:
    cpu_ns, peak = (row.cold.cpu_ns, row.cold.peak_memory_bytes) if row.cold else (None, None)
    return _millions(cpu_ns), _millions(peak, 0), _millions(row.density_bytes, 0)


def _cells(row: RuntimeRecord) -> tuple[str, ...]:
    engine = f"{row.runtime.engine} {row.availability.engine_version}".strip()
    counts = (row.passed, row.failed, row.skipped, row.divergences)
    latencies = (_millions(each.median_ns if each else None) for each in (row.cold, row.warm))
    return (row.name, row.availability.version or "?", engine, *map(str, counts), *latencies)


def _millions(value: int | None, digits: int = 1) -> str:
    """Return nanoseconds in milliseconds, or bytes in megabytes."""
    return "-" if value is None else f"{value / 1e6:.{digits}f}"


def _mood(row: RuntimeRecord) -> str:
    if row.failed or row.divergences:
        return "bad"
    return "good" if row.ran else "warn"


def _line(text: str) -> str:
    return printable(text).replace("\n", "\\n")
