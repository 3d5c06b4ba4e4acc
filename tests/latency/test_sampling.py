"""Sampling takes what it is asked to take, in order, and drops nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.latency.sampling import Samples, cold_kind, sample_cold, sample_warm
from pytest_wasmedge.model import (
    Artifact,
    Invocation,
    Limits,
    Outcome,
    exited,
    host_failed,
    out_of_memory,
    timed_out,
    trapped,
)
from pytest_wasmedge.runtimes.base import Host
from pytest_wasmedge.testing import FakeRuntime

ARTIFACT = Artifact(Path("none.wasm"), "0" * 64, 0, "none")


class Journal(FakeRuntime):
    """A fake that writes down what happens to it."""

    def __init__(self) -> None:
        super().__init__("journal", lambda invocation: self.happened.append("invoke") or b"")  # type: ignore[func-returns-value]
        self.happened: list[str] = []

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        self.happened.append("start")
        host = super().start(artifact, limits)
        host.close = lambda: self.happened.append("close")  # type: ignore[method-assign]
        return host


def test_cold_starts_follow_each_other() -> None:
    """Each cold start has a host of its own, closed before the next; one before all of them is not counted."""
    runtime = Journal()
    samples = sample_cold(runtime, ARTIFACT, Limits(), Invocation(), count=3)

    assert runtime.happened == ["start", "invoke", "close"] * 4
    assert len(samples.elapsed_ns) == 3
    assert (samples.runtime, samples.kind) == ("journal", "cold/no-cache")


def test_warm_invocations_share_a_host() -> None:
    """Warm samples come from one host that has served before; that first one is not counted."""
    runtime = Journal()
    host = runtime.start(ARTIFACT, Limits())
    samples = sample_warm(host, Invocation(), count=4)

    assert runtime.happened == ["start"] + ["invoke"] * 5
    assert len(samples.elapsed_ns) == 4
    assert samples.kind == "warm"


@pytest.mark.parametrize("ending", [host_failed("crashed"), out_of_memory("crashed"), timed_out("crashed")])
def test_a_host_that_fails_is_no_sample(ending: object) -> None:
    """A start or a warm invocation whose answer is not the guest's own is an error, never a time."""
    runtime = FakeRuntime("ill", lambda invocation: Outcome(b"", b"", ending))  # type: ignore[arg-type]

    with pytest.raises(HostStartError, match=r"ill: a cold start ended as .*: crashed"):
        sample_cold(runtime, ARTIFACT, Limits(), Invocation(), count=1)
    with pytest.raises(HostStartError, match=r"ill: a warm invocation ended as .*: crashed"):
        sample_warm(runtime.start(ARTIFACT, Limits()), Invocation(), count=1)


@pytest.mark.parametrize("ending", [exited(1), trapped()])
def test_what_the_guest_makes_of_it_does_not_matter(ending: object) -> None:
    """A guest that fails has answered: its time counts."""
    runtime = FakeRuntime("well", lambda invocation: Outcome(b"", b"", ending))  # type: ignore[arg-type]

    assert len(sample_cold(runtime, ARTIFACT, Limits(), Invocation(), count=1).elapsed_ns) == 1


def test_median() -> None:
    """The median is a whole number of nanoseconds, between the middle two if their number is even."""
    assert Samples("one", "warm", (5, 1, 9)).median_ns == 5
    assert Samples("one", "warm", (1, 2, 4, 100)).median_ns == 3


def test_the_cache_state_is_part_of_the_name() -> None:
    """A cold start with compiled code at hand is named other than one without."""
    assert cold_kind("code-cache") == "cold/code-cache"
    assert cold_kind("no-cache") == "cold/no-cache"
