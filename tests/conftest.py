"""Fixtures for the plugin's own tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.artifacts.recipe import Tools
from pytest_wasmedge.latency.quiet import ENV_HELD
from pytest_wasmedge.model import Artifact
from pytest_wasmedge.provision.cache import ENV_CACHE, cache_root

pytest_plugins = ["pytester"]

#: Mounts a disk anew, with these options.
Mount = Callable[[str], None]


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """A shell starts what it runs in the background deaf to Ctrl-C, and tests that send one would wait for ever."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def options_for_these_tests_alone() -> None:
    """A pytest that is started by a test gets none of the options that are meant for this one."""
    os.environ.pop("PYTEST_ADDOPTS", None)


#: Tests that start a real runtime, need an installed tool or the compiled Ruby, or take long (faults of the gate, runs
#: with workers): folders, files, or single tests.
#: All others are the unit tier, which runs with an empty cache: what is missing here fails there.
NEEDS_RUNTIMES = (
    "runtimes/",
    "artifacts/test_worker.py",
    "commands/test_cli.py::test_install_gets_everything_by_default",
    "commands/test_export.py",
    "contract/test_run.py::test_a_deployed_edge_has_no_ceilings",
    "latency/test_quiet.py::test_the_plugin_knows_what_comes_next",
    "plugin/test_cases.py::test_a_guest_that_is_stopped",
    "plugin/test_cases.py::test_a_memory_limit_of_its_own",
    "plugin/test_cases.py::test_corpora_for_ruby",
    "plugin/test_cases.py::test_traps_beside_a_corpus_that_is_read",
    "plugin/test_gate_faults.py",
    "plugin/test_gating.py",
    "plugin/test_matrix.py",
    "plugin/test_machines.py",
    "plugin/test_own_glue.py",
    "plugin/test_verdicts.py::test_a_crash_is_one_failure",
    "plugin/test_verdicts.py::test_facts_travel_from_workers",
    "plugin/test_wasi_testsuite.py",
    "plugin/test_work.py::test_the_same_numbers_on_two_workers",
    "plugin/test_xdist.py",
    "provision/test_bad_networks.py",
    "provision/test_debian.py::test_no_mirror_of_debian",
    "provision/test_debian.py::test_what_has_no_source_is_known_before",
    "provision/test_moving.py",
    "provision/test_standing.py",
    "provision/test_trees.py",
    "reports/test_benchmark.py",
    "reports/test_page.py",
    "testing/test_selfcheck.py",
    "testing/test_suite.py",
    "soak/",
    "test_absent_tool.py",
    "test_adding_a_runtime.py",
    "test_benchmarks.py",
    "test_echo.py",
    "test_examples.py::test_what_is_built_greets",
    "test_languages.py::test_ruby_counts_what_c_counts",
    "test_lifecycle.py",
    "test_neighbours.py",
    "test_new_project.py::test_the_page_is_a_transcript",
    "test_own_runtime.py",
    "test_readme.py",
    "test_runtime_contract.py",
    "test_short_of.py",
    "test_ssh.py",
    "test_strangers.py",
)
UNIT_TIER = "not runtime"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that are no unit tests."""
    for item in items:
        if item.nodeid.removeprefix("tests/").startswith(NEEDS_RUNTIMES):
            item.add_marker("runtime")


@pytest.fixture(scope="session", autouse=True)
def one_cache(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Share one cache folder with the runs inside tests, whose HOME is another: each would compile Ruby anew.

    The unit tier gets an empty one, so that no test of it can come to need a tool unseen.
    """
    unit = UNIT_TIER in str(pytestconfig.option.markexpr)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv(ENV_CACHE, str(tmp_path_factory.mktemp("cache") / "c" if unit else cache_root()))
        yield


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """pytest's own, but runs inside this process leave its signal handlers alone.

    pytest's faulthandler resets them at the end of a run, those of the engine in this process too: the next trap
    would end us all.
    """
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:faulthandler")
    # Runs inside tests take the lock themselves, whoever holds it around them.
    monkeypatch.delenv(ENV_HELD, raising=False)
    return pytester


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mount]:
    """A small disk of its own that holds the cache; called with other options it is mounted anew with them."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(*options: str) -> None:
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(place)]
        subprocess.run(command, check=True, capture_output=True)

    if shutil.which("mount") is None:
        pytest.skip("no mount command here")
    try:
        mount("-o", "size=64k")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no disk can be mounted here: {error.stderr.decode().strip()}")
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(place / "cache"))
    try:
        yield lambda options: mount("-o", f"remount,{options}")
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="session")
def builtin_artifact() -> Artifact:
    """The built-in Ruby, unpacked."""
    return open_artifact(BUILTIN_ARTIFACT, Path.cwd())


@pytest.fixture(scope="session")
def build_tools() -> Tools:
    """The pinned tools of the recipe, installed."""
    from pytest_wasmedge import provision

    return Tools(**provision.build_tools())
