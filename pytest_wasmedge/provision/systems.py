"""What this system is called, and how its people install programs that we do not fetch."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping


def system_ids() -> tuple[str, ...]:
    """Return what this system calls itself, then what it is like: ``("ubuntu", "debian")``, ``("macos",)``.

    The words are those of ``ID`` and ``ID_LIKE`` in os-release(5).
    """
    if sys.platform == "darwin":
        return ("macos",)
    try:
        told = platform.freedesktop_os_release()
    except OSError:
        return (sys.platform,)
    return (told["ID"], *told.get("ID_LIKE", "").split())


def codename() -> str:
    """Return the name of this system's release (``VERSION_CODENAME`` in os-release); empty if it tells none."""
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        return ""


def remedy(commands: Mapping[str, str]) -> str:
    """Return the command that installs a program on this system, from commands by the name of the system.

    Empty if none is known for it, nor for what it is like.
    """
    return next((commands[system] for system in system_ids() if system in commands), "")
