"""The nouns: Artifact, Limits, Invocation, Outcome, Ending, Timings, Divergence. Frozen, no behaviour."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pytest_wasmedge.errors import ArtifactError

EndingKind = Literal["exited", "trapped", "timed_out", "out_of_memory", "host_failed"]

#: What every driver passes as ``argv[0]``; hosts would otherwise each show a path of their own.
ARGV0 = "artifact.wasm"


@dataclass(frozen=True, slots=True)
class Artifact:
    """The ``.wasm`` file under test, known by the SHA-256 of its bytes; made by `wasm.load_artifact`."""

    path: Path
    sha256: str
    size_bytes: int
    name: str
    builtin: bool = False

    def verify(self) -> None:
        """Raise ArtifactError unless the file still holds the bytes that were loaded first."""
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        if digest != self.sha256:
            raise ArtifactError(
                f"{self.path} changed during the run: it was {self.sha256[:16]}…, it is now {digest[:16]}…. "
                "Outcomes of different bytes cannot be compared; build first, then run pytest again."
            )


@dataclass(frozen=True, slots=True)
class Limits:
    """What a host may use for one invocation; a runtime that cannot limit memory says so."""

    timeout_s: float = 30.0
    memory_bytes: int = 1 << 30
    output_bytes: int = 256 << 20

    @property
    def memory_pages(self) -> int:
        """The memory limit in WebAssembly pages of 64 KiB; of these there are at most 4 GiB."""
        return min(max(1, self.memory_bytes >> 16), 1 << 16)


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of the guest: what it is given. Nothing else is granted.

    ``args`` do not include the program's name; ``preopens`` maps guest paths to folders of this machine;
    ``timeout_s`` of None means the host's own limit.
    """

    stdin: bytes = b""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    preopens: Mapping[str, Path] = field(default_factory=dict)
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How an invocation ended. ``detail`` is the engine's own wording: shown, never compared."""

    kind: EndingKind
    status: int | None = None
    detail: str = field(default="", compare=False)

    @property
    def ok(self) -> bool:
        """True if the guest exited with status 0."""
        return self.kind == "exited" and self.status == 0

    def __str__(self) -> str:
        return f"exited({self.status})" if self.kind == "exited" else self.kind


def exited(status: int) -> Ending:
    """The guest ended by itself with this status."""
    return Ending("exited", status)


def trapped(detail: str = "") -> Ending:
    """The engine stopped the guest for a WebAssembly trap."""
    return Ending("trapped", detail=detail)


def timed_out(detail: str = "") -> Ending:
    """The guest was stopped at its time limit; what it wrote until then may be incomplete."""
    return Ending("timed_out", detail=detail)


def out_of_memory(detail: str = "") -> Ending:
    """The host could not give the guest the memory that it needs to start or go on."""
    return Ending("out_of_memory", detail=detail)


def host_failed(detail: str = "") -> Ending:
    """The host, not the guest, went wrong: it crashed, refused, or answered nonsense."""
    return Ending("host_failed", detail=detail)


@dataclass(frozen=True, slots=True)
class Timings:
    """Nanoseconds by the caller's clock; phases that a host cannot tell are absent, never 0.

    CPU time (user and system) and peak memory are those of a process that served this invocation alone.
    """

    elapsed_ns: int
    phases_ns: Mapping[str, int] = field(default_factory=dict)
    cpu_ns: int | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of one invocation.

    Equal when stdout, stderr and ending are. ``invocation`` counts from 1 in each started host (isolate).
    """

    stdout: bytes
    stderr: bytes
    ending: Ending
    invocation: int = field(default=0, compare=False)
    timings: Timings = field(default=Timings(0), compare=False)
    runtime: str = field(default="", compare=False)
    artifact_sha256: str = field(default="", compare=False)

    @property
    def stdout_text(self) -> str:
        """Stdout as text; bytes that are not UTF-8 become ``\\xNN``."""
        return self.stdout.decode("utf-8", "backslashreplace")

    @property
    def stderr_text(self) -> str:
        """Stderr as text; bytes that are not UTF-8 become ``\\xNN``."""
        return self.stderr.decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Divergence:
    """One named difference between an outcome and its reference.

    ``offset`` is the first differing byte and ``line`` the line it is in (from 1); both None for an ending.
    """

    field: Literal["ending", "stdout", "stderr"]
    runtime: str
    expected: str
    actual: str
    offset: int | None = None
    line: int | None = None
    diff: str = ""

    def __str__(self) -> str:
        where = "" if self.offset is None else f" first differs at byte {self.offset}, line {self.line}"
        head = f"{self.runtime}: {self.field}{where}: expected {self.expected}, got {self.actual}"
        return f"{head}\n{self.diff}" if self.diff else head


@dataclass(frozen=True, slots=True)
class Leak:
    """Host or engine internals found in guest-visible text; ``excerpt`` shows the line they stand in."""

    detector: str
    field: Literal["stdout", "stderr"]
    offset: int
    text: str
    excerpt: str

    def __str__(self) -> str:
        return f"{self.field} leaks {self.detector}: {self.text!r} at byte {self.offset}, in {self.excerpt!r}"
