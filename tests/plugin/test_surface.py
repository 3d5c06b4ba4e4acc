"""The surface works as pytest does: a value to select by, names that nobody else has, nothing that acts when read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pytest_wasmedge
from tests import wat

PACKAGE = Path(pytest_wasmedge.__file__).parent
CONFTEST = """
from pytest_wasmedge import *
from pytest_wasmedge.testing import FakeRuntime

class Noting(FakeRuntime):
    def start(self, artifact, limits):
        with open("started", "a") as file:
            file.write(self.name + "\\n")
        return super().start(artifact, limits)

def pytest_wasmedge_runtimes(config, runtimes):
    return [Noting(name) for name in ("wasmtime", "one", "two")]
"""
sees_overridden = pytest.mark.skipif(
    pytest.version_tuple < (9,),
    reason="before pytest 9 a fixture that overrides another hides what that one needs",
)
#: What pytest-testinfra has, as far as pytest sees it.
OTHER_PLUGIN = """
import pytest

@pytest.fixture
def host():
    return "theirs"
"""
PREFIXED = (
    "wasm_session",
    "wasm_artifact",
    "wasm_runtime",
    "wasm_host",
    "wasm_hosts",
    "wasm_reference",
    "wasm_cold_start",
    "wasm_cold_floor",
    "wasm_warm_latency",
    "wasm_slowdown",
    "wasm_instance_memory",
    "wasm_baseline_host",
    "wasm_report_hazard",
    "wasm_report_change",
    "wasm_measuring",
    "wasm_one_host",
)


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with fakes that note each start, and an echo artifact."""
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    pytester.makeconftest(CONFTEST)
    return pytester


def run(project: pytest.Pytester, *options: str, runtimes: str = "one,two") -> pytest.RunResult:
    """Run pytest in this process with the echo artifact, warnings being errors."""
    return project.runpytest_inprocess(
        "--wasm-artifact=echo.wasm", f"--runtimes={runtimes}", "-W", "error", *options
    )


def collected(project: pytest.Pytester, *options: str, runtimes: str = "one,two") -> list[str]:
    """Return the ids of what is collected, without the file."""
    result = run(project, "--collect-only", "-q", *options, runtimes=runtimes)
    return [line.partition("::")[2] for line in result.outlines if "::" in line]


def counted(result: pytest.RunResult) -> dict[str, int]:
    """Return how many tests passed on each runtime, by the closing table."""
    rows = re.findall(r"^(\w+) +1\.0 +none 1\.0 +(\d+) ", result.stdout.str(), re.MULTILINE)
    return {name: int(passed) for name, passed in rows}


# -- selection parametrises a value


def test_the_runtime_is_a_value(project: pytest.Pytester) -> None:
    """`wasm_runtime` is the name of a runtime; asking for it runs a test once for each, and starts nothing."""
    project.makepyfile("def test_it(wasm_runtime):\n    assert wasm_runtime in ('one', 'two')\n")
    result = run(project)

    result.assert_outcomes(passed=2)
    assert collected(project) == ["test_it[one]", "test_it[two]"]
    assert counted(result) == {"one": 1, "two": 1}
    assert not (project.path / "started").exists()


def test_host_is_of_the_runtime(project: pytest.Pytester) -> None:
    """A test that takes both gets the host of that runtime, and one parameter in its id."""
    project.makepyfile(
        "def test_it(host, wasm_host, wasm_runtime):\n"
        "    assert host is wasm_host and host.runtime.name == wasm_runtime\n"
    )

    run(project).assert_outcomes(passed=2)
    assert collected(project) == ["test_it[one]", "test_it[two]"]


@pytest.mark.parametrize(
    "needs", ["wasm_host", pytest.param("host", marks=sees_overridden), "host, wasm_runtime"]
)
def test_overriding_host(project: pytest.Pytester, needs: str) -> None:
    """A project may put something of its own around `host`; its tests run, and count, for each runtime."""
    inner = needs.partition(",")[0]
    project.makepyfile(
        "import pytest\n@pytest.fixture\n"
        f"def host({needs}):\n    return ('wrapped', {inner})\n"
        "def test_it(host):\n"
        "    assert host[0] == 'wrapped' and host[1].run(b'x').stdout == b'x'\n"
    )
    result = run(project, "--wasm-latency-budget=1")

    result.assert_outcomes(passed=2)
    assert counted(result) == {"one": 1, "two": 1}


def test_overriding_the_runtime(project: pytest.Pytester) -> None:
    """A project may say itself which runtime its tests are of: they run there, once, and count there."""
    project.makepyfile(
        "import pytest\n@pytest.fixture(scope='session')\ndef wasm_runtime():\n    return 'two'\n"
        "def test_it(host):\n    assert host.runtime.name == 'two'\n"
    )
    result = run(project)

    result.assert_outcomes(passed=1)
    assert counted(result) == {"one": 0, "two": 1}


def test_usefixtures(project: pytest.Pytester) -> None:
    """`usefixtures("host")` declares it: `getfixturevalue` gives the host of each runtime in turn."""
    project.makepyfile(
        "import pytest\n@pytest.mark.usefixtures('host')\n"
        "def test_it(request):\n"
        "    assert request.getfixturevalue('host').runtime.name == request.getfixturevalue('wasm_runtime')\n"
    )
    result = run(project)

    result.assert_outcomes(passed=2)
    assert counted(result) == {"one": 1, "two": 1}


@pytest.mark.parametrize("fixture", ["host", "wasm_host"])
def test_getfixturevalue(project: pytest.Pytester, fixture: str) -> None:
    """`getfixturevalue("host")` alone gives the host of the one selected runtime, and the test counts for it."""
    project.makepyfile(
        f"def test_it(request):\n    assert request.getfixturevalue('{fixture}').runtime.name == 'two'\n"
    )
    result = run(project, runtimes="two")

    result.assert_outcomes(passed=1)
    assert result.ret == 0
    assert counted(result) == {"two": 1}


def test_getfixturevalue_of_several(project: pytest.Pytester) -> None:
    """Where several runtimes are selected, the failure says how to declare that a test needs one."""
    project.makepyfile("def test_it(request):\n    request.getfixturevalue('host')\n")
    result = run(project)

    result.assert_outcomes(failed=1)
    assert (
        "the run has several: one, two. Declare wasm_runtime (or host) as an argument or by "
        "@pytest.mark.usefixtures('host')."
    ) in result.stdout.str()
    assert "pytest_wasmedge/" not in result.stdout.str()


def test_getfixturevalue_of_a_named_host(project: pytest.Pytester) -> None:
    """A named host that is asked for while the test runs counts as one that was declared."""
    project.makepyfile("def test_it(request):\n    request.getfixturevalue('two_host')\n")

    assert counted(run(project)) == {"one": 0, "two": 1}


@pytest.mark.parametrize(
    "mark",
    [
        "'wasm_runtime', ['two'], indirect=True",
        "'wasm_runtime', ['two']",
        "'host', ['two'], indirect=True",
        "'wasm_host', ['two'], indirect=['wasm_host']",
        "argnames='host', argvalues=['two'], indirect=True",
        "('number', 'host'), [(1, 'two')], indirect=['host']",
    ],
)
def test_parametrising_by_a_mark(project: pytest.Pytester, mark: str) -> None:
    """A project may parametrise the runtime, or `host` indirectly: all of a test's fixtures are of that runtime."""
    argument = "number, " if "number" in mark else ""
    project.makepyfile(
        f"import pytest\n@pytest.mark.parametrize({mark})\n"
        f"def test_it({argument}host, wasm_runtime, cold_start):\n"
        "    assert host.runtime.name == wasm_runtime == cold_start.runtime == 'two'\n"
    )
    result = run(project)

    result.assert_outcomes(passed=1)
    assert counted(result) == {"one": 0, "two": 1}
    assert collected(project) == [f"test_it[{'1-' if argument else ''}two]"]


def test_parametrising_by_a_hook(project: pytest.Pytester) -> None:
    """So may a hook of its conftest."""
    project.makeconftest(
        CONFTEST + "\ndef pytest_generate_tests(metafunc):\n"
        "    if 'wasm_runtime' in metafunc.fixturenames:\n"
        "        metafunc.parametrize('wasm_runtime', ['two'], indirect=True)\n"
    )
    project.makepyfile("def test_it(host):\n    assert host.runtime.name == 'two'\n")
    result = run(project)

    result.assert_outcomes(passed=1)
    assert counted(result) == {"one": 0, "two": 1}


def test_parametrising_host_by_a_hook(project: pytest.Pytester) -> None:
    """A hook that parametrises `host` is told to parametrise the runtime: marks can be read, hooks cannot."""
    project.makeconftest(
        CONFTEST + "\ndef pytest_generate_tests(metafunc):\n"
        "    metafunc.parametrize('host', ['two'], indirect=True)\n"
    )
    project.makepyfile("def test_it(host):\n    pass\n")
    result = run(project)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "a pytest_generate_tests parametrises host: let it parametrise wasm_runtime" in result.stdout.str()


@pytest.mark.parametrize("name", ["host", "wasm_runtime"])
def test_parametrising_all_tests_of_a_file(project: pytest.Pytester, name: str) -> None:
    """A mark on a class, or on all of a file, means the runtime too."""
    mark = f"pytest.mark.parametrize('{name}', ['two', pytest.param('one', id='first')], indirect=True)"
    project.makepyfile(
        test_file=f"import pytest\npytestmark = {mark}\n"
        "def test_a(host, cold_start):\n    assert host.runtime.name == cold_start.runtime\n"
        "def test_b(host):\n    pass\n",
        test_class=f"import pytest\n@{mark}\nclass TestIt:\n"
        "    def test_a(self, host):\n        pass\n    def test_b(self, host):\n        pass\n",
    )
    result = run(project)

    result.assert_outcomes(passed=8)
    assert counted(result) == {"one": 4, "two": 4}
    assert {each.partition("[")[2] for each in collected(project)} == {"two]", "first]"}


def test_a_host_of_its_own_is_parametrised_by_nobody_else(project: pytest.Pytester) -> None:
    """A project's own `host` keeps its own indirect parameters beside our runtime."""
    project.makepyfile(
        "import pytest\n@pytest.fixture\n"
        "def host(request, wasm_host):\n    return (request.param, wasm_host.runtime.name)\n"
        "@pytest.mark.parametrize('host', ['fast'], indirect=True)\n"
        "def test_it(host, wasm_runtime):\n    assert host == ('fast', wasm_runtime)\n"
    )

    run(project).assert_outcomes(passed=2)


def test_an_unknown_runtime_as_a_value(project: pytest.Pytester) -> None:
    """A value that is no runtime is one sentence with the nearest name."""
    project.makepyfile(
        "import pytest\n@pytest.mark.parametrize('wasm_runtime', ['tow'])\ndef test_it(host):\n    pass\n"
    )
    result = run(project)

    result.assert_outcomes(errors=1)
    assert "unknown runtime 'tow'. Did you mean two?" in result.stdout.str()
    assert "pytest_wasmedge/" not in result.stdout.str()


# -- names that others have too


@pytest.mark.parametrize("load", ["before", "after"])
@pytest.mark.parametrize("option", ["", "--runtimes=wasmtime", "--wasm-seed=5", "--wasm-margin=7%"])
def test_another_plugin_s_host(project: pytest.Pytester, load: str, option: str) -> None:
    """`host` of another plugin is left alone unless one of our options is given, whichever plugin is loaded first."""
    project.makepyfile(
        other_plugin=OTHER_PLUGIN,
        test_it=f"def test_it(host):\n    assert (host == 'theirs') is not {bool(option)}\n"
        "def test_prefixed(wasm_host):\n    assert wasm_host.runtime.name == 'wasmtime'\n",
    )
    project.syspathinsert()
    if load == "after":
        project.makeconftest(CONFTEST + "\npytest_plugins = ['other_plugin']\n")
    options = ["-p", "other_plugin"] if load == "before" else []
    options += [option] if option else []
    result = project.runpytest_inprocess("-W", "error", *options, "test_it.py")

    result.assert_outcomes(passed=2)


def test_the_suite_is_of_our_hosts(project: pytest.Pytester) -> None:
    """What a project calls `host` or `reference` is not what the bundled suite runs on."""
    project.makeconftest(
        CONFTEST + "\nimport pytest\n@pytest.fixture\ndef host():\n    return None\n"
        "@pytest.fixture\ndef reference():\n    return None\n"
    )
    result = run(project, "--wasm-conformance", "-k", "any_input or same_input")

    assert result.ret == 0
    assert result.parseoutcomes()["passed"] == 2 * 11


@sees_overridden
def test_a_conftest_s_host_is_no_other_plugin(project: pytest.Pytester) -> None:
    """A conftest's own `host` wins with our options too, and can ask for ours by the name that it takes."""
    project.makeconftest(
        CONFTEST + "\nimport pytest\n@pytest.fixture\ndef host(host):\n    return ('mine', host)\n"
    )
    project.makepyfile("def test_it(host):\n    assert host[0] == 'mine'\n    host[1].run(b'x')\n")

    assert counted(run(project)) == {"one": 1, "two": 1}


def test_every_fixture_has_a_prefixed_name(project: pytest.Pytester) -> None:
    """Each of our fixtures is listed, with what it is, by a name that begins with `wasm_`."""
    listed = run(project, "--fixtures").stdout.str()

    for name in PREFIXED:
        assert re.search(rf"^{name}( \[session scope\])? -- .*\n +\S", listed, re.MULTILINE), name
    # All that come from us, by the place of their definition.
    ours = re.findall(r"^(\w+)(?: \[session scope\])? -- \S*pytest_wasmedge/plugin/", listed, re.MULTILINE)
    assert {f"wasm_{name}" for name in ours if not name.startswith("wasm_")} <= set(ours)
    assert {"host", "hosts", "artifact", "cold_start", "one_host"} <= set(ours)


def test_private_attributes_are_read_in_one_file() -> None:
    """No module but private.py reads pytest's private attributes, and that one reads none with a public way."""
    owners = "item|metafunc|request|session|node|definition|fixturedef|config"
    read = re.compile(rf"\b(?:{owners})\._(?!_)\w+|getattr\([^()]*[\"'](_\w+)[\"']")
    found = {path.name for path in (PACKAGE / "plugin").glob("*.py") if read.search(path.read_text())}
    private = (PACKAGE / "plugin" / "private.py").read_text()

    assert found == {"private.py"}
    for name in ("_arg2fixturedefs", "_fixtureinfo", "_request"):
        assert name not in private


# -- measurements


def test_reading_a_measurement_starts_nothing(project: pytest.Pytester) -> None:
    """A measurement that is read, printed and reported has taken nothing; `take()` and comparisons have."""
    project.makepyfile(
        """
        from pathlib import Path
        import pytest
        from pytest_wasmedge import ms
        from pytest_wasmedge.errors import LatencyError

        def starts():
            return Path("started").read_text().split().count("one")

        def test_read(host, cold_start, warm_latency, cold_floor):
            for each in (cold_start, warm_latency, cold_floor):
                print(each, repr(each), each.median, each.kind, each.runtime, each.elapsed_ns, each.samples)
                with pytest.raises(LatencyError, match="Call take"):
                    each.median_ns
                with pytest.raises(LatencyError, match="Call take"):
                    each.interval
            assert starts() == 1
            assert host.run().invocation == 1

        def test_nothing_was_taken_for_the_report(host):
            assert starts() == 1

        def test_take(cold_start):
            assert len(cold_start.take().elapsed_ns) == 12
            assert starts() == 13
            assert cold_start.median_ns > 0

        def test_compare(cold_start):
            assert cold_start.median < ms(60_000)
            assert starts() > 13 + 12
        """
    )
    result = run(project, "-s", runtimes="one")

    result.assert_outcomes(passed=4)
    assert "<cold/no-cache of one, n=0>" in result.stdout.str()


def test_an_untaken_measurement_is_not_in_the_table(project: pytest.Pytester) -> None:
    """What nobody took is no latency: the closing table shows none."""
    project.makepyfile("def test_it(cold_start, warm_latency):\n    pass\n")
    result = run(project, runtimes="one")

    assert re.search(r"^one +1\.0 +none 1\.0 +1 +0 +0 +0 +- +-$", result.stdout.str(), re.MULTILINE)


# -- what it costs


def test_pytest_benchmark_is_asked_for_nothing(project: pytest.Pytester) -> None:
    """Of a run that wants no output of pytest-benchmark, nothing is put together for one."""
    project.makeconftest(
        CONFTEST + "\nfrom pytest_wasmedge.reports import benchmark\n"
        "def refuse(**_):\n    raise AssertionError('nobody asked')\n"
        "benchmark.SimpleNamespace = refuse\n"
    )
    project.makepyfile("def test_it(cold_start):\n    assert cold_start.median < '60s'\n")
    command = ("--runtimes=one", "--wasm-artifact=echo.wasm", "-W", "error")
    unasked = project.runpytest_subprocess(*command)
    asked = project.runpytest_subprocess(*command, "--benchmark-json=out.json")

    unasked.assert_outcomes(passed=1)
    assert unasked.ret == 0
    assert "nobody asked" in asked.stderr.str() + asked.stdout.str()


# -- state by value


def test_nothing_is_told_from_its_surroundings() -> None:
    """No part of the plugin looks into `vars` for what was made, and none drains what another one fills."""
    for path in (PACKAGE / "plugin").glob("*.py"):
        text = path.read_text()
        assert "vars(self)" not in text, path.name
        assert "take_asked" not in text, path.name


def test_a_case_is_asked_for_by_one_test(project: pytest.Pytester) -> None:
    """Each test has a reference of its own to ask: what one asked for is not held against the next."""
    project.makepyfile(
        "SEEN = []\n"
        "def test_first(host, reference):\n    reference.asked['mine'] = True\n    SEEN.append(reference)\n"
        "def test_second(host, reference):\n    assert reference.asked == {} and reference not in SEEN\n"
    )

    run(project).assert_outcomes(passed=4)
