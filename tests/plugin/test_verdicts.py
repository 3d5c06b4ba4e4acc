"""What a run says of itself: nothing is counted that did not happen, nothing is left out that did."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests import wat

CONFTEST = """
from pytest_wasmedge import *
from pytest_wasmedge.testing import FakeRuntime

def pytest_wasmedge_runtimes(config, runtimes):
    odd = FakeRuntime("odd", lambda invocation: b"odd" if invocation.stdin else b"")
    return [FakeRuntime("wasmtime"), FakeRuntime("one"), FakeRuntime("two"), odd]
"""
IMPORTS = "import os\nimport pytest\nfrom pytest_wasmedge import *\n"
HEAD = "runtime  version  engine    passed  failed  skipped"


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with fakes and an artifact."""
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    pytester.makeconftest(CONFTEST)
    return pytester


def run(
    project: pytest.Pytester, tests: str, *options: str, runtimes: str = "one", apart: bool = False
) -> pytest.RunResult:
    """Run these tests."""
    project.makepyfile(test_it=IMPORTS + tests)
    runner = project.runpytest_subprocess if apart else project.runpytest_inprocess
    return runner("--wasm-artifact=echo.wasm", f"--runtimes={runtimes}", *options)


def rows(result: pytest.RunResult) -> dict[str, tuple[int, int, int]]:
    """Return passed, failed and skipped of each runtime in the closing table."""
    found = re.findall(r"^(\w+) +1\.0 +none 1\.0 +(\d+) +(\d+) +(\d+) ", result.stdout.str(), re.MULTILINE)
    return {name: (int(passed), int(failed), int(skipped)) for name, passed, failed, skipped in found}


# -- what did not happen


@pytest.mark.parametrize(
    "option",
    [
        "--collect-only",
        "--setup-plan",
        "--setup-only",
        "--fixtures",
        "--markers",
        "--cache-show",
        "--fixtures-per-test",
    ],
)
def test_told_to_run_nothing(project: pytest.Pytester, option: str) -> None:
    """Where pytest is told to show something instead of running tests, that nothing ran is no failure."""
    result = run(project, "def test_it(host):\n    assert host\n", option)

    assert result.ret == 0
    assert "proves nothing" not in result.stdout.str()


def test_a_test_s_own_xfail(project: pytest.Pytester) -> None:
    """A test that its author expects to fail is no divergence that a contract knows, and proves nothing."""
    result = run(
        project,
        "@pytest.mark.xfail\ndef test_it(host):\n    assert host.run(b'x').stdout == b'y'\n"
        "def test_works(host):\n    assert host\n",
    )

    result.assert_outcomes(passed=1, xfailed=1)
    assert rows(result) == {"one": (1, 0, 1)}
    assert "known divergences, by" not in result.stdout.str()


def test_no_reference_is_named_that_nobody_asked(project: pytest.Pytester) -> None:
    """The closing lines name a reference only if something was held against it."""
    plain = run(project, "def test_it(host):\n    assert host\n")
    asked = run(
        project,
        "def test_it(host, reference):\n"
        "    assert_same(host.run(b'x'), reference.of_invocation(Invocation(b'x')))\n",
    )

    assert "reference:" not in plain.stdout.str()
    assert "reference: wasmtime, run in the same session" in asked.stdout.str()


REFERRING = (
    "def test_it(host, reference):\n"
    "    outcome = host.run(b'x')\n"
    "    assert_same(outcome, reference.of_invocation(Invocation(b'x')))\n"
)


@pytest.mark.parametrize(
    ("runtimes", "reference", "alone"),
    [("one", "wasmtime", False), ("wasmtime", "wasmtime", True), ("one,two", "one", False)],
)
def test_a_runtime_alone_is_not_its_own_reference(
    project: pytest.Pytester, runtimes: str, reference: str, alone: bool
) -> None:
    """Beside one runtime the default one answers; where it is itself the only one, that is said."""
    said = run(project, REFERRING, runtimes=runtimes).stdout.str()

    assert f"reference: {reference}, run in the same session" in said
    assert ("nothing was compared with anything: wasmtime alone is its own reference" in said) is alone


def test_a_difference_from_the_runtime_beside(project: pytest.Pytester) -> None:
    """A runtime alone that answers otherwise than the default one fails."""
    result = run(project, REFERRING, runtimes="odd")

    result.assert_outcomes(failed=1)
    assert 'odd: stdout "odd", not "x"' in result.stdout.str()


# -- what did


def test_a_crash_is_one_failure(project: pytest.Pytester) -> None:
    """A test that takes its worker down fails once, is not run again, is counted, and all others run."""
    result = run(
        project,
        "def note(name, host):\n"
        "    with open('ran', 'a') as file:\n        file.write(f'{name}[{host.runtime.name}]\\n')\n"
        "def test_a(host):\n    note('a', host)\n"
        "def test_b(host):\n    note('b', host)\n    host.runtime.name == 'two' and os._exit(3)\n"
        "def test_c(host):\n    note('c', host)\n"
        "def test_d(host):\n    note('d', host)\n",
        "-n",
        "2",
        runtimes="one,two,odd",
        apart=True,
    )

    ran = (project.path / "ran").read_text().split()
    assert sorted(ran) == sorted(f"{test}[{name}]" for test in "abcd" for name in ("one", "two", "odd"))
    result.assert_outcomes(passed=11, failed=1)
    assert rows(result) == {"one": (4, 0, 0), "two": (3, 1, 0), "odd": (4, 0, 0)}


def test_another_attempt_is_said(project: pytest.Pytester) -> None:
    """What another plugin has run again is named; its first attempt leaves nothing in the last one's facts."""
    project.makeconftest(
        CONFTEST
        + """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    # As rerun plugins do.
    for attempt in (1, 2):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        failed = any(report.failed for report in reports)
        for report in reports:
            if failed and attempt == 1 and report.when == "call":
                report.outcome = "rerun"
            item.ihook.pytest_runtest_logreport(report=report)
        if not failed:
            break
    return True
"""
    )
    result = run(
        project,
        "attempts = []\n"
        "def test_it(host, report_hazard):\n"
        "    attempts.append(1)\n    report_hazard(f'attempt {len(attempts)}')\n    assert len(attempts) > 1\n",
    )

    assert rows(result) == {"one": (1, 0, 0)}
    said = result.stdout.str()
    assert "ran more than once, the last attempt counts: test_it.py::test_it[one]" in said
    assert "attempt 2" in said
    assert "known hazard of this artifact: attempt 1" not in said


def test_skips_are_said_with_their_reasons(project: pytest.Pytester) -> None:
    """The closing lines say what was not checked, and why, the most frequent first."""
    result = run(
        project,
        "@pytest.mark.parametrize('n', range(3))\ndef test_it(host, n):\n    pytest.skip('no Ruby: give one')\n"
        "@pytest.mark.skip(reason='not today')\ndef test_other(host):\n    pass\n"
        "def test_works(host):\n    assert host\n",
    )

    lines = [line for line in result.outlines if line.startswith("not checked")]
    assert lines == [
        "not checked, 3 tests skipped: no Ruby: give one",
        "not checked, 1 test skipped: not today",
    ]


def test_what_of_the_contract_was_not_judged_is_listed(project: pytest.Pytester) -> None:
    """A contract that this run could judge in part only says which part it was not."""
    (project.path / "portability.toml").write_text(
        '[ceilings.one]\n"warm/tiny" = "60s"\n"cold/evicted" = "60s"\n'
        '[[known]]\ncase = "elsewhere"\nruntimes = ["one"]\nfield = "stdout"\nreason = "so"\n'
        'issue = "https://example.org/1"\n'
    )
    result = run(project, "def test_it(host):\n    assert host\n", "test_it.py::test_it")

    assert result.ret == 0
    assert (
        "portability.toml, not judged in this run: the ceiling of cold/evicted on one; "
        "the ceiling of warm/tiny on one; 1 known divergence, whose case did not run"
    ) in result.stdout.str()


def test_drafts_of_plain_assertions_and_of_starts(project: pytest.Pytester) -> None:
    """`--wasm-update-contract` drafts what plain assertions show, and one entry for a host that does not start."""
    project.makeconftest(
        CONFTEST.replace(
            "def pytest_w",
            "class Refuses(FakeRuntime):\n"
            "    def start(self, artifact, limits):\n"
            "        raise HostStartError(f'{self.name}: no')\n\ndef pytest_w",
        ).replace("odd]", 'odd, Refuses("refuses")]')
    )
    run(
        project,
        "def test_a(host):\n    assert host.run(b'x').stdout == b'x'\ndef test_b(host):\n    assert host\n",
        "--wasm-update-contract",
        runtimes="one,odd,refuses",
    )

    text = (project.path / "portability.toml").read_text()
    drafts = re.findall(r'case = "(.*)"\nruntimes = \["(.*)"\]\nfield = "(.*)"', text)
    assert drafts == [("test_a", "odd >=1.0", "stdout"), ("*", "refuses >=1.0", "start")]


# -- how failures read


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("assert_same(host.run(b'x'), Outcome(b'x', b'', exited(0)))", 'odd: stdout "odd", not "x"'),
        ("assert_same(host.run(b''), Outcome(b'', b'', exited(3)))", "odd: ending exited(0), not exited(3)"),
    ],
)
def test_the_summary_says_what_differs(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, body: str, line: str
) -> None:
    """The line of a failure in pytest's summary has test, runtime, field and difference in its first 80 columns."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    result = run(project, f"def test_it(host):\n    {body}\n", runtimes="odd", apart=True)

    assert f"FAILED test_it.py::test_it[odd] - {line}" in result.outlines


def test_a_test_of_several_runtimes_blames_the_one(project: pytest.Pytester) -> None:
    """Of a test that compares all hosts, the failure counts for the runtime that differs."""
    result = run(
        project,
        "def test_agreement(hosts):\n"
        "    first, *others = [host.run(b'x') for host in hosts.values()]\n"
        "    for other in others:\n        assert_same(other, first)\n"
        "def test_it(host):\n    assert host\n",
        runtimes="one,two,odd",
    )

    assert rows(result) == {"one": (1, 0, 0), "two": (1, 0, 0), "odd": (1, 1, 0)}


def test_errors_of_ours_have_a_line_in_the_summary(project: pytest.Pytester) -> None:
    """So has what we refuse, which is shown without a traceback."""
    result = run(
        project,
        "from pytest_wasmedge.errors import HostStartError\n"
        "def test_it(host):\n    raise HostStartError('one: it has no door')\n",
    )

    assert "FAILED test_it.py::test_it[one] - one: it has no door" in result.stdout.str()
    assert "Traceback" not in result.stdout.str()
    assert "raise HostStartError" not in result.stdout.str()


# -- beside other plugins and files


def test_junit(project: pytest.Pytester) -> None:
    """Nothing of ours stands in a JUnit file, whose test cases have no properties in the form xunit2."""
    run(
        project,
        "def test_it(host, warm_latency):\n    warm_latency.take()\n"
        "def test_bad(host):\n    assert_same(host.run(b'x'), Outcome(b'y', b'', exited(0)))\n",
        "--junitxml=out.xml",
    )
    root = ET.parse(project.path / "out.xml").getroot()

    cases = list(root.iter("testcase"))
    assert len(cases) == 2
    assert {child.tag for case in cases for child in case} == {"failure"}


def test_benchmark_only_runs_what_measures(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that measures is a benchmark to pytest-benchmark's own options."""
    # Which does nothing where there are workers.
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    tests = (
        "def test_measures(host, warm_latency):\n    warm_latency.take()\n"
        "def test_plain(host):\n    assert host\n"
    )
    only = run(project, tests, "--benchmark-only")
    skip = run(project, tests, "--benchmark-skip")

    only.assert_outcomes(passed=1, skipped=1)
    assert only.ret == 0
    skip.assert_outcomes(passed=1, skipped=1)


def test_a_cache_of_pytest_s_that_cannot_be_written(project: pytest.Pytester) -> None:
    """Measurements work without the journal that is kept there, and one line says so."""
    (project.path / ".pytest_cache").write_text("a file")
    result = run(project, "def test_it(host, warm_latency):\n    warm_latency.take()\n", apart=True)

    result.assert_outcomes(passed=1)
    assert "raw samples are not kept, pytest's cache folder cannot be written" in result.stderr.str()


def test_only_the_suite(project: pytest.Pytester) -> None:
    """`--wasm-conformance=only` leaves the project's tests alone; the header says what is collected."""
    tests = "def test_mine(host):\n    assert host\n"
    also = run(project, tests, "--wasm-conformance", "--collect-only", "-q")
    only = run(project, tests, "--wasm-conformance=only", "--collect-only", "-q")
    header = run(project, tests, "--collect-only")

    assert "test_it.py::test_mine[one]" in also.stdout.str()
    assert "test_mine" not in only.stdout.str()
    assert "test_empty_input" in only.stdout.str() or "test_streams.py" in only.stdout.str()
    assert "wasmedge: echo on one; collects your tests" in header.stdout.str()


def test_faulty_runtimes_are_the_runtime(tmp_path: Path) -> None:
    """All that a runtime says of itself is said by the one that spoils it."""
    from pytest_wasmedge.model import Runtime
    from pytest_wasmedge.runtimes import builtin_runtimes
    from pytest_wasmedge.testing import FaultyRuntime

    for inner in builtin_runtimes():
        spoiled = FaultyRuntime(inner, "status_zero")
        assert {name: getattr(spoiled, name) for name in Runtime.__annotations__} == {
            name: getattr(inner, name) for name in Runtime.__annotations__
        }
        artifact = wat.artifact(tmp_path, wat.ECHO)
        assert spoiled.kept_code(artifact) == inner.kept_code(artifact)


def test_facts_travel_from_workers(project: pytest.Pytester) -> None:
    """What a test measured, compared and skipped is the same with workers as without."""
    tests = (
        "def test_it(host, warm_latency):\n    warm_latency.take()\n"
        "def test_skips(host):\n    pytest.skip('so')\n"
        "def test_runs(host):\n    assert host.run(b'x').stdout\n"
    )
    # Another file that does the same work.
    wat.write(project.path / "base.wasm", wat.ECHO.replace("$read", "$reads"))
    options = ("--wasm-against=base.wasm", "--benchmark-json=out.json")
    said = {}
    for workers in ("0", "2"):
        result = run(project, tests, *options, "-n", workers, runtimes="one,two", apart=True)
        assert result.ret == 0
        lines = result.outlines
        said[workers] = [line for line in lines if "compared on" in line or line.startswith("not checked")]
        assert len(json.loads((project.path / "out.json").read_text())["benchmarks"]) == 2

    assert said["0"] == said["2"]
    assert (
        said["0"][1].startswith("2 outcomes compared on 2 runtimes with the baseline base")
        or len(said["0"]) == 2
    )


def test_ceilings_are_collected_beside_the_tests(project: pytest.Pytester) -> None:
    """The measurements that a contract's ceilings need have ids like any test's, with workers too."""
    (project.path / "portability.toml").write_text('[ceilings.one]\n"warm/tiny" = "60s"\n')
    tests = "def test_it(host):\n    assert host\n"
    # A project may have a file of that name too.
    (project.path / "test_contract.py").write_text("")
    for options in (["-v"], ["-v", "-n", "2"]):
        result = run(project, tests, *options, runtimes="one,two", apart=True)

        result.assert_outcomes(passed=3)
        assert "test_contract.py::test_ceiling[one-warm-tiny]" in result.stdout.str()
        assert "collects your tests and the ceilings of the contract" in result.stdout.str()


def test_every_kind_of_host_is_compared(project: pytest.Pytester) -> None:
    """What `hosts` and the named ones are asked is compared with the baseline too, each on its runtime."""
    wat.write(project.path / "base.wasm", wat.command(""))
    result = run(
        project,
        "def test_all(hosts):\n    assert all(host.run(b'x').ending.ok for host in hosts.values())\n"
        "def test_named(host, wasmtime_host):\n    assert wasmtime_host.run(b'y').ending.ok\n",
        "--wasm-against=base.wasm",
        runtimes="one,two",
    )

    # test_named runs twice, and asks the same again.
    result.assert_outcomes(passed=3)
    assert "3 outcomes compared on 3 runtimes with the baseline base" in result.stdout.str()


def test_a_file_of_the_suite_can_be_named() -> None:
    """In a checkout with a contract, what is named is collected, and not the ceilings instead."""
    root = Path(__file__).parents[2]
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "conformance/test_stdout.py",
        "--runtimes=wasmtime",
        "--collect-only",
        "-q",
    ]
    said = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=False).stdout

    assert "conformance/test_stdout.py::test_puts_ends_with_one_newline[wasmtime]" in said
    assert "test_contract.py" not in said
