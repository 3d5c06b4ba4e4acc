"""Moves pins: writes the newest versions of the registries into a checkout's pins.toml and lock files.

Comments, order and layout stay. A tool is moved as a whole or not at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.version import Version
from tomlkit import TOMLDocument, item, parse
from tomlkit.items import Table

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import pins, registry
from pytest_wasmedge.provision.files import write_all
from pytest_wasmedge.provision.install import Progress, working_folder
from pytest_wasmedge.provision.pins import digest_of
from pytest_wasmedge.provision.standing import Offer, Standing
from pytest_wasmedge.provision.versions import install_client


@dataclass(frozen=True, slots=True)
class Move:
    """The result for one pin; ``notes`` say what the versions alone do not."""

    tool: str
    old: str
    new: str
    notes: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """True if something was written."""
        return self.old != self.new or bool(self.notes)

    def __str__(self) -> str:
        first = f"{self.old} -> {self.new}" if self.old != self.new else f"stays at {self.new}"
        return "; ".join([f"{self.tool}: {first}", *self.notes])


def unwritable() -> str:
    """Say why the pins cannot be written here, and what to do; empty if they can. Asks no registry."""
    if not (pins.PINS.parents[2] / "pyproject.toml").is_file():
        return (
            f"{pins.PINS} belongs to an installed pytest-wasmedge, whose pins are not to be moved: do it in a checkout "
            "of the project, with `make pins UPDATE=1`."
        )
    for path in (pins.PINS.parent, pins.PINS, pins.LOCKS):
        if not os.access(path, os.W_OK):
            return f"{path} cannot be written by you, so no pin can be moved: give yourself the right, and try again."
    return ""


def move(standing: Standing, progress: Progress = lambda _: None) -> Move:
    """Pin this tool to the newest version that its registry has for each platform, in the files of the checkout.

    Raises ProvisionError; then no file has changed.
    """
    tool = standing.tool
    if unasked := next((offer.unasked for offer in standing.offers if offer.unasked), ""):
        raise ProvisionError(f"{tool} is left as it was, because not everything could be asked: {unasked}.")
    if unknown := [offer.on for offer in standing.offers if not offer.newest]:
        raise ProvisionError(
            f"{tool} is left as it was: {standing.source} has no version at all for {', '.join(unknown)}. Take these "
            f"platforms out of pins.toml, or find another source of {tool}."
        )
    if standing.source == "debian":
        return _move_range(standing)
    pinned = pins.pin(tool, standing.offers[0].on)
    targets = list(standing.offers)
    files: dict[Path, str] = {}
    if lock := pinned.lock:
        progress(f"locking {pinned.package} {standing.newest}")
        install_client(pinned, progress)
        with working_folder(tool, progress) as work:
            files[lock] = registry.npm_lock(pinned, standing.newest, pins.without(tool), work)
        targets = [replace(each, digest=digest_of(files[lock].encode())) for each in targets]
    notes = _notes(standing, targets)
    document = _read()
    _pin_to(document, tool, standing.newest, targets)
    _write({**files, pins.PINS: document.as_string()})
    return Move(tool, standing.pinned, standing.newest, tuple(notes))


def _move_range(standing: Standing) -> Move:
    """Move the end of the range to the minor version after the newest one; its start stays."""
    new = standing.pinned
    if any(offer.behind for offer in standing.offers):
        major, minor, *_ = (*Version(standing.newest).release, 0)
        new = re.sub(r"<[^,]*", f"<{major}.{minor + 1}", standing.pinned)
    document = _read()
    document[standing.tool]["version"] = new
    _write({pins.PINS: document.as_string()})
    return Move(standing.tool, standing.pinned, new, ())


def _notes(standing: Standing, targets: Sequence[Offer]) -> list[str]:
    notes = []
    replaced = []
    for target in targets:
        old = pins.pin(standing.tool, target.on)
        if target.newest != old.version:
            if (old.version, target.newest) != (standing.pinned, standing.newest):
                notes.append(f"{target.on}: {old.version} -> {target.newest}")
        elif target.digest != old.digest and old.lock:
            notes.append("what it needs has moved, and its lock file is written anew")
        elif target.digest != old.digest:
            replaced.append(target.on)
    if replaced:
        where = "" if len(replaced) == len(targets) else f" ({', '.join(replaced)})"
        notes.append(f"another digest of the same version{where}: find out why before you commit that")
    return notes


def _pin_to(document: TOMLDocument, tool: str, version: str, targets: Sequence[Offer]) -> None:
    """Write version and digests; a platform gets a version of its own only if it differs."""
    table = document[tool]
    _set(table, "version", version)
    for target in targets:
        platform: Table = table["platforms"][target.on]
        _set(platform, "digest", target.digest)
        if target.newest == version:
            platform.pop("version", None)
        elif "version" in platform:
            _set(platform, "version", target.newest)
        else:
            # Above the digest: at the end it would follow comments that are about the next tool. tomlkit has no
            # public way to do this.
            body = platform.value.body
            place = next(i for i, (key, _) in enumerate(body) if key is not None and key.key == "digest")
            platform.value._insert_at(place, "version", item(target.newest))


def _set(table: Table, key: str, value: str) -> None:
    # A value that stays the same keeps its quotes, too.
    if table[key] != value:
        table[key] = value


def _read() -> TOMLDocument:
    # As bytes, so that line ends stay what they are.
    return parse(pins.PINS.read_bytes().decode())


def _write(contents: Mapping[Path, str]) -> None:
    """Write all these files or none of them."""
    before = {path: path.read_bytes() for path in contents if path.exists()}
    new = {path: text.encode() for path, text in contents.items()}
    try:
        write_all({path: content for path, content in new.items() if content != before.get(path)})
    except BaseException as error:
        # After Ctrl-C as well: every installation would refuse a lock file that the pins do not name.
        for path, content in before.items():
            if path.read_bytes() != content:
                path.write_bytes(content)
        if isinstance(error, OSError):
            raise ProvisionError(
                f"{error.filename} could not be written: {error.strerror}. All pins of this tool are as they were; "
                "make room or give rights there, and try again."
            ) from error
        raise
