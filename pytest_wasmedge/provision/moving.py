"""Moving pins: pins.toml of a checkout, and the lock files beside it, are written anew for what registries have now.

Comments, order and layout stay. A tool is moved as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import pins, registry
from pytest_wasmedge.provision.install import Progress, working_folder
from pytest_wasmedge.provision.pins import Pin
from pytest_wasmedge.provision.standing import Standing
from pytest_wasmedge.provision.versions import client

if TYPE_CHECKING:
    from tomlkit import TOMLDocument
    from tomlkit.items import Table


@dataclass(frozen=True, slots=True)
class Move:
    """What became of one pin: ``notes`` are what its version alone does not say."""

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


@dataclass(frozen=True, slots=True)
class _Target:
    """What a platform is to be pinned to."""

    on: str
    version: str
    digest: str


def not_ours() -> str:
    """Say why the pins cannot be written here, and what to do; empty if they can. Asks nobody."""
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
    """Pin this tool to the newest that its registry has for each platform, and write that.

    Raises ProvisionError; then all is as it was.
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
    targets = [_Target(offer.on, offer.newest, offer.digest) for offer in standing.offers]
    files: dict[Path, str] = {}
    if lock := pinned.lock:
        text = _lock(pinned, standing.newest, progress)
        files[lock] = text
        targets = [
            replace(each, digest=f"sha256:{hashlib.sha256(text.encode()).hexdigest()}") for each in targets
        ]
    notes = _notes(standing, targets)
    document = _read()
    _pin_to(document, tool, standing.newest, targets)
    _write({**files, pins.PINS: document.as_string()})
    return Move(tool, standing.pinned, standing.newest, tuple(notes))


def _move_range(standing: Standing) -> Move:
    """Let the range end before the next minor version after the newest one; where it begins stays."""
    from packaging.version import Version  # here, so that plugin.py can import us for nothing

    new = standing.pinned
    if any(offer.behind for offer in standing.offers):
        major, minor, *_ = (*Version(standing.newest).release, 0)
        new = re.sub(r"<[^,]*", f"<{major}.{minor + 1}", standing.pinned)
    document = _read()
    document[standing.tool]["version"] = new
    _write({pins.PINS: document.as_string()})
    return Move(standing.tool, standing.pinned, new, ())


def _lock(pinned: Pin, version: str, progress: Progress) -> str:
    progress(f"locking {pinned.package} {version}")
    deno = client(pinned, progress)
    with working_folder(pinned.name, progress) as work:
        return registry.npm_lock(pinned, version, pins.without(pinned.name), work, deno)


def _notes(standing: Standing, targets: list[_Target]) -> list[str]:
    notes = []
    replaced = []
    for target in targets:
        old = pins.pin(standing.tool, target.on)
        if target.version != old.version:
            if (old.version, target.version) != (standing.pinned, standing.newest):
                notes.append(f"{target.on}: {old.version} -> {target.version}")
        elif target.digest != old.digest and old.lock:
            notes.append("what it needs has moved, and its lock file is written anew")
        elif target.digest != old.digest:
            replaced.append(target.on)
    if replaced:
        where = "" if replaced == [target.on for target in targets] else f" ({', '.join(replaced)})"
        notes.append(f"another digest of the same version{where}: find out why before you commit that")
    return notes


def _pin_to(document: TOMLDocument, tool: str, version: str, targets: list[_Target]) -> None:
    """Write version and digests; a platform names its own version only where it is another one."""
    table = document[tool]
    _set(table, "version", version)
    for target in targets:
        platform: Table = table["platforms"][target.on]
        _set(platform, "digest", target.digest)
        if target.version == version:
            platform.pop("version", None)
        elif "version" in platform:
            _set(platform, "version", target.version)
        else:
            _insert_before(platform, "digest", "version", target.version)


def _set(table: Table, key: str, value: str) -> None:
    # What stays the same keeps its quotes, too.
    if table[key] != value:
        table[key] = value


def _insert_before(table: Table, before: str, key: str, value: str) -> None:
    """Add a key above another one. At the end it would stand behind comments that are about the next tool."""
    from tomlkit import item  # here, so that plugin.py can import us for nothing

    body = table.value.body
    place = next(i for i, (each, _) in enumerate(body) if each is not None and each.key == before)
    # tomlkit has no public way to do this.
    table.value._insert_at(place, key, item(value))


def _read() -> TOMLDocument:
    from tomlkit import parse  # here, so that plugin.py can import us for nothing

    # As bytes, so that line ends stay what they are.
    return parse(pins.PINS.read_bytes().decode())


def _write(contents: Mapping[Path, str]) -> None:
    """Write all these files or none: each is complete beside its place before the first one is replaced."""
    before = {path: path.read_bytes() for path in contents if path.exists()}
    changed = {path: text.encode() for path, text in contents.items() if before.get(path) != text.encode()}
    fresh = {path: path.with_name(f".{path.name}.new") for path in changed}
    replaced: list[Path] = []
    try:
        for path, content in changed.items():
            fresh[path].write_bytes(content)
            shutil.copymode(path, fresh[path])
        for path, new in fresh.items():
            new.replace(path)
            replaced.append(path)
    except BaseException as error:
        # Ctrl-C as well: a lock file that the pins do not name would be refused by every installation.
        for path in replaced:
            path.write_bytes(before[path])
        if isinstance(error, OSError):
            raise ProvisionError(
                f"{error.filename} could not be written: {error.strerror}. All pins of this tool are as they were; "
                "make room or give rights there, and try again."
            ) from error
        raise
    finally:
        for new in fresh.values():
            new.unlink(missing_ok=True)
