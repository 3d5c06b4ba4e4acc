"""The contract that one pytest run is held to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wasmedge.model import Runtime, base_name
from pytest_wasmedge.plugin.command_line import Options
from pytest_wasmedge.plugin.options import CONTRACT

if TYPE_CHECKING:
    from pytest_wasmedge.contract.entries import Contract, Known
    from pytest_wasmedge.latency.units import Limit


class Held:
    """Answers what the contract says, if there is one; ``known`` are the runtimes that it may name."""

    def __init__(self, options: Options, known: Mapping[str, Runtime], folder: Path | None = None) -> None:
        self._options, self._known, self._folder = options, known, folder

    @cached_property
    def path(self) -> Path | None:
        """The contract's file, which `--wasm-update-contract` may yet have to write; None if there is none."""
        if self._options.contract:
            path = self._options.started_in / self._options.contract
        elif self._folder is not None:
            path = self._folder / CONTRACT
            if not path.exists() and not self._options.update_contract:
                return None
        else:
            return None
        # Messages name it; people know it by its path from where they are.
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

    def ceiling(self, runtime: Runtime, kind: str) -> Limit | None:
        """Return the contract's ceiling of this kind; None if it has none, or is about to be written anew."""
        if self.contract is None or self._options.update_contract:
            return None
        found = self.contract.ceiling(runtime.name, kind)
        return found.limit if found else None

    def ceilings(self, runtime: Runtime) -> dict[str, Limit]:
        """Return all ceilings that can be judged on a runtime, by kind; a deployed edge has none."""
        from pytest_wasmedge.contract.entries import KINDS

        found = {kind: self.ceiling(runtime, kind) for kind in ("" if runtime.deployed else KINDS)}
        if runtime.cache_state == "no-cache":
            found.pop("cold/code-cache", None)
        elif not self.compiling_ceiling(runtime):
            found.pop("cold/no-cache", None)
        return {kind: limit for kind, limit in found.items() if limit is not None}

    def compiling_ceiling(self, runtime: Runtime) -> Limit | None:
        """Return the ceiling of a start that compiles first, where that is another one; "*" means nobody here.

        Such starts take up to half a minute each: they are measured for those who asked by name.
        """
        if self.contract is None or runtime.cache_state == "no-cache":
            return None
        found = self.contract.ceiling(runtime.name, "cold/no-cache")
        return found.limit if found and found.runtime in (runtime.name, base_name(runtime.name)) else None

    def known_divergences(
        self, case: str, runtime: str, version: str | None, fields: Collection[str]
    ) -> list[Known]:
        """Return the contract's entries that know any of these fields to diverge."""
        found = self.contract.known_for(case, runtime, version) if self.contract else []
        return [known for known in found if any(known.excuses(field) for field in fields)]
