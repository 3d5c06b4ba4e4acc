"""deno's lock files: which packages they hold, and how they are without some of them. Pure functions over text."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

#: ``@scope/name@1.2.3``; behind an underscore a key names the peers that it was resolved with.
_KEY = re.compile(r"(?P<name>@?[^@]+)@(?P<version>[^_]+)")

#: The lists of a package in which others are named.
_NEEDS = ("dependencies", "optionalDependencies", "optionalPeers")

#: Lists that deno writes on one line.
_SHORT = re.compile(r'("(?:os|cpu|libc)": \[)\s+([^\]]*?)\s+\]')


def integrities(text: str) -> dict[tuple[str, str], str]:
    """Return the integrity of each package of a lock file, by name and version."""
    return {_parts(key): each["integrity"] for key, each in json.loads(text)["npm"].items()}


def pruned(text: str, without: Collection[str]) -> str:
    """Return the lock file without the packages of these names, and without what only they needed.

    Nor does it say from where packages came, which deno writes down for another registry than the usual one: that is
    everybody's own setting.
    """
    lock = json.loads(text)
    kept = {key: _less(each, without) for key, each in lock["npm"].items() if _parts(key)[0] not in without}
    needed: set[str] = set()
    # ``npm:NAME@RANGE: VERSION`` for each package that the project asks for itself.
    found = [f"{spec.removeprefix('npm:').rpartition('@')[0]}@{v}" for spec, v in lock["specifiers"].items()]
    while found:
        for key in _named(found.pop(), kept):
            if key not in needed:
                needed.add(key)
                found += [name for field in _NEEDS for name in kept[key].get(field, ())]
    lock["npm"] = {key: each for key, each in kept.items() if key in needed}
    return _as_deno_writes(lock)


def _parts(key: str) -> tuple[str, str]:
    match = _KEY.match(key)
    assert match is not None, f"{key!r} is no key of a lock file"
    return match["name"], match["version"]


def _less(package: Mapping[str, Any], without: Collection[str]) -> dict[str, Any]:
    """Return a package that does not name those; a list of it that becomes empty goes too."""
    less: dict[str, Any] = {}
    for field, value in package.items():
        if field == "tarball":
            continue
        if field in _NEEDS:
            value = [each for each in value if each not in without and _name(each) not in without]
            if not value:
                continue
        less[field] = value
    return less


def _name(need: str) -> str:
    """Return the name in ``name`` or ``name@version``."""
    match = _KEY.match(need)
    return match["name"] if match else need


def _named(need: str, keys: Sequence[str] | Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys that a package means by ``name``, ``name@version``, or a whole key."""
    for key in keys:
        name, version = _parts(key)
        if need in (key, name, f"{name}@{version}"):
            yield key


def _as_deno_writes(lock: Mapping[str, Any]) -> str:
    text = json.dumps(lock, indent=2, ensure_ascii=False)
    return _SHORT.sub(lambda found: found[1] + re.sub(r"\s*\n\s*", " ", found[2]) + "]", text) + "\n"
