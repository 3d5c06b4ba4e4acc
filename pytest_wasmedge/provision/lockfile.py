"""Reads deno's lock files, and removes packages from them. Pure functions over text."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

#: ``@scope/name@1.2.3``; after an underscore follow the peers that the package was resolved with.
_KEY = re.compile(r"(?P<name>@?[^@]+)@(?P<version>[^_]+)")

#: The fields of a package that list others.
_NEEDS = ("dependencies", "optionalDependencies", "optionalPeers")

#: The lists that deno writes on one line.
_SHORT = re.compile(r'("(?:os|cpu|libc)": \[)\s+([^\]]*?)\s+\]')


def integrities(text: str) -> dict[tuple[str, str], str]:
    """Return the integrity of each package of a lock file, by name and version."""
    return {_parts(key): each["integrity"] for key, each in json.loads(text)["npm"].items()}


def pruned(text: str, without: Collection[str]) -> str:
    """Return the lock file without the packages of these names, and without what only they needed.

    Addresses of packages are removed too: deno writes them for a registry other than npm's own, which is the setting
    of one machine.
    """
    lock = json.loads(text)
    kept = {key: _less(each, without) for key, each in lock["npm"].items() if _parts(key)[0] not in without}
    needed: set[str] = set()
    # ``npm:NAME@RANGE: VERSION`` for each package that the project asks for itself.
    found = [f"{spec.removeprefix('npm:').rpartition('@')[0]}@{v}" for spec, v in lock["specifiers"].items()]
    while found:
        need = found.pop()
        for key in kept.keys() - needed:
            name, version = _parts(key)
            if need in (key, name, f"{name}@{version}"):
                needed.add(key)
                found += [name for field in _NEEDS for name in kept[key].get(field, ())]
    lock["npm"] = {key: each for key, each in kept.items() if key in needed}
    # As deno writes it.
    text = json.dumps(lock, indent=2, ensure_ascii=False)
    return _SHORT.sub(lambda short: f"{short[1]}{' '.join(short[2].split())}]", text) + "\n"


def _parts(key: str) -> tuple[str, str]:
    match = _KEY.match(key)
    assert match is not None, f"{key!r} is no key of a lock file"
    return match["name"], match["version"]


def _less(package: Mapping[str, Any], without: Collection[str]) -> dict[str, Any]:
    """Return a package that does not list those; a list that becomes empty is removed."""
    less = {field: value for field, value in package.items() if field != "tarball"}
    for field in less.keys() & set(_NEEDS):
        less[field] = [each for each in less[field] if _name(each) not in without]
    return {field: value for field, value in less.items() if value or field not in _NEEDS}


def _name(need: str) -> str:
    """Return the name in ``name`` or ``name@version``."""
    match = _KEY.match(need)
    return match["name"] if match else need
