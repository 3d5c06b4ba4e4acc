"""Compiled code on disk. It is native code, so it is kept where only the user can write, and loaded only from a file
whose bytes are the ones that we compiled: its digest lies beside it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TypeVar

import filelock

from pytest_wasmedge.drivers import shortage
from pytest_wasmedge.drivers.command import CommandHost, CommandLaunch, CommandRuntime, Wrap
from pytest_wasmedge.drivers.process import Workspace, spawn, stop
from pytest_wasmedge.drivers.program import Program
from pytest_wasmedge.errors import HostStartError, ProvisionError, RuntimeUnavailableError, ShortageError
from pytest_wasmedge.model import Artifact, Host, Invocation, Limits, Outcome
from pytest_wasmedge.provision.cache import folder, keep_newest, locked, writing
from pytest_wasmedge.provision.digests import fault, keep_from_others, sha256_of
from pytest_wasmedge.provision.files import whole
from pytest_wasmedge.provision.room import NO_FILES

#: More compiled code of one kind is not kept: files unused for longest are removed. One compiled Ruby is about 60 MB.
KEPT_BYTES = 2 << 30
_LAST_WORDS = 500
#: The endings of compiled code: ours, and that of an engine with a cache of its own.
_CODES = (".cwasm", ".bin")

#: Larger artifacts take seconds to compile, or half a minute.
_LONG_BYTES = 1 << 20

T = TypeVar("T")
#: Called with a sentence before a compilation that takes long.
_announce: Callable[[str], object] | None = None
#: Compiling Ruby takes half a minute on two processors; a compiler that takes twenty times as long hangs.
COMPILE_S = 600.0


def announce_by(announce: Callable[[str], object] | None) -> None:
    """Call this with a sentence before each compilation that takes long; None calls nothing."""
    global _announce
    _announce = announce


def place_of(artifact: Artifact, engine: str, settings: str) -> Path:
    """Return the file for the artifact's compiled code, whether or not it exists. Raises ProvisionError."""
    key = hashlib.sha256(f"{engine}\n{settings}".encode()).hexdigest()[:16]
    return folder("compiled") / f"{artifact.sha256[:32]}-{key}.cwasm"


def compiled(artifact: Artifact, engine: str, settings: str, compile_to: Callable[[Path], None]) -> Path:
    """Return the file with the artifact's compiled code, written by ``compile_to`` unless it is there and is ours.

    Its name is made of digest, engine with version, and settings, so that no other engine loads it. Several processes
    may call this at once: one compiles, those that want the same engine's code wait.
    """
    path = place_of(artifact, engine, settings)
    place = path.parent
    # Without the lock if the file is there: starts are measured, and another process may be compiling for long.
    if not is_ours(path):
        with writing(), locked(_lock_of(path)):
            if not is_ours(path):
                discard(path)
                if _announce and artifact.size_bytes >= _LONG_BYTES:
                    size = f"{artifact.size_bytes / 1e6:.1f} MB"
                    _announce(
                        f"compiling {artifact.name} ({size}) for {engine.partition(',')[0]}; the code is kept"
                    )
                with whole(path, 0o600) as part:
                    compile_to(part)
                    keep_from_others(part)
                    sha256 = sha256_of(part)
                _say(path, sha256)
            _remove_abandoned(path)
            keep_newest(place.glob("*.cwasm"), most_bytes=KEPT_BYTES, beside=digest_of, but=path)
    return path


def digest_of(code: Path) -> Path:
    """Return the file beside compiled code that has its digest, and whose time says when the code was used."""
    return code.with_suffix(".sha256")


def is_ours(code: Path) -> bool:
    """Return whether this is the code that we compiled, byte by byte; if so, it counts as used now.

    After the first time in a process, that takes some microseconds while nothing is seen to have changed.
    """
    if _fault_of(code):
        return False
    # Not of the code itself, whose times say that it was not written since. In a folder that can only be read nothing
    # is ever removed, so the age does not matter.
    with suppress(OSError):
        os.utime(digest_of(code))
    return True


def _fault_of(code: Path) -> str:
    """Return what is wrong with compiled code, as a clause; empty if it is what we compiled."""
    try:
        sha256, _, name = digest_of(code).read_text(encoding="ascii").rstrip("\n").partition("  ")
    except FileNotFoundError:
        return "has no digest beside it"
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in NO_FILES:
            raise
        return "has a digest beside it that cannot be read"
    # With the name, so that another program's code is refused together with its digest.
    return fault(code, sha256) if name == code.name else "has another file's digest beside it"


def faults_of_all() -> dict[Path, str]:
    """Return all compiled code in the cache, and what is wrong with each file (`_fault_of`). Raises ProvisionError."""
    codes = (path for path in folder("compiled").rglob("*") if path.suffix in _CODES and path.is_file())
    return {code: _fault_of(code) for code in sorted(codes)}


def vouch(code: Path) -> None:
    """Write the digest of code that an engine has compiled for us into a cache of its own. Raises OSError."""
    keep_from_others(code)
    _say(code, sha256_of(code))


def discard(code: Path) -> None:
    """Remove compiled code with its digest, so that the next start compiles anew. Raises OSError."""
    digest_of(code).unlink(missing_ok=True)
    code.unlink(missing_ok=True)


def _say(code: Path, sha256: str) -> None:
    with whole(digest_of(code), 0o600) as part:
        part.write_text(f"{sha256}  {code.name}\n", encoding="ascii")


def _lock_of(path: Path) -> Path:
    """Return the lock of whoever compiles for the engine of this file: code, its digest, or a part of either."""
    return path.with_name(f".lock-{path.name.rpartition('-')[2].partition('.')[0]}")


def _remove_abandoned(path: Path) -> None:
    """Remove the parts of compilers that were killed, and digests without code; this path's lock is held by us."""
    place = path.parent
    alone = (each for each in place.glob("*.sha256") if not each.with_suffix(".cwasm").exists())
    for left in (*place.glob("*.part"), *alone):
        with suppress(OSError, filelock.Timeout), ExitStack() as held:
            # Of another engine, whose compiler may be at work.
            if (lock := _lock_of(left)) != _lock_of(path):
                held.enter_context(filelock.FileLock(lock, timeout=0))
            left.unlink()


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
    """Compile unless our code is kept already; return the phase ``compile`` in nanoseconds if that was done."""
    if kept is None or is_ours(kept):
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
        if short := shortage.full():
            raise ShortageError(f"{problem}. {short}")
        said = " ".join(read(stdout, stderr).split()) or "no message"
        # A low limit may be why, and need not be: the compiler may refuse the artifact.
        few = f"{found} " if (found := shortage.found()) else ""
        raise HostStartError(
            f"{problem}: {said[-_LAST_WORDS:]}. {few}A validator takes the file: try another version of this runtime, "
            "or build the file otherwise."
        )


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

        return compiled(artifact, *self.code_key(executable, artifact), compile_to)

    def discard_code(self, executable: Path, artifact: Artifact) -> None:
        """Remove the compiled code, so that the next start compiles anew."""
        discard(place_of(artifact, *self.code_key(executable, artifact)))


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
        self._code = runtime.kept_code(artifact)

    def _invoke(self, invocation: Invocation, wrap: Wrap = list) -> Outcome:
        invoke = super()._invoke

        def run() -> Outcome:
            if self._code and not is_ours(self._code):
                raise RefusedError("it is not the code that was compiled")
            return invoke(invocation, wrap)

        return renewing(run, self._renew, self.runtime.name, self.artifact)

    def _renew(self) -> None:
        with self._renewing:
            if not self._renewed:
                self.runtime.discard_code(self._launch.executable, self.artifact)
                self.runtime.prepare(self._launch)
                self._renewed = True
