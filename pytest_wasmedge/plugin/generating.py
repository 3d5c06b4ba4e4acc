"""Parametrises tests: by the selected runtimes, by the cases of the corpora, by the programs of --wasm-corpus."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import pytest

from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.plugin import private, stash
from pytest_wasmedge.plugin.everyday import OUR_HOST
from pytest_wasmedge.plugin.fixtures import SELECTED
from pytest_wasmedge.portability.excerpt import printable


def generate(metafunc: pytest.Metafunc) -> None:
    """Parametrise a test function by our fixtures that it needs. Raises CollectError."""
    names = metafunc.fixturenames
    try:
        if "wasm_runtime" in names:
            # A contract that cannot be read is an error now, not once a test has failed.
            _ = stash.session(metafunc.config).held.contract
            _redirect_hosts(metafunc)
        if "wasm_program" in names:
            _parametrize_program(metafunc)
        elif SELECTED in names:
            _parametrize_runtime(metafunc)
        if "wasm_case" in names:
            _parametrize_case(metafunc)
    except WasmEdgeError as error:
        raise pytest.Collector.CollectError(printable(str(error))) from error


def _redirect_hosts(metafunc: pytest.Metafunc) -> None:
    """Let `parametrize("host", ["deno"], indirect=True)` set wasm_runtime, from which all our fixtures follow.

    So does `parametrize("wasm_runtime", ["deno"])`, for the whole session like our fixture itself. A `host` of the
    project's own is left alone. Raises WasmEdgeError if a hook has parametrised our `host`.
    """
    needed = {"wasm_host": "wasm_host", "host": OUR_HOST}
    hosts = {name for name, fixture in needed.items() if fixture in metafunc.fixturenames}
    if wrong := private.given_by_hooks(metafunc) & hosts:
        raise WasmEdgeError(
            f"a pytest_generate_tests parametrises {', '.join(sorted(wrong))}: let it parametrise wasm_runtime, "
            "with indirect=True, from which all our fixtures follow."
        )
    for node in metafunc.definition.listchain():
        node.own_markers[:] = [
            _of_runtime(mark, hosts) if mark.name == "parametrize" else mark for mark in node.own_markers
        ]


def _of_runtime(mark: pytest.Mark, hosts: Set[str]) -> pytest.Mark:
    given = dict(zip(("argnames", "argvalues", "indirect", "ids", "scope"), mark.args, strict=False))
    given |= mark.kwargs
    names = _argnames(mark)
    indirect = given.get("indirect", False)
    indirectly = set(names) if indirect is True else set(indirect or ())
    redirected = {name for name in names if name == "wasm_runtime" or name in hosts & indirectly}
    if not redirected:
        return mark
    renamed = ["wasm_runtime" if name in redirected else name for name in names]
    # pytest expects tuples of values for a list of names, even for one name.
    given["argnames"] = ",".join(renamed) if isinstance(given["argnames"], str) else renamed
    given["indirect"] = ["wasm_runtime", *(name for name in names if name in indirectly - redirected)]
    given["scope"] = given.get("scope") or "session"
    return pytest.mark.parametrize(**given).mark


def _argnames(mark: pytest.Mark) -> list[str]:
    names: Any = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
    return [name.strip() for name in names.split(",") if name.strip()] if isinstance(names, str) else [*names]


def _parametrize_runtime(metafunc: pytest.Metafunc) -> None:
    """Run a test on every selected runtime that its mark allows, unless the project sets the runtime itself."""
    marks = metafunc.definition.iter_markers("parametrize")
    if "wasm_runtime" in private.given_by_hooks(metafunc).union(*map(_argnames, marks)):
        return
    marked = [name for mark in metafunc.definition.iter_markers("runtimes") for name in mark.args]
    selection = stash.session(metafunc.config).selection
    params: list[Any] = [each.name for each in (selection.marked(marked) if marked else selection.selected)]
    if not params:
        selected = ", ".join(runtime.name for runtime in selection.selected)
        reason = f"is for {', '.join(marked)}; --runtimes selects {selected}"
        params = [pytest.param("none", marks=pytest.mark.skip(reason=reason), id="none")]
    metafunc.parametrize("wasm_runtime", params, indirect=True, scope="session")


def _parametrize_case(metafunc: pytest.Metafunc) -> None:
    marks = list(metafunc.definition.iter_markers("wasm_cases"))
    topics = {topic for mark in marks for topic in mark.args}
    excluded = {topic for mark in marks for topic in mark.kwargs.get("exclude", ())}
    session = stash.session(metafunc.config)
    wanted = [mark.kwargs["given"] for mark in marks if "given" in mark.kwargs]
    known = [] if True in wanted else session.cases
    given = [] if False in wanted else session.given_cases
    cases = [
        case
        for case in (*known, *given)
        if (not topics or case.topic in topics) and case.topic not in excluded
    ]
    metafunc.parametrize("wasm_case", cases, ids=[case.name for case in cases])


def _parametrize_program(metafunc: pytest.Metafunc) -> None:
    """Run each program on every selected runtime that can; one skipped test of a runtime stands for the others."""
    session = stash.session(metafunc.config)
    params = []
    for runtime in session.selection.selected:
        left_out: dict[str, int] = {}
        for program in session.programs:
            if reason := program.lacking(runtime):
                left_out[reason] = left_out.get(reason, 0) + 1
            else:
                params.append(pytest.param(program, runtime.name, id=f"{program.short_name}-{runtime.name}"))
        for reason, count in left_out.items():
            skipped = pytest.mark.skip(reason=f"{reason}: {count} programs left out")
            params.append(pytest.param(None, runtime.name, marks=skipped, id=f"left_out-{runtime.name}"))
    metafunc.parametrize(("wasm_program", "wasm_runtime"), params, indirect=["wasm_runtime"])
