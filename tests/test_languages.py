"""The benchmark of languages: what it asks, what it concludes, and the page that it writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import languages
from benchmarks.languages import BARE_RUBY, RUBY, SMALL, Cell, Pyodide
from pytest_wasmedge.errors import LatencyError
from pytest_wasmedge.model import Artifact, Invocation, Limits, exited
from pytest_wasmedge.provision import install
from pytest_wasmedge.runtimes.native_ruby import NativeRuby
from pytest_wasmedge.testing import FakeRuntime

ARTIFACT = Artifact(Path("artifact.wasm"), "00" * 32, 161, "made-up")


def cell(row: str, samples_ms: Sequence[float], task: str = "hello", state: str = "cold") -> Cell:
    """Return a cell with made-up samples."""
    host = FakeRuntime().start(ARTIFACT, Limits())
    return Cell(row, task, state, host, Invocation(), [round(ms * 1e6) for ms in samples_ms])


@pytest.mark.parametrize(
    ("ruby_ms", "word"), [(20.0, "Yes."), (2.0, "No."), (4.0, "Undecided.")], ids=["slower", "faster", "same"]
)
def test_the_answer_is_that_of_the_pairs(ruby_ms: float, word: str) -> None:
    """What differs by more than its rounds do is answered; what does not is not, whichever median is smaller."""
    noise = [(-1) ** n * n / 100 for n in range(20)]
    small = cell(SMALL, [4.0 + each for each in noise])
    bare, usual = (cell(row, [ruby_ms - each for each in noise]) for row in (BARE_RUBY, RUBY))
    assert languages.answer(small, bare, usual).startswith(f"**{word}** A module of 161 bytes")


def test_nothing_to_compare_with_is_no_answer() -> None:
    """Without a native Ruby the page says so."""
    assert "no native Ruby" in languages.answer(cell(SMALL, [1.0]), None, None)


def test_the_page_shows_figures_with_intervals() -> None:
    """A row for each contestant, the fastest first; what was not measured is a dash, or said below."""
    cells = [
        cell(RUBY, [80.0 + n for n in range(9)]),
        cell(SMALL, [4.0 + n / 10 for n in range(9)]),
        cell(SMALL, [0.5] * 3, state="warm"),
    ]
    lines = languages.page(cells, {"C": "Zig 0"}, ["Rust: there is none."], 9, 0.25).splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert table == [
        "| ms | Hello World, cold | warm | HTML, cold | warm |",
        "| --- | --- | --- | --- | --- |",
        f"| {SMALL} | 4.40 (4.10–4.70) | 0.50 | – | – |",
        f"| {RUBY} | 84.0 (81.0–87.0) | – | – | – |",
    ]
    assert "when this began, which should be near 0: 0.2." in lines
    assert lines[-3:] == ["* C: Zig 0", "", "Not measured here: Rust: there is none."]


def test_another_answer_is_not_timed() -> None:
    """A guest that answers something else was not doing the work."""
    with pytest.raises(LatencyError, match="native Ruby: hello answered"):
        cell(RUBY, []).take()


def test_ruby_counts_what_c_counts() -> None:
    """The page in the program of Ruby is the page on the stdin of C: the answer is the same."""
    if not NativeRuby().probe().available:
        pytest.fail("no native Ruby here; run `make setup`", pytrace=False)
    with NativeRuby().start(ARTIFACT, Limits()) as host:
        outcome = host.invoke(languages.asked("html", of_ruby=True))
    assert outcome.stdout == languages.ANSWERS["html"]


@pytest.mark.network
def test_python_greets() -> None:
    """Pyodide runs the program on its stdin; one that fails is an exit with another status, and no greeting."""
    install(Pyodide.tool)
    with Pyodide().start(ARTIFACT, Limits()) as host:
        greets, fails = (host.run(program) for program in (b'print("Hello, World!")', b"print(no)"))

    assert (greets.stdout, greets.ending) == (languages.ANSWERS["hello"], exited(0))
    assert (fails.stdout, fails.ending) == (b"", exited(1))
    assert b"NameError: name 'no' is not defined" in fails.stderr
