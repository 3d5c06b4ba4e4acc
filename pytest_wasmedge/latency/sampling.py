"""Takes raw samples of cold starts and warm invocations, by the caller's clock."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import Artifact, Invocation, Limits, Outcome
from pytest_wasmedge.runtimes.base import CacheState, Host, Runtime


@dataclass(frozen=True, slots=True)
class Samples:
    """Raw samples of one kind on one runtime, in the order they were taken; nothing is dropped."""

    runtime: str
    kind: str
    elapsed_ns: tuple[int, ...]

    @property
    def median_ns(self) -> int:
        """The median, in nanoseconds."""
        return round(statistics.median(self.elapsed_ns))


def cold_kind(cache_state: CacheState) -> str:
    """Name a cold start with its cache state, which is part of the name."""
    return f"cold/{cache_state}"


def sample_cold(
    runtime: Runtime, artifact: Artifact, limits: Limits, invocation: Invocation, count: int
) -> Samples:
    """Start ``count`` hosts one after the other, each timed from before its start to its first full response.

    A host is started once before, unmeasured, so that its code cache, if it keeps one, is filled. Raises
    HostStartError if a response is not the guest's own.
    """
    elapsed_ns = []
    for round_number in range(count + 1):
        began_ns = time.perf_counter_ns()
        with runtime.start(artifact, limits) as host:
            outcome = host.invoke(invocation)
            ended_ns = time.perf_counter_ns()
        _be_an_answer(outcome, runtime, "cold start")
        if round_number:
            elapsed_ns.append(ended_ns - began_ns)
    return Samples(runtime.name, cold_kind(runtime.cache_state), tuple(elapsed_ns))


def sample_warm(host: Host, invocation: Invocation, count: int) -> Samples:
    """Invoke a host ``count`` times, after one unmeasured invocation that makes it warm.

    Raises HostStartError if a response is not the guest's own.
    """
    host.invoke(invocation)
    elapsed_ns = []
    for _ in range(count):
        began_ns = time.perf_counter_ns()
        outcome = host.invoke(invocation)
        elapsed_ns.append(time.perf_counter_ns() - began_ns)
        _be_an_answer(outcome, host.runtime, "warm invocation")
    return Samples(host.runtime.name, "warm", tuple(elapsed_ns))


def _be_an_answer(outcome: Outcome, runtime: Runtime, kind: str) -> None:
    """Raise HostStartError unless the guest itself ended: the time of a failure is no latency."""
    if outcome.ending.kind not in ("exited", "trapped"):
        raise HostStartError(
            f"{runtime.name}: a {kind} ended as {outcome.ending}: {outcome.ending.detail}. It was not measured."
        )
