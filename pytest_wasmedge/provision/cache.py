"""The user's cache folder, which holds code that we execute: only the user may be able to write it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pytest_wasmedge.errors import ProvisionError

ENV_CACHE = "PYTEST_WASMEDGE_CACHE"

FolderName = Literal["tools", "artifacts", "compiled", "glue", "locks"]


def cache_root() -> Path:
    """Return our cache folder, created 0700; ``PYTEST_WASMEDGE_CACHE`` moves it.

    Raises ProvisionError if it cannot be made, or if anyone but this user could write it.
    """
    given = os.environ.get(ENV_CACHE)
    if given:
        root = Path(given).expanduser().absolute()
    else:
        import platformdirs  # here, so that plugin.py can import us for nothing

        root = platformdirs.user_cache_path("pytest-wasmedge")
    return _private(root)


def folder(name: FolderName) -> Path:
    """Return this 0700 subfolder of the cache, created if need be. Raises ProvisionError."""
    return _private(cache_root() / name)


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
