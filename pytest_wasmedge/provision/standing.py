"""Compares the pins with what the registries state now, and finds newer versions. Fetches no package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from packaging.version import Version

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import debian, pins, registry
from pytest_wasmedge.provision.install import Progress, working_folder
from pytest_wasmedge.provision.lockfile import integrities
from pytest_wasmedge.provision.pins import DebianPin, Pin, digest_of
from pytest_wasmedge.provision.versions import in_order, install_client

#: Suites that are asked as well, to show what will come; nothing is fetched from them.
FURTHER_SUITES = ("sid",)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a registry says about one platform of a pin.

    ``newest`` is the newest stable version, and ``behind`` true if the pin has to be moved to get it. ``digest`` is
    what the registry states of it (empty for packages with a lock file, and for Debian's). ``gone`` says why the
    pinned version cannot be fetched any more, ``unasked`` why the registry could not be asked; usually both are empty.
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
    """One pin, compared with its registry. ``pinned`` is the version or the range, ``note`` a remark for the user."""

    tool: str
    source: str
    pinned: str
    offers: tuple[Offer, ...]
    note: str = ""

    @property
    def fetchable(self) -> bool:
        """True if the pinned version is known to be fetchable on every platform."""
        return not any(offer.gone or offer.unasked for offer in self.offers)

    @property
    def newest(self) -> str:
        """The newest version for any platform; empty if unknown."""
        return next(reversed(in_order(offer.newest for offer in self.offers if offer.newest)), "")

    @property
    def state(self) -> str:
        """The result in a few words: ``newest``, ``newer: X``, ``cannot be fetched any more: …``."""
        parts = [
            ("cannot be fetched any more", [each.gone for each in self.offers]),
            ("could not be asked", [each.unasked for each in self.offers]),
            ("newer", [each.newest if each.behind else "" for each in self.offers]),
        ]
        said = [f"{what}: {self._by_platform(texts)}" for what, texts in parts if any(texts)]
        state = "; ".join(said) or "newest"
        return f"{state} ({self.note})" if self.note else state

    def _by_platform(self, texts: Sequence[str]) -> str:
        """Join the platforms' texts, each once, with the names of its platforms unless it holds for all."""
        platforms: dict[str, list[str]] = {}
        for offer, text in zip(self.offers, texts, strict=True):
            platforms.setdefault(text, []).append(offer.on)
        return "; ".join(
            text if len(platforms) == 1 else f"{text} ({', '.join(names)})"
            for text, names in platforms.items()
            if text
        )

    def as_json(self) -> dict[str, Any]:
        """Return what ``pins --json`` prints for this pin."""
        return asdict(self) | {"newest": self.newest, "state": self.state, "fetchable": self.fetchable}


def ask(tool: str, progress: Progress = lambda _: None) -> Standing:
    """Ask the registry of this tool about each platform that it is pinned for. Failures are part of the answer.

    Raises ProvisionError only if the tool is not pinned at all, or the cache folder cannot be used.
    """
    by_platform = {on: pins.pin(tool, on) for on in pins.platforms_of(tool)}
    some = next(iter(by_platform.values()))
    note, offers = "", []
    progress(f"asking {some.source} about {tool}")
    try:
        install_client(some, progress)
    except ProvisionError as error:
        offers = [Offer(on, each.version, unasked=_reason(error)) for on, each in by_platform.items()]
    else:
        with working_folder(tool, progress) as work:
            for on, each in by_platform.items():
                place = work / on
                place.mkdir()
                if isinstance(each, DebianPin):
                    suites = _suites_of(each, place, every=not offers)
                    note = note or _note(suites)
                    offers.append(_of_debian(each, on, suites))
                else:
                    offers.append(_of_registry(each, on, place))
    return Standing(tool, some.source, pins.version_of(tool), tuple(offers), note)


def _reason(error: ProvisionError) -> str:
    return str(error).rstrip(".")


def _of_registry(pin: Pin, on: str, work: Path) -> Offer:
    offer = Offer(on, pin.version)
    try:
        newest, digest = _newest(pin, on, work)
        offer = replace(offer, newest=newest, digest=digest, behind=newest != pin.version)
        if pin.lock:
            gone, now = _changes_of_tree(pin, pin.lock, work), ""
        else:
            now = digest if newest == pin.version else registry.stated(pin, pin.version, work, on)
            same = now == pin.digest
            gone = "" if same else f"{pin.source} states {now} of {pin.version}, not the pinned digest"
        if not gone and Version(pin.version) > Version(newest):
            # The pinned version was withdrawn, or was never called stable; but it exists, and is the newer one.
            offer = replace(offer, newest=pin.version, digest=now, behind=False)
        return replace(offer, gone=gone)
    except ProvisionError as error:
        if not registry.is_gone(error):
            return replace(offer, unasked=_reason(error))
        # In a tree, only the client's message says which package is gone.
        gone = _reason(error) if pin.lock else f"{pin.source} has no {pin.package} {pin.version}"
        return replace(offer, gone=gone)


def _newest(pin: Pin, on: str, work: Path) -> tuple[str, str]:
    """Return the newest stable version for this platform, and its digest unless it gets a lock file."""
    if pin.source == "pypi":
        return registry.wheel_for(pin, None, work, on)
    versions = in_order(registry.published(pin, work))
    if not versions:
        raise ProvisionError(f"{pin.package} has no stable version in npm.")
    return versions[-1], "" if pin.lock else registry.stated(pin, versions[-1], work)


def _changes_of_tree(pin: Pin, lock: Path, work: Path) -> str:
    try:
        content = lock.read_bytes()
    except OSError as error:
        return f"its lock file {lock} cannot be read: {error.strerror}"
    if digest_of(content) != pin.digest:
        return f"{lock} is not the lock file that is pinned"
    locked = integrities(content.decode())
    stated = registry.npm_stated(pin, locked, work)
    changed = [" ".join(package) for package in locked if stated[package] != locked[package]]
    return f"npm states another integrity of {', '.join(changed)} than is locked" if changed else ""


def _suites_of(pin: DebianPin, work: Path, every: bool) -> dict[str, list[str] | ProvisionError]:
    """Return what each suite offers; unless ``every`` is set, stop at the first that has the pinned version."""
    found: dict[str, list[str] | ProvisionError] = {}
    for suite in dict.fromkeys((*pin.suites, *(FURTHER_SUITES if every else ()))):
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
    # Nothing would be installed from a further suite.
    known = {suite: each for suite, each in found.items() if suite in pin.suites}
    offered = [version for each in known.values() if isinstance(each, list) for version in each]
    newest = next(reversed(in_order(debian.upstream(version) for version in offered)), "")
    offer = Offer(on, pin.version, newest, bool(newest) and not debian.accepted(pin, newest))
    if any(debian.accepted(pin, version) for version in offered):
        return offer
    if errors := [_reason(each) for each in known.values() if isinstance(each, ProvisionError)]:
        return replace(offer, unasked=". ".join(dict.fromkeys(errors)))
    return replace(offer, gone=f"{' and '.join(known)} offer no version in {pin.version}")


def _note(found: dict[str, list[str] | ProvisionError]) -> str:
    return ", ".join(
        f"{suite}: {', '.join(each) or 'none' if isinstance(each, list) else 'could not be asked'}"
        for suite, each in found.items()
    )
