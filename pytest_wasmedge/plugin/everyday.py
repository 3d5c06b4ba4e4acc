"""The everyday names of our fixtures: `host` for `wasm_host`, and so on; and one host per runtime, `deno_host` …"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pytest_wasmedge.plugin import fixtures, options, private, stash

if TYPE_CHECKING:
    from pytest_wasmedge.model import Host
    from pytest_wasmedge.plugin.session import WasmSession

#: By everyday name: how long one of them lives, which is as long as what it stands for.
_SCOPES: dict[str, Literal["session", "function"]] = {
    "artifact": "session",
    "host": "session",
    "hosts": "session",
    "baseline_host": "session",
    "program_host": "function",
    "reference": "function",
    "cold_start": "function",
    "cold_floor": "function",
    "warm_latency": "function",
    "slowdown": "function",
    "instance_memory": "function",
    "report_hazard": "function",
    "report_change": "function",
}


#: Stands behind our `host` alone: a project's own `host` that needs `wasm_host` is told from ours by it.
OUR_HOST = "_wasm_host"


def register(config: pytest.Config, named: Mapping[str, str]) -> None:
    """Register the everyday names: all if one of our options is given, else those that no other plugin has."""
    docs = {name: getattr(fixtures, f"wasm_{name}").__doc__ for name in _SCOPES}
    docs |= {f"{name}_host": _doc(runtime) for name, runtime in named.items()}
    names: Iterable[str] = docs
    asked = options.mentioned(config.option)
    if not asked:
        taken = private.fixtures_of_plugins(config.pluginmanager)
        names = [name for name in docs if name not in taken]
    holder = ModuleType("pytest_wasmedge.everyday_fixtures")
    for name in names:
        scope = _SCOPES.get(name, "session")
        target = OUR_HOST if name == "host" else f"wasm_{name}"
        _add(holder, name, _passing(target), scope, docs[name])
    _add(holder, OUR_HOST, _passing("wasm_host"), "session", None)
    if asked:
        _add(holder, "_wasm_request", _remember_request, "function", _remember_request.__doc__, autouse=True)
    config.pluginmanager.register(holder, "wasmedge-everyday-fixtures")


def named(runtimes: Mapping[str, str]) -> ModuleType:
    """Return a module with one fixture per runtime: `wasm_deno_host`, `wasm_wasmtime_cli_host` …"""

    def holding(runtime: str) -> Callable[..., Iterator[Host]]:
        def named_host(wasm_session: WasmSession) -> Iterator[Host]:
            yield from fixtures.hold(wasm_session, runtime)

        return named_host

    holder = ModuleType("pytest_wasmedge.named_fixtures")
    for name, runtime in runtimes.items():
        _add(holder, f"wasm_{name}_host", holding(runtime), "session", _doc(runtime))
    return holder


def _doc(runtime: str) -> str:
    return f"A started {runtime} host, whatever --runtimes selects."


def _passing(fixture: str) -> Callable[..., object]:
    """Return a fixture's function that passes on another fixture."""

    def pass_on(**values: object) -> object:
        return values[fixture]

    # What pytest reads the names of needed fixtures from.
    argument = inspect.Parameter(fixture, inspect.Parameter.KEYWORD_ONLY)
    pass_on.__signature__ = inspect.Signature([argument])  # type: ignore[attr-defined]
    return pass_on


def _remember_request(request: pytest.FixtureRequest) -> None:
    """Remembers what a test asks for while it runs (`request.getfixturevalue`)."""
    request.node.stash[stash.REQUEST] = request


def _add(
    holder: ModuleType,
    name: str,
    function: Callable[..., Any],
    scope: Literal["session", "function"],
    doc: str | None,
    *,
    autouse: bool = False,
) -> None:
    function.__doc__ = doc
    setattr(holder, f"_{name}", pytest.fixture(scope=scope, name=name, autouse=autouse)(function))
