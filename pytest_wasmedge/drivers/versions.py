"""Asks programs for their versions."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.errors import RuntimeUnavailableError

TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Versions:
    """What a program said about itself: its version, and its engine's as far as it tells.

    ``build`` is what else tells it from others that call themselves by the same version.
    """

    version: str
    engine_version: str = ""
    build: str = ""


def ask(
    argv: Sequence[str],
    environment: Callable[[Path], dict[str, str]],
    read: Callable[[str], Versions],
) -> Versions:
    """Run a program and read what it says; once per process for a program that stays the same.

    ``environment`` gets a private folder and returns the program's whole environment; ``read`` raises
    ValueError or LookupError for what it does not understand. Raises RuntimeUnavailableError.
    """
    command = f"`{' '.join(argv)}`"
    try:
        said = _say(tuple(argv), environment, Path(argv[0]).stat().st_mtime_ns)
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeUnavailableError(f"{command} does not tell its version: {error}") from error
    try:
        return read(said)
    except (ValueError, LookupError) as error:
        raise RuntimeUnavailableError(f"{command} names no version: it printed {said[:80]!r}") from error


def told(pattern: str, said: str) -> re.Match[str]:
    """Return the first line that is wholly this regular expression: other lines, warnings say, are passed over.

    Raises LookupError if there is none.
    """
    found = re.search(rf"^(?:{pattern})$", said, re.MULTILINE)
    if found is None:
        raise LookupError(pattern)
    return found


def too_old(program: Path, tool: str, version: str, minimum: tuple[int, ...]) -> str:
    """Say that this program is older than what is needed; empty if it is not."""
    if numbers(version) >= minimum:
        return ""
    return f"{program} is {tool} {version}, at least {'.'.join(map(str, minimum))} is needed"


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers in a version, for comparing: (22, 13, 0)."""
    return tuple(map(int, re.findall(r"\d+", version)))


_said: dict[tuple[tuple[str, ...], int], str] = {}


def _say(argv: tuple[str, ...], environment: Callable[[Path], dict[str, str]], mtime_ns: int) -> str:
    """Return what a program prints; one that was replaced is asked again."""
    if (argv, mtime_ns) not in _said:
        with tempfile.TemporaryDirectory(prefix="pytest-wasmedge-") as folder:
            done = subprocess.run(
                argv,
                env=environment(Path(folder)),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT_S,
                check=True,
            )
        _said[argv, mtime_ns] = done.stdout.decode("utf-8", "backslashreplace")
    return _said[argv, mtime_ns]
