"""wasm2c, of the WebAssembly Binary Toolkit: the artifact as C, compiled to a program that needs no engine."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pytest_wasmedge.drivers import c_host
from pytest_wasmedge.drivers.command import CommandLaunch, Ended
from pytest_wasmedge.drivers.compiled import CompiledRuntime, run_compiler
from pytest_wasmedge.model import Artifact, Ending, Invocation, exited, host_failed, out_of_memory, trapped

#: What is off by default, of what it has.
_PROPOSALS = ("--enable-threads", "--enable-custom-page-sizes", "--enable-compact-imports")
#: How our host says that a guest ended, where no exit status can.
_ENDINGS = {"trap": trapped, "memory": out_of_memory, "host": host_failed}


class Wasm2c(CompiledRuntime):
    """The program that a C compiler makes of what ``wasm2c`` writes, with our host of preview 1 in it."""

    name = "wasm2c"
    engine = "wasm2c"
    groups = frozenset({"engines", "fast"})
    capabilities = frozenset({"memory_limit", "preopens"})
    cache_state = "code-cache"
    tools = ("wasm2c",)
    companions = (("cc", "tcc"),)
    remedies: ClassVar[Mapping[str, str]] = {
        "debian": "apt install gcc libc6-dev tcc",
        "fedora": "dnf install gcc tcc",
        "arch": "pacman -S gcc tcc",
        "suse": "zypper install gcc",
    }
    version_words = r"(\d+\.\d+\.\d+\S*)"
    # The first whose C our host was compiled with.
    minimum = (1, 0, 42)

    def missing(self) -> str:
        if sys.platform != "linux":
            return "our host of preview 1 in C keeps a guest in its folders by a call that only Linux has"
        found = self.locate()
        return (
            "" if found is None or _beside(found.path) else f"the C that belongs to {found.path} is missing"
        )

    def code_key(self, executable: Path, artifact: Artifact) -> tuple[str, str]:
        settings = " ".join((*_PROPOSALS, c_host.settings(artifact)))
        return f"wasm2c {self.versions(executable).version}", settings

    def compile_to(self, path: Path, executable: Path, artifact: Artifact, workspace: Path) -> None:
        problem = f"wasm2c {self.versions(executable).version} cannot compile {artifact.name}"
        options = [*_PROPOSALS, "-n", "guest", "-o", "guest.c"]
        run_compiler([str(executable), *options, str(artifact.path.absolute())], {}, workspace, problem)
        c_host.compile_program(path, artifact, workspace, _beside(executable), problem)

    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        launch.folder.mkdir()
        return c_host.command_line(launch.artifact_link, _report(launch), launch.limits, invocation)

    def outcome(self, launch: CommandLaunch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        report = _report(launch)
        if not report.exists():
            return ended.stdout, ended.stderr, ended.ending("the program of wasm2c")
        kind, _, detail = report.read_text(encoding="utf-8").strip().partition(" ")
        ending = exited(int(detail)) if kind == "exit" else _ENDINGS[kind](f"wasm2c: {detail}")
        return ended.stdout, ended.stderr, ending


def _report(launch: CommandLaunch) -> Path:
    return launch.folder / "report"


def _beside(executable: Path) -> list[Path]:
    """Return the folders with what its C is compiled with: in WABT's wheel, or where systems put it."""
    above = executable.parents[1]
    places = [above / "wasm2c", above / "include"], [above / "share" / "wabt" / "wasm2c"]
    return next((each for each in places if (each[0] / "wasm-rt-impl.c").is_file()), [])


RUNTIME = Wasm2c
