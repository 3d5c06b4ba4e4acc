"""`pytest-wasmedge report` and `merge`: what they write, say and return."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_wasmedge.commands import cli
from pytest_wasmedge.reports.document import load
from pytest_wasmedge.reports.writing import write
from tests.reports.sample import begin, diverging, document, end, row_of


def test_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A record is all that it takes; the reports lie beside it, or where they are wanted."""
    write(tmp_path / "a", document(begin("one"), row_of("x", "one"), end()))

    assert cli.main(["report", str(tmp_path / "a")]) == 0
    assert {"record.json", "report.md", "report.html", "badge.svg"} == {
        path.name for path in (tmp_path / "a").iterdir()
    }
    assert capsys.readouterr().out.startswith("PORTABLE on 1 of 1 runtime · 1 check")
    assert cli.main(["report", str(tmp_path / "a/record.json"), "--into", str(tmp_path / "b")]) == 0
    assert "PORTABLE" in (tmp_path / "b/report.md").read_text()


def test_report_of_a_run_that_was_cut_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is rendered, as incomplete, and the status is not 0."""
    events = [begin("one", "two"), row_of("x", "one")]
    (tmp_path / "record.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))

    assert cli.main(["report", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("INCOMPLETE: the run was cut off before its end")
    assert "INCOMPLETE" in (tmp_path / "report.md").read_text()


def test_merge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several records become one, with one verdict and its status."""
    for number, (name, event) in enumerate({"A": row_of("x", "one"), "B": diverging("x", "two")}.items()):
        first = begin("one", "two")
        first["run"]["id"] = str(number)
        write(tmp_path / name, document(first, event, end(number)))

    assert cli.main(["merge", *(str(tmp_path / name) for name in "AB"), "--into", str(tmp_path / "C")]) == 1
    assert capsys.readouterr().out.startswith("NOT PORTABLE: 1 failure on two · 2 checks on 2 of 2 runtimes")
    assert len(load(tmp_path / "C")["runs"]) == 2
    assert cli.main(["merge", str(tmp_path / "A"), "--into", str(tmp_path / "D")]) == 0


def test_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no record is one sentence."""
    assert cli.main(["report", str(tmp_path)]) == 1
    assert "cannot be read as a record: No such file" in capsys.readouterr().err
