"""The user's cache folder. It holds code that we execute, so only the user may write to it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import filelock
import platformdirs

from pytest_wasmedge.errors import CacheUnwritableError, ProvisionError
from pytest_wasmedge.provision.room import UNWRITABLE, unwritable

ENV_CACHE = "PYTEST_WASMEDGE_CACHE"

#: The errors of a filesystem without locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}

FolderName = Literal["tools", "artifacts", "compiled", "glue", "locks"]


def cache_root() -> Path:
    """Return our cache folder, created with mode 0700; ``PYTEST_WASMEDGE_CACHE`` moves it.

    Raises ProvisionError if it cannot be created, or if other users can write to it.
    """
    given = os.environ.get(ENV_CACHE)
    default = platformdirs.user_cache_path("pytest-wasmedge")
    return _private(Path(given).expanduser().absolute() if given else default)


def folder(name: FolderName) -> Path:
    """Return this subfolder of the cache, created with mode 0700 if missing. Raises ProvisionError."""
    return _private(cache_root() / name)


@contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold this lock file inside the context; ``waiting`` is called once if another process holds it.

    On a filesystem without locks, a second file that names our process is the lock. Raises OSError.
    """
    lock: filelock.BaseFileLock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        waiting()
        lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        lock = filelock.SoftFileLock(path.with_name(f"{path.name}.soft"))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing() -> Iterator[None]:
    """Turn the error of a full or read-only disk into a CacheUnwritableError, which is a ProvisionError."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        sentence = unwritable("cache", cache_root(), error, ENV_CACHE)
        raise CacheUnwritableError(f"{sentence} Earlier installations are unchanged.") from error


def keep_newest(
    files: Iterable[Path],
    count: int | None = None,
    *,
    most_bytes: int | None = None,
    beside: Callable[[Path], Path] | None = None,
    but: Path | None = None,
) -> None:
    """Remove all but the files that were changed or used last: this many, or as many as fit, and at least one.

    The file ``beside`` each, if there is such, has the time of its last use, and goes with it. ``but`` is the one that
    is used now, whatever its time says: people set clocks back. Other processes may do the same at once.
    """
    found = []
    for file in files:
        # Another process may have removed it.
        with suppress(FileNotFoundError):
            status = used = file.stat()
            if beside:
                with suppress(FileNotFoundError):
                    used = beside(file).stat()
            found.append((file == but, used.st_mtime, status.st_size, file))
    total_bytes = 0
    for index, (_, _, size_bytes, file) in enumerate(sorted(found, reverse=True)):
        total_bytes += size_bytes
        too_large = most_bytes is not None and total_bytes > most_bytes and index > 0
        if too_large or (count is not None and index >= count):
            file.unlink(missing_ok=True)
            if beside:
                beside(file).unlink(missing_ok=True)


def _private(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as error:
        raise ProvisionError(
            f"The cache folder {path} cannot be used: {error.strerror}. "
            f"Set {ENV_CACHE} to a folder that you can write."
        ) from error
    if not hasattr(os, "geteuid"):  # Windows: the profile's own access list guards the folder
        return path
    if status.st_uid != os.geteuid():
        raise ProvisionError(
            f"The cache folder {path} belongs to user {status.st_uid}, not to you ({os.geteuid()}). "
            f"We execute what is in it, so it must be yours: set {ENV_CACHE} to a folder of your own."
        )
    if status.st_mode & 0o022:
        raise ProvisionError(
            f"The cache folder {path} can be written by other users (mode {status.st_mode & 0o777:03o}). "
            f"We execute what is in it: run `chmod go-w {path}` if you trust its content, or delete it."
        )
    return path
