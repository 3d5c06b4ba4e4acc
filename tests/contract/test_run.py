"""The contract in whole runs: what it excuses, when it is out of date, and what is written into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.contract import conclusions
from pytest_wasmedge.contract.explaining import Unexplained
from pytest_wasmedge.contract.read import load_contract
from pytest_wasmedge.model import Artifact, Availability
from pytest_wasmedge.reports import record
from pytest_wasmedge.reports.record import RunRecord
from pytest_wasmedge.testing import FakeRuntime
from tests import wat

# two and edge, which is deployed, change what is odd, and complain of what is loud.
CONFTEST = """
from pathlib import Path
from pytest_wasmedge import *
from pytest_wasmedge.testing import FakeRuntime

class Edge(FakeRuntime):
    deployed = True

def crooked(invocation):
    stderr = b"hush" if b"loud" in invocation.stdin else b""
    return Outcome(invocation.stdin.replace(b"odd", b"even"), stderr, exited(0))

def pytest_wasmedge_runtimes():
    return [FakeRuntime("wasmtime"), FakeRuntime("one"), FakeRuntime("two", crooked), Edge("edge", crooked)]

def pytest_wasmedge_corpora():
    return [Path(__file__).parent / "cases"]
"""
TESTS = """
import pytest
from pytest_wasmedge import *

@pytest.mark.wasm_cases("mine")
def test_same(host, wasm_case, reference):
    assert_same(host.run(wasm_case.stdin), reference.of_case(wasm_case))

@pytest.mark.wasm_cases("mine")
def test_runs(host, wasm_case):
    assert host.run(wasm_case.stdin).ending.ok
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with the fakes, three cases, one test that compares them and one that does not."""
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    cases = pytester.mkdir("cases") / "mine"
    cases.mkdir()
    (cases / "plain.rb").write_text("# It is plain.\n")
    (cases / "odd.rb").write_text("# It is odd.\n")
    (cases / "loud.rb").write_text("# It is odd, and loud.\n")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_cases=TESTS)
    return pytester


def entry(case: str, field: str) -> str:
    """Return a known divergence of two: six lines and an empty one."""
    return (
        f'[[known]]\ncase = "{case}"\nruntimes = ["two"]\nfield = "{field}"\n'
        f'reason = "its {field} is its own"\nissue = "https://example.org/{field}"\n\n'
    )


def run(
    project: pytest.Pytester, contract: str, *options: str, runtimes: str = "one,two"
) -> pytest.RunResult:
    """Run pytest in this process under this contract."""
    (project.path / "portability.toml").write_text(contract)
    return project.runpytest_inprocess(
        "--wasm-artifact=echo.wasm", f"--runtimes={runtimes}", "-W", "error", "-rx", *options
    )


# -- what is out of date


def test_a_case_that_was_not_compared_says_nothing(project: pytest.Pytester) -> None:
    """A test that runs a case and compares it with nothing is no evidence that it diverges no longer."""
    known = entry("mine/plain", "stdout")
    not_compared = run(project, known, "-k", "test_runs and plain")
    compared = run(project, known, "-k", "plain")

    assert not_compared.ret == 0
    assert not_compared.parseoutcomes()["passed"] == 2
    assert compared.ret == pytest.ExitCode.TESTS_FAILED
    assert "mine/plain no longer diverges on two 1.0: delete lines 1 to 6." in compared.stdout.str()


def test_a_comparison_on_another_runtime_says_nothing(project: pytest.Pytester) -> None:
    """That a case was compared counts for the test and the runtime that did it, and for no later one."""
    project.makepyfile(
        test_cases=TESTS.replace("def test_same", '@pytest.mark.runtimes("one")\ndef test_same')
    )
    result = run(project, entry("mine/plain", "stdout"), "-k", "plain")

    assert result.ret == 0
    assert result.parseoutcomes()["passed"] == 3


def test_a_glob_with_a_set_of_letters(project: pytest.Pytester) -> None:
    """An entry whose glob does not match its own text is found to be out of date like any other."""
    result = run(project, entry("mine/[pq]*", "stdout"), "-k", "plain")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "mine/[pq]* no longer diverges on two 1.0: delete lines 1 to 6." in result.stdout.str()


# -- several entries about one case


@pytest.mark.parametrize("other", ["mine/loud", "mine/lo*"])
def test_entries_add_up(project: pytest.Pytester, other: str) -> None:
    """A divergence in two fields is known if each is excused by some entry; all of these were met."""
    result = run(project, entry("mine/loud", "stdout") + entry(other, "stderr"), "-k", "test_same and loud")

    assert result.ret == 0
    assert (result.parseoutcomes()["passed"], result.parseoutcomes()["xfailed"]) == (1, 1)
    assert (
        "known divergence (its stdout is its own; https://example.org/stdout; "
        "its stderr is its own; https://example.org/stderr)" in result.stdout.str()
    )


def test_one_field_that_nothing_excuses(project: pytest.Pytester) -> None:
    """Entries that excuse but some of the fields excuse nothing, and are not out of date."""
    result = run(
        project, entry("mine/loud", "stdout") + entry("mine/loud", "leak"), "-k", "test_same and loud"
    )

    assert result.parseoutcomes()["failed"] == 1
    assert "xfailed" not in result.parseoutcomes()
    assert "no longer diverges" not in result.stdout.str()


def test_one_of_two_entries_is_out_of_date(project: pytest.Pytester) -> None:
    """Of two entries about one case, the one whose field no longer diverges is named, and it alone."""
    result = run(
        project, entry("mine/odd", "stdout") + entry("mine/odd", "stderr"), "-k", "test_same and odd"
    )

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes()["xfailed"] == 1
    assert "portability.toml:8: mine/odd no longer diverges on two 1.0: delete lines 8 to 13." in (
        result.stdout.str()
    )
    assert "portability.toml:1:" not in result.stdout.str()


# -- what is written


def test_a_deployed_edge_has_no_ceilings(project: pytest.Pytester) -> None:
    """What an edge counts as cold or warm is no kind of ceiling: the others' are written, and it has none."""
    project.makepyfile(test_cases="def test_warm(warm_latency):\n    warm_latency.take()\n")
    result = run(project, "", "--wasm-update-contract", runtimes="one,edge")
    written = load_contract(project.path / "portability.toml")

    assert result.ret == 0
    result.assert_outcomes(passed=2)
    assert [(each.runtime, each.kind) for each in written.ceilings] == [("one", "warm/tiny")]


def test_new_divergences_are_drafted(project: pytest.Pytester) -> None:
    """What diverges and nothing excuses is appended, once; explained and no draft any more, it is known."""
    path = project.path / "portability.toml"
    options = ("--wasm-update-contract", "-k", "test_same")
    first = run(project, "# ours\n", *options, runtimes="one,two,edge")
    text = path.read_text()
    drafts = [
        (each.case, [str(runtime) for runtime in each.runtimes], each.fields)
        for each in load_contract(path).drafts
    ]
    second = run(project, text, *options, runtimes="one,two,edge")

    assert first.ret == second.ret == pytest.ExitCode.TESTS_FAILED
    assert text.startswith("# ours\n")
    assert drafts == [
        ("mine/loud", ["two >=1.0"], ("stdout", "stderr")),
        ("mine/odd", ["two >=1.0"], ("stdout",)),
    ]
    assert "+[[known]]" in first.stdout.str()
    assert path.read_text() == text

    lines = [line for line in text.splitlines() if not line.startswith("draft")]
    explained = "\n".join(lines).replace('reason = ""', 'reason = "odd"')
    third = run(
        project, explained.replace('issue = ""', 'issue = "https://example.org/1"'), "-k", "test_same"
    )
    assert third.ret == 0
    assert third.parseoutcomes()["xfailed"] == 2


def test_only_what_is_not_excused_is_drafted(project: pytest.Pytester) -> None:
    """What an entry excuses, or a draft notes already, also by a glob, is not written again."""
    noted = "[[known]]\ndraft = true\n" + entry("mine/o*", "stdout").removeprefix("[[known]]\n")
    run(project, noted + entry("mine/l*", "stdout"), "--wasm-update-contract", "-k", "test_same")
    _, *new = load_contract(project.path / "portability.toml").drafts

    assert [(each.case, each.fields) for each in new] == [("mine/loud", ("stderr",))]


def a_record(*kinds_ms: tuple[str, int], version: str = "1.0") -> RunRecord:
    """Return the record of a run on one in which this was measured."""
    run = RunRecord(Artifact(Path("a.wasm"), "ab" * 32, 1, "a"), "golden files")
    run.add_runtime(FakeRuntime("one"), Availability(True, version))
    for kind, elapsed_ms in kinds_ms:
        raw = {"runtime": "one", "kind": kind, "elapsed_ns": [elapsed_ms * 1_000_000]}
        run.add_test("one", "passed", {record.MEASURED: [raw]})
    return run


def test_a_floor_is_that_of_its_cache_state(tmp_path: Path) -> None:
    """A multiple of the floor is not made of the floor of another cache state: it is left alone."""
    path = tmp_path / "portability.toml"
    path.write_text('[ceilings.one]\n"cold/no-cache" = "2x floor"\n"cold/evicted" = "9x floor"\n')
    run = a_record(("floor/no-cache", 10), ("cold/no-cache", 40), ("cold/evicted", 80))
    conclusions.write_contract(run, path, [])

    assert path.read_text() == '[ceilings.one]\n"cold/no-cache" = "6x floor"\n"cold/evicted" = "9x floor"\n'
    assert run.closing[-1][0].endswith('"9x floor" for one: its floor was not measured')


@pytest.mark.parametrize(
    ("version", "expected"),
    [("2026-11-17", "one >=2026-11-17"), ("1.0", "one >=1.0"), ("canary build", "one"), ("", "one")],
)
def test_the_range_of_a_draft(version: str, expected: str) -> None:
    """A draft is about the version of the run and later ones; where that is no number, about all."""
    (draft,) = conclusions.drafts(
        a_record(version=version), None, {("odd[1]", "one"): Unexplained(("leak",))}
    )

    assert draft.runtimes == (expected,)
    # A glob that means this name and no other.
    assert draft.case == "odd[[]1]"
