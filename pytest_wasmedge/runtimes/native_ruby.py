"""The machine's own Ruby, which runs the same programs without any WebAssembly, to compare with."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from pytest_wasmedge.drivers.command import CommandHost, CommandLaunch, CommandRuntime, Ended, Wrap
from pytest_wasmedge.model import Artifact, Ending, Host, Invocation, Limits, Outcome

#: The built-in artifact's name for the program on its stdin; Ruby's messages contain it.
_SCRIPT = "main.rb"

#: The artifact has no gems either, nor what they add to messages. RUBYOPT, set by an invocation, is data.
_OPTIONS = ("--disable=gems,rubyopt", "-E", "UTF-8")


class NativeRuby(CommandRuntime):
    """``ruby`` with the program on its stdin, in a new process and an empty folder per invocation.

    It is a yardstick, not a sandbox: the program has all the rights of the user. Its outcomes have no digest, since no
    artifact runs. Memory is not limited: a system limits a process's addresses, not the memory that it uses.
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
    # ``3.1.2`` and ``ruby 3.1.2``; other engines print their own name and version.
    version_words = r"(\d+\.\d+\.\d+\S*)\n(\w+ \d.*)"
    yardstick = True
    no_folders = "a program sees all folders anyway"
    wrapped = "runs no artifact: the machine's own Ruby runs the program"

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return NativeRubyHost(self, artifact, limits)

    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        launch.folder.mkdir()
        (launch.folder / _SCRIPT).symlink_to("/dev/stdin")
        ruby = [str(launch.executable), *_OPTIONS, "-C", str(launch.folder), _SCRIPT, *invocation.args]
        if not invocation.env:
            return ruby
        pairs = [f"{name}={value}" for name, value in invocation.env.items()]
        return [shutil.which("env") or "/usr/bin/env", "-i", *pairs, *ruby]

    def outcome(self, launch: CommandLaunch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        return ended.stdout, ended.stderr, ended.ending("ruby")


class NativeRubyHost(CommandHost):
    """Runs programs whose outcomes are not the artifact's."""

    def _invoke(self, invocation: Invocation, wrap: Wrap = list) -> Outcome:
        return replace(super()._invoke(invocation, wrap), artifact_sha256="")


RUNTIME = NativeRuby
