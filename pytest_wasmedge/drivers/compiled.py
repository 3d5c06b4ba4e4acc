"""Compiled code on disk: native code, so it is kept where only the user can write."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pytest_wasmedge.drivers.command import CommandHost, CommandRuntime, Launch
from pytest_wasmedge.drivers.process import Workspace, spawn, stop
from pytest_wasmedge.drivers.program import Program
from pytest_wasmedge.errors import HostStartError, ProvisionError, RuntimeUnavailableError
from pytest_wasmedge.model import Artifact, Host, Invocation, Limits, Outcome
from pytest_wasmedge.provision.cache import folder, keep_newest, locked, writing
from pytest_wasmedge.provision.files import whole

#: How much compiled code is kept of one kind; what was used longest ago goes first. One compiled Ruby is about 60 MB.
KEPT_BYTES = 2 << 30
_LAST_WORDS = 500
#: A compiler takes half a minute for a Ruby on two processors; one that takes twenty times as long hangs.
COMPILE_S = 600.0


def place_of(artifact: Artifact, engine: str, settings: str) -> Path:
    """Return where the compiled form of the artifact is or would be. Raises ProvisionError."""
    key = hashlib.sha256(f"{engine}\n{settings}".encode()).hexdigest()[:16]
    return folder("compiled") / f"{artifact.sha256[:32]}-{key}.cwasm"


def compiled(artifact: Artifact, engine: str, settings: str, compile_to: Callable[[Path], None]) -> Path:
    """Return the compiled form of the artifact, made by ``compile_to`` the first time.

    Its name holds digest, engine with version, and settings: another engine never sees it. Several
    processes may ask at once; one compiles, the others wait.
    """
    path = place_of(artifact, engine, settings)
    place = path.parent
    # Without the lock where it can be: a start is measured, and another process may be compiling for long.
    try:
        os.utime(path)
        return path
    except FileNotFoundError:
        pass
    except OSError:
        # The folder can only be read: then nothing of it is ever thrown away, and its age does not matter.
        return path
    with writing(), locked(place / ".lock-compiled"):
        if not path.exists():
            with whole(path, 0o600) as part:
                compile_to(part)
        # A compiler that was killed left its part; nobody else compiles now.
        for part in place.glob("*.part"):
            part.unlink(missing_ok=True)
        keep_newest(place.glob("*.cwasm"), most_bytes=KEPT_BYTES)
    return path


class RefusedError(Exception):
    """The engine does not take the code that was kept: it is damaged, or of another engine or processor."""


def run_compiler(
    program: Program,
    argv: Sequence[str],
    workspace: Path,
    problem: str,
    read: Callable[[bytes, bytes], str] = lambda stdout, stderr: stderr.decode("utf-8", "backslashreplace"),
) -> None:
    """Run a compiler to its end. Raises HostStartError: the problem, and what `read` finds in its outputs."""
    process = spawn(
        argv,
        env=program.environment(workspace),
        cwd=workspace,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        stdout, stderr = process.communicate(timeout=COMPILE_S)
    except subprocess.TimeoutExpired as error:
        raise HostStartError(
            f"{problem}: it did not end within {COMPILE_S:.0f} s, and was stopped. Try a smaller artifact."
        ) from error
    finally:
        stop(process)
    if process.returncode:
        said = " ".join(read(stdout, stderr).split()) or "no message"
        raise HostStartError(
            f"{problem}: {said[-_LAST_WORDS:]}. A validator takes the file: try another version of this runtime, "
            "or build the file otherwise."
        )


class KeepsCode(Program, ABC):
    """A program that compiles an artifact, and keeps the code for the next start."""

    @abstractmethod
    def code_key(self, executable: Path, artifact: Artifact) -> tuple[str, str]:
        """Return engine and settings, by which compiled code is kept. Raises RuntimeUnavailableError."""

    @abstractmethod
    def compile_to(self, path: Path, executable: Path, artifact: Artifact, workspace: Path) -> None:
        """Compile the artifact; the workspace is an empty folder for that. Raises HostStartError."""

    def compiles(self, artifact: Artifact) -> bool:
        """Say whether this artifact is compiled beforehand."""
        return True

    def kept_code(self, artifact: Artifact) -> Path | None:
        try:
            return (
                place_of(artifact, *self.code_key(self.executable(), artifact))
                if self.compiles(artifact)
                else None
            )
        except (ProvisionError, RuntimeUnavailableError):
            return None

    def code_of(self, executable: Path, artifact: Artifact) -> Path:
        """Return the compiled code, made now if it is not there yet. Raises HostStartError."""

        def compile_to(path: Path) -> None:
            with Workspace.create() as workspace:
                self.compile_to(path, executable, artifact, workspace.path)

        return compiled(artifact, *self.code_key(executable, artifact), compile_to)


class CompiledRuntime(KeepsCode, CommandRuntime):
    """A command that runs kept code, or an artifact that it does not compile: `Launch.artifact_link` leads to it.

    Its ``outcome`` raises RefusedError, in the engine's words, for code that the engine does not take.
    """

    def prepare(self, launch: Launch) -> None:
        artifact = launch.artifact
        code = self.code_of(launch.executable, artifact) if self.compiles(artifact) else artifact.path
        # When code is renewed, its place stays the same, and others may be about to run it.
        if not launch.artifact_link.is_symlink():
            launch.artifact_link.symlink_to(code.absolute())

    def renew(self, launch: Launch) -> None:
        """Have other code kept in the place of what was refused. Raises HostStartError."""
        place_of(launch.artifact, *self.code_key(launch.executable, launch.artifact)).unlink(missing_ok=True)
        self.prepare(launch)

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return CompiledHost(self, artifact, limits)


class CompiledHost(CommandHost):
    """Has code that is refused compiled anew, once, and the guest run again, which did not run at all."""

    def __init__(self, runtime: CompiledRuntime, artifact: Artifact, limits: Limits) -> None:
        super().__init__(runtime, artifact, limits)
        self._renew: Callable[[Launch], None] = runtime.renew
        self._renewing = threading.Lock()
        self._renewed = False

    def _invoke(
        self, invocation: Invocation, wrap: Callable[[Sequence[str]], Sequence[str]] | None = None
    ) -> Outcome:
        with suppress(RefusedError):
            return super()._invoke(invocation, wrap)
        with self._renewing:
            if not self._renewed:
                self._renew(self._launch)
                self._renewed = True
        try:
            return super()._invoke(invocation, wrap)
        except RefusedError as error:
            raise HostStartError(
                f"{self.runtime.name} cannot load what it has just compiled of {self.artifact.name}: {error}. "
                "Run it on another runtime, and tell those who make this one."
            ) from error
