"""Tools in a cache, as `install` leaves them, without an installation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_wasmedge.provision.digests import seal
from pytest_wasmedge.provision.pins import Pin


def put(
    cache: Path, wanted: Pin, entry: str = "#!/bin/sh\n", files: Mapping[str, bytes] | None = None
) -> Path:
    """Put a tool with these files into the cache and return its folder; its entry is a script."""
    place = cache / "tools" / wanted.folder_name
    for name, content in {wanted.entry: entry.encode(), **(files or {})}.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755)
    for folder in (cache, cache / "tools"):
        folder.chmod(0o700)
    seal(place)
    return place
