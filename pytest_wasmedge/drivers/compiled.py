"""Compiled code on disk. It is native code, so it is kept where only the user can write."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeVar

from pytest_wasmedge.drivers.command import CommandHost, CommandLaunch, CommandRuntime, Wrap
from pytest_wasmedge.drivers.process import Workspace, spawn, stop
from pytest_wasmedge.drivers.program import Program
from pytest_wasmedge.errors import HostStartError, ProvisionError, RuntimeUnavailableError
from pytest_wasmedge.model import Artifact, Host, Invocation, Limits, Outcome
from pytest_wasmedge.provision.cache import folder, keep_newest, locked, writing
from pytest_wasmedge.provision.files import whole

#: More compiled code of one kind is not kept: files unused for longest are removed. One compiled Ruby is about 60 MB.
KEPT_BYTES = 2 << 30
_LAST_WORDS = 500

T = TypeVar("T")
#: Compiling Ruby takes half a minute on two processors; a compiler that takes twenty times as long hangs.
COMPILE_S = 600.0


def place_of(artifact: Artifact, engine: str, settings: str) -> Path:
    """Return the file for the artifact's compiled code, whether or not it exists. Raises ProvisionError."""
    key = hashlib.sha256(f"{engine}\n{settings}".encode()).hexdigest()[:16]
    return folder("compiled") / f"{artifact.sha256[:32]}-{key}.cwasm"


def compiled(artifact: Artifact, engine: str, settings: str, compile_to: Callable[[Path], None]) -> Path:
    """Return the file with the artifact's compiled code, written by ``compile_to`` the first time.

    Its name is made of digest, engine with version, and settings, so that no other engine loads it. Several processes
    may call this at once: one compiles, those that want the same engine's code wait.
    """
    path = place_of(artifact, engine, settings)
    place = path.parent
    # Without the lock if the file exists: starts are measured, and another process may be compiling for long.
    try:
        os.utime(path)
        return path
    except FileNotFoundError:
        pass
    except OSError:
        # The folder is read-only: nothing in it is ever removed, so the file's age does not matter.
        return path
    with writing(), locked(place / f".lock-{path.stem.rpartition('-')[2]}"):
        if not path.exists():
            with whole(path, 0o600) as part:
                compile_to(part)
        _remove_abandoned(place)
        keep_newest(place.glob("*.cwasm"), most_bytes=KEPT_BYTES)
    return path


def _remove_abandoned(place: Path) -> None:
    """Remove the parts of compilers that were killed; other engines' compilers may be at work."""
    for part in place.glob("*.part"):
        with suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > 2 * COMPILE_S:
                part.unlink()


class RefusedError(Exception):
    """The engine does not load kept code: it is damaged, or was compiled for another engine or processor."""


def renewing(run: Callable[[], T], renew: Callable[[], None], engine: str, artifact: Artifact) -> T:
    """Return what `run` returns; if it raises RefusedError, call `renew` and run it once more.

    Raises HostStartError if the engine refuses what it has just compiled.
    """
    with suppress(RefusedError):
        return run()
    renew()
    try:
        return run()
    except RefusedError as error:
        raise HostStartError(
            f"{engine} cannot load what it has just compiled of {artifact.name}: {error}. "
            "Run it on another runtime, and report this to the makers of the engine."
        ) from error


def compile_phase(kept: Path | None, compile_now: Callable[[], object]) -> dict[str, int]:
    """Compile unless the code is kept already; return the phase ``compile`` in nanoseconds if that was done."""
    if kept is None or kept.exists():
        return {}
    began_ns = time.perf_counter_ns()
    compile_now()
    return {"compile": time.perf_counter_ns() - began_ns}


def run_compiler(
    argv: Sequence[str],
    env: Mapping[str, str],
    workspace: Path,
    problem: str,
    read: Callable[[bytes, bytes], str] = lambda stdout, stderr: stderr.decode("utf-8", "backslashreplace"),
    stdout_to: int | IO[bytes] = subprocess.PIPE,
) -> None:
    """Run a compiler to its end; ``stdout_to`` is for one that writes the code there.

    Raises HostStartError with the problem and the message that `read` finds in the compiler's outputs.
    """
    process = spawn(
        argv,
        env=env,
        cwd=workspace,
        stdout=stdout_to,
        stderr=subprocess.PIPE,
    )
    try:
        stdout, stderr = process.communicate(timeout=COMPILE_S)
    except subprocess.TimeoutExpired as error:
        raise HostStartError(
            f"{problem}: the compiler did not end within {COMPILE_S:.0f} s and was killed. Try a smaller artifact."
        ) from error
    finally:
        stop(process)
    if process.returncode:
        said = " ".join(read(stdout, stderr).split()) or "no message"
        raise HostStartError(
            f"{problem}: {said[-_LAST_WORDS:]}. A validator takes the file: try another version of this runtime, "
            "or build the file otherwise."
        )


def is_whole_elf(code: Path) -> bool:
    """Return whether nothing is cut off a program or library in Linux's format; other files count as whole."""
    with code.open("rb") as file:
        header = file.read(64)
    if not header.startswith(b"\x7fELF"):
        return True
    # Its table of sections is at the end.
    begins, size, count = (int.from_bytes(header[a:b], "little") for a, b in ((40, 48), (58, 60), (60, 62)))
    return begins + size * count == code.stat().st_size


class KeepsCode(Program, ABC):
    """A program that compiles an artifact and keeps the code for its next start."""

    @abstractmethod
    def code_key(self, executable: Path, artifact: Artifact) -> tuple[str, str]:
        """Return engine and settings, which name the compiled code. Raises RuntimeUnavailableError."""

    @abstractmethod
    def compile_to(self, path: Path, executable: Path, artifact: Artifact, workspace: Path) -> None:
        """Compile the artifact into the file ``path``; the workspace is an empty folder. Raises HostStartError."""

    def compiles(self, artifact: Artifact) -> bool:
        """Return whether this artifact is compiled beforehand."""
        return True

    def kept_code(self, artifact: Artifact) -> Path | None:
        if not self.compiles(artifact):
            return None
        with suppress(ProvisionError, RuntimeUnavailableError):
            return place_of(artifact, *self.code_key(self.executable(), artifact))
        return None

    def code_of(self, executable: Path, artifact: Artifact) -> Path:
        """Return the file with the compiled code, after compiling if there is none. Raises HostStartError."""

        def compile_to(path: Path) -> None:
            with Workspace() as workspace:
                self.compile_to(path, executable, artifact, workspace.path)

        code = compiled(artifact, *self.code_key(executable, artifact), compile_to)
        if self.is_whole(code):
            return code
        self.discard_code(executable, artifact)
        return compiled(artifact, *self.code_key(executable, artifact), compile_to)

    def is_whole(self, code: Path) -> bool:
        """Return whether this may be run; where the engine itself refuses code that is cut off, it may."""
        return True

    def discard_code(self, executable: Path, artifact: Artifact) -> None:
        """Remove the compiled code, so that the next start compiles anew."""
        place_of(artifact, *self.code_key(executable, artifact)).unlink(missing_ok=True)


class CompiledRuntime(KeepsCode, CommandRuntime):
    """A command that runs kept code, or an artifact that it does not compile: `artifact_link` leads to either.

    Its ``outcome`` raises RefusedError, in the engine's words, for code that the engine does not load.
    """

    def prepare(self, launch: CommandLaunch) -> None:
        artifact = launch.artifact
        code = self.code_of(launch.executable, artifact) if self.compiles(artifact) else artifact.path
        # Renewed code has the same path, and other invocations may be about to run it.
        if not launch.artifact_link.is_symlink():
            launch.artifact_link.symlink_to(code.absolute())

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return CompiledHost(self, artifact, limits)


class CompiledHost(CommandHost):
    """Compiles anew, once, when its code is refused, and runs the guest again, which had not run at all."""

    runtime: CompiledRuntime

    def __init__(self, runtime: CompiledRuntime, artifact: Artifact, limits: Limits) -> None:
        super().__init__(runtime, artifact, limits)
        self._renewing = threading.Lock()
        self._renewed = False

    def _invoke(self, invocation: Invocation, wrap: Wrap = list) -> Outcome:
        invoke = super()._invoke
        return renewing(lambda: invoke(invocation, wrap), self._renew, self.runtime.name, self.artifact)

    def _renew(self) -> None:
        with self._renewing:
            if not self._renewed:
                self.runtime.discard_code(self._launch.executable, self.artifact)
                self.runtime.prepare(self._launch)
                self._renewed = True
