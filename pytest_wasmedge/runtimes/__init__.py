"""What exists in the world: a file is a runtime, its class is ``RUNTIME``; remote.py has one for each URL."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

# Every pytest start asks for the names: what only a run of ours needs is imported where it does.
if TYPE_CHECKING:
    from pytest_wasmedge.errors import UnknownRuntimeError
    from pytest_wasmedge.model import Runtime
    from pytest_wasmedge.provision.versions import Resolver

DEFAULT = "wasmtime"
# It is made for each URL given.
_NOT_FOUND_BY_FILE = "remote"


def builtin_names() -> list[str]:
    """Return the names of the runtimes of this package without importing them; the default one first."""
    stems = (module.name for module in pkgutil.iter_modules(__path__) if module.name != _NOT_FOUND_BY_FILE)
    return sorted((stem.replace("_", "-") for stem in stems), key=lambda name: (name != DEFAULT, name))


def builtin_runtimes() -> list[Runtime]:
    """Return one of each runtime of this package, in the order of `builtin_names`."""
    modules = (importlib.import_module(f"{__name__}.{name.replace('-', '_')}") for name in builtin_names())
    return [module.RUNTIME() for module in modules]


def merge(builtin: Iterable[Runtime], others: Iterable[Runtime]) -> dict[str, Runtime]:
    """Return all runtimes by name; a later one of the same name takes the place of the earlier."""
    return {runtime.name: runtime for runtime in (*builtin, *others)}


def select(spec: str, known: Mapping[str, Runtime], resolver: Resolver | None = None) -> list[Runtime]:
    """Return the runtimes that ``all`` or ``NAME[@VERSION][,NAME[@VERSION]…]`` asks for, each once, in that order.

    ``all`` leaves out what is a yardstick only, and exact versions; those have to be named. A version, or the
    beginning of one, is found and installed by the resolver.

    Raises UnknownRuntimeError with the known names and the nearest one, UnsupportedError for a runtime that has no
    versions, ProvisionError for a version that cannot be had.
    """
    from pytest_wasmedge.errors import UnknownRuntimeError
    from pytest_wasmedge.model import base_name

    names = [name.strip() for name in spec.split(",") if name.strip()]
    if not names:
        raise UnknownRuntimeError(f"no runtime is named in {spec!r}; known: {', '.join(known)}, or all.")
    for name in names:
        if name != "all" and name not in known and base_name(name) not in known:
            raise _unknown(name, known)
    usual = [each for each in known.values() if not each.yardstick and not each.version]
    named: list[Runtime] = []
    for name in names:
        if name == "all":
            named += usual
        else:
            named.append(known[name] if name in known else _bound(name, known, resolver))
    return list({runtime.name: runtime for runtime in named}.values())


def _unknown(name: str, known: Mapping[str, Runtime]) -> UnknownRuntimeError:
    from pytest_wasmedge.errors import UnknownRuntimeError, did_you_mean
    from pytest_wasmedge.model import base_name

    base = base_name(name)
    hint = did_you_mean(base, known, name.removeprefix(base))
    return UnknownRuntimeError(f"unknown runtime {name!r}.{hint} Known: {', '.join(known)}, or all.")


def _bound(name: str, known: Mapping[str, Runtime], resolver: Resolver | None) -> Runtime:
    """Return a known runtime in the version that this name asks for, installed."""
    from pytest_wasmedge.model import base_name

    runtime, version = known[base_name(name)], name.partition("@")[2]
    if runtime.tool:
        if resolver is None:
            from pytest_wasmedge.provision.versions import Resolver

            resolver = Resolver()
        version = resolver.provide(runtime.tool, version, runtime.tools)
    return known.get(f"{runtime.name}@{version}") or runtime.at(version)
