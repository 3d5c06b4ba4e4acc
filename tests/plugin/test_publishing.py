"""`--wasm-report`: what a run leaves in its folder, however it ends."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from typing import Any

import pytest

from pytest_wasmedge.reports.document import load
from pytest_wasmedge.reports.merging import merge
from tests import wat
from tests.reports.sample import SCHEMA
from tests.waiting import until

CONFTEST = """
from pytest_wasmedge import *
from pytest_wasmedge.testing import FakeRuntime

def pytest_wasmedge_runtimes(config, runtimes):
    odd = FakeRuntime("odd", lambda invocation: b"<b>odd</b>" if invocation.stdin else b"")
    return [FakeRuntime("wasmtime"), FakeRuntime("one"), FakeRuntime("two"), odd]
"""
TESTS = """
import os, time
import pytest
from pytest_wasmedge import Invocation, assert_same, ms

@pytest.mark.parametrize("text", ["a", "b"])
def test_it(host, reference, text):
    invocation = Invocation(text.encode())
    assert_same(host.invoke(invocation), reference.of_invocation(invocation), invocation=invocation)

def test_skips(host):
    pytest.skip("because")

def test_starts(host, cold_start):
    assert cold_start.median < ms(5000)
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with fakes, one of which answers otherwise, an artifact and tests."""
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_it=TESTS)
    return pytester


def command(*options: str, runtimes: str = "one,two,odd") -> list[str]:
    """Return the options of a run with a report."""
    return ["--wasm-artifact=echo.wasm", f"--runtimes={runtimes}", "--wasm-report=out", *options]


def read(project: pytest.Pytester) -> dict[str, Any]:
    """Return the record in the folder, which is valid."""
    found = load(project.path / "out")
    pytest.importorskip("fastjsonschema").compile(SCHEMA)(found)
    return found


def verdicts(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return test, runtime and verdict of each row, in order."""
    return sorted((row["test"], row["runtime"], row["verdict"]) for row in found["tests"])


def test_the_record_of_a_run(project: pytest.Pytester) -> None:
    """Tests by case and runtime, divergences with both sides, raw samples, findings, seeds: all is there."""
    result = project.runpytest_inprocess(*command("--wasm-seed=7"))
    found = read(project)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert found["verdict"] == "NOT PORTABLE"
    assert found["line"] in result.stdout.str()
    assert [run["seed"] for run in found["runs"]] == [7]
    assert found["artifact"]["functions"] == 3
    assert "wasi_snapshot_preview1.fd_write" in found["artifact"]["imports"]
    assert ("test_it.py::test_it[a]", "odd", "failed") in verdicts(found)
    assert len(found["tests"]) == 12
    [first, _] = [row for row in found["tests"] if row.get("divergences")]
    assert first["divergences"][0]["sides"] == ["a", "<b>odd</b>"]
    assert first["asked"] == 'stdin 1 byte "a"'
    assert {row.get("reason") for row in found["tests"] if row["verdict"] == "skipped"} == {"because"}
    assert [len(each["elapsed_ns"]) >= 12 for each in found["latencies"]] == [True] * 3
    assert {each["verdict"] for each in found["findings"]} == {"pass"}
    assert all(each["low"] <= each["estimate"] <= each["high"] for each in found["findings"])


def test_workers(project: pytest.Pytester) -> None:
    """With workers the controller alone writes, and writes the same; all draw by one seed."""
    project.runpytest_inprocess(*command())
    alone = read(project)
    project.runpytest_subprocess(*command("-n", "2"))
    found = read(project)

    assert verdicts(found) == verdicts(alone)
    assert found["line"] == alone["line"]
    assert len(found["latencies"]) == 3
    assert not (project.path / "out/record.jsonl").exists()


def test_a_missing_runtime_is_told(project: pytest.Pytester) -> None:
    """What was not run stands in the record, with the reason, and in the verdict."""
    project.makeconftest(
        CONFTEST + "\nfrom pytest_wasmedge.model import Availability\n"
        "class Missing(FakeRuntime):\n    def probe(self):\n        return Availability(False, reason='not here')\n"
        "def pytest_wasmedge_runtimes(config):\n"
        "    return [FakeRuntime('wasmtime'), Missing('gone'), FakeRuntime('one')]\n"
    )
    (project.path / "test_it.py").write_text("def test_it(host):\n    pass\n")
    result = project.runpytest_inprocess(
        "--wasm-artifact=echo.wasm", "--runtimes=all", "--wasm-report=out", "-k", "one or gone"
    )
    found = read(project)
    rows = {row["name"]: row for row in found["runtimes"]}

    assert result.ret == 0
    assert (rows["gone"]["available"], rows["gone"]["reason"]) == (False, "not here")
    assert found["line"].endswith("not run")
    assert found["line"].startswith("PORTABLE on 1 of ")


def test_killed(project: pytest.Pytester) -> None:
    """A run that was killed leaves what it had found, valid and incomplete, whatever an earlier run has left."""
    project.runpytest_inprocess(*command(runtimes="one,two"))
    assert read(project)["verdict"] == "PORTABLE"
    (project.path / "test_last.py").write_text("import time\ndef test_hangs(host):\n    time.sleep(600)\n")
    events = project.path / "out/record.jsonl"
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *command(runtimes="one,two")]
    process = subprocess.Popen(argv, cwd=project.path, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        until(lambda: events.exists() and events.read_bytes().count(b"\n") == 5, "four tests in the record")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    found = read(project)

    assert (found["verdict"], found["complete"]) == ("INCOMPLETE", False)
    assert len(found["tests"]) == 4
    assert found["line"].startswith(
        "INCOMPLETE: the run was cut off before its end · 3 checks on 1 of 2 runtimes"
    )


def test_interrupted(project: pytest.Pytester) -> None:
    """Ctrl-C is an end, but not that of a whole run."""
    (project.path / "test_last.py").write_text("def test_stops(host):\n    raise KeyboardInterrupt\n")
    result = project.runpytest_inprocess(*command(runtimes="one"), no_reraise_ctrlc=True)
    found = read(project)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert found["runs"][0]["stopped"] == "the run was interrupted"
    assert found["line"].startswith("INCOMPLETE: the run was interrupted · 3 checks on 1 of 1 runtime")
    assert found["line"] in result.stdout.str()


def test_nothing_is_written_unasked(project: pytest.Pytester) -> None:
    """Without the option no folder is made; nor by a run that only shows something."""
    project.runpytest_inprocess("--wasm-artifact=echo.wasm", "--runtimes=one")
    project.runpytest_inprocess(*command("--collect-only"))

    assert not (project.path / "out").exists()


def test_a_place_that_cannot_be_written(project: pytest.Pytester) -> None:
    """A place where no folder can be is a usage error, before any test."""
    (project.path / "out").write_text("mine")
    result = project.runpytest_inprocess(*command())

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "the record cannot be written to" in result.stderr.str()
    assert (project.path / "out").read_text() == "mine"


def test_a_folder_that_goes_away(project: pytest.Pytester) -> None:
    """If the record cannot be written any more, the tests go on, and the run is red."""
    (project.path / "test_it.py").write_text(
        "import shutil\ndef test_a(host):\n    shutil.rmtree('out')\ndef test_b(host):\n    pass\n"
    )
    result = project.runpytest_inprocess(*command(runtimes="one"))

    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "the record cannot be written to" in result.stdout.str()


def test_the_verdict_comes_first(project: pytest.Pytester) -> None:
    """The first line after the title is the verdict."""
    lines = project.runpytest_inprocess(*command(runtimes="one,two")).outlines
    title = next(at for at, line in enumerate(lines) if "portability of echo" in line)

    assert lines[title + 1] == "PORTABLE on 2 of 2 runtimes · 6 checks · 0 known divergences · 0 undecided"
    assert json.loads((project.path / "out/record.json").read_text())["line"] == lines[title + 1]


def test_how_to_run_a_failed_test_alone(project: pytest.Pytester) -> None:
    """Each failed test has the command that runs it alone, which does; with many, the first ones have."""
    result = project.runpytest_inprocess(
        *command("--wasm-seed", "7", "--wasm-strict-latency", "-k", "test_it", "-p", "no:cacheprovider")
    )
    lines = [line for line in result.outlines if line.startswith("alone: ")]

    assert lines == [
        f"alone: pytest --runtimes=odd --wasm-artifact=echo.wasm --wasm-seed 7 --wasm-strict-latency {name}"
        for name in ("'test_it.py::test_it[odd-a]'", "'test_it.py::test_it[odd-b]'")
    ]
    again = project.runpytest_inprocess(*shlex.split(lines[0].removeprefix("alone: pytest ")))
    again.assert_outcomes(failed=1)


def test_many_failed(project: pytest.Pytester) -> None:
    """Not more than five commands are shown; a hostile name stays text."""
    project.makepyfile(
        test_it="import pytest\n@pytest.mark.parametrize('n', [*range(6), '\\x1b[31m'])\n"
        "def test_it(host, n):\n    assert False"
    )
    result = project.runpytest_inprocess(*command(runtimes="one"))

    assert len([line for line in result.outlines if line.startswith("alone: ")]) == 5
    result.stdout.fnmatch_lines(["2 more failed: add --lf to the command of this run"])
    assert "\x1b[31m" not in result.stdout.str()


def test_on_github(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, failures are annotations, and the report is the job's summary; without the option nothing is said."""
    summary = project.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    silent = project.runpytest_inprocess("--wasm-artifact=echo.wasm", "--runtimes=one,odd")
    assert "::error" not in silent.stdout.str()
    assert not summary.exists()
    result = project.runpytest_inprocess(*command())

    result.stdout.fnmatch_lines(["::error title=test_it on odd::odd: stdout *"])
    assert summary.read_text() == (project.path / "out/report.md").read_text() + "\n"


def test_known_divergences(project: pytest.Pytester) -> None:
    """What the contract expects is told with both sides all the same, and with the entry that expects it."""
    (project.path / "portability.toml").write_text(
        '[[known]]\ncase = "test_it"\nruntimes = ["odd"]\nfield = "stdout"\nreason = "it is odd"\n'
        'issue = "https://example.org/1"\n'
    )
    result = project.runpytest_inprocess(*command())
    found = read(project)
    rows = [row for row in found["tests"] if row["verdict"] == "known"]

    assert result.ret == 0
    assert found["line"].startswith("PORTABLE on 3 of 3 runtimes · 9 checks · 2 known divergences")
    assert {row["runtime"] for row in rows} == {"odd"}
    assert rows[0]["known"] == [1]
    assert rows[0]["message"].startswith("odd: stdout first differs")
    assert rows[0]["divergences"][0]["sides"] == ["a", "<b>odd</b>"]
    [entry] = found["known"]
    assert (entry["line"], entry["seen_on"], entry["reason"]) == (1, ["odd"], "it is odd")


STALE = """
[[known]]
case = "test_*"
runtimes = ["odd", "one"]
field = "stdout"
reason = "it is odd"
issue = "https://example.org/1"
"""


@pytest.mark.parametrize("stale", [False, True])
def test_shards(project: pytest.Pytester, stale: bool) -> None:
    """Each test runs in one shard; merged, they have the tests, the table and the verdict of one run.

    An entry of the contract about tests of both is judged when they are merged.
    """
    entry = STALE if stale else STALE.replace(', "one"', "")
    (project.path / "portability.toml").write_text(entry)
    project.runpytest_inprocess(*command())
    whole = read(project)
    for number in 1, 2:
        result = project.runpytest_inprocess(
            *command(f"--wasm-shard={number}/2", f"--wasm-report=part-{number}")
        )
        part = load(project.path / f"part-{number}")
        assert result.ret == 0
        assert part["tests"]
        assert f"shard {number} of 2" in part["line"]
        assert part["line"] in result.stdout.str()
        assert "not judged" not in result.stdout.str()
    merged = merge({name: load(project.path / name) for name in ("part-1", "part-2")})

    assert verdicts(merged) == verdicts(whole)
    assert [row["counts"] for row in merged["runtimes"]] == [row["counts"] for row in whole["runtimes"]]
    assert merged["line"] == whole["line"]
    assert bool(merged["broken"]) == bool(whole["broken"]) == stale
    alone = merge({"part-2": load(project.path / "part-2")})
    assert alone["line"].startswith("INCOMPLETE: shard 1 of 2 is missing")
    pytest.importorskip("fastjsonschema").compile(SCHEMA)(merged)


@pytest.mark.parametrize(("chosen", "judged"), [("cases", True), ("three", False)])
def test_an_entry_is_judged_if_all_its_cases_ran(project: pytest.Pytester, chosen: str, judged: bool) -> None:
    """One that no longer diverges is told when shards are merged, unless -k left some of its cases out of all."""
    (project.path / "cases").mkdir()
    for name in ("one", "two", "three"):
        (project.path / f"cases/mine_{name}.txt").write_text(name)
    (project.path / "portability.toml").write_text(
        STALE.replace("test_*", "mine_*e").replace('["odd", "one"]', '["one"]')
    )
    parts = {}
    for number in ("1", "2"):
        project.runpytest_inprocess(
            *command("--wasm-cases=cases", "-k", chosen, runtimes="one,two"),
            f"--wasm-shard={number}/2",
            f"--wasm-report={number}",
        )
        parts[number] = load(project.path / number)
    names = {name for part in parts.values() for entry in part["known"] for name in entry["cases"]}

    assert len(names) == 2
    assert bool(merge(parts)["broken"]) == judged


def test_shards_of_workers(project: pytest.Pytester) -> None:
    """Workers of pytest-xdist choose the same tests as one process."""
    for name, options in {"a": (), "b": ("-n", "2")}.items():
        project.runpytest_subprocess(*command(*options, "--wasm-shard=1/3", f"--wasm-report={name}"))
    one, two = (load(project.path / name) for name in "ab")

    assert verdicts(one) == verdicts(two) != []


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "1/0", ""])
def test_no_such_shard(project: pytest.Pytester, shard: str) -> None:
    """A shard that cannot be is refused before any test runs."""
    result = project.runpytest_inprocess(*command(f"--wasm-shard={shard}"))

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--wasm-shard: '{shard}' is no shard. Give the number *such as 2/4.*"])


@pytest.mark.parametrize("update", ["--wasm-update-contract", "--wasm-update-golden"])
def test_a_shard_writes_nothing_about_all(project: pytest.Pytester, update: str) -> None:
    """What is written from a whole run is not written from a part."""
    result = project.runpytest_inprocess(*command("--wasm-shard=1/2", update))

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --wasm-shard runs a part of the tests, *"])


def test_a_crashed_worker(project: pytest.Pytester) -> None:
    """A test that ends its worker is a failure of its runtime; the rest of the record is whole."""
    (project.path / "test_last.py").write_text("import os\ndef test_dies(host):\n    os._exit(3)\n")
    project.runpytest_subprocess(*command("-n", "2", "-k", "test_it or dies", runtimes="one,two"))
    found = read(project)

    assert found["complete"]
    assert found["verdict"] == "NOT PORTABLE"
    assert {row["test"] for row in found["tests"] if row["verdict"] == "failed"} == {
        "test_last.py::test_dies"
    }
    assert {row["runtime"] for row in found["tests"]} == {"one", "two"}
