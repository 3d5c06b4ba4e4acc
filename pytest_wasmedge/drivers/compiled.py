"""Compiled code on disk: native code, so it is kept where only the user can write."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pytest_wasmedge.drivers.command import CommandHost, CommandRuntime, Launch
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import Artifact, Host, Invocation, Limits, Outcome
from pytest_wasmedge.provision.cache import folder, locked, writing

#: One compiled Ruby is about 60 MB; older ones go when there are more than this.
KEPT_FILES = 40


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
            handle, name = tempfile.mkstemp(dir=place, suffix=".part")
            os.close(handle)
            part = Path(name)
            try:
                compile_to(part)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        # A compiler that was killed left its part; nobody else compiles now.
        for part in place.glob("*.part"):
            part.unlink(missing_ok=True)
        newest_first = sorted(place.glob("*.cwasm"), key=_last_used_s, reverse=True)
        for stale in newest_first[KEPT_FILES:]:
            stale.unlink(missing_ok=True)
    return path


class RefusedError(Exception):
    """The engine does not take the code that was kept: it is damaged, or of another engine or processor."""


class CompiledRuntime(CommandRuntime):
    """A command that runs kept code. Its ``outcome`` raises RefusedError, in the engine's words."""

    @abstractmethod
    def renew(self, launch: Launch) -> None:
        """Have other code kept in the place of what was refused. Raises HostStartError."""

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


def _last_used_s(file: Path) -> float:
    # Code that nobody needs any more is removed without the lock, also between listing it and this.
    with suppress(FileNotFoundError):
        return file.stat().st_mtime
    return 0.0
