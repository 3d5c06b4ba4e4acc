"""FakeRuntime answers from a Python function, FaultyRuntime adds a fault to a real runtime."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from pytest_wasmedge.model import (
    Artifact,
    Availability,
    Host,
    Invocation,
    Limits,
    Outcome,
    Runtime,
    Timings,
    exited,
)
from pytest_wasmedge.testing.catalogue import find_fault
from pytest_wasmedge.testing.fault import Fault, Start

AVAILABLE = Availability(True, "1.0", "1.0")


class FakeRuntime(Runtime):
    """A runtime without an engine: ``answer`` maps an invocation to stdout, or to a whole outcome."""

    engine = "none"

    def __init__(
        self,
        name: str = "fake",
        answer: Callable[[Invocation], bytes | Outcome] = lambda invocation: invocation.stdin,
        availability: Availability = AVAILABLE,
    ) -> None:
        self.name = name
        self.answer = answer
        self.availability = availability

    def probe(self) -> Availability:
        return self.availability

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return _FakeHost(self, artifact, limits)


class _FakeHost(Host):
    def __init__(self, runtime: FakeRuntime, artifact: Artifact, limits: Limits) -> None:
        self.runtime: FakeRuntime = runtime
        self.artifact, self.limits = artifact, limits
        self._numbers = itertools.count(1)

    def invoke(self, invocation: Invocation) -> Outcome:
        answer = self.runtime.answer(invocation)
        number = next(self._numbers)
        if isinstance(answer, Outcome):
            return replace(answer, invocation=number, runtime=self.runtime.name)
        return Outcome(answer, b"", exited(0), number, Timings(1), self.runtime.name, self.artifact.sha256)

    def close(self) -> None:
        pass


class FaultyRuntime(Runtime):
    """A real runtime with one planted fault, to prove that a suite catches it; the rest is unchanged.

    ``fault`` is a `Fault`, or the name of one in FAULTS; without one, nothing is changed at all. The name is the
    inner runtime's, unless another one is given. Raises WasmEdgeError for a name that is no fault's.
    """

    def __init__(self, inner: Runtime, fault: str | Fault | None, *, name: str = "") -> None:
        self.inner = inner
        self.fault = find_fault(fault) if isinstance(fault, str) else fault
        for attribute in Runtime.__annotations__:
            setattr(self, attribute, getattr(inner, attribute))
        self.name = name or inner.name

    def at(self, version: str) -> Runtime:
        return type(self)(self.inner.at(version), self.fault)

    def probe(self) -> Availability:
        return self.inner.probe()

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        start: Start = self.inner.start
        if self.fault is not None and self.fault.starting is not None:
            start = self.fault.starting(start)
        return _FaultyHost(self, start(artifact, limits), limits)

    def kept_code(self, artifact: Artifact) -> Path | None:
        return self.inner.kept_code(artifact)


class _FaultyHost(Host):
    def __init__(self, runtime: FaultyRuntime, inner: Host, limits: Limits) -> None:
        self.runtime: FaultyRuntime = runtime
        self._inner = inner
        # The limits that were asked for: a host with others does not say so.
        self.artifact, self.limits = inner.artifact, limits
        self._invoke = runtime.fault.plant(inner) if runtime.fault is not None else inner.invoke

    @property
    def start_phases_ns(self) -> Mapping[str, int]:  # type: ignore[override]
        """Those of the inner host, whose process may be replaced."""
        return self._inner.start_phases_ns

    def pids(self) -> tuple[int, ...]:
        return self._inner.pids()

    def paused(self) -> AbstractContextManager[None]:
        return self._inner.paused()

    def discard_isolates(self) -> None:
        self._inner.discard_isolates()

    def invoke(self, invocation: Invocation) -> Outcome:
        return replace(self._invoke(invocation), runtime=self.runtime.name)

    def close(self) -> None:
        self._inner.close()
