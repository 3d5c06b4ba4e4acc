"""Started hosts that several faults share: a browser takes seconds to start, and a catalogue has hundreds of faults."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from pytest_wasmedge.model import Artifact, Availability, Host, Invocation, Limits, Outcome, Runtime


class SharedRuntime(Runtime):
    """A runtime that starts one host for all who ask for the same artifact and limits; `close` ends them all.

    Each who starts one sees its invocations counted from 1.
    """

    def __init__(self, inner: Runtime) -> None:
        self.inner = inner
        for attribute in Runtime.__annotations__:
            setattr(self, attribute, getattr(inner, attribute))
        self._hosts: dict[tuple[str, Limits], Host] = {}
        self._last: dict[Host, int] = {}
        self._availability: Availability | None = None

    def probe(self) -> Availability:
        if self._availability is None:
            self._availability = self.inner.probe()
        return self._availability

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        key = artifact.sha256, limits
        if key not in self._hosts:
            self._hosts[key] = self.inner.start(artifact, limits)
        return _Share(self, self._hosts[key], self._last)

    def kept_code(self, artifact: Artifact) -> Path | None:
        return self.inner.kept_code(artifact)

    def close(self) -> None:
        """Close all hosts."""
        with ExitStack() as closing:
            for host in self._hosts.values():
                closing.callback(host.close)
            self._hosts.clear()


class _Share(Host):
    """One user's view of a host; ``last`` has the number of each host's last invocation."""

    def __init__(self, runtime: SharedRuntime, host: Host, last: dict[Host, int]) -> None:
        self.runtime = runtime
        self._host, self._last = host, last
        self.artifact, self.limits = host.artifact, host.limits
        self._before = last.get(host, 0)
        self._lock = threading.Lock()

    @property
    def start_phases_ns(self) -> Mapping[str, int]:  # type: ignore[override]
        """Those of the host, whose process may be replaced."""
        return self._host.start_phases_ns

    def pids(self) -> tuple[int, ...]:
        return self._host.pids()

    def paused(self) -> AbstractContextManager[None]:
        return self._host.paused()

    def discard_isolates(self) -> None:
        self._host.discard_isolates()

    def invoke(self, invocation: Invocation) -> Outcome:
        self._check_open()
        outcome = self._host.invoke(invocation)
        with self._lock:
            if outcome.invocation <= self._before:
                # Its process has been replaced by one that counts from 1.
                self._before = self._last[self._host] = 0
            self._last[self._host] = max(self._last.get(self._host, 0), outcome.invocation)
            return replace(outcome, invocation=outcome.invocation - self._before)

    def close(self) -> None:
        self._closed = True
