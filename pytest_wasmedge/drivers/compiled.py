"""Compiled code on disk: native code, so it is kept where only the user can write."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pytest_wasmedge.model import Artifact
from pytest_wasmedge.provision.cache import folder

#: One compiled Ruby is about 60 MB; older ones go when there are more than this.
KEPT_FILES = 40


def place_of(artifact: Artifact, engine: str, settings: str) -> Path:
    """Return where the compiled form of the artifact is or would be. Raises ProvisionError."""
    key = hashlib.sha256(f"{engine}\n{settings}".encode()).hexdigest()[:16]
    return folder("compiled") / f"{artifact.sha256[:32]}-{key}.cwasm"


def compiled(artifact: Artifact, engine: str, settings: str, compile_to: Callable[[Path], None]) -> Path:
    """Return the compiled form of the artifact, made by ``compile_to`` the first time.

    Its name holds digest, engine with version, and settings: another engine never sees it. Several
    processes may ask at once; one compiles, the others wait.
    """
    from filelock import FileLock

    path = place_of(artifact, engine, settings)
    place = path.parent
    # Without the lock where it can be: a start is measured, and another process may be compiling for long.
    with suppress(FileNotFoundError):
        os.utime(path)
        return path
    with FileLock(place / ".lock-compiled"):
        if not path.exists():
            handle, name = tempfile.mkstemp(dir=place, suffix=".part")
            os.close(handle)
            part = Path(name)
            try:
                compile_to(part)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        newest_first = sorted(place.glob("*.cwasm"), key=_last_used_s, reverse=True)
        for stale in newest_first[KEPT_FILES:]:
            stale.unlink(missing_ok=True)
    return path


def _last_used_s(file: Path) -> float:
    # Code that nobody needs any more is removed without the lock, also between listing it and this.
    with suppress(FileNotFoundError):
        return file.stat().st_mtime
    return 0.0
