"""A program that a runtime consists of: finds it, asks for its versions, and refuses it if it cannot be used."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pytest_wasmedge.drivers import shortage
from pytest_wasmedge.errors import HostStartError, ProvisionError, RuntimeUnavailableError
from pytest_wasmedge.model import ARGV0, Artifact, Availability, Limits
from pytest_wasmedge.provision import (
    Found,
    check_again,
    find,
    find_system,
    install_command,
    installed,
    remedy,
)
from pytest_wasmedge.provision.pins import pin
from pytest_wasmedge.provision.versions import installed_version

# The WASI shim, a tool that our JavaScript needs.
_SHIM = "shim"
_VERSION_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Launch:
    """What a program is started with; the workspace is a private folder. Drivers add what they need."""

    executable: Path
    artifact: Artifact
    limits: Limits
    workspace: Path

    @property
    def artifact_link(self) -> Path:
        """A link to the artifact in the workspace, so that the user's path may contain any characters."""
        return self.workspace / ARGV0


@dataclass(frozen=True, slots=True)
class Versions:
    """The version that a program prints, and its engine's version if it prints that.

    ``build`` distinguishes programs that print the same version.
    """

    version: str
    engine_version: str = ""
    build: str = ""


class Program:
    """A program, described by class attributes.

    The program is the pinned ``tool`` (by default the one called ``name``), or the first of ``commands`` on PATH, which
    people install themselves: ``remedies`` maps systems to the command that does it. It also gets the ``companions``,
    without which the program is of no use: of each group of commands, one has to be on PATH. ``absent`` replaces the
    usual message when no program is found. ``minimum`` is the first version that can be used.

    ``version_arguments`` make the program print its versions. ``version_words`` is a regular expression that matches
    whole lines (its groups are the version and the engine's version; a single group is both), or the two keys of a JSON
    object.

    ``no_folders`` says why a runtime without the capability for folders grants none, ``no_links`` why one with it
    grants none that holds a symbolic link.
    """

    name: str
    tool: str = ""
    tools: tuple[str, ...] = ()
    version: str = ""
    commands: tuple[str, ...] = ()
    companions: tuple[tuple[str, ...], ...] = ()
    remedies: ClassVar[Mapping[str, str]] = {}
    absent: str = ""
    minimum: tuple[int, ...] = ()
    version_arguments: tuple[str, ...] = ("--version",)
    version_words: str | tuple[str, str] = r"(?:\S+ )?v?(\d+\.\d\S*)(?: .*)?"
    no_folders: str = ""
    no_links: str = ""

    def environment(self, workspace: Path) -> dict[str, str]:
        """Return the whole environment of the process; nothing is inherited."""
        return {}

    def locate(self) -> Found | None:
        """Return the program, or None if it or a companion is missing. Raises ProvisionError."""
        if self._alone():
            return None
        if self.commands:
            return find_system(self.name, self.commands)
        return find(self.tool or self.name, self.version)

    def missing(self) -> str:
        """Return what else is needed but not installed, as a sentence; empty if nothing. Raises ProvisionError."""
        return "the WASI shim is not installed" if _SHIM in self.tools and not installed(_SHIM) else ""

    def how_to_get(self) -> str:
        """Return the command that installs the program here; empty if none is known."""
        return remedy(self.remedies) if self.commands or self._alone() else install_command(self.name)

    def check_again(self, executable: Path) -> None:
        """Look, right before it is started, whether a tool of ours is what was installed. Raises HostStartError."""
        try:
            check_again(executable)
        except ProvisionError as error:
            raise HostStartError(str(error)) from error

    def version_argv(self, executable: Path) -> Sequence[str]:
        """Return the command line that makes the program print its versions."""
        return [str(executable), *self.version_arguments]

    def read_versions(self, said: str) -> Versions:
        """Find the versions in what the program printed. Raises ValueError or LookupError."""
        if isinstance(self.version_words, tuple):
            words = json.loads(said)
            version, engine_version = (words[key] for key in self.version_words)
            return Versions(version, engine_version)
        line = first_match(self.version_words, said)
        return Versions(line[1], line[line.re.groups], build=line[0])

    def versions(self, executable: Path) -> Versions:
        """Ask the program for its versions, once per process while the file stays the same.

        Raises RuntimeUnavailableError if it does not run, or prints something else, ShortageError.
        """
        argv = tuple(self.version_argv(executable))
        # Our scripts for the shell are too long for a message.
        command = f"`{executable if argv[0] == '/bin/sh' else ' '.join(argv)}`"
        try:
            with shortage.told():
                said = self._ask(argv, executable.stat().st_mtime_ns)
        except (OSError, subprocess.SubprocessError) as error:
            raise RuntimeUnavailableError(
                f"{command} does not tell its version: {_problem(error)}"
            ) from error
        try:
            return self.read_versions(said)
        except (ValueError, LookupError) as error:
            raise RuntimeUnavailableError(f"{command} names no version: it printed {said[:80]!r}") from error

    def _ask(self, argv: tuple[str, ...], mtime_ns: int) -> str:
        key = (argv, mtime_ns)
        if key not in _printed:
            with tempfile.TemporaryDirectory(prefix="pytest-wasmedge-") as folder:
                done = subprocess.run(
                    argv,
                    env=self.environment(Path(folder)),
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=_VERSION_TIMEOUT_S,
                    check=True,
                )
            _printed[key] = done.stdout.decode("utf-8", "backslashreplace")
        return _printed[key]

    def probe(self) -> Availability:
        """Return whether the program is installed and can be used, as it says itself. Never raises, never installs."""
        install = self.how_to_get()
        try:
            found, missing = self.locate(), self.missing()
            if found is None:
                return Availability(False, reason=self._absent(), install=install)
            versions = self.versions(found.path)
        except ProvisionError as error:
            # Its text says what to do.
            return Availability(False, reason=str(error))
        except RuntimeUnavailableError as error:
            return Availability(False, reason=str(error), install=install)
        if reason := self._too_old(found.path, versions):
            # A version that was asked for has no newer one to install.
            install = "" if self.version else install
        elif reason := missing:
            install = install_command(self.name)
        path = f"{found.path} ({found.origin})"
        return Availability(
            not reason, versions.version, versions.engine_version, reason, install if reason else "", path
        )

    def executable(self) -> Path:
        """Return the program.

        Raises RuntimeUnavailableError if it, or something that it needs, is not installed, ProvisionError.
        """
        found, missing = self.locate(), self.missing()
        if found and not missing:
            return found.path
        problem = missing if found else self._absent()
        install = install_command(self.name) if found else self.how_to_get()
        raise RuntimeUnavailableError(
            f"{self.name} cannot start: {problem}; get it with `{install or 'your package manager'}`."
        )

    def _alone(self) -> str:
        """Return which companion is missing; empty if none is."""
        missing = (group for group in self.companions if not any(map(shutil.which, group)))
        return " or ".join(next(missing, ()))

    def _absent(self) -> str:
        if alone := self._alone():
            return f"{alone}, which it needs, is not on PATH"
        if self.commands and not self.absent:
            return f"{' or '.join(self.commands)} is not on PATH"
        return self.absent or f"no {self.tool or self.name} found"

    def _too_old(self, executable: Path, versions: Versions) -> str:
        """Return that this program is older than the minimum, as a sentence; empty if it is not."""
        if numbers(versions.version) >= self.minimum:
            return ""
        called = "version" if self.commands else self.tool or self.name
        minimum = ".".join(map(str, self.minimum))
        return f"{executable} is {called} {versions.version}, at least {minimum} is needed"


@dataclass
class Interpreter(Program):
    """A tool that runs programs which are runtimes; it is not a runtime itself."""

    name: str
    minimum: tuple[int, ...]
    version_arguments: tuple[str, ...]
    version_words: str | tuple[str, str]

    def require(self) -> Path:
        """Return the program. Raises RuntimeUnavailableError if it is missing or too old, ProvisionError."""
        path = self.executable()
        if reason := self._too_old(path, self.versions(path)):
            raise RuntimeUnavailableError(f"{reason}; get one with `{self.how_to_get()}`.")
        return path


class Package(Program):
    """A pinned package that the ``interpreters`` run: its engine's version is that of the last of them."""

    interpreters: tuple[Interpreter, ...]

    def locate(self) -> Found | None:
        place = installed_version(self.tool, self.version) if self.version else installed(self.tool)
        return Found(place / pin(self.tool).entry, "pytest-wasmedge install") if place else None

    def version_argv(self, executable: Path) -> Sequence[str]:
        *_, last = (each.require() for each in self.interpreters)
        return self.interpreters[-1].version_argv(last)

    def read_versions(self, said: str) -> Versions:
        engine_version = self.interpreters[-1].read_versions(said).engine_version
        return Versions(self.version or pin(self.tool).version, engine_version)


def first_match(pattern: str, said: str) -> re.Match[str]:
    """Return the first whole line (or lines) that the pattern matches; others, such as warnings, are skipped.

    Raises LookupError if no line matches.
    """
    found = re.search(rf"^(?:{pattern})$", said, re.MULTILINE)
    if found is None:
        raise LookupError(pattern)
    return found


def _problem(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if not isinstance(error, subprocess.CalledProcessError):
        return f"{type(error).__name__}: {error}"
    said = error.stderr.decode("utf-8", "backslashreplace").strip().splitlines()
    return f"it ended with status {error.returncode}, saying: {said[-1] if said else 'nothing'}"


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, for comparisons: (22, 13, 0)."""
    return tuple(map(int, re.findall(r"\d+", version)))


_printed: dict[tuple[tuple[str, ...], int], str] = {}
