"""Pins, verified installations into the user's cache, and the search for the runtimes' programs."""

from __future__ import annotations

from pathlib import Path

from pytest_wasmedge.provision.digests import check_again
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
    "check_again",
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
    """Install the tools that build the built-in artifact and return their paths by name. Raises ProvisionError.

    ``node`` and ``wizer`` are programs, ``binaryen`` and ``ruby`` folders of npm packages.
    """
    folders = {name: install(name, progress) for name in BUILD_TOOLS}
    return folders | {name: executable(name) for name in ("node", "wizer")}
