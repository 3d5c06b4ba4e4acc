"""The report for a comment on a pull request, or a job's summary: Markdown of bounded size."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pytest_wasmedge.portability.excerpt import cut, printable
from pytest_wasmedge.reports.document import Document
from pytest_wasmedge.reports.shown import cold_of, known_seen, latencies_of, ms, needing_a_person

#: The most that GitHub takes for a comment is 65,536 characters.
MOST_BYTES = 60_000
_CELL = 80
_LINE = 160
_SIDE_LINES = 12
#: Characters by which Markdown, HTML or GitHub (mentions, links) could take a text for something else.
_SPECIAL = re.compile(r"[!-+.:;<-@\[-`{-~]")


def render(document: Document) -> str:
    """Return the report: the verdict, what needs a person, what changed, the table; details are folded."""
    page = _Page()
    artifact = document["artifact"]
    page.add(f"## {text(document['line'])}\n")
    against = document["baseline"]
    beside = f" against {code(against['name'])}, sha256 {code(against['sha256'][:16])}" if against else ""
    size = f"{artifact['size_bytes']:,} bytes"
    page.add(f"{code(artifact['name'])}, sha256 {code(artifact['sha256'][:16])}, {size}{beside}\n")
    bad = needing_a_person(document)
    head = "| case | runtime | what |\n| --- | --- | --- |"
    page.section("### What needs a person", (_row(row) for row in bad), "", head, share=0.3)
    wrong = [*document["disagreements"], *document["broken"]]
    page.section("### Beyond single tests", (f"* {code(line, _LINE)}" for line in wrong), "", share=0.4)
    if against:
        page.section("### What changed since the baseline", _changes(document), "", share=0.5)
    head = (
        "| runtime | version | passed | failed | skipped | known | cold ms |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    )
    page.section("### Runtimes", map(_runtime, _with_cold(document)), "", head, share=0.8)
    page.folded("Divergences, both sides", filter(None, map(_sides, bad)))
    page.folded("Latency", _latencies(document))
    page.folded("Known divergences", _known(document))
    page.folded("Not checked, and why", _not_checked(document))
    page.folded("The last lines of the run", (f"* {code(line, _LINE)}" for _, line in document["closing"]))
    page.folded("Where and when", map(_run, document["runs"]))
    return page.text


class _Page:
    """A text that never grows beyond its limit: rows that do not fit are counted."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, block: str) -> None:
        """Add a block of bounded size."""
        self.text += block + "\n"

    def folded(self, title: str, rows: Iterable[str]) -> None:
        """Add rows that are not seen until somebody asks."""
        self.section(f"<details><summary>{title}</summary>", rows, "\n</details>\n")

    def section(self, title: str, rows: Iterable[str], end: str, head: str = "", *, share: float = 1) -> None:
        """Add a title and rows, as many as fit into this share of the whole; nothing without rows."""
        kept, left_out = [], 0
        opening = f"{title}\n" + (f"\n{head}" if head else "")
        room = MOST_BYTES * share - _size(self.text) - _size(opening) - _size(end) - 200
        for row in rows:
            room -= _size(row) + 1
            if room < 0:
                left_out += 1
            else:
                kept.append(row)
        more = f"\n… {left_out:,} more in the record and in report.html\n" if left_out else ""
        block = "\n".join([opening, *kept, more + end, ""])
        if (kept or left_out) and _size(self.text) + _size(block) < MOST_BYTES:
            self.text += block


def text(raw: object, most: int = _LINE) -> str:
    """Return a text of anybody as Markdown that shows it as it is, invisible characters written out."""
    shown = cut(printable(str(raw)).replace("\n", "\\n"), most)
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", shown)


def code(raw: object, most: int = _CELL) -> str:
    """Return a text of anybody as code: there GitHub looks for no names of people and no links."""
    return f"<code>{text(raw, most)}</code>" if str(raw) else ""


def _row(row: dict[str, Any]) -> str:
    return f"| {code(row['case'])} | {code(row['runtime'])} | {code(row.get('message', ''), _LINE)} |"


def _with_cold(document: Document) -> Iterator[tuple[dict[str, Any], str]]:
    for row in document["runtimes"]:
        yield row, ms(cold_of(document, row))


def _runtime(told: tuple[dict[str, Any], str]) -> str:
    row, cold = told
    counts = row["counts"]
    numbers = " | ".join(str(counts[key]) for key in ("passed", "failed", "skipped", "known"))
    version = code(row["version"]) if row["available"] else f"not run: {code(row['reason'])}"
    return f"| {code(row['name'])} | {version} | {numbers} | {cold} |"


def _changes(document: Document) -> Iterator[str]:
    yield f"{sum(document['compared'].values()):,} outcomes compared, {len(document['changed']):,} changed\n"
    for what, names in sorted(document["changed"].items()):
        yield f"* {code(what, _LINE)} on {code(', '.join(names), _LINE)}"
    for finding in document["findings"]:
        if finding["limit"].endswith("baseline"):
            yield f"* {finding['verdict']}: {code(finding['sentence'], 2 * _LINE)}"


def _sides(row: dict[str, Any]) -> str:
    parts = []
    for each in row.get("divergences", ()):
        where = f", first at byte {each['offset']}" if "offset" in each else ""
        expected, actual = each.get("sides") or (each["expected"], each["actual"])
        shown = [*_lines("-", expected), *_lines("+", actual)]
        parts.append(f"{code(each['field'])}{where}\n<pre>\n" + "\n".join(shown) + "\n</pre>\n")
    if not parts:
        return ""
    asked = f"asked: {code(row['asked'], _LINE)}\n\n" if row.get("asked") else ""
    return f"\n**{code(row['case'])} on {code(row['runtime'])}**\n\n{asked}" + "\n".join(parts)


def _lines(sign: str, side: str) -> list[str]:
    lines = side.split("\n")
    more = [f"{sign} …"] if len(lines) > _SIDE_LINES else []
    return [f"{sign} {text(line)}" for line in lines[:_SIDE_LINES]] + more


def _latencies(document: Document) -> Iterator[str]:
    for finding in document["findings"]:
        yield f"* {finding['verdict']}: {code(finding['sentence'], 2 * _LINE)}"
    judged = {(each["runtime"], each["kind"]) for each in document["findings"]}
    for each in latencies_of(document):
        if (each["runtime"], each["kind"]) not in judged:
            told = f"{each['kind']}: median {ms(each)} ms, n={len(each['elapsed_ns'])}"
            yield f"* {code(each['runtime'])} {code(told)}"


def _known(document: Document) -> Iterator[str]:
    seen, others = known_seen(document)
    for entry in seen:
        where = code(", ".join(entry["seen_on"]), _LINE)
        yield f"* {code(entry['case'])}, seen on {where}: {text(entry['reason'])} ({text(entry['issue'])})"
    if others:
        yield f"* {others:,} more of the contract did not show in this run"


def _not_checked(document: Document) -> Iterator[str]:
    for row in document["runtimes"]:
        if not row["available"]:
            remedy = f"; get it with {code(row['install'])}" if row["install"] else ""
            yield f"* {code(row['name'])}: {code(row['reason'], _LINE)}{remedy}"
    skipped = (row for row in document["tests"] if row["verdict"] == "skipped")
    reasons = Counter((row["runtime"], row.get("reason", "")) for row in skipped)
    for (runtime, reason), count in reasons.most_common():
        yield f"* {count:,} skipped on {code(runtime)}: {code(reason, _LINE)}"


def _run(run: dict[str, Any]) -> str:
    environment: Sequence[str] = [
        f"{name} {version}" for name, version in run["environment"].items() if version
    ]
    machine = run["machine"]
    told = (
        f"{machine['cores']} cores of {machine['processor']}, {machine['system']}; {', '.join(environment)}"
    )
    return f"* {text(run['began_at'])}, seed {run['seed']}: {code(told, 2 * _LINE)}"


def _size(block: str) -> int:
    return len(block.encode())
