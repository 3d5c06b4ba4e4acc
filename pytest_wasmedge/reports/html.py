"""The report for people: one HTML file that loads nothing, with the whole matrix in it.

Its script makes rows from JSON in the page. The page's own policy lets nothing run but that script, and nothing load.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from pytest_wasmedge.portability.excerpt import cut, printable
from pytest_wasmedge.reports import verdict
from pytest_wasmedge.reports.document import Document
from pytest_wasmedge.reports.shown import cold_of, known_seen, latencies_of, ms
from pytest_wasmedge.reports.strips import ratios, stacks, strips

_FILES = Path(__file__).parent / "page"
_SIGNS = {"passed": "p", "failed": "f", "known": "k", "skipped": "s"}
_NOT_RUN = "-"
_MOST = 400
_MOST_COUNTS = 60
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src '{script_hash}'; \
style-src '{style_hash}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#matrix">To the matrix</a>
<header><div class="verdict {mood}"><h1>{line}</h1><p>{subject}</p></div></header>
<main>
{trouble}
<h2>Tests on each runtime</h2>
<div class="filters" role="search">
<label>Text in a name or a message <input id="text" type="search" autocomplete="off"></label>
<label>Verdict <select id="verdict"><option value="">any</option><option value="f">failed</option>\
<option value="k">known divergence</option><option value="s">skipped</option><option value="p">passed</option>\
<option value="-">not run</option></select></label>
<label>On <select id="runtime"><option value="-1">any runtime</option></select></label>
<span id="count" role="status"></span>
</div>
<p class="quiet">✓ passed · ✗ failed · ! over its latency · ≈ known divergence · – skipped. \
What is underlined can be opened; arrow keys go from one to the next.</p>
<div class="scroll matrix" id="matrix" tabindex="0" role="region" aria-label="tests on each runtime">
<table><thead><tr id="runtimes"><th scope="col">test</th></tr></thead><tbody id="rows"></tbody></table>
<button class="plain" id="more" type="button">Show more</button>
</div>
{sections}
</main>
<dialog id="detail" aria-labelledby="detail-title"><div class="top"><h2 id="detail-title"></h2>\
<button class="plain" id="close" type="button">Close</button></div><div id="detail-body"></div></dialog>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def render(document: Document) -> str:
    """Return the page of a record."""
    style, script = page_file("page.css"), page_file("page.js")
    word, line = verdict.of_document(document)
    artifact = document["artifact"]
    against = f", against {document['baseline']['name']}" if document["baseline"] else ""
    return _PAGE.format(
        title=_text(f"{word}: {artifact['name']}"),
        style=style,
        style_hash=hashed(style),
        script=script,
        script_hash=hashed(script),
        mood=verdict.MOODS[word],
        line=_text(line),
        subject=_text(
            f"{artifact['name']}, sha256 {artifact['sha256']}, {artifact['size_bytes']:,} bytes{against}"
        ),
        trouble=_trouble(document),
        sections="\n".join(filter(None, _sections(document))),
        data=_embedded(_matrix(document)),
    )


def _matrix(document: Document) -> dict[str, Any]:
    """Return what the script makes the matrix of: a letter for each test on each runtime, and what can be opened."""
    runtimes = [row["name"] for row in document["runtimes"]]
    columns = {name: at for at, name in enumerate(runtimes)}
    entries = {entry["line"]: entry for entry in document["known"]}
    names: dict[str, int] = {}
    cells: list[list[str]] = []
    details: dict[str, Any] = {}
    reasons: dict[str, int] = {}
    for row in document["tests"]:
        if row["runtime"] not in columns:
            continue
        at, column = names.setdefault(row["test"], len(names)), columns[row["runtime"]]
        if at == len(cells):
            cells.append([_NOT_RUN] * len(runtimes))
        cells[at][column] = "l" if row.get("slow") else _SIGNS[row["verdict"]]
        if row["verdict"] == "skipped":
            details[f"{at}:{column}"] = reasons.setdefault(row.get("reason", ""), len(reasons))
        elif row["verdict"] != "passed":
            details[f"{at}:{column}"] = _detail(row, entries)
    # What failed comes first, then known divergences; otherwise in the order of the run.
    order = sorted(
        range(len(cells)), key=lambda at: next((n for n, s in enumerate("flk") if s in cells[at]), 3)
    )
    rows = [[name, "".join(cells[at])] for name, at in names.items()]
    return {"runtimes": runtimes, "rows": rows, "order": order, "details": details, "reasons": list(reasons)}


def _detail(row: dict[str, Any], entries: dict[int, dict[str, Any]]) -> dict[str, Any]:
    known = [entries[line] for line in row.get("known", ()) if line in entries]
    told = {
        "message": row.get("message", ""),
        "asked": row.get("asked", ""),
        "known": [f"known divergence: {each['reason']} {each['issue']}" for each in known],
        "divergences": row.get("divergences", []),
    }
    return {key: value for key, value in told.items() if value}


def _trouble(document: Document) -> str:
    """Return what is wrong beyond single tests."""
    wrong = [*document["disagreements"], *document["broken"]]
    return _section("Beyond single tests", _list(wrong, "bad")) if wrong else ""


def _sections(document: Document) -> Iterable[str]:
    if document["baseline"]:
        yield _section("What changed since the baseline", _changes(document))
    yield _section("Runtimes", _runtimes(document))
    yield from _latencies(document)
    yield _section("Work, in exact counts", _work(document["work"])) if document["work"] else ""
    hazards = [f"{what} (seen on {', '.join(names)})" for what, names in document["hazards"].items()]
    yield _section("Known hazards of this artifact", _list(hazards, "warn")) if hazards else ""
    seen, others = known_seen(document)
    known = [
        f"{each['case']}: {each['reason']} ({each['issue']}), seen on {', '.join(each['seen_on'])}"
        for each in seen
    ]
    known += [f"{others:,} more did not show in this run"] if others else []
    yield _section("Known divergences of the contract", _list(known)) if known else ""
    skipped = Counter(row.get("reason", "") for row in document["tests"] if row["verdict"] == "skipped")
    left_out = [f"{count:,} skipped: {reason}" for reason, count in skipped.most_common(200)]
    yield _section("Not checked, and why", _list(left_out, "quiet")) if left_out else ""
    if document["closing"]:
        yield _section("The last lines of the run", _list(text for _, text in document["closing"]))
    yield _section("The artifact", _facts(document["artifact"]))
    for run in document["runs"]:
        told = {key: value for key, value in run.items() if not isinstance(value, dict)}
        yield _section("Where and when", _facts(told | run["environment"] | run["machine"]))


def _runtimes(document: Document) -> str:
    head = ("runtime", "version", "engine", "passed", "failed", "skipped", "known", "cold ms", "from")
    lines = []
    for row in document["runtimes"]:
        counts = [str(row["counts"][key]) for key in ("passed", "failed", "skipped", "known")]
        if row["available"]:
            version = _text(row["version"])
        else:
            remedy = f"; get it with {row['install']}" if row["install"] else ""
            version = f'<span class="warn">{_text("not run: " + row["reason"] + remedy)}</span>'
        tools = ", ".join(f"{tool['tool']} {tool['version']}, {tool['source']}" for tool in row["tools"])
        engine = f"{row['engine']} {row['engine_version']}"
        numbers = "".join(f'<td class="number">{each}</td>' for each in (*counts, ms(cold_of(document, row))))
        lines.append(
            f'<tr><th scope="row" class="name">{_text(row["name"])}</th><td>{version}</td>'
            f"<td>{_text(engine)}</td>{numbers}<td>{_text(tools)}</td></tr>"
        )
    heads = "".join(f'<th scope="col">{each}</th>' for each in head)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _latencies(document: Document) -> Iterable[str]:
    """Yield a picture of the cold starts, each runtime's in its own cache state, and one of every other kind."""
    states = {row["name"]: (f"cold/{row['cache_state']}", "edge/cold") for row in document["runtimes"]}
    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for each in latencies_of(document):
        own = each["kind"] in states.get(each["runtime"], ())
        kinds["cold start, each in its own cache state" if own else each["kind"]].append(each)
    if not kinds:
        return
    findings = document["findings"]
    key = "Each dot is a sample; the upright bar is the median, the line its interval, the dashed bar the ceiling."
    parts = [f'<p class="quiet">{key}</p>']
    for kind, latencies in sorted(kinds.items(), key=lambda pair: not pair[0].startswith("cold start")):
        parts.append(f"<h3>{_text(kind)}</h3>{_picture(strips(kind, latencies, findings))}")
        if kind.startswith("cold start") and (phases := stacks("phases of a cold start", latencies)):
            parts.append(f"<h3>What a cold start is made of</h3>{_picture(phases)}")
    moods = {"pass": "good", "fail": "bad"}
    told = (
        f'<li class="{moods.get(each["verdict"], "warn")}">{_text(each["verdict"] + ": " + each["sentence"])}</li>'
        for each in findings
    )
    parts.append(f"<ul>{''.join(told)}</ul>" if findings else "")
    yield _section("Latency", "\n".join(parts))


def _work(work: dict[str, Any]) -> str:
    """Return a table of counts, those that changed most since the baseline first."""
    rows = []
    for name, (head, base) in work.items():
        for what, (low, high) in head.items():
            before = base.get(what)
            ratio = high / before[1] if before and before[1] else None
            told = [f"{low:,}" if low == high else f"{low:,} to {high:,}"]
            told += [f"{before[1]:,}" if before else "-", f"{ratio:.4f}" if ratio else "-"]
            rows.append((-abs((ratio or 1) - 1), name, what, told))
    # All cases start like the start, whose counts come first where nothing changed.
    rows.sort(key=lambda row: row[0])
    lines = "".join(
        f'<tr><th scope="row" class="name">{_text(name)}</th><td>{_text(what.replace("_", " "))}</td>'
        + "".join(f'<td class="number">{each}</td>' for each in told)
        + "</tr>"
        for _, name, what, told in rows[:_MOST_COUNTS]
    )
    more = (
        f'<p class="quiet">{len(rows) - _MOST_COUNTS:,} more are in the record.</p>'
        if rows[_MOST_COUNTS:]
        else ""
    )
    heads = "".join(f'<th scope="col">{each}</th>' for each in ("what", "count", "now", "baseline", "ratio"))
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="scroll">{table}</div>{more}'


def _picture(svg: str) -> str:
    return f'<div class="picture">{svg}</div>'


def _changes(document: Document) -> str:
    compared, changed = sum(document["compared"].values()), document["changed"]
    told = [f"{what} on {', '.join(names)}" for what, names in sorted(changed.items())]
    told += [each["sentence"] for each in document["findings"] if each["limit"].endswith("baseline")]
    picture = ratios(document["findings"])
    starts = f"<h3>Starts, as a multiple of the baseline's</h3>{_picture(picture)}" if picture else ""
    return f"<p>{compared:,} outcomes compared, {len(changed):,} changed</p>{_list(told)}{starts}"


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _list(lines: Iterable[str], mood: str = "") -> str:
    return f'<ul class="{mood}">{"".join(f"<li>{_text(line)}</li>" for line in lines)}</ul>'


def _facts(facts: dict[str, Any]) -> str:
    told = []
    for name, value in facts.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        if shown not in (None, ""):
            told.append(f"<dt>{_text(name.replace('_', ' '))}</dt><dd>{_text(shown, 4000)}</dd>")
    return f"<dl>{''.join(told)}</dl>"


def _text(raw: object, most: int = _MOST) -> str:
    return escape(cut(printable(str(raw)), most))


def _embedded(data: object) -> str:
    """Return JSON that cannot end the element that holds it."""
    text = json.dumps(_clean(data), separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _clean(data: Any) -> Any:
    """Return the data with invisible characters in its texts written out; line breaks stay."""
    if isinstance(data, str):
        return data if data.isascii() and data.isprintable() else printable(data)
    if isinstance(data, list):
        return [_clean(each) for each in data]
    return {key: _clean(value) for key, value in data.items()} if isinstance(data, dict) else data


def hashed(text: str) -> str:
    """Return the digest by which the page's policy allows a style or a script."""
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def page_file(name: str) -> str:
    """Return a file of the page: its style or its script."""
    return (_FILES / name).read_text("utf-8")
