"""Other versions of tools than the pinned ones: found by the start of a number, recorded, installed.

A record beside the tools, such as ``deno-2.7.14.linux-x86_64.json``, keeps what the registry stated when a version was
first asked for. Only that is ever installed again.
"""

from __future__ import annotations

import bisect
import datetime
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import registry
from pytest_wasmedge.provision.cache import folder
from pytest_wasmedge.provision.files import whole
from pytest_wasmedge.provision.install import (
    Progress,
    install,
    install_pin,
    installed,
    installed_pin,
    working_folder,
)
from pytest_wasmedge.provision.pins import Exact, Pin, exact, key_here, pin, this_platform

#: An error names this many versions on each side of one that does not exist.
_NEAREST = 2
_NUMBER = re.compile(r"\d+(\.\d+)*(\.post\d+)?")


def in_order(versions: Iterable[str]) -> list[str]:
    """Return the stable ones of these versions, each once, oldest first; other text is left out."""
    read: dict[str, Version] = {}
    for version in versions:
        with suppress(InvalidVersion):
            read[version] = Version(version)
    return sorted((text for text, each in read.items() if not each.is_prerelease), key=read.__getitem__)


def newest(wanted: str, versions: Iterable[str]) -> str | None:
    """Return ``wanted`` if it is one of these versions, else the newest that starts with it, else None.

    2.7.14 starts with 2.7, but 2.70 does not; 1.20261117.1 starts with 1.2026, since a date is one number.
    """
    asked, ordered = wanted.split("."), in_order(versions)
    if wanted in ordered:
        return wanted
    return next((each for each in reversed(ordered) if _starts_with(each.split("."), asked)), None)


def _starts_with(version: list[str], asked: list[str]) -> bool:
    if version[: len(asked)] == asked:
        return True
    if version[: len(asked) - 1] != asked[:-1] or len(version) < len(asked):
        return False
    number = version[len(asked) - 1]
    return len(number) == len("20261117") and len(asked[-1]) >= len("2026") and number.startswith(asked[-1])


def nearest(wanted: str, versions: Iterable[str]) -> list[str]:
    """Return the versions right before and after one that is not among them."""
    ordered = in_order(versions)
    at = bisect.bisect_left([Version(each) for each in ordered], Version(wanted))
    return ordered[max(0, at - _NEAREST) : at + _NEAREST]


def published(tool: str, progress: Progress = lambda _: None) -> list[str]:
    """Return the stable versions of this tool for this platform, oldest first; the registry is asked once.

    Raises ProvisionError if the registry cannot be asked, or the tool is not pinned here.
    """
    if tool not in _published:
        pinned = _with_versions(tool, progress)
        progress(f"asking for the versions of {pinned.package}")
        with working_folder(tool, progress) as work:
            _published[tool] = in_order(registry.published(pinned, work))
    return _published[tool]


def installed_version(tool: str, version: str, *, all_bytes: bool = False) -> Path | None:
    """Return the folder of this exact version if it is installed, as `installed` does. Raises ProvisionError."""
    if version == pin(tool).version:
        return installed(tool, all_bytes=all_bytes)
    recorded = _recorded(tool, version)
    return installed_pin(recorded, all_bytes=all_bytes) if recorded else None


def installed_versions(tool: str) -> list[str]:
    """Return the installed versions of this tool, oldest first, the pinned one included.

    Raises ProvisionError if the cache cannot be used or the tool is not pinned here.
    """
    pattern = re.compile(rf"{re.escape(tool)}-({_NUMBER.pattern})\.{re.escape(key_here(tool))}\.json")
    known = [match[1] for path in folder("tools").iterdir() if (match := pattern.fullmatch(path.name))]
    return in_order(each for each in (*known, pin(tool).version) if _is_there(tool, each))


def _is_there(tool: str, version: str) -> bool:
    wanted = pin(tool) if version == pin(tool).version else _recorded(tool, version)
    return wanted is not None and (folder("tools") / wanted.folder_name).is_dir()


def install_version(tool: str, version: str, progress: Progress = lambda _: None) -> Path:
    """Install this exact version, unless installed already, and return its folder. Raises ProvisionError.

    The client checks the package against what the registry states. The first time, that is recorded; every later
    installation of the version is checked against the record.
    """
    if version == pin(tool).version:
        return install(tool, progress)
    if recorded := _recorded(tool, version):
        return install_pin(recorded, progress)
    pinned = _with_versions(tool, progress)
    with working_folder(tool, progress) as work:
        progress(f"looking up {pinned.package} {version}")
        wanted = exact(tool, version, registry.stated(pinned, version, work))
        if wanted.lock:
            (work / "deno.lock").replace(wanted.lock)
    place = install_pin(wanted, progress)
    _record(wanted)
    return place


def install_others(tool: str, others: Iterable[str], progress: Progress = lambda _: None) -> None:
    """Install the pinned ``others`` that are missing, except the tool itself. Raises ProvisionError."""
    for other in others:
        # One that is damaged is installed anew.
        with suppress(ProvisionError):
            if other == tool or installed(other):
                continue
        install(other, progress)


class Resolver:
    """Finds the exact version for the start of a number, once, and installs it.

    ``resolved`` has the exact version by TOOL@WANTED. A run's other process passes its own, whose versions are taken
    without asking or installing anything. ``notes`` are sentences for the user.
    """

    def __init__(self, resolved: dict[str, str] | None = None, progress: Progress = lambda _: None) -> None:
        self.resolved = dict(resolved or {})
        self._elsewhere = frozenset(self.resolved)
        self.notes: list[str] = []
        self.progress = progress

    def resolve(self, tool: str, wanted: str) -> str:
        """Return the exact version. Raises ProvisionError; if no version fits, it names the nearest ones."""
        asked = f"{tool}@{wanted}"
        if asked not in self.resolved:
            self.resolved[asked] = self._find(tool, wanted)
        return self.resolved[asked]

    def provide(self, tool: str, wanted: str, others: Iterable[str] = ()) -> str:
        """Install the version, and the pinned ``others``, and return the exact version. Raises ProvisionError."""
        version = self.resolve(tool, wanted)
        if f"{tool}@{wanted}" not in self._elsewhere:
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
            known = published(tool, self.progress)
        except ProvisionError as error:
            if found := newest(wanted, here):
                first_sentence = str(error).partition(". ")[0].rstrip(".")
                self.notes.append(
                    f"{tool}@{wanted} is {found}, the newest one installed: whether there is a newer one could not be "
                    f"asked ({first_sentence})"
                )
                return found
            raise
        if found := newest(wanted, known):
            return found
        near = " and ".join(nearest(wanted, known)) or "none"
        raise ProvisionError(
            f"{pin(tool).package} has no version {wanted} for {this_platform()}; the nearest: {near}."
        )


_published: dict[str, list[str]] = {}


def _with_versions(tool: str, progress: Progress) -> Pin:
    """Return the pin of a tool whose registry keeps other versions, ready to be asked. Raises ProvisionError."""
    pinned = pin(tool)
    if pinned.source not in ("pypi", "npm"):
        raise ProvisionError(
            f"{tool} can be had in its pinned version {pinned.version} only: {pinned.source} keeps no other for long."
        )
    install_client(pinned, progress)
    return pinned


def install_client(pinned: Pin, progress: Progress) -> None:
    """Install deno, if missing, for a package of npm. Raises ProvisionError."""
    if pinned.source == "npm":
        install("deno", progress)


def _record_path(tool: str, version: str) -> Path:
    return folder("tools") / f"{tool}-{version}.{key_here(tool)}.json"


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
    """Return this version as recorded; None without a record. Raises ProvisionError."""
    path = _record_path(tool, version)
    try:
        content: Any = json.loads(path.read_text("utf-8"))
        recorded = exact(tool, version, content["integrity"])
        if (content["package"], content["version"]) != (recorded.package, version):
            raise ValueError(f"it is about {content['package']} {content['version']}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProvisionError(
            f"The record {path} cannot be used: {error}. Delete it, and {tool} {version} is fetched anew."
        ) from error
    return recorded
