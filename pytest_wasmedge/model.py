"""The nouns (Artifact, Limits, Invocation, Outcome, Ending …), and Runtime and Host, which a new runtime implements."""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

from pytest_wasmedge.errors import ArtifactError, HostStartError, UnsupportedError

EndingKind = Literal["exited", "trapped", "timed_out", "out_of_memory", "host_failed"]

#: What every driver passes as ``argv[0]``; hosts would otherwise each show a path of their own.
ARGV0 = "artifact.wasm"


@dataclass(frozen=True, slots=True)
class Artifact:
    """The ``.wasm`` file under test, known by the SHA-256 of its bytes; made by `load_artifact`.

    ``proposals`` are those to WebAssembly that it needs and not every host has, such as ``exception handling``.
    """

    path: Path
    sha256: str
    size_bytes: int
    name: str
    builtin: bool = False
    proposals: tuple[str, ...] = ()

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


#: What a host can do beyond the plain contract; the suite asks, and skips by name what is missing.
#: ``concurrent``: it holds several guests alive at once.
Capability = Literal["memory_limit", "preopens", "concurrent"]

#: What of an outcome is compared.
OutcomeField = Literal["stdout", "stderr", "ending"]

#: Whether compiled code was at hand when a host started: part of the name of every cold start.
CacheState = Literal["no-cache", "code-cache"]


def base_name(name: str) -> str:
    """Return the name of the runtime itself: ``deno`` of ``deno@2.9.6``."""
    return name.partition("@")[0]


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a runtime can start here: its versions if so, the reason and the remedy if not.

    ``lacks`` are the proposals that the artifact needs and the runtime does not have.
    """

    available: bool
    version: str = ""
    engine_version: str = ""
    reason: str = ""
    install: str = ""
    path: str = ""
    lacks: tuple[str, ...] = ()


class Host(ABC):
    """A started runtime holding one loaded artifact; a context manager; safe to call from several threads.

    ``start_phases_ns`` are the phases of its last start: of spawn, load and compile those that it can tell.
    """

    runtime: Runtime
    artifact: Artifact
    limits: Limits
    start_phases_ns: Mapping[str, int] = MappingProxyType({})
    _closed: bool = False

    @abstractmethod
    def invoke(self, invocation: Invocation) -> Outcome:
        """Run the guest once, in a fresh instance.

        Whatever the guest does ends in an Outcome, a dead host in ``host_failed``. Raises UnsupportedError
        for what this host cannot give, and HostStartError when a host that died cannot be started again.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop the host and leave nothing behind; harmless when called again."""

    def pids(self) -> tuple[int, ...]:
        """Return the processes that serve this host now, without those that they started.

        A host in this process returns our own; one that has a process only during an invocation, or none on
        this machine, returns nothing.
        """
        return ()

    def paused(self) -> AbstractContextManager[None]:
        """Return what keeps the host from using the machine as long as it is entered; nobody invokes it meanwhile.

        Does nothing unless a host overrides it: most use nothing between invocations.
        """
        return nullcontext()

    def run(
        self,
        source: str | bytes = b"",
        *,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Outcome:
        """Run the guest with this source on stdin; text is sent as UTF-8."""
        stdin = source.encode() if isinstance(source, str) else source
        return self.invoke(Invocation(stdin, tuple(args), dict(env or {}), timeout_s=timeout_s))

    def _time_limit_s(self, invocation: Invocation) -> float:
        return self.limits.timeout_s if invocation.timeout_s is None else invocation.timeout_s

    def _check_open(self) -> None:
        """Raise HostStartError if this host is closed."""
        if self._closed:
            raise HostStartError(f"{self.runtime.name}: this host is closed; start another one.")

    def _outcome(
        self, stdout: bytes, stderr: bytes, ending: Ending, invocation: int, timings: Timings
    ) -> Outcome:
        """Return an outcome of this host and its artifact."""
        name, digest = self.runtime.name, self.artifact.sha256
        return Outcome(stdout, stderr, ending, invocation, timings, name, digest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Runtime(ABC):
    """A kind of host. It describes; the driver it is built on owns process, time limit and cleanup.

    ``name`` is what ``--runtimes`` takes, ``engine`` the WebAssembly engine inside. ``unchecked`` is what this
    runtime cannot tell of an outcome and is therefore not compared: a deployed edge may answer stdout alone.
    ``flags`` are what a user adds to the command line of its program, ``flags_at`` the place where they go; None: it
    takes none. ``statuses`` says which exit statuses it passes on otherwise than the guest gave them, if it does.
    ``deployed`` says that somebody else starts it, when they like. ``tools`` are the pinned tools
    (provision/pins.toml) that `pytest-wasmedge install` fetches for it. A ``yardstick`` runs the same programs
    without the artifact: it is never part of ``all``, and is there to be compared with. ``wrapped`` says that the
    host runs the artifact inside another module, and how; the artifact's own bytes are in there unchanged or not
    at all.

    ``tool`` is the pinned tool that is its program, for a runtime that can be had in exact versions: it finds the
    program with ``find(self.tool, self.version)``. ``version`` is the one that it is bound to, empty for the one
    that is here.
    """

    name: str
    engine: str
    capabilities: frozenset[Capability] = frozenset()
    cache_state: CacheState = "no-cache"
    deployed: bool = False
    tools: tuple[str, ...] = ()
    tool: str = ""
    yardstick: bool = False
    wrapped: str = ""
    unchecked: frozenset[OutcomeField] = frozenset()
    statuses: str = ""
    flags: tuple[str, ...] = ()
    flags_at: int | None = None
    version: str = ""

    def at(self, version: str) -> Runtime:
        """Return this runtime bound to one exact version of its tool: it is called NAME@VERSION.

        Raises UnsupportedError if it cannot be had in versions.
        """
        if not self.tool:
            raise UnsupportedError(
                f"{self.name}@{version}: {self.name} cannot be had in versions, only as it is here; "
                f"ask for {self.name}."
            )
        bound = copy.copy(self)
        bound.name = f"{self.name}@{version}"
        bound.version = version
        return bound

    def with_flags(self, argv: Sequence[str]) -> list[str]:
        """Return the command line of its program with the user's flags in their place."""
        return [*argv[: self.flags_at], *self.flags, *argv[self.flags_at :]] if self.flags else list(argv)

    @abstractmethod
    def probe(self) -> Availability:
        """Say whether this runtime can start here, by asking the runtime itself. Never raises, never installs."""

    @abstractmethod
    def start(self, artifact: Artifact, limits: Limits) -> Host:
        """Start a host that holds the artifact. Raises RuntimeUnavailableError or HostStartError."""

    def kept_code(self, artifact: Artifact) -> Path | None:
        """Return the file where this runtime keeps the artifact's compiled code, whether or not it exists yet.

        None if it keeps none, or cannot run here.
        """
        return None
