"""The runtimes of one pytest run: those known, those selected, those that a mark or a test's id means."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property

from pytest_wasmedge.errors import UnknownRuntimeError, WasmEdgeError
from pytest_wasmedge.model import Runtime, base_name
from pytest_wasmedge.plugin.options import Options
from pytest_wasmedge.provision.versions import Resolver, newest
from pytest_wasmedge.runtimes import DEFAULT, groups_of, select


class Selection:
    """The runtimes of ``--runtimes``; exact versions are installed when first needed."""

    def __init__(
        self,
        options: Options,
        known: Mapping[str, Runtime],
        resolver: Resolver | None = None,
        edges: Sequence[Runtime] = (),
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._options, self._edges, self._groups = options, edges, groups
        #: By name; a version of one is added when it is selected.
        self.known = dict(known) | {edge.name: edge for edge in edges}
        self.resolver = resolver or Resolver()

    @cached_property
    def selected(self) -> list[Runtime]:
        """The runtimes that `wasm_runtime` is parametrised with. Raises WasmEdgeError."""
        if not self._options.runtimes:
            return [each for each in self.known.values() if each.name == DEFAULT or each.deployed]
        named = self.select(self._options.runtimes)
        # Every --wasm-remote is tested, whatever --runtimes names.
        return list(dict.fromkeys([*named, *self._edges]))

    @contextmanager
    def narrowed(self, runtimes: Iterable[Runtime]) -> Iterator[None]:
        """Select only these of the selected for a while."""
        selected, self.selected = self.selected, list(runtimes)
        try:
            yield
        finally:
            self.selected = selected

    def select(self, spec: str) -> list[Runtime]:
        """Return the runtimes of a list of names; installs versions. Raises WasmEdgeError."""
        found = select(spec, self.known, self.resolver, self._groups)
        self.known |= {runtime.name: runtime for runtime in found}
        return found

    def named(self) -> list[Runtime]:
        """Return those of the selected that ``--runtimes`` names: all of them, unless one of the names is a group's."""
        groups = groups_of(self.known, self._groups)
        names = [name.strip() for name in self._options.runtimes.split(",")]
        if groups.keys().isdisjoint(names):
            return list(self.selected)
        spec = ",".join(name for name in names if name and name not in groups)
        return self.select(spec) if spec else []

    def marked(self, names: Sequence[str]) -> list[Runtime]:
        """Return those of the selected that a test's mark means. Raises UnknownRuntimeError.

        ``deno`` means every selected version of it, ``deno@2.7`` every selected 2.7. A mark installs nothing.
        """
        self._check_known(names)
        groups = groups_of(self.known, self._groups)
        meant = [each for name in names for each in groups.get(name, [name])]
        return [runtime for runtime in self.selected if any(_means(name, runtime) for name in meant)]

    def find(self, name: str) -> Runtime:
        """Return the runtime of exactly this name. Raises UnknownRuntimeError."""
        if name not in self.known:
            self._check_known([name])
            raise UnknownRuntimeError(f"{name} is not a version in this run: name it in --runtimes.")
        return self.known[name]

    def only(self) -> Runtime:
        """Return the selected runtime. Raises WasmEdgeError unless exactly one is selected."""
        if len(self.selected) != 1:
            names = ", ".join(runtime.name for runtime in self.selected)
            raise WasmEdgeError(
                f"this test does not say that it needs a runtime, and the run has several: {names}. "
                "Declare wasm_runtime (or host) as an argument or by @pytest.mark.usefixtures('host')."
            )
        return self.selected[0]

    def _check_known(self, names: Sequence[str]) -> None:
        groups = groups_of(self.known, self._groups)
        asked = (name if name in self.known or name in groups else base_name(name) for name in names)
        select(",".join(asked), self.known, own=self._groups)


def _means(name: str, runtime: Runtime) -> bool:
    """True if this name in a mark means this runtime."""
    base, _, version = name.partition("@")
    if name == runtime.name:
        return True
    return base == base_name(runtime.name) and (not version or newest(version, [runtime.version]) is not None)


def runtime_in(nodeid: str, names: Collection[str]) -> str:
    """Return which of these runtimes is a parameter in a test's id; empty if none."""
    anyone = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    found = re.search(rf"\[(?:[^\]]*?-)??({anyone})(?=[-\]])", nodeid) if names else None
    return found[1] if found else ""
