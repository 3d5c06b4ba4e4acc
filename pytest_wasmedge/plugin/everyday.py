"""The everyday names of our fixtures, `host` for `wasm_host` …, and one host for each runtime: `deno_host` …"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_wasmedge.plugin import fixtures, options, private, stash

if TYPE_CHECKING:
    from pytest_wasmedge.model import Host
    from pytest_wasmedge.plugin.session import WasmSession

#: The fixtures that live as long as the session, and those that live as long as one test.
_OF_SESSION = ("artifact", "host", "hosts", "baseline_host", "work")
_OF_TEST = (
    *("program_host", "reference", "cold_start", "cold_floor", "warm_latency", "slowdown", "instance_memory"),
    *("report_hazard", "report_change"),
)
#: Only our `host` passes this fixture on. A test that needs it does not use a `host` of the project's own.
OUR_HOST = "_wasm_host"


def register(config: pytest.Config, named: Mapping[str, str]) -> None:
    """Register the everyday names: all of them if one of our options is given, else those that no other plugin has."""
    docs = {name: getattr(fixtures, f"wasm_{name}").__doc__ for name in (*_OF_SESSION, *_OF_TEST)}
    docs |= {f"{name}_host": _doc(runtime) for name, runtime in named.items()}
    mentioned = options.mentioned(config.option)
    taken = set() if mentioned else private.fixtures_of_plugins(config.pluginmanager)
    holder = ModuleType("pytest_wasmedge.everyday_fixtures")
    for name in [name for name in docs if name not in taken]:
        target = OUR_HOST if name == "host" else f"wasm_{name}"
        _add(holder, name, _passing(target), docs[name], "function" if name in _OF_TEST else "session")
    _add(holder, OUR_HOST, _passing("wasm_host"), None)
    if mentioned:
        vars(holder)["_wasm_request"] = _remember_request
    config.pluginmanager.register(holder, "wasmedge-everyday-fixtures")


def named(runtimes: Mapping[str, str]) -> ModuleType:
    """Return a module with one fixture per runtime: `wasm_deno_host`, `wasm_wasmtime_cli_host` …"""
    holder = ModuleType("pytest_wasmedge.named_fixtures")
    for name, runtime in runtimes.items():
        # pytest does not treat a parameter with a default as a fixture.
        def named_host(
            wasm_session: WasmSession, pytestconfig: pytest.Config, runtime: str = runtime
        ) -> Iterator[Host]:
            yield from fixtures.hold(wasm_session, runtime, pytestconfig)

        _add(holder, f"wasm_{name}_host", named_host, _doc(runtime))
    return holder


def _doc(runtime: str) -> str:
    return f"A started {runtime} host, whatever --runtimes selects."


def _passing(fixture: str) -> Callable[..., object]:
    """Return the function of a fixture that passes on another one."""

    def pass_on(**values: object) -> object:
        return values[fixture]

    # pytest reads the names of needed fixtures from the signature.
    argument = inspect.Parameter(fixture, inspect.Parameter.KEYWORD_ONLY)
    pass_on.__signature__ = inspect.Signature([argument])  # type: ignore[attr-defined]
    return pass_on


@pytest.fixture(autouse=True, name="_wasm_request")
def _remember_request(request: pytest.FixtureRequest) -> None:
    """Keeps the request, which knows what a test asks for while it runs (`request.getfixturevalue`)."""
    request.node.stash[stash.REQUEST] = request


def _add(
    holder: ModuleType, name: str, function: Callable[..., Any], doc: str | None, scope: Any = "session"
) -> None:
    function.__doc__ = doc
    setattr(holder, f"_{name}", pytest.fixture(scope=scope, name=name)(function))
