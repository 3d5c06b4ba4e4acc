"""Pins, verified installs into the user's cache, and finding the programs of the runtimes."""

from __future__ import annotations

from pathlib import Path

from pytest_wasmedge.provision.find import Found, find, find_system, install_command
from pytest_wasmedge.provision.install import (
    Progress,
    Provenance,
    executable,
    install,
    installed,
    no_source,
    provenance,
    provenances,
)
from pytest_wasmedge.provision.pins import BUILD_TOOLS
from pytest_wasmedge.provision.systems import remedy

__all__ = [
    "BUILD_TOOLS",
    "Found",
    "Progress",
    "Provenance",
    "build_tools",
    "executable",
    "find",
    "find_system",
    "install",
    "install_command",
    "installed",
    "no_source",
    "provenance",
    "provenances",
    "remedy",
]


def build_tools(progress: Progress = lambda _: None) -> dict[str, Path]:
    """Install what building the built-in artifact needs. Raises ProvisionError.

    Returns ``node`` and ``wizer`` (programs), ``binaryen`` and ``ruby`` (folders of the npm packages).
    """
    folders = {name: install(name, progress) for name in BUILD_TOOLS}
    return folders | {name: executable(name) for name in ("node", "wizer")}
