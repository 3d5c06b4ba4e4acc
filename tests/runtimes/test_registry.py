"""Which runtimes there are, and which of them ``--runtimes`` means."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import pytest_wasmedge.runtimes
from pytest_wasmedge.errors import UnknownRuntimeError
from pytest_wasmedge.model import Capability
from pytest_wasmedge.runtimes import builtin_names, builtin_runtimes, groups_of, merge, select
from pytest_wasmedge.testing import FakeRuntime

KNOWN = merge([FakeRuntime("alpha"), FakeRuntime("beta")], [FakeRuntime("gamma")])


def test_a_file_is_a_runtime() -> None:
    """Each file of runtimes/ is one runtime of that name; the default one comes first."""
    stems = {path.stem for path in Path(pytest_wasmedge.runtimes.__file__).parent.glob("*.py")}

    assert builtin_names()[0] == "wasmtime"
    assert {name.replace("-", "_") for name in builtin_names()} == stems - {"base", "remote", "__init__"}
    assert [runtime.name for runtime in builtin_runtimes()] == builtin_names()


def test_what_all_means() -> None:
    """It is at least 15 runtimes, three JavaScript engines and three WebAssembly-only engines among them."""
    engines = {each.name: each.engine for each in select("all", merge(builtin_runtimes(), []))}

    assert len(engines) >= 15
    assert {"V8", "JavaScriptCore", "SpiderMonkey", "Cranelift", "WasmEdge"} <= set(engines.values())
    # Wasmer's compiler is Cranelift, too.
    assert {"wasmtime", "wasmer", "wasmedge"} <= set(engines)
    # Those of the first release.
    assert {"wasmtime", "wasmtime-cli", "node", "deno", "bun", "workerd"} <= set(engines)


def test_names_import_nothing() -> None:
    """Asking for the names imports no runtime."""
    code = (
        "import sys; from pytest_wasmedge.runtimes import builtin_names; builtin_names();"
        "print([name for name in sys.modules if name.startswith('pytest_wasmedge.runtimes.')])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.strip() == "[]"


def test_every_runtime_says_what_it_is() -> None:
    """Name, engine, capabilities and cache state of each are set, and two have never the same name."""
    for runtime in builtin_runtimes():
        assert runtime.engine
        assert runtime.capabilities <= set(get_args(Capability))
        assert runtime.cache_state in ("no-cache", "code-cache")
    assert len(set(builtin_names())) == len(builtin_names())


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("all", ["alpha", "beta", "gamma"]),
        ("beta", ["beta"]),
        ("gamma,alpha", ["gamma", "alpha"]),
        (" alpha , ,beta,", ["alpha", "beta"]),
        ("beta,beta", ["beta"]),
        ("beta,all", ["beta", "alpha", "gamma"]),
    ],
)
def test_select(spec: str, names: list[str]) -> None:
    """A selection keeps the order asked for, takes each once, and overlooks blanks."""
    assert [runtime.name for runtime in select(spec, KNOWN)] == names


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("btea", "unknown runtime 'btea'. Did you mean beta? Known: alpha, beta, gamma, or all."),
        ("alpha,zzz", "unknown runtime 'zzz'. Known: alpha, beta, gamma, or all."),
        (",", "no runtime is named in ','; known: alpha, beta, gamma, or all."),
    ],
)
def test_unknown_name(spec: str, message: str) -> None:
    """An unknown name is told with the nearest known one, and all of them."""
    with pytest.raises(UnknownRuntimeError) as caught:
        select(spec, KNOWN)
    assert str(caught.value) == message


def test_groups() -> None:
    """A runtime says which groups it is in; a project makes its own, of versions too, and may rename ours."""
    quick, slow = FakeRuntime("quick"), FakeRuntime("slow")
    quick.groups, slow.in_all = frozenset({"fast"}), False
    known = {"quick": quick, "slow": slow}
    own = {"night": ["slow", "quick"], "none": []}

    def names(spec: str) -> list[str]:
        return [runtime.name for runtime in select(spec, known, own=own)]

    assert (names("all"), names("fast"), names("night"), names("fast,night")) == (
        ["quick"],
        ["quick"],
        ["slow", "quick"],
        ["quick", "slow"],
    )
    assert groups_of(known, {"fast": ["slow"]})["fast"] == ["slow"]
    assert [each.name for each in select("fast", known | {"fast": FakeRuntime("fast")})] == ["fast"]
    with pytest.raises(
        UnknownRuntimeError, match=r"Did you mean fast\? Known: quick, slow, or all, fast, night"
    ):
        names("fats")


def test_groups_of_the_built_in_runtimes() -> None:
    """The groups that README names hold at least one runtime, and each code generator is among the engines."""
    groups = groups_of({runtime.name: runtime for runtime in builtin_runtimes()})

    assert set(groups) == {"all", "fast", "edge", "browsers", "engines"}
    engines = {runtime.engine for runtime in builtin_runtimes() if not runtime.yardstick}
    among = {runtime.engine for runtime in builtin_runtimes() if runtime.name in groups["engines"]}
    assert engines - among == set()


def test_merge_lets_the_later_take_the_place() -> None:
    """A runtime of another package with the name of a known one takes its place, in its position."""
    mine = FakeRuntime("alpha")
    known = merge([FakeRuntime("alpha"), FakeRuntime("beta")], [mine])

    assert list(known) == ["alpha", "beta"]
    assert known["alpha"] is mine
