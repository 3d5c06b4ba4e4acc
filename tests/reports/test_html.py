"""The report for people, as text: it loads nothing, and nothing of what guests wrote is markup."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

from pytest_wasmedge.reports.html import render
from pytest_wasmedge.reports.strips import ratios, stacks, strips
from tests.reports.sample import HOSTILE, begin, diverging, document, end, measured, row_of


class Tags(HTMLParser):
    """Collects the tags and attributes of a page, and the text of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def embedded(page: str) -> dict[str, object]:
    """Return the JSON of the page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def test_the_matrix() -> None:
    """A letter for each test on each runtime; those that need a person come first, reasons are kept once."""
    found = document(
        begin("one", "two", missing=("three",)),
        row_of("good", "one"),
        row_of("good", "two"),
        row_of("skip", "one", "skipped", reason="why"),
        row_of("skip", "two", "skipped", reason="why"),
        diverging("bad", "two", "x"),
        measured("one", 30, verdict="fail"),
        end(1),
    )
    matrix = embedded(render(found))

    assert matrix["runtimes"] == ["one", "two", "three"]
    assert [cells for _, cells in matrix["rows"]] == ["pp-", "ss-", "-f-", "l--"]  # type: ignore[attr-defined]
    assert matrix["order"] == [2, 3, 0, 1]
    assert matrix["reasons"] == ["why"]
    assert set(matrix["details"]) == {"1:0", "1:1", "2:1", "3:0"}  # type: ignore[call-overload]


def test_hostile_text_stays_text() -> None:
    """Whatever a guest, a host, a test or a contract says adds no element, ends no script, and is all visible."""
    plain = render(document(begin("one"), diverging("x", "one", "x"), row_of("y", "one", "skipped"), end(1)))
    first = begin("one")
    for key in ("version", "engine", "engine_version"):
        first["runtimes"][0][key] = HOSTILE
    first["artifact"]["name"] = HOSTILE
    hostile = render(
        document(
            first,
            diverging(HOSTILE, "one", HOSTILE),
            row_of("y", "one", "skipped", reason=HOSTILE, hazards=[HOSTILE]),
            end(1, broken=[HOSTILE], closing=[["bad", HOSTILE]], known=[known()]),
        )
    )
    scripts = ["script", "script"]

    assert (
        [tag for tag in Tags(hostile).tags if tag == "script"]
        == scripts
        == [tag for tag in Tags(plain).tags if tag == "script"]
    )
    assert "boom()</script" not in hostile
    assert "\x1b" not in hostile
    assert "\u202e" not in hostile
    # The text is there, with what is invisible written out.
    assert "]]&gt;`|\\x1b[31m\\xe2\\x80\\xae" in hostile
    assert "<script>boom()</script>" in str(embedded(hostile)["rows"])


def known() -> dict[str, object]:
    """Return a hostile known divergence."""
    told = dict.fromkeys(("case", "reason", "issue"), HOSTILE)
    return {"line": 1, **told, "runtimes": [], "fields": [], "seen_on": [HOSTILE], "on": [], "cases": []}


def test_nothing_is_loaded() -> None:
    """No element refers to anything outside, and the page's own policy forbids all but its script and style."""
    page = render(document(begin("one"), measured("one", 5, 6), end()))
    parsed = Tags(page)
    policy = dict(parsed.attributes)["content"]

    assert not {"link", "img", "iframe", "object", "embed"} & set(parsed.tags)
    assert not {name for name, _ in parsed.attributes} & {"src", "srcset", "style", "onclick", "onload"}
    assert "default-src 'none'; script-src 'sha256-" in page
    assert "unsafe" not in page
    assert policy
    assert [value for name, value in parsed.attributes if name == "href"] == ["#matrix"]


def test_work() -> None:
    """Counts have a table; what changed most since the baseline comes first, and names stay text."""
    work = {
        "start": [{"fuel": [100, 100]}, {"fuel": [100, 100]}],
        "<b>": [{"fuel": [120, 130]}, {"fuel": [100, 100]}],
    }
    text = render(document(begin("one"), row_of("a", "one"), end(work=work)))
    section = text.partition("Work, in exact counts")[2]

    assert section.index("120 to 130") < section.index(">start<")
    assert "&lt;b&gt;" in section
    assert "1.3000" in section
    assert "Work, in exact counts" not in render(document(begin("one"), row_of("a", "one"), end()))


def test_stacks() -> None:
    """The phases of a start lie one after the other, as long as they take; the picture is told in words, too."""
    told = [
        {"runtime": "one", "phases_ns": {"load": 1_000_000, "<compile>": 3_000_000}},
        {"runtime": "none", "phases_ns": {}},
        {"runtime": "two", "phases_ns": {"load": 2_000_000}},
    ]
    picture = ET.fromstring(stacks("cold", told))
    bars = [each for each in picture.iter() if each.tag == "rect" and float(str(each.get("y"))) > 20]
    widths = [float(str(each.get("width"))) for each in bars]

    assert picture.get("aria-label") == "cold: one: load 1.0 ms, <compile> 3.0 ms; two: load 2.0 ms"
    assert [round(width / widths[0], 1) for width in widths] == [1, 3, 4, 0]
    assert stacks("cold", [{"runtime": "none", "phases_ns": {}}]) == ""


def test_ratios() -> None:
    """A start as a multiple of the baseline's has its estimate, its interval, and the line of no change."""
    told = {
        "runtime": "one",
        "kind": "cold",
        "limit": "1.05x baseline",
        "estimate": 1.2,
        "low": 1.1,
        "high": 1.3,
    }
    picture = ET.fromstring(ratios([told, told | {"limit": "25ms"}]))
    line = {each.get("class"): each for each in picture.iter() if each.tag == "line"}
    median, same = (float(str(line[kind].get("x1"))) for kind in ("median", "same"))
    left, right = (float(str(line["interval"].get(end))) for end in ("x1", "x2"))

    assert same < left < median < right
    assert picture.get("aria-label") == "starts as a multiple of the baseline's: one cold 1.200"
    assert ratios([told | {"limit": "25ms"}]) == ""


def test_strips() -> None:
    """Every sample is a dot; median, interval and ceiling are lines; the picture is told in words, too."""
    found = document(begin("one", "two"), measured("one", 5, 6, 7), measured("two", 50, 60), end())
    picture = ET.fromstring(strips("cold <start>", found["latencies"], found["findings"]))

    classes = [each.get("class") for each in picture.iter()]
    assert classes.count("dot") == 5
    assert (classes.count("median"), classes.count("interval"), classes.count("ceiling")) == (2, 2, 2)
    assert picture.get("aria-label") == "cold <start>, medians: one 6.0 ms; two 55.0 ms"
    dots = [float(str(each.get("cx"))) for each in picture.iter() if each.get("class") == "dot"]
    assert dots[:3] == sorted(dots[:3])
    assert max(dots[:3]) < min(dots[3:])


def test_one_sample_of_no_time() -> None:
    """A latency of next to nothing, and thousands of samples, give a picture of bounded size."""
    many = {"runtime": "one", "kind": "warm/tiny", "elapsed_ns": [0] * 5000, "interval_ns": None}
    picture = strips("warm", [many], [])

    assert "nan" not in picture
    assert picture.count("<circle") <= 300
