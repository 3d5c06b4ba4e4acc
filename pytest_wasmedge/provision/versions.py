"""Exact versions of tools beside the pinned ones: found by the beginning of a number, recorded, installed.

What was asked for once stands in a record beside the tools: ``deno-2.7.14.linux-x86_64.json`` says what the registry
stated then, and only that is ever installed again.
"""

from __future__ import annotations

import bisect
import datetime
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import registry
from pytest_wasmedge.provision.cache import folder
from pytest_wasmedge.provision.files import whole
from pytest_wasmedge.provision.install import (
    Progress,
    executable,
    install,
    install_pin,
    installed,
    working_folder,
)
from pytest_wasmedge.provision.pins import Exact, Pin, exact, pin, this_platform

#: How many versions on each side of one that does not exist are named.
_NEAREST = 2
_NUMBER = re.compile(r"\d+(\.\d+)*(\.post\d+)?")


def in_order(versions: Iterable[str]) -> list[str]:
    """Return the stable ones of these versions, each once, oldest first; what is no version is left out."""
    from packaging.version import InvalidVersion, Version  # here, so that plugin.py can import us for nothing

    read: dict[str, Version] = {}
    for version in versions:
        try:
            read[version] = Version(version)
        except InvalidVersion:
            continue
    return sorted((text for text, each in read.items() if not each.is_prerelease), key=read.__getitem__)


def newest(wanted: str, versions: Iterable[str]) -> str | None:
    """Return ``wanted`` if it is one of these versions, else the newest that begins so; None if there is none.

    2.7 is the beginning of 2.7.14, not of 2.70; 1.2026 that of 1.20261117.1, where a date is one number.
    """
    asked, ordered = wanted.split("."), in_order(versions)
    if wanted in ordered:
        return wanted
    return next((each for each in reversed(ordered) if _begins(each.split("."), asked)), None)


def _begins(version: list[str], asked: list[str]) -> bool:
    if version[: len(asked)] == asked:
        return True
    if version[: len(asked) - 1] != asked[:-1] or len(version) < len(asked):
        return False
    number = version[len(asked) - 1]
    return len(number) == len("20261117") and len(asked[-1]) >= len("2026") and number.startswith(asked[-1])


def nearest(wanted: str, versions: Iterable[str]) -> list[str]:
    """Return the versions right before and after one that is not among them."""
    from packaging.version import Version

    ordered = in_order(versions)
    at = bisect.bisect_left([Version(each) for each in ordered], Version(wanted))
    return ordered[max(0, at - _NEAREST) : at + _NEAREST]


def published(tool: str, progress: Progress = lambda _: None) -> list[str]:
    """Return the stable versions of this tool that can be had on this platform, oldest first; asked once.

    Raises ProvisionError if the registry cannot be asked, or the tool is not pinned here.
    """
    if tool not in _published:
        pinned = _with_versions(tool)
        deno = client(pinned, progress)
        progress(f"asking for the versions of {pinned.package}")
        with working_folder(tool, progress) as work:
            _published[tool] = in_order(registry.published(pinned, work, deno))
    return _published[tool]


def installed_version(tool: str, version: str) -> Path | None:
    """Return the folder of this exact version if it is installed. Raises ProvisionError."""
    if version == pin(tool).version:
        return installed(tool)
    recorded = _recorded(tool, version)
    place = folder("tools") / recorded.folder_name if recorded else None
    return place if place and place.is_dir() else None


def program(tool: str, version: str) -> Path | None:
    """Return the program of this exact version if it is installed. Raises ProvisionError."""
    place = installed_version(tool, version)
    return place / pin(tool).entry if place else None


def installed_versions(tool: str) -> list[str]:
    """Return the versions of this tool that are installed, the pinned one among them, oldest first.

    Raises ProvisionError if the cache cannot be used or the tool is not pinned here.
    """
    pattern = re.compile(rf"{re.escape(tool)}-({_NUMBER.pattern})\.{re.escape(this_platform())}\.json")
    known = [match[1] for path in folder("tools").iterdir() if (match := pattern.fullmatch(path.name))]
    return in_order(each for each in (*known, pin(tool).version) if installed_version(tool, each))


def install_version(tool: str, version: str, progress: Progress = lambda _: None) -> Path:
    """Install this exact version unless it is there, and return its folder. Raises ProvisionError.

    The client checks that what comes is what the registry states; the first time that is recorded, and every
    later installation of the same version must be the same.
    """
    if version == pin(tool).version:
        return install(tool, progress)
    wanted = _recorded(tool, version)
    if wanted is not None:
        return install_pin(wanted, progress)
    pinned = _with_versions(tool)
    deno = client(pinned, progress)
    with working_folder(tool, progress) as work:
        progress(f"looking up {pinned.package} {version}")
        wanted = exact(tool, version, registry.stated(pinned, version, work, deno))
        if wanted.lock:
            (work / "deno.lock").replace(wanted.lock)
    place = install_pin(wanted, progress)
    _record(wanted)
    return place


def install_others(tool: str, others: Iterable[str], progress: Progress = lambda _: None) -> None:
    """Install those of the pinned ``others`` that are not there; the tool itself comes in a version of its own.

    Raises ProvisionError.
    """
    for other in others:
        if other != tool and installed(other) is None:
            install(other, progress)


class Resolver:
    """Finds the version that is meant by the beginning of its number, once, and installs it.

    ``resolved`` says what was found, by TOOL@WANTED; what another process of the same run has found is taken from
    there, without asking or installing anything. ``notes`` are sentences for the user.
    """

    def __init__(
        self, resolved: Mapping[str, str] | None = None, progress: Progress = lambda _: None
    ) -> None:
        self.resolved = dict(resolved or {})
        self._elsewhere = frozenset(self.resolved)
        self.notes: list[str] = []
        self.progress = progress

    def resolve(self, tool: str, wanted: str) -> str:
        """Return the exact version. Raises ProvisionError, which names the nearest ones if there is none."""
        asked = f"{tool}@{wanted}"
        if asked not in self.resolved:
            self.resolved[asked] = self._find(tool, wanted)
        return self.resolved[asked]

    def provide(self, tool: str, wanted: str, others: Iterable[str] = ()) -> str:
        """Return the exact version, installed, and the pinned ``others`` with it. Raises ProvisionError."""
        version = self.resolve(tool, wanted)
        if f"{tool}@{wanted}" in self._elsewhere:
            return version
        if installed_version(tool, version) is None:
            install_version(tool, version, self.progress)
        install_others(tool, others, self.progress)
        return version

    def _find(self, tool: str, wanted: str) -> str:
        if not _NUMBER.fullmatch(wanted):
            raise ProvisionError(
                f"{tool}@{wanted}: {wanted!r} is no version; write a number or the beginning of one, "
                f"such as {tool}@{pin(tool).version} or {tool}@{pin(tool).version.split('.')[0]}."
            )
        here = installed_versions(tool)
        if wanted in here:
            return wanted
        try:
            there = published(tool, self.progress)
        except ProvisionError as error:
            found = newest(wanted, here)
            if found is None:
                raise
            self.notes.append(
                f"{tool}@{wanted} is {found}, the newest one installed: whether there is a newer one could not be "
                f"asked ({_first_sentence(error)})"
            )
            return found
        found = newest(wanted, there)
        if found is None:
            near = " and ".join(nearest(wanted, there)) or "none"
            raise ProvisionError(
                f"{pin(tool).package} has no version {wanted} for {this_platform()}; the nearest: {near}."
            )
        return found


_published: dict[str, list[str]] = {}


def _with_versions(tool: str) -> Pin:
    """Return the pin of a tool whose other versions can be had. Raises ProvisionError."""
    pinned = pin(tool)
    if pinned.source not in ("pypi", "npm"):
        raise ProvisionError(
            f"{tool} can be had in its pinned version {pinned.version} only: {pinned.source} keeps no other for long."
        )
    return pinned


def client(pinned: Pin, progress: Progress) -> Path | None:
    """Return the deno that is the client of npm packages, installed if need be; None for others."""
    if pinned.source != "npm":
        return None
    install("deno", progress)
    return executable("deno")


def _record_path(tool: str, version: str) -> Path:
    return folder("tools") / f"{tool}-{version}.{this_platform()}.json"


def _record(wanted: Exact) -> None:
    content = {
        "package": wanted.package,
        "version": wanted.version,
        "source": wanted.source,
        "integrity": wanted.digest,
        "date": datetime.date.today().isoformat(),
    }
    with whole(_record_path(wanted.name, wanted.version)) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _recorded(tool: str, version: str) -> Exact | None:
    """Return what the record says of this version; None if there is none. Raises ProvisionError."""
    path = _record_path(tool, version)
    try:
        told: Any = json.loads(path.read_text("utf-8"))
        recorded = exact(tool, version, told["integrity"])
        if (told["package"], told["version"]) != (recorded.package, version):
            raise ValueError(f"it is about {told['package']} {told['version']}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProvisionError(
            f"The record {path} cannot be used: {error}. Delete it, and {tool} {version} is fetched anew."
        ) from error
    return recorded


def _first_sentence(error: ProvisionError) -> str:
    return str(error).partition(". ")[0].rstrip(".")
