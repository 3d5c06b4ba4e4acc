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


def remedy(program: str, commands: Mapping[str, str]) -> str:
    """Return the command of this system that installs a program, from commands by the name of the system.

    Where none is known, say so in words; ``program`` is what people call it.
    """
    for system in system_ids():
        if system in commands:
            return commands[system]
    return f"your system's package manager ({program})"
