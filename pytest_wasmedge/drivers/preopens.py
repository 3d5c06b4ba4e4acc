"""The folders of this machine that an invocation grants."""

from __future__ import annotations

from pathlib import Path

from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.model import Invocation


def granted(runtime: str, invocation: Invocation) -> list[tuple[str, Path]]:
    """Return guest path and folder of each preopen. Raises UnsupportedError for a folder that is not there."""
    for guest_path, folder in invocation.preopens.items():
        if not folder.is_dir():
            raise UnsupportedError(
                f"{runtime}: cannot grant {folder} as {guest_path}: there is no such folder. Make it first."
            )
    return [(guest_path, folder.absolute()) for guest_path, folder in invocation.preopens.items()]
