"""The report in real browsers: filters, an opened divergence, no error, no request."""

from __future__ import annotations

import re
from typing import cast

import pytest

from pytest_wasmedge.drivers.browser import BrowserRuntime
from pytest_wasmedge.provision import install
from pytest_wasmedge.provision.pins import pin
from pytest_wasmedge.reports import trends
from pytest_wasmedge.reports.html import hashed, page_file, render
from pytest_wasmedge.runtimes.chromium import Chromium
from pytest_wasmedge.runtimes.firefox import Firefox
from tests.reports.browsing import ask
from tests.reports.sample import HOSTILE, begin, diverging, document, end, measured, row_of

LONG = "x" * 100_000
USE = """
  const rows = () => [...doc.querySelectorAll("#rows tr")].map((row) => row.cells[0].textContent);
  const count = () => doc.getElementById("count").textContent;
  const press = (target, key) => target.dispatchEvent(new win.KeyboardEvent("keydown", {key, bubbles: true}));
  const all = [rows(), count()];
  fire("text", "CASE/7");
  const named = rows();
  fire("text", "not expected");
  const said = rows();
  fire("text", "");
  fire("verdict", "k");
  const known = rows();
  fire("verdict", "f");
  const failed = [rows(), count()];
  fire("runtime", "0");
  const failedOnOne = rows();
  fire("runtime", "-1");
  const button = doc.querySelector("button.failed");
  button.focus();
  button.click();
  await painted();
  const dialog = doc.getElementById("detail");
  const opened = {
    open: dialog.open,
    inside: dialog.contains(doc.activeElement),
    text: dialog.innerText,
    sides: [...dialog.querySelectorAll("pre")].map((each) => each.textContent),
    marked: [...dialog.querySelectorAll("mark")].map((each) => each.textContent),
    elements: dialog.querySelectorAll("script, b, img").length,
  };
  doc.getElementById("close").click();
  await painted();
  const back = [dialog.open, doc.activeElement === button];
  press(button, "ArrowDown");
  const down = doc.activeElement.getAttribute("aria-label");
  fire("verdict", "");
  const few = rows().length;
  doc.getElementById("more").click();
  const more = rows().length;
  return {
    all, named, said, known, failed, failedOnOne, detail: opened, back, down, few, more,
    overflow: doc.documentElement.scrollWidth > win.innerWidth,
    scripts: doc.scripts.length,
    boomed: "boomed" in win,
    label: doc.querySelector("#rows button").getAttribute("aria-label"),
    unlabelled: [...doc.querySelectorAll("input, select")].filter((each) => !each.labels.length).length,
    unnamed: [...doc.querySelectorAll("button, [role=img], [role=region], dialog")].filter((each) =>
      !(each.textContent.trim() || each.getAttribute("aria-label"))).length,
  };
"""


@pytest.fixture(params=(Chromium, Firefox), ids=lambda runtime: runtime.name)
def browser(request: pytest.FixtureRequest) -> BrowserRuntime:
    """A browser that is installed here."""
    runtime = cast("BrowserRuntime", request.param())
    if runtime.locate() is None:
        pytest.fail(f"no {runtime.name} here; run `make setup`", pytrace=False)
    return runtime


def page(cases: int = 5000) -> str:
    """Return a report with so many tests, and five more, on 15 runtimes; three of them need a person."""
    names = [f"runtime-{number}" for number in range(15)]
    hostile = HOSTILE.replace("boom()", "window.boomed=1")
    events = [row_of(f"case/{at}", name) for at in range(cases) for name in names[1:]]
    events += [
        diverging("odd/first", names[1], hostile),
        diverging("odd/second", names[1], LONG),
        row_of("odd/known", names[2], "known", known=[3]),
        row_of(hostile, names[3], "skipped", reason=hostile),
        measured(names[0], 30, 31, verdict="fail"),
    ]
    first = begin(*names)
    first["artifact"]["name"] = hostile
    return render(document(first, *events, end(1, broken=[hostile])))


#: The page's own script and styles stay as they are; only what keeps other scripts out is taken away.
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
AXE = """
  const script = doc.createElement("script");
  script.textContent = await (await fetch("library.js")).text();
  doc.head.append(script);
  const violations = async () => (await win.axe.run()).violations.map(
    ({id, impact, nodes}) => `${impact}: ${id}: ${nodes[0].html.slice(0, 200)}`);
  const closed = await violations();
  doc.querySelector("button.failed")?.click();
  await painted();
  return {closed, detail: await violations(), version: win.axe.version};
"""


@pytest.fixture(scope="module")
def axe() -> bytes:
    """The rules of axe-core, as a script."""
    return (install("axe") / pin("axe").entry).read_bytes()


def drawn() -> dict[str, str]:
    """Pages that people look at: a report and a history."""
    first = document(begin("one", "two"), measured("one", 30, 31), end(0))
    style = page_file("page.css")
    return {"report": page(50), "history": trends.page(trends.history([first]), style, hashed(style))}


@pytest.mark.network
@pytest.mark.parametrize("which", ["report", "history"])
def test_everybody_can_use_it(browser: BrowserRuntime, axe: bytes, which: str) -> None:
    """axe-core finds no violation, whether a divergence is open or not."""
    found = ask(browser, POLICY.sub("", drawn()[which]), AXE, axe).found

    assert found["errors"] == []
    assert (found["closed"], found["detail"]) == ([], [])
    assert found["version"] == pin("axe").version


@pytest.mark.network
def test_axe_finds_what_is_wrong(browser: BrowserRuntime, axe: bytes) -> None:
    """An image without a text and a field without a label are found."""
    wrong = "<!doctype html><title>wrong</title><img src='data:,'><input>"
    found = ask(browser, wrong, AXE, axe).found

    assert {"critical: image-alt", "critical: label"} <= {
        ":".join(each.split(":")[:2]) for each in found["closed"]
    }


def test_in_a_browser(browser: BrowserRuntime) -> None:
    """What people do with the page works, whatever guests wrote, and the page is quiet and asks nobody for anything."""
    asked = ask(browser, page(), USE)
    found = asked.found

    assert found["errors"] == []
    assert found["ready"] == "yes"
    assert found["loaded"] == []
    assert asked.paths == ["/", "/report.html"]
    # Rows are made as they are needed.
    assert len(found["all"][0]) <= 300
    assert found["all"][1] == "5,005 of 5,005 tests"
    assert [each for each in found["named"] if "case/7" not in each] == []
    assert len(found["named"]) == 100
    assert [each.rpartition("[")[2] for each in found["said"]] == ["odd/first]", "odd/second]"]
    assert [each.rpartition("[")[2] for each in found["known"]] == ["odd/known]"]
    assert found["failed"][1] == "3 of 5,005 tests"
    assert [each.rpartition("[")[2] for each in found["failedOnOne"]] == ["test_ceiling]"]
    detail = found["detail"]
    assert (detail["open"], detail["inside"], detail["elements"]) == (True, True, 0)
    assert "odd/first] on runtime-1: failed" in detail["text"]
    assert detail["sides"][0] == "expected↵\nlines"
    assert detail["sides"][1].startswith("<script>window.boomed=1</script>]]>`|\\x1b[31m")
    assert len(detail["marked"]) == 2
    assert found["back"] == [False, True]
    assert found["down"].endswith("odd/second] on runtime-1: failed")
    assert found["more"] == found["few"] + 100
    assert (found["overflow"], found["scripts"], found["boomed"]) == (False, 2, False)
    assert found["label"].endswith("odd/first] on runtime-1: failed")
    assert (found["unlabelled"], found["unnamed"]) == (0, 0)
