"""How the pins stand: what the registries state of them now, and which versions are newer. Fetches no package."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import debian, pins, registry
from pytest_wasmedge.provision.install import Progress, working_folder
from pytest_wasmedge.provision.lockfile import integrities
from pytest_wasmedge.provision.pins import DebianPin, Pin
from pytest_wasmedge.provision.versions import client, in_order

#: Asked too, beside those that a pin names, so that it is seen what will come; nothing is taken from them.
FURTHER_SUITES = ("sid",)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a registry says about one platform of a pin.

    ``newest`` is the newest stable version for it, ``behind`` whether the pin has to be moved to get that, ``digest``
    what the registry states of it (nothing of packages with a lock file, nor of Debian's). ``gone`` says why the
    pinned version cannot be fetched any more, ``unasked`` why that could not be found out; empty if neither is so.
    """

    on: str
    pinned: str
    newest: str = ""
    behind: bool = False
    digest: str = ""
    gone: str = ""
    unasked: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one pin stands. ``pinned`` is the version, or the range; ``note`` is for people."""

    tool: str
    source: str
    pinned: str
    offers: tuple[Offer, ...]
    note: str = ""

    @property
    def fetchable(self) -> bool:
        """True if it is known that everything pinned can be fetched."""
        return not any(offer.gone or offer.unasked for offer in self.offers)

    @property
    def newest(self) -> str:
        """The newest version for any platform; empty if unknown."""
        return next(reversed(in_order(offer.newest for offer in self.offers if offer.newest)), "")

    @property
    def state(self) -> str:
        """All of it in a few words: ``newest``, ``newer: X``, ``cannot be fetched any more: …``."""
        said = [
            self._told("cannot be fetched any more", {each.on: each.gone for each in self.offers}),
            self._told("could not be asked", {each.on: each.unasked for each in self.offers}),
            self._told("newer", {each.on: each.newest if each.behind else "" for each in self.offers}),
        ]
        state = "; ".join(each for each in said if each) or "newest"
        return f"{state} ({self.note})" if self.note else state

    def _told(self, what: str, by_platform: dict[str, str]) -> str:
        """Say the same of several platforms once, and name none if it is the same of all."""
        said: dict[str, list[str]] = {}
        for on, text in by_platform.items():
            if text:
                said.setdefault(text, []).append(on)
        parts = [
            text if len(platforms) == len(by_platform) else f"{text} ({', '.join(platforms)})"
            for text, platforms in said.items()
        ]
        return f"{what}: {'; '.join(parts)}" if parts else ""

    def as_json(self) -> dict[str, Any]:
        """Return it as ``pins --json`` prints it."""
        derived = {"newest": self.newest, "state": self.state, "fetchable": self.fetchable}
        return asdict(self) | derived


def ask(tool: str, progress: Progress = lambda _: None) -> Standing:
    """Ask the registry of this tool about each platform that it is pinned for. What fails is part of the answer.

    Raises ProvisionError only if the tool is not pinned at all, or the cache folder cannot be used.
    """
    platforms = pins.platforms_of(tool)
    pinned = [pins.pin(tool, on) for on in platforms]
    version = pins.version_of(tool)
    progress(f"asking {pinned[0].source} about {tool}")
    try:
        deno = client(pinned[0], progress)
    except ProvisionError as error:
        reason = str(error).rstrip(".")
        offers = [Offer(on, each.version, unasked=reason) for on, each in zip(platforms, pinned, strict=True)]
        return Standing(tool, pinned[0].source, version, tuple(offers))
    note = ""
    offers = []
    with working_folder(tool, progress) as work:
        for on, each in zip(platforms, pinned, strict=True):
            place = work / on
            place.mkdir()
            if isinstance(each, DebianPin):
                suites = _suites_of(each, place, every=not offers)
                note = note or _what_suites_offer(suites)
                offers.append(_of_debian(each, on, suites))
            else:
                offers.append(_of_registry(each, on, place, deno))
    return Standing(tool, pinned[0].source, version, tuple(offers), note)


def _of_registry(pin: Pin, on: str, work: Path, deno: Path | None) -> Offer:
    offer = Offer(on, pin.version)
    try:
        newest, digest = _newest(pin, on, work, deno)
        offer = replace(offer, newest=newest, digest=digest, behind=newest != pin.version)
        gone, now = _changes(pin, offer, work, deno)
        if not gone and _newer(pin.version, newest):
            # It was withdrawn, or was never called stable; but it is there, and nobody wants an older one.
            offer = replace(offer, newest=pin.version, digest=now, behind=False)
        return replace(offer, gone=gone)
    except ProvisionError as error:
        reason = str(error).rstrip(".")
        if not registry.is_gone(error):
            return replace(offer, unasked=reason)
        # Of a tree only the client's words tell which package it is.
        return replace(offer, gone=reason if pin.lock else f"{pin.source} has no {pin.package} {pin.version}")


def _newest(pin: Pin, on: str, work: Path, deno: Path | None) -> tuple[str, str]:
    """Return the newest stable version for this platform, and its digest unless there is to be a lock file."""
    if pin.source == "pypi":
        return registry.wheel_for(pin, on, None, work)
    versions = in_order(registry.published(pin, work, deno))
    if not versions:
        raise ProvisionError(f"{pin.package} has no stable version in npm.")
    if pin.lock:
        return versions[-1], ""
    package = (pin.package, versions[-1])
    return versions[-1], registry.npm_stated(pin, [package], work, deno)[package]


def _changes(pin: Pin, offer: Offer, work: Path, deno: Path | None) -> tuple[str, str]:
    """Say why the registry's packages are not the pinned ones, empty if they are; and what digest it states now."""
    if lock := pin.lock:
        return _changes_of_tree(pin, lock, work, deno), ""
    if offer.newest == pin.version:
        now = offer.digest
    elif pin.source == "pypi":
        _, now = registry.wheel_for(pin, offer.on, pin.version, work)
    else:
        package = (pin.package, pin.version)
        now = registry.npm_stated(pin, [package], work, deno)[package]
    return (
        "" if now == pin.digest else f"{pin.source} states {now} of {pin.version}, not the pinned digest"
    ), now


def _changes_of_tree(pin: Pin, lock: Path, work: Path, deno: Path | None) -> str:
    try:
        content = lock.read_bytes()
    except OSError as error:
        return f"its lock file {lock} cannot be read: {error.strerror}"
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != pin.digest:
        return f"{lock} is not the lock file that is pinned"
    locked = integrities(content.decode())
    stated = registry.npm_stated(pin, locked, work, deno)
    changed = [" ".join(package) for package in locked if stated[package] != locked[package]]
    return f"npm states another integrity of {', '.join(changed)} than is locked" if changed else ""


def _newer(version: str, other: str) -> bool:
    from packaging.version import Version  # here, so that plugin.py can import us for nothing

    return Version(version) > Version(other)


def _suites_of(pin: DebianPin, work: Path, every: bool) -> dict[str, list[str] | ProvisionError]:
    """Return what each suite offers; unless ``every`` one is to be known, up to the first that has what is pinned."""
    found: dict[str, list[str] | ProvisionError] = {}
    for suite in (*pin.suites, *(FURTHER_SUITES if every else ())):
        place = work / suite
        place.mkdir()
        try:
            found[suite] = versions = debian.offered(pin, suite, place)
        except ProvisionError as error:
            found[suite] = error
            continue
        if not every and any(debian.accepted(pin, version) for version in versions):
            break
    return found


def _of_debian(pin: DebianPin, on: str, found: dict[str, list[str] | ProvisionError]) -> Offer:
    # What comes from a further suite is not what would be installed.
    known = {suite: each for suite, each in found.items() if suite in pin.suites}
    offered = [version for each in known.values() if isinstance(each, list) for version in each]
    newest = next(reversed(in_order(debian.upstream(version) for version in offered)), "")
    offer = Offer(on, pin.version, newest, bool(newest) and not debian.accepted(pin, newest))
    if any(debian.accepted(pin, version) for version in offered):
        return offer
    if errors := [str(each).rstrip(".") for each in known.values() if isinstance(each, ProvisionError)]:
        return replace(offer, unasked=". ".join(dict.fromkeys(errors)))
    return replace(offer, gone=f"{' and '.join(known)} offer no version in {pin.version}")


def _what_suites_offer(found: dict[str, list[str] | ProvisionError]) -> str:
    told = (
        f"{suite}: {', '.join(each) or 'none' if isinstance(each, list) else 'could not be asked'}"
        for suite, each in found.items()
    )
    return ", ".join(told)
