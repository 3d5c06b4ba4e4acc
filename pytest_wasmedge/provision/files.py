"""Writes files that nobody ever sees half of."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a file beside this one to write to: it takes this one's place once it is complete, and goes otherwise.

    ``mode`` is that of a new file, less the user's umask; a file that is replaced keeps its own. Several processes may
    do so at once: one of them is last.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.touch(mode, exist_ok=False)
        yield part
        if path.exists():
            shutil.copymode(path, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
