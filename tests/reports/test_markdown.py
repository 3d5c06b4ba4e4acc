"""The report for pull requests: to the letter, bounded, and nothing that a guest wrote is taken for Markdown."""

from __future__ import annotations

import re

from rich.markdown import Markdown  # markdown-it, which reads CommonMark

from pytest_wasmedge.reports.markdown import MOST_BYTES, code, render
from tests.reports.sample import HOSTILE, begin, diverging, document, end, measured, row_of

KNOWN = {
    "line": 3,
    "case": "core/deep",
    "runtimes": ["two"],
    "fields": ["stdout"],
    "reason": "stack",
    "issue": "none",
    "seen_on": ["two"],
    "on": ["two"],
    "cases": [],
}
WHOLE = """## PORTABLE on 1 of 2 runtimes · 3 checks · 1 known divergence · 0 undecided · 1 not run

<code>ruby-worker</code>, sha256 <code>abababababababab</code>, 18,500,000 bytes

### Runtimes

| runtime | version | passed | failed | skipped | known | cold ms |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
| <code>two</code> | <code>1&#46;0</code> | 2 | 0 | 1 | 1 | 5.0 |
| <code>three</code> | not run: <code>NOT FOUND&#58; no three command</code> | 0 | 0 | 0 | 0 | - |

<details><summary>Latency</summary>

* pass: <code>two cold/no-cache&#58; pass</code>

</details>
"""


def test_to_the_letter() -> None:
    """What a good run looks like."""
    found = document(
        begin("two", missing=("three",)),
        row_of("core/sum", "two"),
        row_of("core/deep", "two", "known"),
        row_of("core/dir", "two", "skipped", reason="no folders"),
        measured("two", 4, 5, 6),
        end(known=[KNOWN, KNOWN | {"line": 9, "seen_on": []}]),
    )
    shown = render(found)

    assert shown.startswith(WHOLE)
    assert shown[len(WHOLE) :] == (
        "\n<details><summary>Known divergences</summary>\n\n"
        "* <code>core/deep</code>, seen on <code>two</code>: stack (none)\n"
        "* 1 more of the contract did not show in this run\n\n</details>\n\n"
        "<details><summary>Not checked, and why</summary>\n\n"
        "* <code>three</code>: <code>NOT FOUND&#58; no three command</code>; "
        "get it with <code>pytest-wasmedge install three</code>\n"
        "* 1 skipped on <code>two</code>: <code>no folders</code>\n\n</details>\n\n"
        "<details><summary>Where and when</summary>\n\n"
        "* 2026-11-29T12&#58;00&#58;00&#43;00&#58;00, seed 5: <code>2 cores of x, Linux 6&#46;1 x86&#95;64&#59; "
        "pytest&#95;wasmedge 0&#46;1&#46;0, pytest 9&#46;2&#46;0, python 3&#46;11&#46;7</code>\n\n</details>\n\n"
    )


def test_changes_since_the_baseline() -> None:
    """What changed stands before the table, with the runtimes."""
    changed = {"core/hash (stdout)": ["one", "two"]}
    found = document(
        begin("one", "two", baseline=begin("one")["artifact"]),
        row_of("a", "one"),
        row_of("a", "two"),
        end(compared={"one": 4, "two": 4}, changed=changed),
    )

    assert (
        "### What changed since the baseline\n\n8 outcomes compared, 1 changed\n\n"
        "* <code>core/hash &#40;stdout&#41;</code> on <code>one, two</code>\n"
    ) in render(found)


def test_a_divergence_is_told_with_both_sides() -> None:
    """What needs a person comes first; both sides are folded."""
    shown = render(document(begin("one"), diverging("core/sum", "one", "got"), end(1)))

    assert shown.index("What needs a person") < shown.index("### Runtimes") < shown.index("both sides")
    assert (
        "| <code>core/sum</code> | <code>one</code> | <code>one&#58; stdout got, not expected</code> |"
        in shown
    )
    assert "<code>stdout</code>, first at byte 0\n<pre>\n- expected\n- lines\n+ got\n</pre>" in shown


def test_hostile_text_stays_text() -> None:
    """Nothing of what a guest, a test's name or a runtime says is HTML, a table's cell, code or a mention."""
    hostile = (
        HOSTILE + "\n# head\n* item ![x](http://e.example/x.png) @everyone www.example.com </pre></details>"
    )
    first = begin("one")
    first["runtimes"][0]["version"] = hostile
    first["artifact"]["name"] = hostile
    found = document(
        first,
        diverging(hostile, "one", hostile),
        row_of("x", "one", "skipped", reason=hostile),
        end(1, broken=[hostile], closing=[["bad", hostile]]),
    )
    shown = render(found)

    assert set(re.findall(r"</?[a-z]+", shown)) <= {
        f"{slash}{tag}" for slash in ("<", "</") for tag in ("code", "details", "summary", "pre")
    }
    for pair in ("code", "pre", "details"):
        assert shown.count(f"<{pair}>") == shown.count(f"</{pair}>")
    for wrong in ("`", "@", "://", "www.", "![", "\x1b", "\u202e", "]]>"):
        assert wrong not in shown
    kinds = {token.type for token in Markdown(shown).parsed}
    assert not kinds & {"fence", "code_block", "blockquote_open", "hr"}
    assert code("a|b\n") == "<code>a&#124;b&#92;n</code>"


def test_any_size_fits_into_a_comment() -> None:
    """Thousands of failures with long texts are under 60 KB: all folded parts closed, the rest counted."""
    names = [f"runtime-{number}" for number in range(40)]
    events = [diverging(f"case/{number}", name, "|" * 5000) for number in range(100) for name in names]
    lines = [["bad", "é" * 400]] * 1000
    found = document(begin(*names), *events, end(1, broken=["x" * 400] * 500, closing=lines))
    shown = render(found)

    assert len(shown.encode()) < MOST_BYTES
    assert shown.count("<details>") == shown.count("</details>")
    assert "more in the record and in report.html" in shown
    assert "### Runtimes" in shown
