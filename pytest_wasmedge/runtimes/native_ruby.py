"""The machine's own Ruby: the same programs without any WebAssembly, to compare with."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from pytest_wasmedge.drivers.command import CommandHost, CommandRuntime, Ended, Launch
from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.model import Artifact, Ending, Host, Invocation, Limits, Outcome, exited, host_failed

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
    commands = ("ruby",)
    remedies: ClassVar[Mapping[str, str]] = {
        "debian": "apt install ruby",
        "fedora": "dnf install ruby",
        "arch": "pacman -S ruby",
        "suse": "zypper install ruby",
        "alpine": "apk add ruby",
        "macos": "brew install ruby",
    }
    absent = "no ruby command found"
    version_arguments = (*_OPTIONS, "-e", 'puts RUBY_VERSION, "#{RUBY_ENGINE} #{RUBY_ENGINE_VERSION}"')
    # Its engine has a name: ``3.1.2`` and ``ruby 3.1.2``, where another one has its own.
    version_words = r"(\d+\.\d+\.\d+\S*)\n(\w+ \d.*)"
    yardstick = True
    wrapped = "runs no artifact: the machine's own Ruby runs the program"

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return NativeRubyHost(self, artifact, limits)

    def argv(self, launch: Launch, invocation: Invocation) -> Sequence[str]:
        if invocation.preopens:
            raise UnsupportedError(
                f"{self.name} cannot give folders: it shows a program all that there is. "
                "Run what needs preopened folders on another runtime."
            )
        launch.folder.mkdir()
        (launch.folder / _SCRIPT).symlink_to("/dev/stdin")
        ruby = [str(launch.executable), *_OPTIONS, "-C", str(launch.folder), _SCRIPT, *invocation.args]
        if not invocation.env:
            return ruby
        pairs = [f"{name}={value}" for name, value in invocation.env.items()]
        return [shutil.which("env") or "/usr/bin/env", "-i", *pairs, *ruby]

    def outcome(self, launch: Launch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        if ended.status < 0:
            return ended.stdout, ended.stderr, host_failed(f"ruby was ended by signal {-ended.status}")
        return ended.stdout, ended.stderr, exited(ended.status)


class NativeRubyHost(CommandHost):
    """What its process answers is no outcome of the artifact."""

    def invoke(self, invocation: Invocation) -> Outcome:
        return replace(super().invoke(invocation), artifact_sha256="")

    def weigh(self, invocation: Invocation) -> Outcome:
        return replace(super().weigh(invocation), artifact_sha256="")


RUNTIME = NativeRuby
