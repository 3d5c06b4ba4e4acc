"""Runtime and Host: the two classes that a new runtime implements."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import ClassVar, Literal, Self

from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.model import Artifact, Invocation, Limits, Outcome

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
    """Whether a runtime can start here: its versions if so, the reason and the remedy if not."""

    available: bool
    version: str = ""
    engine_version: str = ""
    reason: str = ""
    install: str = ""
    path: str = ""


class Host(ABC):
    """A started runtime holding one loaded artifact; a context manager; safe to call from several threads.

    ``start_phases_ns`` are the phases of its last start: of spawn, load and compile those that it can tell.
    """

    runtime: Runtime
    artifact: Artifact
    limits: Limits
    start_phases_ns: Mapping[str, int] = MappingProxyType({})

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Runtime(ABC):
    """A kind of host. It describes; the driver it is built on owns process, time limit and cleanup.

    ``name`` is what ``--runtimes`` takes, ``engine`` the WebAssembly engine inside. ``unchecked`` is what this
    runtime cannot tell of an outcome and is therefore not compared: a deployed edge may answer stdout alone.
    ``deployed`` says that somebody else starts it, when they like. ``tools`` are the pinned tools
    (provision/pins.toml) that `pytest-wasmedge install` fetches for it. A ``yardstick`` runs the same programs
    without the artifact: it is never part of ``all``, and is there to be compared with. ``wrapped`` says that the
    host runs the artifact inside another module, and how; the artifact's own bytes are in there unchanged or not
    at all.

    ``tool`` is the pinned tool that is its program, for a runtime that can be had in exact versions: it finds the
    program with ``find(self.tool, self.version)``. ``version`` is the one that it is bound to, empty for the one
    that is here.
    """

    name: ClassVar[str]
    engine: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    cache_state: ClassVar[CacheState] = "no-cache"
    deployed: ClassVar[bool] = False
    tools: ClassVar[tuple[str, ...]] = ()
    tool: ClassVar[str] = ""
    yardstick: ClassVar[bool] = False
    wrapped: ClassVar[str] = ""
    unchecked: frozenset[OutcomeField] = frozenset()
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
        bound.name = f"{self.name}@{version}"  # type: ignore[misc]  # a class variable elsewhere
        bound.version = version
        return bound

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
