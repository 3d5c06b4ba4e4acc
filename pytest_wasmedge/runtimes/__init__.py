"""What exists in the world: a file is a runtime, its class is ``RUNTIME``; remote.py has one for each URL."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Mapping

from pytest_wasmedge.errors import UnknownRuntimeError
from pytest_wasmedge.runtimes.base import Runtime

DEFAULT = "wasmtime"
# The classes that all share, and the runtime that is made for each URL given.
_NOT_FOUND_BY_FILE = frozenset({"base", "remote"})


def builtin_names() -> list[str]:
    """Return the names of the runtimes of this package without importing them; the default one first."""
    stems = (
        module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NOT_FOUND_BY_FILE
    )
    return sorted((stem.replace("_", "-") for stem in stems), key=lambda name: (name != DEFAULT, name))


def builtin_runtimes() -> list[Runtime]:
    """Return one of each runtime of this package, in the order of `builtin_names`."""
    modules = (importlib.import_module(f"{__name__}.{name.replace('-', '_')}") for name in builtin_names())
    return [module.RUNTIME() for module in modules]


def merge(builtin: Iterable[Runtime], others: Iterable[Runtime]) -> dict[str, Runtime]:
    """Return all runtimes by name; a later one of the same name takes the place of the earlier."""
    return {runtime.name: runtime for runtime in (*builtin, *others)}


def select(spec: str, known: Mapping[str, Runtime]) -> list[Runtime]:
    """Return the runtimes that ``all`` or ``NAME[,NAME…]`` asks for, each once, in the order asked.

    ``all`` leaves out what is a yardstick only; that has to be named.

    Raises UnknownRuntimeError with the known names and the nearest one.
    """
    names = [name.strip() for name in spec.split(",") if name.strip()]
    if "all" in names:
        named = [name for name in names if name in known]
        return [each for each in known.values() if not each.yardstick or each.name in named]
    if not names:
        raise UnknownRuntimeError(f"no runtime is named in {spec!r}; known: {', '.join(known)}, or all.")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UnknownRuntimeError(f"unknown runtime {name!r}.{hint} Known: {', '.join(known)}, or all.")
    return [known[name] for name in dict.fromkeys(names)]
