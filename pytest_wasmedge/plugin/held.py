"""The contract that one pytest run is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wasmedge.model import Runtime, base_name
from pytest_wasmedge.plugin.options import CONTRACT, Options

if TYPE_CHECKING:
    from pytest_wasmedge.contract.entries import Contract
    from pytest_wasmedge.latency.units import Limit


class Held:
    """Looks things up in the contract, if there is one; ``known`` are the runtimes that it may name."""

    def __init__(self, options: Options, known: Mapping[str, Runtime], folder: Path | None = None) -> None:
        self._options, self._known, self._folder = options, known, folder

    @cached_property
    def path(self) -> Path | None:
        """The contract's file; None if there is none. `--wasm-update-contract` may still have to write it."""
        if self._options.contract:
            path = self._options.started_in / self._options.contract
        elif self._folder is not None:
            path = self._folder / CONTRACT
            if not path.exists() and not self._options.update_contract:
                return None
        else:
            return None
        # For messages: a path from the current folder is easier to recognise.
        return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path

    @cached_property
    def contract(self) -> Contract | None:
        """The contract; None if there is none. Raises ContractError."""
        if self.path is None or (self._options.update_contract and not self.path.exists()):
            return None
        from pytest_wasmedge.contract.read import load_contract

        contract = load_contract(self.path)
        contract.check_runtimes(self._known)
        return contract

    def ceiling(self, runtime: Runtime, kind: str) -> tuple[Limit, ...]:
        """Return the contract's ceiling of this kind, one or two limits; none if this run will rewrite it."""
        if self.contract is None or self._options.update_contract:
            return ()
        return tuple(each.limit for each in self.contract.ceilings_of(runtime.name, kind))

    def ceilings(self, runtime: Runtime) -> dict[str, tuple[Limit, ...]]:
        """Return all ceilings that can be judged on a runtime, by kind; a deployed edge has none."""
        from pytest_wasmedge.contract.entries import KINDS

        found = {kind: self.ceiling(runtime, kind) for kind in ("" if runtime.deployed else KINDS)}
        if runtime.cache_state == "no-cache":
            found.pop("cold/code-cache", None)
        elif not self.compiling_ceiling(runtime):
            found.pop("cold/no-cache", None)
        return {kind: limits for kind, limits in found.items() if limits}

    def compiling_ceiling(self, runtime: Runtime) -> tuple[Limit, ...]:
        """Return the ceiling of a start that compiles first, on a runtime that keeps code; none unless it is by name.

        Such starts take up to half a minute each, so a ceiling for "*" does not measure them.
        """
        if self.contract is None or runtime.cache_state == "no-cache":
            return ()
        found = self.contract.ceilings_of(runtime.name, "cold/no-cache")
        return tuple(each.limit for each in found if each.runtime in (runtime.name, base_name(runtime.name)))
