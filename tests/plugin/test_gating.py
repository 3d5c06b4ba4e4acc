"""Latency as a gate: comparisons, ceilings, the contract, baselines, and what a run leaves of its samples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import wat

CONFTEST = """
from pytest_wasmedge import *
from pytest_wasmedge.testing import FakeRuntime

def crooked(invocation):
    return invocation.stdin.replace(b"odd", b"even")

def pytest_wasmedge_runtimes(config, runtimes):
    return [FakeRuntime("wasmtime"), FakeRuntime("one"), FakeRuntime("two", crooked)]
"""
KNOWN = """
# why two is crooked
[[known]]
case = "test_odd"
runtimes = ["two >=1.0,<2"]
field = "stdout"
reason = "two makes everything even"
issue = "https://example.org/issues/1"
"""
TEST_ODD = """
def test_odd(host):
    assert_same(host.run(b"odd"), Outcome(b"odd", b"", exited(0)))
"""
IMPORTS = "import pytest\nfrom pytest_wasmedge import *\nfrom pytest_wasmedge.latency.units import Duration\n"


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with fakes, of which two answers otherwise where it is asked for something odd."""
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    pytester.makeconftest(CONFTEST)
    return pytester


def run(project: pytest.Pytester, *options: str, runtimes: str = "one") -> pytest.RunResult:
    """Run pytest in this process with the echo artifact, warnings being errors."""
    return project.runpytest_inprocess(
        "--wasm-artifact=echo.wasm", f"--runtimes={runtimes}", "-W", "error", *options
    )


# -- comparisons


def test_a_comparison_reads_naturally(project: pytest.Pytester) -> None:
    """`assert cold_start.median < ms(25)` passes under the limit, and the run says what was found."""
    project.makepyfile(
        IMPORTS + "def test_it(cold_start):\n    assert cold_start.median < ms(60_000)\n"
        "    assert 5 < len(cold_start.elapsed_ns) < 50\n"
        "def test_warm(warm_latency):\n    assert warm_latency.median < '60s'\n"
    )
    result = run(project)

    result.assert_outcomes(passed=2)
    result.stdout.re_match_lines(
        [
            r"pass: one cold/no-cache: median \S+ ms, 99\S* % interval \[\S+, \S+\] ms, n=16, \S+ s: "
            r"under its ceiling of 60s",
            r"pass: one warm/tiny: median .* n=20, .*: under its ceiling of 60s",
        ]
    )


def test_a_failed_comparison_explains_itself(project: pytest.Pytester) -> None:
    """The failure shows interval, number of samples, floor, and what to do; no traceback from inside us."""
    project.makepyfile(IMPORTS + "def test_it(cold_start):\n    assert cold_start.median < Duration(1)\n")
    result = run(project)

    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [
            r"E +assert <median \S+ ms> < 0\.001us",
            r"E +one cold/no-cache: median .* interval \[.*\] ms, n=16, .*: OVER its ceiling of 0\.001us",
            r"E +floor \(an artifact that does nothing, n=5\): .*; the artifact costs .* on top",
            r"E +what to do: .*--wasm-against=BASE\.wasm.*",
        ]
    )
    assert "fail: one cold/no-cache" in result.stdout.str()


@pytest.mark.parametrize(("limit", "failed"), [("60s", 0), ("0.001us", 1), ("100000x floor", 0)])
def test_the_mark(project: pytest.Pytester, limit: str, failed: int) -> None:
    """`@pytest.mark.cold_start_ceiling` fails a test whose host starts too slowly, after the test itself."""
    project.makepyfile(
        IMPORTS + f"@pytest.mark.cold_start_ceiling({limit!r})\n"
        "def test_it(host):\n    assert host.run(b'x').stdout == b'x'\n"
    )
    result = run(project)

    result.assert_outcomes(passed=1 - failed, failed=failed)
    assert ("OVER its ceiling" in result.stdout.str()) is bool(failed)


def test_the_mark_does_not_hide_a_failure(project: pytest.Pytester) -> None:
    """A test that fails by itself fails for that; its ceiling is not looked at."""
    project.makepyfile(
        IMPORTS + "@pytest.mark.cold_start_ceiling('0.001us')\ndef test_it(host):\n    assert host is None\n"
    )
    result = run(project)

    result.assert_outcomes(failed=1)
    assert "ceiling of" not in result.stdout.str()


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ("cold_start_ceiling()", "cold_start_ceiling needs a limit"),
        ("cold_start_ceiling('25 parsecs')", "'parsecs' is no unit"),
        ("cold_start_ceiling('25')", "'25' is no latency"),
        ("workload('huge')", "there is no workload 'huge'; choose one of tiny, heavy, hello, html, smoke."),
    ],
)
def test_a_mark_that_cannot_be_read(project: pytest.Pytester, mark: str, words: str) -> None:
    """A mistake in a mark is one sentence."""
    project.makepyfile(IMPORTS + f"@pytest.mark.{mark}\ndef test_it(host, warm_latency):\n    pass\n")
    result = run(project)

    assert result.ret == 1
    assert words in result.stdout.str()
    assert "pytest_wasmedge/" not in result.stdout.str()


@pytest.mark.parametrize("fixture", ["two_host", "hosts"])
def test_the_mark_without_a_host(project: pytest.Pytester, fixture: str) -> None:
    """A test that has hosts, but no `host`, has no one cold start to be judged: one sentence says so."""
    project.makepyfile(
        IMPORTS + f"@pytest.mark.cold_start_ceiling('60s')\ndef test_it({fixture}):\n    pass\n"
    )
    result = run(project)

    result.assert_outcomes(failed=1)
    assert 'cold_start_ceiling needs a limit, such as "25ms", and a test that uses `host`.' in (
        result.stdout.str()
    )
    assert "pytest_wasmedge/" not in result.stdout.str()


def test_undecided_is_loud(project: pytest.Pytester) -> None:
    """What stays undecided passes and is listed; with --wasm-strict-latency it fails and says what to do."""
    project.makepyfile(IMPORTS + "def test_it(cold_start):\n    assert cold_start.median < '100000x floor'\n")
    loud = run(project, "--wasm-latency-budget=0.000001")
    strict = run(project, "--wasm-latency-budget=0.000001", "--wasm-strict-latency")

    loud.assert_outcomes(passed=1)
    assert "undecided: one cold/no-cache" in loud.stdout.str()
    strict.assert_outcomes(failed=1)
    assert "what to do: give it more time (--wasm-latency-budget)" in strict.stdout.str()


@pytest.mark.parametrize(
    "option", ["--wasm-latency-budget=soon", "--wasm-latency-budget=0", "--wasm-margin=-1"]
)
def test_options_that_cannot_be_read(project: pytest.Pytester, option: str) -> None:
    """A budget or margin that is none is a usage error that names the option."""
    result = project.runpytest_inprocess(option)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert option.split("=")[0] in result.stderr.str()


# -- the contract


def contract(project: pytest.Pytester, text: str) -> Path:
    """Write portability.toml into the root folder."""
    path = project.path / "portability.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("limit", "failed"), [("60s", 0), ("0.001us", 1)])
def test_ceilings_of_the_contract(project: pytest.Pytester, limit: str, failed: int) -> None:
    """The suite holds what it measures against the contract's ceilings."""
    contract(project, f'[ceilings.one]\n"cold/no-cache" = "{limit}"\n')
    result = run(project, "--wasm-conformance", "-k", "test_cold_start and not evicted and not compiling")

    result.assert_outcomes(passed=1 - failed, failed=failed, deselected=result.parseoutcomes()["deselected"])
    assert ("fail: one cold/no-cache" in result.stdout.str()) is bool(failed)


def test_limits_of_the_contract(project: pytest.Pytester) -> None:
    """The suite holds the file itself against the contract's limits."""
    contract(project, "[artifact]\nbytes = 10\n")
    result = run(project, "--wasm-conformance", "-k", "test_artifact")

    assert result.parseoutcomes()["failed"] == 1
    assert "portability.toml:2" in result.stdout.str()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[ceilings.one]\n'warm/tiny' = '25 parsecs'\n", 2),
        ("[ceilings.onne]\n'warm/tiny' = '25ms'\n", 2),
        ("[artifact]\n\nbites = 3\n", 3),
        ("[artifact\n", 1),
    ],
)
def test_a_contract_that_cannot_be_read(project: pytest.Pytester, text: str, line: int) -> None:
    """A mistake in the contract is a usage error with its line, before any test runs."""
    contract(project, text)
    project.makepyfile(TEST_ODD)
    result = run(project)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"portability.toml:{line}: " in result.stderr.str()
    assert "Traceback" not in result.stderr.str()


def test_a_contract_that_cannot_be_read_by_a_plain_run(project: pytest.Pytester) -> None:
    """A run without any option of ours is told too, once it collects a test of ours; nothing is torn by it."""
    contract(project, "[artifact\n")
    project.makepyfile(TEST_ODD)
    result = project.runpytest_inprocess("-W", "error")

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "portability.toml:1: " in result.stdout.str()
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


def test_a_contract_that_is_not_there(project: pytest.Pytester) -> None:
    """A contract that was named and is missing is a usage error."""
    result = run(project, "--wasm-contract=nowhere.toml")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "nowhere.toml" in result.stderr.str()


@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_a_known_divergence_is_no_failure(project: pytest.Pytester, options: list[str]) -> None:
    """What the contract knows to diverge is expected there and only there, and is counted."""
    contract(project, KNOWN)
    project.makepyfile(IMPORTS + TEST_ODD)
    result = project.runpytest_subprocess(
        "--wasm-artifact=echo.wasm", "--runtimes=one,two", "-rx", "-W", "error", *options
    )

    result.assert_outcomes(passed=1, xfailed=1)
    assert result.ret == 0
    assert "known divergence (two makes everything even; https://example.org/issues/1)" in result.stdout.str()
    assert "known divergences, by the contract or by the runtime itself: two 1" in result.stdout.str()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('field = "stdout"', 'field = "stderr"'),
        ("two >=1.0,<2", "two >=2"),
        ("two >=1.0,<2", "one"),
        ("test_odd", "test_add"),
    ],
)
def test_another_divergence_fails(project: pytest.Pytester, old: str, new: str) -> None:
    """A divergence in another field, version, runtime or case is not the known one."""
    contract(project, KNOWN.replace(old, new))
    project.makepyfile(IMPORTS + TEST_ODD)
    result = run(project, runtimes="one,two")

    assert result.parseoutcomes()["failed"] == 1
    assert "xfailed" not in result.parseoutcomes()


@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_a_known_divergence_that_is_gone(project: pytest.Pytester, options: list[str]) -> None:
    """An entry that no longer diverges turns the run red and names the lines to delete."""
    contract(project, KNOWN)
    project.makepyfile(IMPORTS + TEST_ODD.replace("odd", "good").replace("test_good", "test_odd"))
    result = project.runpytest_subprocess("--wasm-artifact=echo.wasm", "--runtimes=one,two", *options)

    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert (
        "portability.toml:3: test_odd no longer diverges on two 1.0: delete lines 3 to 8."
        in result.stdout.str()
    )


def test_one_of_several_runtimes_is_gone(project: pytest.Pytester) -> None:
    """Where some of an entry's runtimes still diverge, those that do not are named."""
    contract(project, KNOWN.replace('["two >=1.0,<2"]', '["one", "two"]'))
    project.makepyfile(IMPORTS + TEST_ODD)
    result = run(project, runtimes="one,two")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "test_odd no longer diverges on one 1.0: take one out of its runtimes." in result.stdout.str()


def test_another_failure_of_a_known_case_is_not_its_end(project: pytest.Pytester) -> None:
    """A case that fails otherwise than known has not stopped to diverge: its entry stays."""
    contract(project, KNOWN.replace('"stdout"', '"ending"'))
    project.makepyfile(IMPORTS + TEST_ODD)
    result = run(project, runtimes="one,two")

    assert result.parseoutcomes()["failed"] == 1
    assert "no longer diverges" not in result.stdout.str()


def test_an_entry_of_which_nothing_ran_is_left_alone(project: pytest.Pytester) -> None:
    """A run that does not run a case says nothing about what is known of it."""
    contract(project, KNOWN + KNOWN.replace("test_odd", "errors/*"))
    project.makepyfile(IMPORTS + TEST_ODD + "def test_other(host):\n    pass\n")

    assert run(project, "-k", "test_other", runtimes="one,two").ret == 0
    assert run(project, runtimes="one").ret == 0


def test_the_contract_is_written(project: pytest.Pytester) -> None:
    """--wasm-update-contract writes what was measured, with head-room, and judges nothing meanwhile."""
    path = contract(project, '# ours\n[ceilings.one]  # kept\n"cold/no-cache" = "0.001us"\n')
    project.makepyfile(
        IMPORTS + "def test_it(cold_start, warm_latency):\n    cold_start.take(), warm_latency.take()\n"
    )
    result = run(project, "--wasm-update-contract")
    text = path.read_text()

    assert result.ret == 0
    assert text.startswith("# ours\n[ceilings.one]  # kept\n")
    assert "0.001us" not in text
    assert '"warm/tiny" = "' in text
    # It can be read; whether a later run is as fast is not for a test to say.
    assert run(project, "--wasm-conformance", "-k", "test_warm_latency", "--collect-only").ret == 0


# -- a baseline


def test_against_a_baseline(pytester: pytest.Pytester) -> None:
    """Starts are compared in pairs, and every case whose outcome changed is listed, with where.

    Whether the cases still diverge as the contract knows is not asked: they are not held against the reference.
    """
    known = KNOWN.replace("two >=1.0,<2", "wasmtime")
    contract(pytester, known.replace("test_odd", "errors/*uncaught*"))
    wat.write(pytester.path / "base.wasm", wat.ruby_like("main.rb:1: old words (RuntimeError)\n"))
    wat.write(pytester.path / "head.wasm", wat.ruby_like("main.rb:1: new words (RuntimeError)\n"))
    options = (
        "--runtimes=wasmtime", "--wasm-artifact=head.wasm", "--wasm-conformance", "--wasm-latency-budget=1",
        "-k", "test_baseline and (no_slower or uncaught)", "--wasm-margin=900%",
    )  # fmt: skip
    changed = pytester.runpytest_subprocess(*options, "--wasm-against=base.wasm")
    same = pytester.runpytest_subprocess(*options, "--wasm-against=head.wasm")

    assert changed.ret == same.ret == 0
    changed.stdout.re_match_lines(
        [
            r"pass: wasmtime cold/code-cache: \S+ times the baseline, interval \[.*\], \d+ pairs, .*: "
            r"within the margin of .*",
            r"\d+ outcomes compared on 1 runtime with the baseline base, sha256 .*: changed:",
            r"  errors/uncaught\S* \(stderr\) on wasmtime",
        ]
    )
    assert ": no outcome changed" in same.stdout.str()


def test_a_deployed_edge_has_no_baseline(project: pytest.Pytester) -> None:
    """What is deployed holds one artifact: it is not compared with itself, nor is that an error."""
    project.makeconftest(
        CONFTEST.replace(
            "def crooked", "class Edge(FakeRuntime):\n    deployed = True\n\ndef crooked"
        ).replace('FakeRuntime("one")', 'FakeRuntime("one"), Edge("edge")')
    )
    project.makepyfile("def test_it(host, baseline_host):\n    assert host is not baseline_host\n")
    result = run(project, "--wasm-against=echo.wasm", "-rs", runtimes="one,edge")

    result.assert_outcomes(passed=1, skipped=1)
    assert "edge is deployed: it holds one artifact, and not the baseline" in result.stdout.str()


def test_a_baseline_that_is_not_there(project: pytest.Pytester) -> None:
    """A baseline that cannot be used is a usage error."""
    result = run(project, "--wasm-against=nowhere.wasm")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "there is no file" in result.stderr.str()


# -- samples


def samples(path: Path) -> list[dict[str, object]]:
    """Return the samples of a journal."""
    return [line for text in path.read_text().splitlines() if "elapsed_ns" in (line := json.loads(text))]


def test_samples_are_kept(project: pytest.Pytester) -> None:
    """Raw samples are in pytest's cache folder, or in the file that was named; none without a cache folder."""
    project.makepyfile("def test_it(cold_start, warm_latency):\n    cold_start.take(), warm_latency.take()\n")
    run(project, "--wasm-seed=5")
    (kept,) = (project.path / ".pytest_cache" / "d" / "wasmedge-samples").iterdir()
    run(project, "--wasm-samples=mine.jsonl", "-p", "no:cacheprovider")

    kinds = sorted(str(each["kind"]) for each in samples(kept))
    assert kinds == ["cold/no-cache"] * 12 + ["warm/tiny"] * 20
    assert {each["seed"] for each in samples(kept)} == {5}
    assert {each["runtime_version"] for each in samples(kept)} == {"1.0"}
    assert len(samples(project.path / "mine.jsonl")) == 32


def test_a_killed_worker_loses_no_sample(project: pytest.Pytester) -> None:
    """`kill -9` in mid-measurement leaves every sample that was taken, and the next run starts at once."""
    project.makeconftest(
        """
        import os, signal
        from pathlib import Path
        from pytest_wasmedge.testing import FakeRuntime

        HERE = Path(__file__).parent

        def answer(invocation):
            with open(HERE / "asked", "ab") as file:
                file.write(b".")
            if (HERE / "asked").stat().st_size == 20:
                os.kill(os.getpid(), signal.SIGKILL)
            return invocation.stdin

        def pytest_wasmedge_runtimes(config, runtimes):
            return [FakeRuntime("wasmtime", answer)]
        """
    )
    project.makepyfile("def test_it(warm_latency):\n    warm_latency.take()\n")
    options = ("--runtimes=wasmtime", "--wasm-artifact=echo.wasm", "--wasm-samples=kept.jsonl")
    killed = project.runpytest_subprocess(*options, "-n", "1", "--max-worker-restart=0")
    asked = (project.path / "asked").stat().st_size
    kept = len(samples(project.path / "kept.jsonl"))

    assert killed.ret != 0
    # All but what came before the first sample (is it a Ruby, twice; what it answers, twice) and the last, deadly one.
    assert (asked, kept) == (20, 15)
    again = project.runpytest_subprocess(*options, timeout=60)
    again.assert_outcomes(passed=1)
    assert len(samples(project.path / "kept.jsonl")) == 15 + 20


def test_separate_runs_wait_for_each_other(project: pytest.Pytester) -> None:
    """While one pytest measures, no test of another one runs; both end."""
    project.makeconftest(
        """
        import os
        from pathlib import Path
        from pytest_wasmedge.testing import FakeRuntime

        JOURNAL = Path(__file__).with_name("journal")
        ME = os.environ["WHO"].encode()

        def answer(invocation):
            with JOURNAL.open("ab", buffering=0) as file:
                file.write(ME + b" " + (invocation.stdin.strip() or b"measured") + b"\\n")
            return invocation.stdin

        def pytest_wasmedge_runtimes():
            return [FakeRuntime("wasmtime", answer)]
        """
    )
    project.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(15))
        def test_works(host, number):
            for _ in range(30):
                host.run("works")

        @pytest.mark.parametrize("number", range(15))
        def test_measures(host, warm_latency, number):
            warm_latency.take()
        """
    )
    command = [
        sys.executable, "-m", "pytest", "--runtimes=wasmtime", "--wasm-artifact=echo.wasm", "-q",
        "-p", "no:cacheprovider",
    ]  # fmt: skip
    runs = [
        subprocess.Popen([*command], cwd=project.path, env={**os.environ, "WHO": who}, stdout=subprocess.PIPE)
        for who in ("a", "b")
    ]
    said = [each.communicate(timeout=120)[0].decode() for each in runs]
    lines = (project.path / "journal").read_text().splitlines()

    assert [each.returncode for each in runs] == [0, 0], said
    # 22 invocations make a measurement; between them nobody else says anything.
    stretches, length = [], 0
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        length += 1
        if following != line:
            stretches += [length] if line.endswith("measured") else []
            length = 0
    assert stretches
    assert [each for each in stretches if each % 22] == []


def test_a_run_inside_a_test_does_not_wait_for_it(project: pytest.Pytester) -> None:
    """A test that starts a pytest which measures is not waited for by the one that it waits for."""
    project.makepyfile(
        test_outer="""
        import subprocess, sys

        def test_outer(host):
            inner = [sys.executable, "-m", "pytest", "inner.py", "--runtimes=one", "--wasm-artifact=echo.wasm"]
            assert subprocess.run(inner, timeout=60).returncode == 0
        """,
        inner="def test_inner(cold_start):\n    cold_start.take()\n",
    )

    run(project).assert_outcomes(passed=1)


@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_pytest_benchmark_gets_them(project: pytest.Pytester, options: list[str]) -> None:
    """What the fixtures measure lands in pytest-benchmark's storage, under xdist too, and can be compared."""
    project.makepyfile(
        "def test_it(cold_start):\n    cold_start.take()\ndef test_warm(warm_latency):\n    warm_latency.take()\n"
    )
    command = ("--wasm-artifact=echo.wasm", "--runtimes=one,two", *options)
    result = project.runpytest_subprocess(*command, "--benchmark-json=out.json", "--benchmark-autosave")
    result.assert_outcomes(passed=4)
    stored = json.loads((project.path / "out.json").read_text())["benchmarks"]

    assert sorted((each["name"], each["group"], each["stats"]["rounds"]) for each in stored) == [
        ("test_it[one]", "cold/no-cache", 12),
        ("test_it[two]", "cold/no-cache", 12),
        ("test_warm[one]", "warm/tiny", 20),
        ("test_warm[two]", "warm/tiny", 20),
    ]
    assert len(stored[0]["stats"]["data"]) == stored[0]["stats"]["rounds"]
    assert len(stored[0]["extra_info"]["artifact_sha256"]) == 64
    compared = project.run(sys.executable, "-m", "pytest_benchmark", "compare")
    assert compared.ret == 0
    assert "test_it[one]" in compared.stdout.str()
