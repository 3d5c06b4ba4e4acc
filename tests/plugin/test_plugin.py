"""The pytest side: options, selection, fixtures, marks, hooks, and what a user reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import wat

# Every built-in runtime is replaced by one that cannot run here, so that no test depends on the machine; one
# and two echo, three cannot run here, broken does not start, dying dies at its first invocation.
CONFTEST = """
import dataclasses
from pytest_wasmedge import *
from pytest_wasmedge.testing import FakeRuntime

class Broken(FakeRuntime):
    def start(self, artifact, limits):
        raise HostStartError("broken: the engine said \\x1b[31mno\\x07. Give it another try.")

def die(invocation):
    raise HostStartError("dying: the host died and cannot be started again. Its log ends:\\n\\x1b[2Jgone")

def pytest_wasmedge_runtimes(config, runtimes):
    missing = Availability(False, reason="not in this test", install="fetch it")
    return [
        *(FakeRuntime(name, availability=missing) for name in runtimes),
        FakeRuntime("one"),
        FakeRuntime("two"),
        FakeRuntime("three", availability=Availability(False, reason="no three found", install="fetch three")),
        Broken("broken"),
        FakeRuntime("dying", die),
    ]
"""
TESTS = """
def test_echo(host):
    assert host.run(b"hello").stdout == b"hello"

def test_name(host):
    assert host.run().runtime == host.runtime.name
"""
BUILTIN = ("wasmtime", "bun", "deno", "node", "wasmtime-cli", "workerd")


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with the fakes, an echo artifact and two tests that take `host`."""
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TESTS)
    return pytester


def run(project: pytest.Pytester, *options: str, artifact: str = "echo.wasm") -> pytest.RunResult:
    """Run pytest in this process with the echo artifact, warnings being errors."""
    return project.runpytest_inprocess(f"--wasm-artifact={artifact}", "-W", "error", *options)


def ids(result: pytest.RunResult) -> list[str]:
    """Return what `--collect-only -q` listed, without the file."""
    return [line.partition("::")[2] for line in result.outlines if "::" in line]


def table_of(result: pytest.RunResult) -> list[str]:
    """Return the lines of the closing table."""
    begin = next(at for at, line in enumerate(result.outlines) if "portability of" in line)
    lines = result.outlines[begin + 1 :]
    end = next(at for at, line in enumerate(lines) if line.startswith("="))
    return lines[:end]


# -- selection


def test_each_test_runs_once_per_runtime(project: pytest.Pytester) -> None:
    """A test that takes `host` runs on every selected runtime, and its id names it."""
    result = run(project, "--runtimes=one,two", "-v")

    result.assert_outcomes(passed=4)
    assert result.ret == 0
    result.stdout.fnmatch_lines_random(
        ["*::test_echo?one? PASSED*", "*::test_echo?two? PASSED*", "*::test_name?two? PASSED*"]
    )
    assert table_of(result) == [
        "PORTABLE on 2 of 2 runtimes · 4 checks · 0 known divergences · 0 undecided",
        "runtime  version  engine    passed  failed  skipped  divergences  cold ms  warm ms",
        "one      1.0      none 1.0       2       0        0            0        -        -",
        "two      1.0      none 1.0       2       0        0            0        -        -",
    ]


def test_tests_of_one_runtime_stay_together(project: pytest.Pytester) -> None:
    """Tests are ordered by runtime, so that one host is up at a time."""
    result = run(project, "--runtimes=two,one", "--collect-only", "-q")

    assert ids(result) == ["test_echo[two]", "test_name[two]", "test_echo[one]", "test_name[one]"]


def test_no_table_when_only_collecting(project: pytest.Pytester) -> None:
    """`--collect-only` starts nothing and claims nothing."""
    result = run(project, "--runtimes=one,three,broken", "--collect-only")
    result = run(project, "--runtimes=one,broken", "--collect-only")

    assert result.ret == 0
    assert "portability of" not in result.stdout.str()


def test_keyword_selects_a_runtime(project: pytest.Pytester) -> None:
    """`-k` selects by runtime, as the name stands in the ids."""
    result = run(project, "--runtimes=one,two", "-k", "two and echo")

    result.assert_outcomes(passed=1, deselected=3)
    assert "one      1.0      none 1.0       0" in result.stdout.str()


def test_last_failed_is_per_runtime(project: pytest.Pytester) -> None:
    """`--lf` runs again what failed on the runtime where it failed, and nothing else."""
    project.makepyfile("def test_it(host):\n    assert host.runtime.name == 'one'\n")
    run(project, "--runtimes=one,two").assert_outcomes(passed=1, failed=1)
    result = run(project, "--runtimes=one,two", "--lf", "-v")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*::test_it?two? FAILED*"])


def test_unknown_runtime(project: pytest.Pytester) -> None:
    """An unknown name is a usage error that gives the nearest known one."""
    result = run(project, "--runtimes=wasmtme")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: unknown runtime 'wasmtme'. Did you mean wasmtime? Known: *, or all."]
    )
    assert "Traceback" not in result.stderr.str()


def test_missing_runtime_named(project: pytest.Pytester) -> None:
    """A runtime that is named and cannot run here is a usage error with the command that gets it."""
    result = run(project, "--runtimes=one,three")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: cannot run here, but asked for:", "  three: no three found; get it with `fetch three`"]
    )


@pytest.mark.parametrize("runtimes", ["three,all", "all, three"])
def test_missing_runtime_named_beside_all(project: pytest.Pytester, runtimes: str) -> None:
    """A runtime that is named stays named where `all` stands beside it."""
    result = run(project, f"--runtimes={runtimes}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.stderr.lines if line.startswith("  ")] == [
        "  three: no three found; get it with `fetch three`"
    ]


@pytest.mark.parametrize("runtimes", ["one,all", "one, all", "all,"])
def test_all_beside_a_name(project: pytest.Pytester, runtimes: str) -> None:
    """What only `all` stands for may be missing, with or without blanks."""
    result = run(project, f"--runtimes={runtimes}", "-k", "one")

    assert result.ret == 0
    assert "three  NOT RUN: no three found; get it with `fetch three`" in table_of(result)


def test_all_skips_loudly(project: pytest.Pytester) -> None:
    """Under `all` a missing runtime's tests skip with the reason, and the closing table says it once more."""
    result = run(project, "--runtimes=all", "-rs", "-k", "not broken and not dying")

    assert result.ret == 0
    assert result.parseoutcomes()["passed"] == 4
    result.stdout.fnmatch_lines(["SKIPPED * three: no three found; get it with `fetch three`"])
    assert "three  NOT RUN: no three found; get it with `fetch three`" in table_of(result)
    for name in BUILTIN:
        assert f"{name}  NOT RUN: not in this test; get it with `fetch it`" in table_of(result)


def test_default_is_wasmtime(project: pytest.Pytester) -> None:
    """Without `--runtimes`, `host` is wasmtime."""
    assert ids(run(project, "--collect-only", "-q")) == []
    project.makeconftest("")

    assert ids(run(project, "--collect-only", "-q")) == ["test_echo[wasmtime]", "test_name[wasmtime]"]


# -- require


@pytest.mark.parametrize("require", ["all", "three", "one,three"])
def test_required_and_missing(project: pytest.Pytester, require: str) -> None:
    """`--wasm-require` turns the loud skip into a usage error."""
    result = run(project, "--runtimes=all", f"--wasm-require={require}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["  three: no three found; get it with `fetch three`"])


def test_required_and_there(project: pytest.Pytester) -> None:
    """A required runtime that runs is no more than that."""
    result = run(project, "--runtimes=one,two", "--wasm-require=one")

    result.assert_outcomes(passed=4)


def test_required_but_not_selected(project: pytest.Pytester) -> None:
    """Requiring what is not selected would never run it: a usage error says so."""
    result = run(project, "--runtimes=one", "--wasm-require=two")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --wasm-require names two, which --runtimes does not select: *"])


def test_required_and_unknown(project: pytest.Pytester) -> None:
    """An unknown name in `--wasm-require` is found out too."""
    result = run(project, "--runtimes=one", "--wasm-require=tow")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: unknown runtime 'tow'. Did you mean two? *"])


# -- silence is never green


def test_nothing_ran_is_not_green(project: pytest.Pytester) -> None:
    """A run of which every test was skipped ends with 5 and says that it proves nothing."""
    result = run(project, "--runtimes=all", "-k", "three")

    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "no test ran on any runtime: this run proves nothing" in table_of(result)


def test_all_skipped_by_themselves_is_not_green(project: pytest.Pytester) -> None:
    """Tests that skip themselves have not run either."""
    project.makepyfile("import pytest\ndef test_it(host):\n    pytest.skip('not today')\n")
    result = run(project, "--runtimes=one")

    result.assert_outcomes(skipped=1)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_failing_stays_failing(project: pytest.Pytester) -> None:
    """A failure ends with 1, and its runtime's row counts it."""
    project.makepyfile("def test_it(host):\n    assert host.runtime.name == 'one'\n")
    result = run(project, "--runtimes=one,two")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "two      1.0      none 1.0       0       1        0            0" in result.stdout.str()


# -- marks and fixtures


def test_runtimes_mark(project: pytest.Pytester) -> None:
    """The mark narrows a test to some runtimes of those selected, and to a named skip if none is left."""
    project.makepyfile(
        """
        import pytest

        @pytest.mark.runtimes("two", "three")
        def test_two(host):
            assert host.runtime.name == "two"

        @pytest.mark.runtimes("three")
        def test_three(host):
            raise AssertionError
        """
    )
    result = run(project, "--runtimes=one,two", "-rs")

    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * is for three; --runtimes selects one, two"])


def test_unknown_name_in_a_mark(project: pytest.Pytester) -> None:
    """A mark that names an unknown runtime is an error of collection, with the nearest known name."""
    project.makepyfile(
        "import pytest\n@pytest.mark.runtimes('wasmtme')\ndef test_it(host):\n    raise AssertionError\n"
    )
    result = run(project, "--runtimes=one,two")

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "unknown runtime 'wasmtme'. Did you mean wasmtime?" in result.stdout.str()


def test_named_fixtures(project: pytest.Pytester) -> None:
    """Each runtime has a fixture of its name, whatever is selected; a missing one's tests skip with the reason."""
    project.makepyfile(
        """
        def test_two(two_host):
            assert two_host.runtime.name == "two"

        def test_missing(wasmtime_cli_host):
            raise AssertionError

        class TestInAClass:
            def test_both(self, one_host, two_host):
                assert (one_host.runtime.name, two_host.runtime.name) == ("one", "two")

        def test_one(host):
            pass
        """
    )
    result = run(project, "--runtimes=one", "-rs")

    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * wasmtime-cli: not in this test; get it with `fetch it`"])


def test_hosts_are_those_that_run(project: pytest.Pytester) -> None:
    """`hosts` are all selected hosts that can run here, by name."""
    project.makepyfile(
        "def test_agree(hosts):\n"
        "    assert list(hosts) == ['one', 'two']\n"
        "    assert len({host.run(b'x').stdout for host in hosts.values()}) == 1\n"
        "def test_one(host):\n    pass\n"
    )

    run(project, "--runtimes=one,two").assert_outcomes(passed=3)


def test_host_and_hosts_are_the_same(project: pytest.Pytester) -> None:
    """All fixtures share one started host per runtime, and it counts on."""
    project.makepyfile(
        "def test_same(host, hosts, one_host):\n"
        "    assert host is hosts['one'] is one_host\n"
        "    assert [host.run().invocation, one_host.run().invocation] == [1, 2]\n"
    )

    run(project, "--runtimes=one").assert_outcomes(passed=1)


def test_artifact_fixture(project: pytest.Pytester) -> None:
    """`artifact` tells path, digest, size and name of what is under test."""
    project.makepyfile(
        "def test_it(host, artifact):\n"
        "    assert artifact.path.read_bytes()[:4] == b'\\0asm'\n"
        "    assert (artifact.name, artifact.builtin, len(artifact.sha256)) == ('echo', False, 64)\n"
        "    assert host.artifact is artifact\n"
    )

    run(project, "--runtimes=one").assert_outcomes(passed=1)


def test_a_project_s_own_host_fixture(project: pytest.Pytester) -> None:
    """A project that has a fixture `host` of its own is left alone."""
    project.makepyfile(
        "import pytest\n@pytest.fixture\ndef host():\n    return 'localhost'\n"
        "def test_it(host):\n    assert host == 'localhost'\n"
    )
    result = project.runpytest_inprocess("-W", "error")

    result.assert_outcomes(passed=1)
    assert "portability of" not in result.stdout.str()


def test_latency_is_measured_and_shown(project: pytest.Pytester) -> None:
    """`cold_start` and `warm_latency` take raw samples; the table shows their medians and what cold means."""
    project.makeconftest(
        CONFTEST.replace('FakeRuntime("one"),', 'FakeRuntime("one"), FakeRuntime("wasmtime"),')
    )
    project.makepyfile(
        "def test_cold(cold_start):\n"
        "    assert (cold_start.kind, len(cold_start.take().elapsed_ns)) == ('cold/no-cache', 12)\n"
        "def test_warm(warm_latency):\n"
        "    assert (warm_latency.kind, len(warm_latency.take().elapsed_ns)) == ('warm/tiny', 20)\n"
    )
    result = run(project, "--runtimes=one")

    result.assert_outcomes(passed=2)
    result.stdout.re_match_lines(
        [
            r"one      1\.0      none 1\.0       2       0        0            0      0\.\d      0\.\d",
            "cold ms, warm ms: medians; cold/no-cache: one",
        ]
    )


def test_hazards_are_shown(project: pytest.Pytester) -> None:
    """What a test reports as a hazard of the artifact stands under the table, its control characters escaped."""
    project.makepyfile(
        "def test_it(host, report_hazard):\n    report_hazard('frozen \\x1b[31mseed')\n"
        "def test_two(host):\n    pass\n"
    )
    result = run(project, "--runtimes=one,two")

    assert table_of(result)[-1] == (
        r"known hazard of this artifact: frozen \x1b[31mseed (seen on every runtime run)"
    )


# -- failures of hosts


def test_a_runtime_that_does_not_start(project: pytest.Pytester) -> None:
    """Each of its tests says why in our words alone, escaped; the tests of the others run."""
    result = run(project, "--runtimes=broken,two")

    result.assert_outcomes(errors=2, passed=2)
    text = result.stdout.str()
    assert text.count(r"broken: the engine said \x1b[31mno\x07. Give it another try.") >= 2
    assert "\x1b[31mno" not in text
    assert "Traceback" not in text
    assert "plugin.py" not in text
    assert "HostStartError" not in text
    assert "broken   1.0      none 1.0       0       2" in text


def test_a_host_that_dies_in_mid_run(project: pytest.Pytester) -> None:
    """A host that died and cannot be started again says so in each test; the other runtime's tests run."""
    result = run(project, "--runtimes=dying,two")

    result.assert_outcomes(failed=2, passed=2)
    text = result.stdout.str()
    assert "dying: the host died and cannot be started again. Its log ends:\n" in text
    assert "\n\\x1b[2Jgone\n" in text
    assert "\x1b[2J" not in text


def test_a_host_that_fails_is_an_outcome(project: pytest.Pytester) -> None:
    """A host that answers nonsense gives an outcome to look at, and the next invocation is another one."""
    project.makeconftest(
        """
        from pytest_wasmedge import *
        from pytest_wasmedge.testing import FakeRuntime

        def pytest_wasmedge_runtimes(config, runtimes):
            answers = iter([Outcome(b"", b"", host_failed("killed")), b"fine"])
            return [FakeRuntime("flaky", lambda invocation: next(answers))]
        """
    )
    project.makepyfile(
        "def test_it(host):\n"
        "    assert host.run().ending.kind == 'host_failed'\n"
        "    assert host.run().stdout == b'fine'\n"
    )

    run(project, "--runtimes=flaky").assert_outcomes(passed=1)


# -- references and divergences

DIVERGING = """
from pytest_wasmedge import *
from pytest_wasmedge.testing import FakeRuntime

def pytest_wasmedge_runtimes(config, runtimes):
    return [FakeRuntime("one", lambda invocation: b"\\x1b[31mred\\n"),
            FakeRuntime("two", lambda invocation: Outcome(b"blue\\x07\\n", b"", exited(3)))]
"""
AGREES = """
from pytest_wasmedge import Invocation, assert_same

def test_agrees(host, reference):
    assert_same(host.run(b"x"), reference.of_invocation(Invocation(b"x")))
"""


def test_divergences_are_counted_and_told(project: pytest.Pytester) -> None:
    """Each divergence is counted in its runtime's row, and told with runtime, field, byte and line, escaped."""
    project.makeconftest(DIVERGING)
    project.makepyfile(AGREES)
    result = run(project, "--runtimes=one,two")

    result.assert_outcomes(passed=1, failed=1)
    text = result.stdout.str()
    assert "two: ending: expected exited(0), got exited(3)" in text
    assert "two: stdout first differs at byte 0, line 1: expected " in text
    assert "two      1.0      none 1.0       0       1        0            2" in text
    assert "\x1b[31mred" not in text
    assert "\x07" not in text


def test_reference_by_name(project: pytest.Pytester) -> None:
    """`--wasm-reference=NAME` holds all outcomes against that runtime's, also if it is not selected."""
    project.makeconftest(DIVERGING)
    project.makepyfile(AGREES)
    swapped = run(project, "--runtimes=one,two", "--wasm-reference=two", "-v")
    apart = run(project, "--runtimes=one", "--wasm-reference=two", "-v")

    swapped.assert_outcomes(passed=1, failed=1)
    swapped.stdout.fnmatch_lines(["*::test_agrees?one? FAILED*", "reference: two, run in the same session"])
    apart.assert_outcomes(failed=1)


def test_unknown_reference(project: pytest.Pytester) -> None:
    """An unknown reference is a usage error."""
    result = run(project, "--runtimes=one", "--wasm-reference=gold")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "unknown runtime 'gold'" in result.stderr.str()


def test_two_references(project: pytest.Pytester) -> None:
    """There is one reference: a list of names is a usage error."""
    result = run(project, "--runtimes=one", "--wasm-reference=one,two")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--wasm-reference=one,two names 2 runtimes: name one, or golden." in result.stderr.str()


def test_reference_is_the_first_that_can_run(project: pytest.Pytester) -> None:
    """With an artifact of one's own, the reference is the first selected runtime that can run here."""
    project.makepyfile(AGREES)
    result = run(project, "--runtimes=all", "-k", "one or two")

    assert result.ret == 0
    assert "reference: one, run in the same session" in table_of(result)


def test_missing_reference(project: pytest.Pytester) -> None:
    """A reference that cannot run here is told before any test runs, with the command that gets it."""
    result = run(project, "--runtimes=one", "--wasm-reference=three")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "three: no three found; get it with `fetch three`" in result.stderr.str()


def test_golden_is_the_default_with_the_built_in_artifact(project: pytest.Pytester) -> None:
    """The built-in artifact is held against golden files; with another artifact they must be asked for."""
    project.makepyfile(
        "def test_it(reference):\n    pass\ndef test_asks(host, reference):\n    reference.asked['a case'] = True\n"
    )
    builtin = run(project, "--runtimes=one", artifact="ruby-worker")
    asked = run(project, "--runtimes=one", "--wasm-reference=golden")
    other = run(project, "--runtimes=one", "-k", "test_it")

    assert "reference:" not in other.stdout.str()
    builtin.stdout.fnmatch_lines(["*portability of ruby-worker, sha256 *", "reference: golden files"])
    asked.stdout.fnmatch_lines(["*portability of echo, sha256 *", "reference: golden files"])


def test_what_no_golden_file_tells_is_asked_of_the_usual_runtime(project: pytest.Pytester) -> None:
    """Beside golden files wasmtime is the reference, wherever it stands: another's fault is its own alone."""
    project.makeconftest(DIVERGING.replace('"one"', '"wasmtime"'))
    project.makepyfile(AGREES)
    result = run(project, "--runtimes=two,wasmtime", "-v", artifact="ruby-worker")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines_random(
        ["*::test_agrees?wasmtime? PASSED*", "*::test_agrees?two? FAILED*", "reference: golden files"]
    )


# -- the hooks


def test_wrapping_a_built_in_runtime(project: pytest.Pytester) -> None:
    """The hook is given the built-in runtimes, so that it can wrap one; the wrapped one takes its place."""
    project.makeconftest(
        """
        from pytest_wasmedge.testing import FakeRuntime

        class Loud(FakeRuntime):
            def __init__(self, inner):
                super().__init__(inner.name, lambda invocation: invocation.stdin.upper())
                self.inner = inner

        def pytest_wasmedge_runtimes(config, runtimes):
            return [Loud(runtimes["wasmtime"])]
        """
    )
    project.makepyfile(
        "def test_it(host, wasmtime_host):\n"
        "    assert host is wasmtime_host\n"
        "    assert host.run(b'x').stdout == b'X'\n"
        "    assert type(host.runtime.inner).__name__ == 'Wasmtime'\n"
    )

    run(project, "--runtimes=wasmtime").assert_outcomes(passed=1)


def test_runtimes_of_another_package(project: pytest.Pytester) -> None:
    """A plugin adds runtimes as a conftest does; one that has none to add returns None."""
    project.makeconftest("def pytest_wasmedge_runtimes():\n    return None\n")
    project.makepyfile(
        other_package="from pytest_wasmedge.testing import FakeRuntime\n"
        "def pytest_wasmedge_runtimes(runtimes):\n    return [FakeRuntime('another')]\n",
        test_it="def test_it(host, another_host):\n    assert host.runtime.name == 'another'\n",
    )
    project.syspathinsert()

    run(project, "-p", "other_package", "--runtimes=another", "test_it.py").assert_outcomes(passed=1)


def test_corpora_of_another_package(project: pytest.Pytester) -> None:
    """A hook adds folders of cases, which run with the bundled ones."""
    cases = project.mkdir("cases")
    (cases / "mine").mkdir()
    (cases / "mine" / "hello.rb").write_text("# It says hello.\nputs 'hello'\n")
    project.makeconftest(
        CONFTEST + "\nfrom pathlib import Path\n"
        "def pytest_wasmedge_corpora(config):\n    return [Path(__file__).parent / 'cases']\n"
    )
    result = run(
        project, "--runtimes=one", "--wasm-conformance", "--collect-only", "-q", "-k", "mine/hello or hello"
    )

    assert [test for test in ids(result) if "mine/hello" in test] == ["test_case[one-mine/hello]"]


# -- with and without other plugins


@pytest.mark.parametrize(
    "options", [["-p", "no:xdist"], ["-p", "no:cacheprovider"], ["-p", "no:benchmark"], ["-p", "no:randomly"]]
)
def test_without_another_plugin(project: pytest.Pytester, options: list[str]) -> None:
    """No other plugin is needed."""
    run(project, "--runtimes=one,two", *options).assert_outcomes(passed=4)


def test_without_a_terminal(project: pytest.Pytester) -> None:
    """Without a terminal reporter the run is as good, only silent."""
    result = run(project, "--runtimes=one,two", "-p", "no:terminal")

    assert result.ret == 0
    assert run(project, "--runtimes=broken", "-p", "no:terminal").ret == 1


def test_without_us(project: pytest.Pytester) -> None:
    """`-p no:wasmedge` takes us out of a run altogether."""
    project.makeconftest("")
    project.makepyfile("def test_it():\n    pass\n")
    result = project.runpytest_inprocess("-p", "no:wasmedge", "-W", "error")

    result.assert_outcomes(passed=1)
    assert project.runpytest_inprocess("-p", "no:wasmedge", "--runtimes=all").ret == 4


def test_an_unrelated_run_is_left_alone(project: pytest.Pytester) -> None:
    """Without our options and fixtures, a run shows nothing of us."""
    project.makeconftest("")
    project.makepyfile("def test_it():\n    pass\n")
    result = project.runpytest_inprocess("-W", "error", "--strict-markers")

    result.assert_outcomes(passed=1)
    assert "portability" not in result.stdout.str()


def test_options_are_described(project: pytest.Pytester) -> None:
    """`--help` lists every option of ours, `--markers` every mark, `--fixtures` every fixture."""
    helped = project.runpytest_inprocess("--help").stdout.str()
    marks = project.runpytest_inprocess("--markers").stdout.str()
    fixtures = project.runpytest_inprocess("--fixtures").stdout.str()

    for option in (
        "--runtimes",
        "--wasm-artifact",
        "--wasm-require",
        "--wasm-reference",
        "--wasm-conformance",
        "--wasm-against",
        "--wasm-margin",
        "--wasm-contract",
        "--wasm-update-contract",
        "--wasm-strict-latency",
        "--wasm-latency-budget",
        "--wasm-seed",
        "--wasm-samples",
        "--wasm-remote",
        "--wasm-remote-header",
    ):
        assert option in helped
    assert "@pytest.mark.runtimes(name, …)" in marks
    for fixture in ("host", "hosts", "artifact", "reference", "cold_start", "warm_latency", "two_host"):
        assert f"\n{fixture} [" in fixtures or f"\n{fixture} -- " in fixtures, fixture


# -- the bundled suite


def test_the_suite_is_collected_once(project: pytest.Pytester) -> None:
    """`--wasm-conformance` adds the bundled suite to one's own tests, once, also if its folder was named."""
    from pytest_wasmedge.portability import bundled

    once = ids(run(project, "--runtimes=one", "--wasm-conformance", "--collect-only", "-q"))
    named = ids(
        run(
            project,
            "--runtimes=one",
            "--wasm-conformance",
            "--collect-only",
            "-q",
            ".",
            str(bundled.suite()),
            # Else pytest takes the folder above both, and with it another project's contract.
            f"--rootdir={project.path}",
        )
    )

    assert len(once) == len(set(once))
    assert {"test_echo[one]", "test_empty_input_ends_by_itself[one]"} <= set(once)
    assert sorted(named) == sorted(once)


def test_conformance_in_an_empty_folder(pytester: pytest.Pytester, tmp_path: Path) -> None:
    """The bundled suite is enough: no test of one's own is needed."""
    pytester.makeconftest(CONFTEST)
    echo = wat.write(tmp_path / "echo.wasm", wat.ECHO)
    result = run(pytester, "--runtimes=one", "--wasm-conformance", "-k", "any_input", artifact=str(echo))

    assert result.ret == 0
    assert result.parseoutcomes()["passed"] == 10


def test_everyday_words_of_others_are_left_alone(pytester: pytest.Pytester) -> None:
    """A project with parameters and fixtures of its own called host, hosts and deno_host never notices us."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("host", ["a", "b"])
        def test_parameter(host):
            assert host in "ab"

        @pytest.fixture
        def hosts():
            return ["a"]

        @pytest.fixture
        def deno_host():
            return "mine"

        def test_fixtures(hosts, deno_host):
            assert (hosts, deno_host) == (["a"], "mine")

        class TestOwnHost:
            @pytest.fixture(params=[1, 2])
            def host(self, request):
                return request.param

            def test_own(self, host):
                assert host in (1, 2)
        """
    )
    result = pytester.runpytest_subprocess()

    result.assert_outcomes(passed=5)
    assert "portability of" not in result.stdout.str()


def test_nothing_in_our_cache_is_collected(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tools bring tests of their own, which are none of a project that has the cache in its folder."""
    place = pytester.mkdir("cache")
    (place / "test_of_a_tool.py").write_text("def test_of_a_tool():\n    assert False\n")
    pytester.makepyfile("def test_ours():\n    pass\n")
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", "cache")

    pytester.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=1)
    monkeypatch.delenv("PYTEST_WASMEDGE_CACHE")
    pytester.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=1, failed=1)
