"""The name of this operating system, and its command to install a program that we do not fetch."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping


def system_ids() -> tuple[str, ...]:
    """Return the ``ID`` and the ``ID_LIKE`` of os-release(5): ``("ubuntu", "debian")``, or ``("macos",)``."""
    if sys.platform == "darwin":
        return ("macos",)
    release = _os_release()
    return (release.get("ID", sys.platform), *release.get("ID_LIKE", "").split())


def codename() -> str:
    """Return the ``VERSION_CODENAME`` of os-release(5); empty without one."""
    return _os_release().get("VERSION_CODENAME", "")


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def remedy(commands: Mapping[str, str]) -> str:
    """Return the command for this system, or for one it is like, from commands by system; empty without one."""
    return next((commands[system] for system in system_ids() if system in commands), "")
