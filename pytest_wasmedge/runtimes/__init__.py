"""The built-in runtimes: one per file, whose class is ``RUNTIME``; remote.py makes one for each URL."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

# This module is imported at every pytest start, so it imports the rest only where that is needed.
if TYPE_CHECKING:
    from pytest_wasmedge.model import Runtime
    from pytest_wasmedge.provision.versions import Resolver

DEFAULT = "wasmtime"
# Made for each URL, not by its file's name.
_NOT_FOUND_BY_FILE = "remote"


def builtin_names() -> list[str]:
    """Return the names of the runtimes of this package without importing them; the default comes first."""
    stems = (module.name for module in pkgutil.iter_modules(__path__) if module.name != _NOT_FOUND_BY_FILE)
    return sorted((stem.replace("_", "-") for stem in stems), key=lambda name: (name != DEFAULT, name))


def builtin_runtimes() -> list[Runtime]:
    """Return one of each runtime of this package, in the order of `builtin_names`."""
    modules = (importlib.import_module(f"{__name__}.{name.replace('-', '_')}") for name in builtin_names())
    return [module.RUNTIME() for module in modules]


def merge(builtin: Iterable[Runtime], others: Iterable[Runtime]) -> dict[str, Runtime]:
    """Return all runtimes by name; the last one of each name counts."""
    return {runtime.name: runtime for runtime in (*builtin, *others)}


def groups_of(
    known: Mapping[str, Runtime], own: Mapping[str, Sequence[str]] | None = None
) -> dict[str, list[str]]:
    """Return the names of the runtimes in each group: ``all``, those that runtimes say, and the project's ``own``.

    A name that is a runtime's, as a deployed one may be called, is no group.
    ``all`` leaves out yardsticks, exact versions, and runtimes that are not `in_all`; those have to be named.
    """
    usual = [each for each in known.values() if not each.yardstick and not each.version]
    found: dict[str, list[str]] = {"all": [each.name for each in usual if each.in_all]}
    for runtime in usual:
        for group in sorted(runtime.groups):
            found.setdefault(group, []).append(runtime.name)
    found |= {group: list(names) for group, names in (own or {}).items()}
    return {group: names for group, names in found.items() if group not in known}


def select(
    spec: str,
    known: Mapping[str, Runtime],
    resolver: Resolver | None = None,
    own: Mapping[str, Sequence[str]] | None = None,
) -> list[Runtime]:
    """Return the runtimes that ``GROUP`` or ``NAME[@VERSION][,NAME[@VERSION]…]`` asks for, each once, in that order.

    ``own`` are the groups of the project. The resolver finds and installs a version from its beginning.

    Raises UnknownRuntimeError with the known names and the nearest one, UnsupportedError for a runtime that has no
    versions, ProvisionError for a version that cannot be installed.
    """
    from pytest_wasmedge.errors import UnknownRuntimeError, did_you_mean

    groups = groups_of(known, own)
    asked = [name.strip() for name in spec.split(",") if name.strip()]
    names = [name for each in asked for name in groups.get(each, [each])]
    told = f"{', '.join(known)}, or {', '.join(groups)}"
    if not asked:
        raise UnknownRuntimeError(f"no runtime is named in {spec!r}; known: {told}.")
    for name in names:
        base = name.partition("@")[0]
        if name not in known and base not in known:
            hint = did_you_mean(base, [*known, *groups], name.removeprefix(base))
            raise UnknownRuntimeError(f"unknown runtime {name!r}.{hint} Known: {told}.")
    named: list[Runtime] = []
    for name in names:
        if name in known:
            named.append(known[name])
        else:
            runtime, version = known[name.partition("@")[0]], name.partition("@")[2]
            if runtime.tool:
                from pytest_wasmedge.provision.versions import Resolver

                version = (resolver or Resolver()).provide(runtime.tool, version, runtime.tools)
            named.append(known.get(f"{runtime.name}@{version}") or runtime.at(version))
    return list({runtime.name: runtime for runtime in named}.values())
