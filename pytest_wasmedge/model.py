"""The data classes (Artifact, Limits, Invocation, Outcome …), and Runtime and Host, which a new runtime implements."""

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

#: What is in a folder: the bytes of a file, None for a folder, and for a link the path that it leads to.
Content = bytes | str | None
#: What came of the folders of an invocation, by guest path.
Files = Mapping[str, Content]

EndingKind = Literal["exited", "trapped", "timed_out", "out_of_memory", "host_failed"]

#: Every driver passes this as ``argv[0]``; otherwise each host would show a path of its own.
ARGV0 = "artifact.wasm"


@dataclass(frozen=True, slots=True)
class Artifact:
    """The ``.wasm`` file under test, identified by the SHA-256 of its bytes; made by `load_artifact`.

    ``proposals`` are the WebAssembly proposals that it needs and some hosts lack, such as ``exception handling``.
    """

    path: Path
    sha256: str
    size_bytes: int
    name: str
    builtin: bool = False
    proposals: tuple[str, ...] = ()

    def verify(self) -> None:
        """Raise ArtifactError unless the file still holds the bytes that were loaded."""
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        if digest != self.sha256:
            raise ArtifactError(
                f"{self.path} changed during the run: it was {self.sha256[:16]}…, it is now {digest[:16]}…. "
                "Outcomes of different bytes cannot be compared; build first, then run pytest again."
            )


@dataclass(frozen=True, slots=True)
class Limits:
    """What a host may use for one invocation; only runtimes with the capability ``memory_limit`` limit memory."""

    timeout_s: float = 30.0
    memory_bytes: int = 1 << 30
    output_bytes: int = 256 << 20

    @property
    def memory_pages(self) -> int:
        """The memory limit in WebAssembly pages of 64 KiB: from one page to 4 GiB."""
        return min(max(1, self.memory_bytes >> 16), 1 << 16)


@dataclass(frozen=True, slots=True)
class Invocation:
    """The input of one run of the guest, which gets nothing else.

    ``args`` do not include the program's name; ``preopens`` maps guest paths to folders of this machine, of which the
    guest gets a copy; a ``timeout_s`` of None means the host's own limit. Raises UnsupportedError for text that no host
    can pass on.
    """

    stdin: bytes = b""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    preopens: Mapping[str, Path] = field(default_factory=dict)
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        for number, text in enumerate(self.args, 1):
            _check_text(f"argument {number}", text)
        for name, value in self.env.items():
            _check_text("the name of a variable", name)
            _check_text(f"the value of {name}", value)
            if not name or "=" in name:
                raise UnsupportedError(
                    f"{name!r} is no name of a variable: write one of at least one character, and no equals sign."
                )


def _check_text(what: str, text: str) -> None:
    """Raise UnsupportedError for what WASI, where a NUL ends a text, cannot carry as UTF-8."""
    if not isinstance(text, str):
        raise UnsupportedError(f"{what} is {text!r}, of type {type(text).__name__}: give a str.")
    if "\0" in text:
        raise UnsupportedError(f"{what}, {text[:60]!r}, holds a NUL, where WASI ends a text: leave it out.")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise UnsupportedError(
            f"{what}, {text[:60]!r}, holds a lone surrogate, which each host would carry otherwise: leave it out."
        )


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
    """The host could not give the guest the memory that it needs to start or to continue."""
    return Ending("out_of_memory", detail=detail)


def host_failed(detail: str = "") -> Ending:
    """The host failed, not the guest: it crashed, refused, or sent an invalid answer."""
    return Ending("host_failed", detail=detail)


@dataclass(frozen=True, slots=True)
class Timings:
    """Nanoseconds by the caller's clock; phases that a host cannot report are absent, never 0.

    CPU time (user and system) and peak memory are those of a process that served only this invocation.
    """

    elapsed_ns: int
    phases_ns: Mapping[str, int] = field(default_factory=dict)
    cpu_ns: int | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one invocation; two are equal if stdout, stderr, ending and files are.

    ``files`` are what the guest left in the folders that it was granted, all of it, by guest path: the bytes of a file,
    None for a folder, and for a link the path that it leads to; empty if the guest was stopped. ``invocation`` counts
    from 1 in each isolate, or in the host if that has one alone.
    """

    stdout: bytes
    stderr: bytes
    ending: Ending
    invocation: int = field(default=0, compare=False)
    timings: Timings = field(default=Timings(0), compare=False)
    runtime: str = field(default="", compare=False)
    artifact_sha256: str = field(default="", compare=False)
    files: Files = field(default_factory=dict, hash=False)

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

    field: Literal["ending", "stdout", "stderr", "files"]
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
    """Host or engine internals found in guest-visible text; ``excerpt`` shows their line."""

    detector: str
    field: Literal["stdout", "stderr"]
    offset: int
    text: str
    excerpt: str

    def __str__(self) -> str:
        return f"{self.field} leaks {self.detector}: {self.text!r} at byte {self.offset}, in {self.excerpt!r}"


#: What a host can do beyond the plain contract; the suite skips tests that need a missing one, and names it.
#: ``concurrent``: it holds several guests alive at once. ``isolates``: it keeps isolates that it can start afresh.
Capability = Literal["memory_limit", "preopens", "concurrent", "isolates"]

#: What of an outcome is compared.
OutcomeField = Literal["stdout", "stderr", "ending", "files"]

#: Whether a host found compiled code when it started: part of the name of every cold start.
CacheState = Literal["no-cache", "code-cache"]


def base_name(name: str) -> str:
    """Return the runtime's name without a version or a planted fault: ``deno`` of ``deno@2.9.6+status_zero``."""
    return name.partition("+")[0].partition("@")[0]


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a runtime can start here: its versions if so, else the reason and the command that installs it.

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

    ``start_phases_ns`` are the phases of its last start: those of spawn, load and compile that it can report.
    """

    runtime: Runtime
    artifact: Artifact
    limits: Limits
    start_phases_ns: Mapping[str, int] = MappingProxyType({})
    _closed: bool = False

    @abstractmethod
    def invoke(self, invocation: Invocation) -> Outcome:
        """Run the guest once, in a fresh instance.

        Whatever the guest does, it returns an Outcome; a host that died has the ending ``host_failed``. Raises
        UnsupportedError for what this host cannot give, and HostStartError if a dead host cannot be restarted.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop the host and leave nothing behind; a second call does nothing."""

    def pids(self) -> tuple[int, ...]:
        """Return the processes that serve this host now, without their children.

        Ours for a host in this process; none if its process lives during an invocation only, or elsewhere.
        """
        return ()

    def paused(self) -> AbstractContextManager[None]:
        """Return a context manager that keeps the host from using the machine; do not invoke it meanwhile."""
        return nullcontext()

    def discard_isolates(self) -> None:
        """Let the next invocation start a fresh isolate; for hosts of runtimes with the capability ``isolates``."""
        raise UnsupportedError(f"{self.runtime.name} keeps no isolates that could be discarded.")

    def run(
        self,
        source: str | bytes = b"",
        *,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        preopens: Mapping[str, Path] | None = None,
        timeout_s: float | None = None,
    ) -> Outcome:
        """Run the guest with this source on stdin; text is sent as UTF-8."""
        stdin = source.encode() if isinstance(source, str) else source
        return self.invoke(Invocation(stdin, tuple(args), dict(env or {}), dict(preopens or {}), timeout_s))

    def _time_limit_s(self, invocation: Invocation) -> float:
        return self.limits.timeout_s if invocation.timeout_s is None else invocation.timeout_s

    def _check_open(self) -> None:
        """Raise HostStartError if this host is closed."""
        if self._closed:
            raise HostStartError(f"{self.runtime.name}: this host is closed; start another one.")

    def _outcome(
        self,
        stdout: bytes,
        stderr: bytes,
        ending: Ending,
        invocation: int,
        timings: Timings,
        files: Files = MappingProxyType({}),
    ) -> Outcome:
        """Return an outcome of this host and its artifact."""
        name, digest = self.runtime.name, self.artifact.sha256
        return Outcome(stdout, stderr, ending, invocation, timings, name, digest, files)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Runtime(ABC):
    """A kind of host. It describes; the driver that it is built on owns process, time limit and cleanup.

    - ``name``: what ``--runtimes`` takes; ``engine``: the WebAssembly engine inside.
    - ``cache_state``: the one that its hosts start in; ``capabilities``: what it can do beyond the plain contract.
    - ``unchecked``: what of an outcome it cannot report; ``statuses``: which it changes, the ``highest_status``.
    - ``flags``: what a user adds to its program's command line; ``flags_at``: their index there, None if none go there.
    - ``deployed``: it is an edge, which we do not start. ``yardstick``: it runs the same programs without the artifact,
      to compare with, and is never part of ``all``; ``in_all``: any other is. ``groups``: what selects it, too.
    - ``wrapped``: how it runs the artifact inside another module, if it does; that never has changed bytes of it.
    - ``tools``: the pinned tools (provision/pins.toml) that it needs; ``tool``: the one that is its program, if exact
      versions of it can be installed. It finds the program with ``find(self.tool, self.version)``.
    - ``version``: the version that it is bound to; empty for the installed one.
    """

    name: str
    engine: str
    capabilities: frozenset[Capability] = frozenset()
    cache_state: CacheState = "no-cache"
    deployed: bool = False
    tools: tuple[str, ...] = ()
    tool: str = ""
    yardstick: bool = False
    in_all: bool = True
    groups: frozenset[str] = frozenset()
    wrapped: str = ""
    unchecked: frozenset[OutcomeField] = frozenset()
    statuses: str = ""
    highest_status: int = 255
    flags: tuple[str, ...] = ()
    flags_at: int | None = None
    version: str = ""

    def at(self, version: str) -> Runtime:
        """Return this runtime bound to one exact version of its tool, with the name NAME@VERSION.

        Raises UnsupportedError if exact versions of it cannot be installed.
        """
        if not self.tool:
            raise UnsupportedError(
                f"{self.name}@{version}: no exact version of {self.name} can be installed; ask for {self.name}."
            )
        bound = copy.copy(self)
        bound.name = f"{self.name}@{version}"
        bound.version = version
        return bound

    def with_flags(self, argv: Sequence[str]) -> list[str]:
        """Return the command line of its program with the user's flags inserted."""
        return [*argv[: self.flags_at], *self.flags, *argv[self.flags_at :]] if self.flags else list(argv)

    @abstractmethod
    def probe(self) -> Availability:
        """Return whether this runtime can start here, by asking the runtime itself. Never raises, never installs."""

    @abstractmethod
    def start(self, artifact: Artifact, limits: Limits) -> Host:
        """Start a host that holds the artifact. Raises RuntimeUnavailableError or HostStartError."""

    def kept_code(self, artifact: Artifact) -> Path | None:
        """Return the file for the artifact's compiled code, whether or not it exists yet.

        None if this runtime keeps none, or cannot run here.
        """
        return None
