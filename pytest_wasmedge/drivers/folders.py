"""The folders of an invocation: every guest gets a copy of its own, and what it left there is part of the outcome."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_wasmedge.drivers.shortage import check_room
from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.model import Content, Files, Invocation, Outcome, host_failed


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a folder, by its path there; ``modified_ns`` is when, by the time of day."""

    path: str
    content: Content
    modified_ns: int = 0


def granted(runtime: str, invocation: Invocation, no_links: str = "") -> list[tuple[str, list[Entry]]]:
    """Return guest path and content of each folder that an invocation grants, parents first, in order of names.

    Raises UnsupportedError for a folder that does not exist, and for what a copy cannot have: a link that leads out of
    the folder, a device, a name that is not UTF-8; where ``no_links`` says why, any symbolic link.
    """
    return [
        (guest_path, list(_entries(f"{runtime}: cannot grant {folder} as {guest_path}", folder, no_links)))
        for guest_path, folder in invocation.preopens.items()
    ]


@dataclass(frozen=True, slots=True)
class Lent:
    """An invocation whose folders are copies."""

    invocation: Invocation

    def outcome(self, outcome: Outcome, most_bytes: int) -> Outcome:
        """Return the outcome with what the guest left in its folders; nothing for a guest that was stopped.

        Raises ShortageError if there is no room left there: it may have left more.
        """
        for folder in self.invocation.preopens.values():
            check_room(folder.parent)
        if not self.invocation.preopens or outcome.ending.kind not in ("exited", "trapped"):
            return outcome
        left_bytes = sum(
            each.lstat().st_size
            for folder in self.invocation.preopens.values()
            for each in folder.rglob("*")
            if each.is_file() and not each.is_symlink()
        )
        if left_bytes > most_bytes:
            return replace(
                outcome, ending=host_failed(f"output limit of {most_bytes} bytes reached in folders")
            )
        return replace(
            outcome,
            files=told(
                (guest_path, {each.path: each.content for each in _walk(folder, folder)})
                for guest_path, folder in self.invocation.preopens.items()
                # Some hosts let a guest remove the folder itself.
                if folder.is_dir()
            ),
        )


@contextmanager
def lent(
    runtime: str, invocation: Invocation, place: Path | None = None, no_links: str = ""
) -> Iterator[Lent]:
    """Yield the invocation with copies of its folders, in a temporary folder in ``place``. Raises as `granted` does."""
    if not invocation.preopens:
        yield Lent(invocation)
        return
    folders = granted(runtime, invocation, no_links)
    with tempfile.TemporaryDirectory(
        prefix="pytest-wasmedge-", dir=place, ignore_cleanup_errors=True
    ) as made:
        copies = {}
        for number, (guest_path, entries) in enumerate(folders):
            copies[guest_path] = Path(made).resolve() / f"folder-{number}"
            _write(copies[guest_path], entries)
        yield Lent(replace(invocation, preopens=copies))


def told(folders: Iterable[tuple[str, Mapping[str, Content]]]) -> Files:
    """Return the files of an outcome: what is in each folder, under the guest's path of it."""
    return {
        f"{guest_path.rstrip('/')}/{path}": content
        for guest_path, contents in folders
        for path, content in sorted(contents.items())
    }


def _entries(asked: str, folder: Path, no_links: str) -> Iterator[Entry]:
    if not folder.is_dir():
        raise UnsupportedError(f"{asked}: there is no such folder. Make it first.")
    root = folder.resolve()
    for entry in _walk(root, root):
        path = root / entry.path
        try:
            entry.path.encode()
        except UnicodeEncodeError:
            problem = f"the name of {entry.path!r} in it is not UTF-8, as a guest's paths are. Rename it."
            raise UnsupportedError(f"{asked}: {problem}") from None
        if isinstance(entry.content, str) and no_links:
            problem = f"{entry.path} in it is a symbolic link, and {no_links}. Grant a folder without links."
            raise UnsupportedError(f"{asked}: {problem}")
        if isinstance(entry.content, str):
            away = Path(entry.content).is_absolute()
            if away or not Path(os.path.realpath(path)).is_relative_to(root):
                problem = f"the link {entry.path} in it leads to {entry.content}, out of it. Grant a folder without it."
                raise UnsupportedError(f"{asked}: {problem}")
        elif not (path.is_file() or path.is_dir()):
            problem = f"{entry.path} in it is neither a file, a folder nor a link. Grant a folder without it."
            raise UnsupportedError(f"{asked}: {problem}")
        yield entry


def _walk(root: Path, folder: Path) -> Iterator[Entry]:
    for path in sorted(folder.iterdir()):
        status = path.lstat()
        name = path.relative_to(root).as_posix()
        if stat.S_ISLNK(status.st_mode):
            yield Entry(name, str(path.readlink()), status.st_mtime_ns)
        elif stat.S_ISDIR(status.st_mode):
            yield Entry(name, None, status.st_mtime_ns)
            yield from _walk(root, path)
        elif stat.S_ISREG(status.st_mode):
            yield Entry(name, path.read_bytes(), status.st_mtime_ns)
        else:
            yield Entry(name, b"", status.st_mtime_ns)


def _write(folder: Path, entries: list[Entry]) -> None:
    folder.mkdir()
    for entry in entries:
        path = folder / entry.path
        if entry.content is None:
            path.mkdir()
        elif isinstance(entry.content, str):
            path.symlink_to(entry.content)
        else:
            path.write_bytes(entry.content)
    # Once everything is in its folder, since that changes the folder's time.
    for entry in entries:
        times = (entry.modified_ns, entry.modified_ns)
        if not isinstance(entry.content, str) or os.utime in os.supports_follow_symlinks:
            os.utime(folder / entry.path, ns=times, follow_symlinks=not isinstance(entry.content, str))
