"""Digests of what we execute: a file is used only if its bytes are those that we installed or compiled.

That finds damage, files in the place of others, and files that another user could write. It is no help against whoever
acts as this user, who can write the digests, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision.room import NO_FILES

#: In the folder of a tool: ``files`` (path: digest, size in bytes, time in nanoseconds) and ``links`` (path: target).
MANIFEST = "digests.json"

#: What Python writes beside modules, for each of its versions.
_NOT_INSTALLED = "__pycache__"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

#: Of each file whose digest was right: that, and what the system tells of the file (`_told`).
_right: dict[Path, tuple[str, tuple[int, ...]]] = {}


@dataclass(frozen=True, slots=True)
class _Checked:
    """The entry of a tool that was found whole: its own file, not a way to it through links, and its digest."""

    place: Path
    entry: str
    asked: str
    file: Path
    sha256: str


_checked: dict[Path, _Checked] = {}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep_from_others(path: Path) -> None:
    """Take the right to write from all but the owner: a user's umask may have given it. Raises OSError."""
    mode = stat.S_IMODE(path.lstat().st_mode)
    if mode & _OTHERS_WRITE and not path.is_symlink():
        path.chmod(mode & ~_OTHERS_WRITE)


def fault(path: Path, sha256: str) -> str:
    """Return what is wrong with a file that is to have this digest, as a clause about it; empty if nothing is.

    The digest is computed when this process meets the file first, and whenever its inode, size, owner, mode or times
    have changed since; at all other times this takes some microseconds. Raises OSError if no more files can be opened.
    """
    try:
        status = path.lstat()
        if why := _unsafe(status):
            return why
        if _right.get(path) == (sha256, _told(status)):
            return ""
        if sha256_of(path) != sha256:
            return "has other bytes"
    except OSError as error:
        if error.errno in NO_FILES:
            raise
        return f"cannot be read ({error.strerror})"
    _right[path] = sha256, _told(status)
    return ""


def seal(package: Path) -> None:
    """Write what a tool consists of into its folder, and take from others the right to write it. Raises OSError."""
    files, links = {}, {}
    for path in _below(package):
        name = path.relative_to(package).as_posix()
        if path.is_symlink():
            links[name] = str(path.readlink())
            continue
        keep_from_others(path)
        # One that is there already is written anew.
        if path.is_file() and name != MANIFEST:
            status = path.stat()
            files[name] = sha256_of(path), status.st_size, status.st_mtime_ns
    keep_from_others(package)
    manifest = package / MANIFEST
    manifest.write_text(json.dumps({"files": files, "links": links}), encoding="utf-8")
    keep_from_others(manifest)


def check(place: Path, entry: str, asked: str, *, all_bytes: bool = False) -> None:
    """Raise ProvisionError unless the tool in this folder is what was installed there, and only this user's to write.

    The first time in a process, the digest of the entry is computed, and of the other files size and time are compared
    (a digest where the time is another one). Later, while nothing is seen to have changed, the entry is looked at.
    ``all_bytes`` computes all digests. ``asked`` is what to ask `install` for.
    """
    known = _checked.get(place)
    if known and not all_bytes and not fault(known.file, known.sha256):
        return
    try:
        file, sha256 = _check_all(place, entry, all_bytes=all_bytes)
    except _DamagedError as error:
        _checked.pop(place, None)
        raise ProvisionError(
            f"{asked} is not used: {error}. `pytest-wasmedge install {asked}` installs it anew."
        ) from error
    _checked[place] = _Checked(place, entry, asked, file, sha256)


def check_again(program: Path) -> None:
    """Check a tool, known by its entry or its folder, right before it is started; the user's own is left alone.

    Raises ProvisionError.
    """
    for known in list(_checked.values()):
        if program in (known.place, known.place / known.entry):
            check(known.place, known.entry, known.asked)


class _DamagedError(Exception):
    """What is wrong with a tool; the text is a clause."""


def _check_all(place: Path, entry: str, *, all_bytes: bool) -> tuple[Path, str]:
    """Compare the tool with its manifest; return the entry's own file and its digest. Raises _DamagedError."""
    root = place.resolve()
    files, links = _read(root)
    try:
        program = (root / entry).resolve(strict=True).relative_to(root).as_posix()
        program_sha256 = files[program][0]
    except (OSError, ValueError, LookupError) as error:
        raise _DamagedError(f"its {entry} is missing, or leads out of {place}") from error
    # Texts, since a tool may have thousands of files.
    folders = {name.rpartition("/")[0] for name in (*files, *links)}
    for folder in list(folders):
        while folder := folder.rpartition("/")[0]:
            folders.add(folder)
    for folder in folders:
        if why := _unsafe(_status(f"{root}/{folder}", folder), is_file=False):
            raise _DamagedError(f"its folder {folder or place} {why}")
    for link, target in links.items():
        if (
            not stat.S_ISLNK(_status(f"{root}/{link}", link).st_mode)
            or str((root / link).readlink()) != target
        ):
            raise _DamagedError(f"{link} in it is no link to {target} any more")
    for name, (sha256, size_bytes, time_ns) in files.items():
        status = _status(f"{root}/{name}", name)
        why = _unsafe(status)
        if not why and status.st_size != size_bytes:
            why = f"has {status.st_size} bytes, {size_bytes} were installed"
        if not why and (all_bytes or name == program or not _same_time(status.st_mtime_ns, time_ns)):
            if all_bytes:
                _right.pop(root / name, None)
            why = fault(root / name, sha256)
        if why:
            raise _DamagedError(f"{name} in it {why}")
    return root / program, program_sha256


def _read(root: Path) -> tuple[dict[str, list[Any]], dict[str, str]]:
    manifest = root / MANIFEST
    try:
        if why := _unsafe(manifest.lstat()):
            raise _DamagedError(f"the list of its digests, {manifest}, {why}")
        content = json.loads(manifest.read_text(encoding="utf-8"))
        files, links = content["files"], content["links"]
        if not all(isinstance(name, str) and len(told) == 3 for name, told in files.items()):
            raise ValueError("it has other fields")
        return files, dict(links)
    except FileNotFoundError as error:
        raise _DamagedError("an earlier pytest-wasmedge installed it and kept no digests") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _DamagedError(f"the list of its digests, {manifest}, is damaged ({error})") from error


def _below(folder: Path) -> Iterator[Path]:
    for parent, names, files in os.walk(folder):
        if _NOT_INSTALLED in names:
            names.remove(_NOT_INSTALLED)
        yield from (Path(parent, name) for name in (*names, *files))


def _status(path: str, name: str) -> os.stat_result:
    try:
        return os.lstat(path)
    except OSError as error:
        raise _DamagedError(f"{name} in it cannot be read ({error.strerror})") from error


def _unsafe(status: os.stat_result, *, is_file: bool = True) -> str:
    """Return why others could have made this file or folder what it is, as a clause; empty if they could not."""
    if not (stat.S_ISREG if is_file else stat.S_ISDIR)(status.st_mode):
        return "is no regular file" if is_file else "is no folder"
    if not hasattr(os, "geteuid"):  # Windows: the profile's own access list guards the folder
        return ""
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to user {status.st_uid}"
    if status.st_mode & _OTHERS_WRITE:
        return f"can be written by other users (mode {stat.S_IMODE(status.st_mode):03o})"
    return ""


def _same_time(found_ns: int, time_ns: int) -> bool:
    # An archive of the cache may have kept whole seconds.
    return found_ns in (time_ns, time_ns // 10**9 * 10**9)


def _told(status: os.stat_result) -> tuple[int, ...]:
    times = status.st_mtime_ns, status.st_ctime_ns
    return status.st_dev, status.st_ino, status.st_size, status.st_uid, status.st_mode, *times
