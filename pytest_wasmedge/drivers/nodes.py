"""Finds the Node.js that runs tools written for it."""

from __future__ import annotations

from pathlib import Path

from pytest_wasmedge.drivers.versions import Versions, ask, numbers
from pytest_wasmedge.errors import RuntimeUnavailableError
from pytest_wasmedge.provision import find, install_command

#: wrangler asks for 22.12; the next has --permission.
MINIMUM = (22, 13)


def node() -> Path:
    """Return the program. Raises RuntimeUnavailableError if there is none or it is too old, ProvisionError."""
    found = find("node")
    if found is None:
        raise RuntimeUnavailableError(f"no Node.js found; get it with `{install_command('node')}`.")
    if version(found.path) < MINIMUM:
        told, wanted = (".".join(map(str, each)) for each in (version(found.path), MINIMUM))
        raise RuntimeUnavailableError(
            f"{found.path} is Node.js {told}, at least {wanted} is needed; "
            f"get one with `{install_command('node')}`."
        )
    return found.path


def version(node: Path) -> tuple[int, ...]:
    """Return the version of this Node.js, by its own word. Raises RuntimeUnavailableError."""
    return numbers(ask([str(node), "-p", "process.versions.node"], lambda _: {}, _read).version)


def _read(said: str) -> Versions:
    return Versions(said.split()[0])
