"""A program that runtimes are made of: described once, found, asked for its versions and refused in one way."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pytest_wasmedge.drivers.versions import Versions, ask, told, too_old
from pytest_wasmedge.errors import ProvisionError, RuntimeUnavailableError
from pytest_wasmedge.model import ARGV0, Artifact, Availability, Limits
from pytest_wasmedge.provision import Found, find, find_system, install_command, installed, remedy

# The WASI shim, a tool that our JavaScript needs.
_SHIM = "shim"


@dataclass(frozen=True, slots=True)
class Started:
    """What a program is started with; the workspace is a private folder."""

    executable: Path
    artifact: Artifact
    limits: Limits
    workspace: Path

    @property
    def artifact_link(self) -> Path:
        """Where the program finds the artifact, whatever characters the path of the user's file is made of."""
        return self.workspace / ARGV0


class Program:
    """What a program is, as class attributes; its methods make the rest of them.

    It is the pinned ``tool`` (without one, the program of its own ``name``), or the first of ``commands`` on PATH,
    which people install themselves: by ``remedies``, commands by the name of the system. ``absent`` says that there
    is none, in other words than usual. ``minimum`` is the first version that will do.

    With ``version_arguments`` it tells its versions in ``version_words``: a regular expression that is whole lines
    (its groups are the version and the engine's version, one group is both), or the two keys in an object of JSON.
    """

    name: str
    tool: str = ""
    tools: tuple[str, ...] = ()
    version: str = ""
    commands: tuple[str, ...] = ()
    remedies: ClassVar[Mapping[str, str]] = {}
    absent: str = ""
    minimum: tuple[int, ...] = ()
    version_arguments: tuple[str, ...] = ("--version",)
    version_words: str | tuple[str, str] = r"(?:\S+ )?v?(\d+\.\d\S*)(?: .*)?"

    def environment(self, workspace: Path) -> dict[str, str]:
        """Return the whole environment of the process; nothing is inherited."""
        return {}

    def locate(self) -> Found | None:
        """Return the program. Raises ProvisionError."""
        if self.commands:
            return find_system(self.name, self.commands)
        return find(self.tool or self.name, self.version)

    def missing(self) -> str:
        """Say what else is needed and not there; empty if nothing. Raises ProvisionError."""
        return "the WASI shim is not installed" if _SHIM in self.tools and not installed(_SHIM) else ""

    def how_to_get(self) -> str:
        """Return the command that installs the program here; empty if none is known."""
        return remedy(self.remedies) if self.commands else install_command(self.name)

    def version_argv(self, executable: Path) -> Sequence[str]:
        """Return the command line that makes the program tell its versions."""
        return [str(executable), *self.version_arguments]

    def read_versions(self, said: str) -> Versions:
        """Find the versions in what the program said. Raises ValueError or LookupError."""
        if isinstance(self.version_words, tuple):
            words = json.loads(said)
            version, engine_version = (words[key] for key in self.version_words)
            return Versions(version, engine_version)
        line = told(self.version_words, said)
        return Versions(line[1], line[line.re.groups], build=line[0])

    def versions(self, executable: Path) -> Versions:
        """Ask the program, once per process. Raises RuntimeUnavailableError if it does not say."""
        return ask(self.version_argv(executable), self.environment, self.read_versions)

    def probe(self) -> Availability:
        """Say whether the program is here and will do, by its own word. Never raises, never installs."""
        install = self.how_to_get()
        try:
            found, missing = self.locate(), self.missing()
            if found is None:
                return Availability(False, reason=self._absent(), install=install)
            versions = self.versions(found.path)
        except ProvisionError as error:
            # It says itself what to do.
            return Availability(False, reason=str(error))
        except RuntimeUnavailableError as error:
            return Availability(False, reason=str(error), install=install)
        called = "version" if self.commands else self.tool or self.name
        if reason := too_old(found.path, called, versions.version, self.minimum):
            # Of a version that was asked for there is no newer one to install.
            install = "" if self.version else install
        elif reason := missing:
            install = install_command(self.name)
        path = f"{found.path} ({found.origin})"
        return Availability(
            not reason, versions.version, versions.engine_version, reason, install if reason else "", path
        )

    def executable(self) -> Path:
        """Return the program. Raises RuntimeUnavailableError if it, or what it needs, is not here, ProvisionError."""
        found, missing = self.locate(), self.missing()
        if found and not missing:
            return found.path
        problem, install = (
            (missing, install_command(self.name)) if found else (self._absent(), self.how_to_get())
        )
        raise RuntimeUnavailableError(
            f"{self.name} cannot start: {problem}; get it with `{install or 'your package manager'}`."
        )

    def _absent(self) -> str:
        if self.commands and not self.absent:
            return f"{' or '.join(self.commands)} is not on PATH"
        return self.absent or f"no {self.tool or self.name} found"


class Interpreter(Program):
    """A tool that runs programs which are runtimes; it is no runtime itself."""

    def __init__(
        self,
        tool: str,
        minimum: tuple[int, ...],
        version_arguments: tuple[str, ...],
        version_words: str | tuple[str, str],
    ) -> None:
        self.name = self.tool = tool
        self.minimum = minimum
        self.version_arguments, self.version_words = version_arguments, version_words

    def require(self) -> Path:
        """Return the program. Raises RuntimeUnavailableError if there is none or it is too old, ProvisionError."""
        path = self.executable()
        if reason := too_old(path, self.tool, self.versions(path).version, self.minimum):
            raise RuntimeUnavailableError(f"{reason}; get one with `{self.how_to_get()}`.")
        return path
