"""The machine's own Ruby: the same programs without any WebAssembly, to compare with."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pytest_wasmedge.drivers.command import CommandHost, CommandRuntime, Ended, Launch
from pytest_wasmedge.drivers.versions import Versions, ask, told
from pytest_wasmedge.errors import ProvisionError, RuntimeUnavailableError, UnsupportedError
from pytest_wasmedge.model import (
    Artifact,
    Availability,
    Ending,
    Host,
    Invocation,
    Limits,
    Outcome,
    exited,
    host_failed,
)
from pytest_wasmedge.provision import Found, find_system, remedy

_REMEDIES = {
    "debian": "apt install ruby",
    "fedora": "dnf install ruby",
    "arch": "pacman -S ruby",
    "suse": "zypper install ruby",
    "alpine": "apk add ruby",
    "macos": "brew install ruby",
}

#: What the built-in artifact calls the program on its stdin: file names stand in messages.
_SCRIPT = "main.rb"

#: The artifact has no gems either, and nothing that they add to messages; a RUBYOPT of the guest's is data.
_OPTIONS = ("--disable=gems,rubyopt", "-E", "UTF-8")


class NativeRuby(CommandRuntime):
    """``ruby`` with the program on its stdin, a new process and an empty folder per invocation.

    A yardstick, and no sandbox: the program has all the rights of the user. It runs no artifact, so its outcomes carry
    no digest. No memory limit: what a system limits, the addresses of a process, is not what a program uses.
    """

    name = "native-ruby"
    engine = "CRuby"
    yardstick = True
    wrapped = "runs no artifact: the machine's own Ruby runs the program"

    def __init__(self) -> None:
        self._thread = threading.local()

    def probe(self) -> Availability:
        try:
            found = self._found()
            versions = self._versions(found.path)
        except ProvisionError as error:
            # It says itself what to do.
            return Availability(False, reason=str(error))
        except RuntimeUnavailableError as error:
            return Availability(False, reason=str(error), install=remedy(_REMEDIES))
        return Availability(
            True, versions.version, versions.engine_version, path=f"{found.path} ({found.origin})"
        )

    def executable(self) -> Path:
        try:
            return self._found().path
        except RuntimeUnavailableError as error:
            raise RuntimeUnavailableError(
                f"{error}; get one with `{remedy(_REMEDIES) or 'your package manager'}`."
            ) from error

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return NativeRubyHost(self, artifact, limits)

    def argv(self, launch: Launch, invocation: Invocation) -> Sequence[str]:
        if invocation.preopens:
            raise UnsupportedError(
                f"{self.name} cannot give folders: it shows a program all that there is. "
                "Run what needs preopened folders on another runtime."
            )
        folder = Path(tempfile.mkdtemp(dir=launch.workspace))
        (folder / _SCRIPT).symlink_to("/dev/stdin")
        # The driver asks for the outcome in the same thread, if there is one to read.
        self._thread.folder = folder
        ruby = [str(launch.executable), *_OPTIONS, "-C", str(folder), _SCRIPT, *invocation.args]
        if not invocation.env:
            return ruby
        pairs = [f"{name}={value}" for name, value in invocation.env.items()]
        return [shutil.which("env") or "/usr/bin/env", "-i", *pairs, *ruby]

    def outcome(self, launch: Launch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        shutil.rmtree(self._thread.folder, ignore_errors=True)
        if ended.status < 0:
            return ended.stdout, ended.stderr, host_failed(f"ruby was ended by signal {-ended.status}")
        return ended.stdout, ended.stderr, exited(ended.status)

    def _found(self) -> Found:
        found = find_system(self.name, ("ruby",))
        if found is None:
            raise RuntimeUnavailableError("no ruby command found")
        return found

    def _versions(self, executable: Path) -> Versions:
        """Ask the command; it answers ``3.1.2`` and ``ruby 3.1.2``, where another engine has its own."""

        def read(said: str) -> Versions:
            lines = told(r"(\d+\.\d+\.\d+\S*)\n(\w+ \d.*)", said)
            return Versions(lines[1], lines[2])

        asks = 'puts RUBY_VERSION, "#{RUBY_ENGINE} #{RUBY_ENGINE_VERSION}"'
        return ask([str(executable), *_OPTIONS, "-e", asks], lambda _: {}, read)


class NativeRubyHost(CommandHost):
    """What its process answers is no outcome of the artifact."""

    def invoke(self, invocation: Invocation) -> Outcome:
        return replace(super().invoke(invocation), artifact_sha256="")

    def weigh(self, invocation: Invocation) -> Outcome:
        return replace(super().weigh(invocation), artifact_sha256="")


RUNTIME = NativeRuby
