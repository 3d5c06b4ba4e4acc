"""What an invocation asks for beside stdin, and a host may be unable to grant."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.model import Invocation


def check_given(runtime: str, invocation: Invocation, possible: Collection[str] = (), why: str = "") -> None:
    """Raise UnsupportedError if the invocation asks for anything but what is possible.

    That is any of "arguments", "an environment" and "folders"; ``why`` is the reason for the rest.
    """
    asked = {
        "folders": invocation.preopens,
        "arguments": invocation.args,
        "an environment": invocation.env,
    }
    refused = [what for what, given in asked.items() if given and what not in possible]
    if refused:
        raise UnsupportedError(
            f"{runtime} cannot give {' or '.join(refused)} to a guest{why and f': {why}'}; "
            "mark the test with runtimes(...) to run it where they can be given."
        )


def granted(runtime: str, invocation: Invocation) -> list[tuple[str, Path]]:
    """Return guest path and folder of each preopen. Raises UnsupportedError for a folder that does not exist."""
    for guest_path, folder in invocation.preopens.items():
        if not folder.is_dir():
            raise UnsupportedError(
                f"{runtime}: cannot grant {folder} as {guest_path}: there is no such folder. Make it first."
            )
    return [(guest_path, folder.absolute()) for guest_path, folder in invocation.preopens.items()]
