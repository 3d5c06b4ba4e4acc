"""Work as a gate: exact counts against a baseline and the contract, in whole runs of pytest on the real engine."""

from __future__ import annotations

import re

import pytest

from pytest_wasmedge.artifacts import proposals
from pytest_wasmedge.plugin import working
from pytest_wasmedge.reports.document import load
from pytest_wasmedge.work import counting
from tests import wat
from tests.work.test_counting import RANDOM

CONFTEST = """
from pytest_wasmedge.testing import FakeRuntime

def pytest_wasmedge_runtimes(config, runtimes):
    return [FakeRuntime("one"), FakeRuntime("two")]
"""
RUNS = """
import pytest

def test_it(host):
    host.run(b"")

@pytest.mark.parametrize("text", ["a", "b"])
def test_more(host, text):
    host.run(text)
    host.run(text)
    host.run(text + text)
"""


def spins(rounds: int, before: str = "") -> str:
    """Return a guest that goes round so often, and does something before."""
    return wat.command(f"""(local $i i32) {before}
        (loop $more (br_if $more
          (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {rounds}))))""")


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with fakes, a baseline, the same built otherwise, one with 1 % more work, and one that never ends."""
    guests = {
        "base": spins(10_000),
        "same": spins(10_000).replace("$read", "$reads"),
        "more": spins(10_101),
        "spin": wat.SPIN,
        "random": RANDOM,
    }
    for name, text in guests.items():
        wat.write(pytester.path / f"{name}.wasm", text)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(RUNS)
    return pytester


def run(project: pytest.Pytester, head: str, *options: str, against: str = "base") -> pytest.RunResult:
    """Run pytest in this process, warnings being errors."""
    baseline = [f"--wasm-against={against}.wasm"] if against else []
    return project.runpytest_inprocess(
        f"--wasm-artifact={head}.wasm", *baseline, "--runtimes=one", "-W", "error", *options
    )


def test_one_percent_more_is_red(project: pytest.Pytester) -> None:
    """The start and each test are listed with both numbers; the run fails, though every test passes."""
    result = run(project, "more")

    result.assert_outcomes(passed=3)
    assert result.ret == 1
    result.stdout.re_match_lines(
        [
            r"work of the start and 3 cases, counted exactly, with the baseline's \(margin 1 %\): changed:",
            r"  \+1\.0 % fuel in start \([\d,]+ → [\d,]+\)",
            r"  \+1\.0 % fuel in test_it \([\d,]+ → [\d,]+\)",
            r"  \+1\.0 % fuel in test_more\[a\] \([\d,]+ → [\d,]+\)",
            r"  \+1\.0 % fuel in test_more\[b\] \([\d,]+ → [\d,]+\)",
        ]
    )


@pytest.mark.parametrize(("head", "against"), [("base", "base"), ("random", "random"), ("same", "base")])
def test_what_is_the_same_is_not_red(project: pytest.Pytester, head: str, against: str) -> None:
    """The same bytes are never red, not even of a guest that varies."""
    result = run(project, head, against=against)

    assert result.ret == 0
    result.stdout.fnmatch_lines(["*counted exactly, with the baseline's (margin 1 %): the same"])


def test_within_the_margin(project: pytest.Pytester) -> None:
    """A change within the margin is listed, and not red."""
    result = run(project, "more", "--wasm-work-margin=2%")

    assert result.ret == 0
    result.stdout.re_match_lines([r".*\(margin 2 %\): changed:", r"  \+1\.0 % fuel in start .*"])


def test_the_functions_that_grew(project: pytest.Pytester) -> None:
    """A start that does more names the functions whose calls grew."""
    reads = "(drop (call $read (i32.const 0) (i32.const 65536) (i32.const 1)))"
    wat.write(project.path / "base.wasm", spins(100, reads))
    wat.write(project.path / "more.wasm", spins(100, reads * 9))
    result = run(project, "more")

    assert result.ret == 1
    result.stdout.fnmatch_lines(["  calls in the start that grew most: read 1 → 9"])


def test_the_record_has_the_counts(project: pytest.Pytester) -> None:
    """The record has what was counted of the start and of each test, beside the baseline's."""
    project.runpytest_inprocess(
        "--wasm-artifact=more.wasm", "--wasm-against=base.wasm", "--runtimes=one", "--wasm-report=out"
    )
    work = load(project.path / "out")["work"]
    (head, base) = work["start"]

    assert head["fuel"][0] > base["fuel"][0]
    assert {"start", "test_it", "test_more[a]", "test_more[b]"} == work.keys()


def test_the_same_numbers_on_two_workers(project: pytest.Pytester) -> None:
    """Every run has the same lines, in one process or in three."""
    lines = set()
    for options in (["-n0"], ["-n2"], ["-n0", "--runtimes=one,two"], ["-n2", "--runtimes=one,two"]):
        result = project.runpytest_subprocess(
            "--wasm-artifact=more.wasm", "--wasm-against=base.wasm", "--runtimes=one", *options
        )
        assert result.ret == 1
        lines.add("\n".join(line for line in result.outlines if re.match(r"  [+-].* in ", line)))

    assert len(lines) == 1
    assert lines.pop().count("\n") == 3


def test_a_guest_that_never_ends(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of fuel is a verdict."""
    monkeypatch.setattr(working, "FUEL_LIMIT", 1_000_000)
    result = run(project, "spin")

    assert result.ret == 1
    result.stdout.fnmatch_lines(["work: start has not ended within * fuel: it may never end"])


def test_what_cannot_be_counted_is_said(project: pytest.Pytester) -> None:
    """An artifact that this engine does not take does not stop the run."""
    (project.path / "odd.wasm").write_bytes(proposals.example(proposals.LEGACY.name) or b"")
    result = run(project, "odd")

    result.stdout.fnmatch_lines(["work not counted: start: *"])


def test_the_contract(project: pytest.Pytester) -> None:
    """Ceilings of the start and of named tests hold in every run; all others are not counted."""
    contract = project.path / "portability.toml"
    contract.write_text('[work]\n"start" = 1_000_000\n"test_it" = 10\n"gone" = 1\n')
    result = run(project, "base", against="")

    assert result.ret == 1
    result.stdout.re_match_lines(
        [
            r"portability\.toml:3: fuel of test_it: [\d,]+, more than 10: .*",
            r"portability\.toml, \[work\] not judged, since it was not counted in this run: gone",
        ]
    )


def test_the_contract_is_written(project: pytest.Pytester) -> None:
    """What was counted is written with its unit, and the next run holds; another version writes it anew."""
    contract = project.path / "portability.toml"
    contract.write_text('[work]\n"test_more[a]" = 0  # mine\n')
    assert run(project, "base", "--wasm-update-contract", against="").ret == 0
    text = contract.read_text()

    assert re.search(r'^"test_more\[a\]" = \d+_000  # mine$', text, re.MULTILINE)
    assert 'unit = "wasmtime ' in text
    assert "start.code_bytes" in text
    assert run(project, "base", against="").ret == 0
    assert run(project, "more", against="").ret == 0
    contract.write_text(re.sub(r'unit = ".*"', 'unit = "wasmtime 1.0"', text))
    result = run(project, "more", against="")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["portability.toml: the fuel in [[]work] is that of wasmtime 1.0, and here is *"]
    )


def test_nothing_is_counted_unasked(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without a baseline and without a table [work] starts nothing that counts."""
    monkeypatch.setattr(counting, "CountingHost", None)
    (project.path / "portability.toml").write_text("[artifact]\nbytes = 10_000\n")

    assert run(project, "base", against="").ret == 0


def test_the_fixture(project: pytest.Pytester) -> None:
    """`work` is that of the start; it has the file's own numbers, and counts any program."""
    project.makepyfile(
        "def test_it(work):\n"
        "    assert 0 < work.fuel < 2_000_000 and work.functions == 1 and work.wasi == {}\n"
        "    assert work.of(b'x').fuel == work.fuel and work.pages_grown == 0\n"
        "    assert work.file.memory_pages == 3 and work.code_bytes < work.file.code_bytes\n"
        "def test_over(wasm_work):\n    assert wasm_work.fuel < 10\n"
    )
    result = project.runpytest_inprocess("--wasm-artifact=base.wasm", "-W", "error")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.re_match_lines([r"E +assert \d+ < 10", r"E +\+  where \d+ = the work of base\.fuel"])


def test_a_trap_does_not_end_the_run(project: pytest.Pytester) -> None:
    """Whatever loads an artifact before pytest is ready leaves signals to those who run guests."""
    wat.write(project.path / "traps.wasm", wat.TRAP)
    project.makepyfile("def test_it(host):\n    assert host.run(b'').ending.kind == 'trapped'\n")
    options = ("--wasm-artifact=traps.wasm", "--wasm-against=traps.wasm", "--runtimes=wasmtime")

    project.runpytest_subprocess(*options).assert_outcomes(passed=1)
