"""The wasmtime command inside gVisor, the kernel of its own that container platforms put around a guest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.command import CommandLaunch, Ended
from pytest_wasmedge.drivers.compiled import run_compiler
from pytest_wasmedge.drivers.program import Interpreter, Versions
from pytest_wasmedge.drivers.wasmtime_run import WasmtimeRuntime
from pytest_wasmedge.model import Artifact, Ending, Invocation, host_failed
from pytest_wasmedge.provision import Found, find

#: Its makers call a version release-20240729.0, Debian calls it 0.0~20240729.0.
_SANDBOX = Interpreter("runsc", (), ("--version",), r"runsc version (?:release-|0\.0~)?(\d+\.\d\S*)")
#: No network. No control group, since that would outlive a kill. Inside are the machine's files, which nothing in there
#: can change: what it writes stays in its memory.
_OPTIONS = ("--network=none", "--ignore-cgroups")
_DO = ("do", "-quiet", "-cwd", "/")
_FIRST_WORDS = 300


class Gvisor(WasmtimeRuntime):
    """``runsc do wasmtime run``: gVisor answers all system calls of the wasmtime command.

    All processes of the sandbox end with the one that we start. Code is compiled inside, since gVisor hides some of
    what the processor can do, and wasmtime takes no code that was made for more.
    """

    name = "gvisor"
    engine = "Cranelift"
    capabilities = frozenset({"memory_limit"})
    no_folders = (
        "the sandbox has a copy of this machine's files in its memory, and what a guest writes there is gone"
    )
    # An index into a command line that begins with the sandbox's own.
    flags_at = None
    # Versions would be the sandbox's, of which Debian keeps one.
    tool = ""
    tools = ("runsc", "wasmtime")

    def locate(self) -> Found | None:
        return find("wasmtime")

    def missing(self) -> str:
        return "" if _SANDBOX.locate() else "no runsc command found"

    def versions(self, executable: Path) -> Versions:
        inside = super().versions(executable)
        return Versions(_SANDBOX.versions(_SANDBOX.require()).version, inside.version, inside.build)

    def _too_old(self, executable: Path, versions: Versions) -> str:
        return super()._too_old(executable, super().versions(executable))

    def code_key(self, executable: Path, artifact: Artifact) -> tuple[str, str]:
        engine, settings = super().code_key(executable, artifact)
        return f"{engine} in gVisor {self.versions(executable).version}", settings

    def compile_to(self, path: Path, executable: Path, artifact: Artifact, workspace: Path) -> None:
        # What is written inside stays there, but for the streams.
        argv = [*_sandbox(workspace / "panic.log"), *self.compiler(Path("/dev/stdout"), executable, artifact)]
        problem = f"wasmtime {super().versions(executable).version} in gVisor cannot compile {artifact.name}"
        with path.open("wb") as code:
            run_compiler(argv, self.environment(workspace), workspace, problem, stdout_to=code)

    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        launch.folder.mkdir()
        return [*_sandbox(_panic_log(launch)), *super().argv(launch, invocation)]

    def environment(self, workspace: Path) -> dict[str, str]:
        # The sandbox keeps its state there, also after a kill.
        return super().environment(workspace) | {"TMPDIR": str(workspace)}

    def outcome(self, launch: CommandLaunch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        stdout, stderr, ending = super().outcome(launch, ended)
        # Its panics have status 2 and are told nowhere else. wasmtime lets no guest have one above 125.
        panic = _panic_log(launch).read_bytes() if _panic_log(launch).exists() else b""
        if ending.kind == "exited" and (panic or ended.status > self.highest_status):
            said = " ".join((panic or stderr).decode("utf-8", "backslashreplace").split())
            return b"", b"", host_failed(f"runsc ended with status {ended.status}: {said[:_FIRST_WORDS]}")
        return stdout, stderr, ending


def _sandbox(panic_log: Path) -> list[str]:
    """Return what stands before a command line that is to run in a sandbox."""
    # Without root, it may do no more than its user.
    rootless = ("--rootless",) if os.geteuid() else ()
    return [str(_SANDBOX.require()), f"--panic-log={panic_log}", *_OPTIONS, *rootless, *_DO]


def _panic_log(launch: CommandLaunch) -> Path:
    return launch.folder / "panic.log"


RUNTIME = Gvisor
