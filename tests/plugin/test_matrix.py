"""`--runtimes=NAME@VERSION`: versions of a runtime are runtimes of their own, under the name of the first."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.contract.entries import Ceiling, Contract, parse_runtime
from pytest_wasmedge.errors import ContractError, ProvisionError, UnknownRuntimeError, UnsupportedError
from pytest_wasmedge.latency.units import ms
from pytest_wasmedge.model import Availability
from pytest_wasmedge.provision.versions import Resolver
from pytest_wasmedge.runtimes import builtin_runtimes, merge, select
from pytest_wasmedge.testing import FakeRuntime
from tests import wat

CONFTEST = """
from pytest_wasmedge import Availability
from pytest_wasmedge.testing import FakeRuntime

class Versioned(FakeRuntime):
    tool = "made-up"

    def probe(self):
        return Availability(True, self.version or "3.0", "1.0")

def pytest_wasmedge_runtimes(config, runtimes):
    missing = Availability(False, reason="not in this test")
    return [*(FakeRuntime(name, availability=missing) for name in runtimes), Versioned("one"), FakeRuntime("two")]
"""
TESTS = """
import pytest

def test_name(host):
    assert host.run().runtime == host.runtime.name

@pytest.mark.runtimes("one")
def test_one(host):
    pass

@pytest.mark.runtimes("one@1.2")
def test_one_point_two(host):
    pass
"""


class Versioned(FakeRuntime):
    """A runtime that can be had in versions."""

    tool = "made-up"

    def probe(self) -> Availability:
        return Availability(True, self.version or "3.0")


class AsGiven(Resolver):
    """Finds 1.2.9 for 1.2, and every other version as it is given; ``provided`` tells what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.provided: list[str] = []

    def provide(self, tool: str, wanted: str, others: object = ()) -> str:
        self.provided.append(f"{tool}@{wanted}")
        if wanted == "9":
            raise ProvisionError("made-up has no version 9 for here; the nearest: 3.0.")
        return "1.2.9" if wanted == "1.2" else wanted


KNOWN = merge([Versioned("alpha"), FakeRuntime("beta")], [])


# -- selecting


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("alpha@1.2", ["alpha@1.2.9"]),
        ("alpha@1.2,alpha@1.2.9,alpha@1.0", ["alpha@1.2.9", "alpha@1.0"]),
        ("alpha,alpha@1.2", ["alpha", "alpha@1.2.9"]),
        ("all,alpha@1.2", ["alpha", "beta", "alpha@1.2.9"]),
        ("alpha@1.2,all", ["alpha@1.2.9", "alpha", "beta"]),
    ],
)
def test_versions_are_selected(spec: str, names: list[str]) -> None:
    """Each version is a runtime of its own, called by its exact number, once."""
    assert [runtime.name for runtime in select(spec, KNOWN, AsGiven())] == names


def test_all_leaves_versions_out() -> None:
    """A version that is known because it was asked for elsewhere is not part of `all`."""
    known = KNOWN | {"alpha@1.0": KNOWN["alpha"].at("1.0")}

    assert [runtime.name for runtime in select("all", known)] == ["alpha", "beta"]


def test_a_version_is_bound_once() -> None:
    """What is known by its exact name is that same runtime again."""
    bound = KNOWN["alpha"].at("1.2.9")

    assert select("alpha@1.2", KNOWN | {bound.name: bound}, AsGiven()) == [bound]
    assert KNOWN["alpha"].version == ""


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("alhpa@1.2", UnknownRuntimeError, r"unknown runtime 'alhpa@1.2'\. Did you mean alpha@1.2\? Known: "),
        ("alpha@9", ProvisionError, "no version 9 for here; the nearest: 3.0"),
        (
            "beta@1",
            UnsupportedError,
            "beta@1: no exact version of beta can be installed; ask for beta",
        ),
    ],
)
def test_what_cannot_be_had_is_one_sentence(spec: str, error: type[Exception], message: str) -> None:
    """An unknown name, an unknown version, and a runtime without versions are told apart."""
    with pytest.raises(error, match=message):
        select(spec, KNOWN, AsGiven())


def test_nothing_is_installed_beside_a_misspelt_name() -> None:
    """All names are looked at before the first version is fetched."""
    resolver = AsGiven()

    with pytest.raises(UnknownRuntimeError):
        select("alpha@1.2,gamma", KNOWN, resolver)
    assert resolver.provided == []


def test_in_process_wasmtime_has_the_version_of_this_environment() -> None:
    """wasmtime is a Python package: it says so, and which version that is."""
    [wasmtime] = select("wasmtime", {runtime.name: runtime for runtime in builtin_runtimes()})

    with pytest.raises(UnsupportedError, match=rf"this Python environment \({wasmtime.probe().version}\)"):
        wasmtime.at("49.0.1")


def test_every_runtime_with_a_program_of_ours_comes_in_versions() -> None:
    """A runtime whose first tool is pinned and is its program can be bound, and then finds no other version."""
    bound = {each.name: each.at("0.0.1") for each in builtin_runtimes() if each.tool}

    assert {"deno", "node", "bun", "workerd", "wasmtime-cli"} <= set(bound)
    for name, runtime in bound.items():
        assert runtime.name == f"{name}@0.0.1"
        assert runtime.tool in runtime.tools
        availability = runtime.probe()
        assert not availability.available, f"{name} takes {availability.path} for 0.0.1"
    assert bound["deno"].probe().install == "pytest-wasmedge install deno@0.0.1"


# -- the contract


def test_the_ceiling_of_a_version_is_the_runtimes() -> None:
    """A version is held to the runtime's ceiling, unless it has its own."""
    everybody, base = Ceiling("*", "warm/tiny", ms(10), 2), Ceiling("deno", "warm/tiny", ms(20), 4)
    own = Ceiling("deno@2.7.1", "warm/tiny", ms(30), 6)
    contract = Contract(Path("p.toml"), (everybody, base, own))

    assert contract.ceilings_of("deno@2.7.1", "warm/tiny") == (own,)
    assert contract.ceilings_of("deno@2.9.8", "warm/tiny") == (base,)
    assert contract.ceilings_of("node@24.0.0", "warm/tiny") == (everybody,)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("deno", True),
        ("deno >=2.8,<3", True),
        ("deno <2.8", False),
        ("deno@2.9.6", True),
        ("deno@2.7.1", False),
        ("*", True),
        ("node", False),
    ],
)
def test_known_divergences_match_the_base_name(entry: str, expected: bool) -> None:
    """An entry about deno is about deno@2.9.6, where the version is in its range."""
    assert parse_runtime(entry).matches("deno@2.9.6", "2.9.6") is expected


def test_a_contract_may_name_a_version() -> None:
    """deno@2.9.6 may stand in a contract wherever deno is known."""
    contract = Contract(Path("p.toml"), (Ceiling("deno@2.9.6", "warm/tiny", ms(1), 1),))

    contract.check_runtimes({"deno": 0})
    with pytest.raises(ContractError, match=r'there is no runtime "deno@2\.9\.6"'):
        contract.check_runtimes({"node": 0})


# -- a run


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project whose runtime `one` comes in versions; 1.2 is 1.2.9, and a note says why."""

    def provide(self: Resolver, tool: str, wanted: str, others: object = ()) -> str:
        if f"{tool}@{wanted}" in self.resolved:
            return self.resolved[f"{tool}@{wanted}"]
        version = self.resolved[f"{tool}@{wanted}"] = "1.2.9" if wanted == "1.2" else wanted
        self.notes.append(f"{tool}@{wanted} is {version}")
        return version

    monkeypatch.setattr(Resolver, "provide", provide)
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TESTS)
    return pytester


def test_a_run_over_versions(project: pytest.Pytester) -> None:
    """Versions stand in ids and table under their exact names; marks mean them by runtime, or by a beginning."""
    result = project.runpytest_inprocess(
        "--wasm-artifact=echo.wasm", "--runtimes=one@1.2,one@2.0,two", "-v", "-W", "error"
    )

    result.assert_outcomes(passed=6)
    ids = {
        line.partition("::")[2].split()[0] for line in result.outlines if "PASSED" in line and "::" in line
    }
    assert ids == {
        *(f"test_name[{name}]" for name in ("one@1.2.9", "one@2.0", "two")),
        *(f"test_one[{name}]" for name in ("one@1.2.9", "one@2.0")),
        "test_one_point_two[one@1.2.9]",
    }
    result.stdout.fnmatch_lines(["one@1.2.9  1.2.9 *", "one@2.0 * 2.0 *", "two *", "made-up@1.2 is 1.2.9"])


def test_an_unknown_version_is_a_usage_error(project: pytest.Pytester) -> None:
    """A version of a runtime that has none ends the run before it begins, in one line."""
    result = project.runpytest_inprocess("--wasm-artifact=echo.wasm", "--runtimes=two@1.2")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: two@1.2: no exact version of two can be installed*"])


def test_required_and_reference_take_versions(project: pytest.Pytester) -> None:
    """`--wasm-require` and `--wasm-reference` name versions as `--runtimes` does, and mean the same ones."""
    project.makepyfile("def test_it(host, reference):\n    reference.asked[''] = False\n")
    result = project.runpytest_inprocess(
        "--wasm-artifact=echo.wasm",
        "--runtimes=one@1.2",
        "--wasm-require=one@1.2",
        "--wasm-reference=one@2.0",
    )

    assert result.ret == 0
    result.stdout.fnmatch_lines(["reference: one@2.0, run in the same session"])


def test_workers_are_told(project: pytest.Pytester) -> None:
    """With pytest-xdist the workers, which see no registry here, run the versions that the controller found."""
    result = project.runpytest_inprocess(
        "--wasm-artifact=echo.wasm", "--runtimes=one@1.2,two", "-n", "2", "-v", "-p", "xdist"
    )

    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines_random(["*PASSED*test_name?one@1.2.9?*", "one@1.2.9 *"])
