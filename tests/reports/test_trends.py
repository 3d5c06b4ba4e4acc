"""Latencies over many runs, in a table and as pictures."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from pytest_wasmedge.commands.cli import main
from pytest_wasmedge.errors import RecordError
from pytest_wasmedge.reports.trends import COLD, change, history, picture
from tests.reports.sample import begin, document, end, measured, row_of


def of_day(day: int, median_ms: int, *, version: str = "1.0", machine: str = "a") -> Any:
    """Return the document of a run on one runtime."""
    first = begin("one")
    first["run"] |= {"id": str(day), "began_at": f"2026-11-{day:02}T12:00:00+00:00", "fingerprint": machine}
    first["runtimes"][0]["version"] = version
    return document(
        first, row_of("a", "one"), measured("one", median_ms - 1, median_ms, median_ms + 1), end()
    )


def test_order_and_change() -> None:
    """Runs are told by time; a median is a multiple of the one before it, if the machine is the same."""
    found = history([of_day(3, 12), of_day(1, 10)])
    points = found.points[COLD]["one"]

    assert [each[:10] for each in found.began] == ["2026-11-01", "2026-11-03"]
    assert [point.median_ns for point in points] == [10e6, 12e6]
    assert change(points) == pytest.approx(1.2)
    assert change(history([of_day(1, 10), of_day(3, 12, machine="b")]).points[COLD]["one"]) is None
    assert change(points[:1]) is None


def test_what_changed_is_marked() -> None:
    """A new version is a large dot, another machine an upright line."""
    found = history([of_day(1, 10), of_day(2, 11, version="2.0"), of_day(3, 30, version="2.0", machine="b")])
    drawn = ET.fromstring(picture(COLD, found))
    classes = [each.get("class") for each in drawn.iter() if each.get("class") not in (None, "grid")]

    assert classes.count("dot") == 2
    assert classes.count("version") == 1
    assert classes.count("machine") == 1
    assert drawn.get("aria-label") == "cold start over 3 runs, last medians: one 30.0 ms"
    assert picture("warm invocation", found) == ""


def test_one_record_twice() -> None:
    """A record that is given twice is refused: it would be a trend of its own."""
    with pytest.raises(RecordError, match="the run 1 is in two of the records"):
        history([of_day(1, 10), of_day(1, 10)])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints a table and writes one page that loads nothing."""
    for day in 1, 2:
        (tmp_path / f"{day}.json").write_text(json.dumps(of_day(day, 10 * day)))
    status = main(["history", str(tmp_path / "1.json"), str(tmp_path / "2.json"), "--into", str(tmp_path)])
    page = (tmp_path / "history.html").read_text()

    assert status == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].split() == ["one", "cold", "start", "1.0", "2", "20.0", "2.000"]
    assert out[2] == f"2 runs: {tmp_path / 'history.html'}"
    assert "<svg" in page
    assert "http" not in page.replace("http-equiv", "")


def test_what_is_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is none is one sentence."""
    assert main(["history", str(tmp_path / "gone.json")]) == 1
    assert "gone.json cannot be read as a record" in capsys.readouterr().err
