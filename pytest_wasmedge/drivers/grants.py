"""Checks what an invocation gives to the guest besides stdin: not every host can do it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.model import Invocation


def check_given(runtime: str, invocation: Invocation, possible: Collection[str] = (), why: str = "") -> None:
    """Raise UnsupportedError if the invocation gives the guest more than is ``possible``.

    ``possible`` holds any of "arguments", "an environment" and "folders"; ``why`` says why the others are not.
    """
    requested = {
        "folders": invocation.preopens,
        "arguments": invocation.args,
        "an environment": invocation.env,
    }
    refused = [what for what, given in requested.items() if given and what not in possible]
    if refused:
        raise UnsupportedError(
            f"{runtime} cannot give {' or '.join(refused)} to a guest{why and f': {why}'}; "
            "mark the test with runtimes(...) to run it where they can be given."
        )


def check_colons(runtime: str, folder: Path, guest_path: str) -> None:
    """Raise UnsupportedError for a colon, where a colon separates folder and guest path on the command line."""
    if ":" in guest_path or ":" in str(folder):
        raise UnsupportedError(
            f"{runtime}: cannot grant {folder} as {guest_path}: both are one argument, separated by a colon. "
            "Use a folder and a guest path without colons."
        )
