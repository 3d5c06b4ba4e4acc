"""What a run measures is measured while its other hosts keep still."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.model import Artifact, Host, Invocation, Limits, Outcome, exited
from pytest_wasmedge.plugin.measuring import FLOOR_SAMPLES, Measuring
from pytest_wasmedge.plugin.options import Options
from pytest_wasmedge.plugin.session import WasmSession
from pytest_wasmedge.testing import FakeRuntime
from tests import wat


class Noting(FakeRuntime):
    """A fake that notes who is paused whenever one of its hosts starts or answers."""

    def __init__(self, name: str, paused: set[str]) -> None:
        super().__init__(name, self._answer_and_note)
        self.paused = paused
        self.seen: list[set[str]] = []

    def _answer_and_note(self, _: Invocation) -> Outcome:
        self.seen.append(set(self.paused))
        return Outcome(b"2\n", b"", exited(0))

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        self.seen.append(set(self.paused))
        host = super().start(artifact, limits)
        host.paused = self._pause  # type: ignore[method-assign]
        return host

    @contextmanager
    def _pause(self) -> Iterator[None]:
        self.paused.add(self.name)
        yield
        self.paused.remove(self.name)


@pytest.mark.parametrize(
    ("kind", "still"), [("cold", {"one", "two"}), ("floor", {"one", "two"}), ("warm", {"two"})]
)
def test_others_keep_still(tmp_path: Path, kind: str, still: set[str]) -> None:
    """A start is measured while every host is paused, a warm invocation while all the others are."""
    artifact = wat.artifact(tmp_path, wat.ECHO)
    paused: set[str] = set()
    one, two = Noting("one", paused), Noting("two", paused)
    session = WasmSession(Options(artifact=str(artifact.path), runtimes="one,two"), {"one": one, "two": two})
    host, _ = session.pool.acquire(one), session.pool.acquire(two)
    assert session.speaks_our_language(host)
    measuring = Measuring(session, "run", 1, None)
    one.seen.clear()
    assert getattr(measuring, kind)(host).take().median_ns > 0

    # What the guest answers is found out beforehand, by asking twice; that is not measured.
    assert len(one.seen) > 4
    assert all(seen == still for seen in one.seen[0 if kind == "floor" else 2 :])
    assert not paused


class Counting(FakeRuntime):
    """A fake that counts how many hosts it started."""

    started = 0

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        self.started += 1
        return super().start(artifact, limits)


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Counting, Host, Measuring]:
    """A runtime that counts, a host of it, and what measures it, with all the time in the world."""
    monkeypatch.setattr("pytest_wasmedge.latency.measurement._FIRST_S", math.inf)
    runtime = Counting("one", lambda _: Outcome(b"2\n", b"", exited(0)))
    path = wat.artifact(tmp_path, wat.ECHO).path
    session = WasmSession(Options(artifact=str(path), runtimes="one"), {"one": runtime})
    return runtime, session.pool.acquire(runtime), Measuring(session, "run", 1, None)


def test_isolates_are_fresh_in_every_sample(counting: tuple[Counting, Host, Measuring]) -> None:
    """They are discarded before each invocation that is timed; a host that keeps none is refused by one sentence."""
    runtime, host, measuring = counting
    with pytest.raises(UnsupportedError, match="a fresh isolate starts only in a host that keeps isolates"):
        measuring.warm(host, "isolate")
    runtime.capabilities = frozenset({"isolates"})
    served: list[int] = []
    discarded: list[int] = []
    invoke = host.invoke

    def note(invocation: Invocation) -> Outcome:
        served.append(len(discarded))
        return invoke(invocation)

    host.invoke, host.discard_isolates = note, lambda: discarded.append(1)  # type: ignore[method-assign]
    fresh = measuring.warm(host, "isolate", first=3).take()

    # Its language and its answer, asked for twice, are found out beforehand.
    assert (fresh.kind, served) == ("warm/isolate", [0, 0, 0, 1, 2, 3])
    assert measuring.warm(host, "tiny", first=3).take().kind == "warm/tiny"
    assert len(discarded) == 3


def test_a_floor_is_taken_once(counting: tuple[Counting, Host, Measuring]) -> None:
    """The starts that a multiple of the floor was judged by are the floor's own measurement, too."""
    runtime, host, measuring = counting
    cold = measuring.cold(host)
    cold.judge("1000x floor")
    started = runtime.started

    floor = measuring.floor(host).take()
    assert floor.samples == cold.floor
    assert floor.kind == "floor/no-cache"
    assert len(floor.samples) >= FLOOR_SAMPLES
    assert runtime.started == started


def test_a_floor_that_nobody_took_yet(counting: tuple[Counting, Host, Measuring]) -> None:
    """It is started once more than is counted: the first start compiles, where code is kept."""
    runtime, host, measuring = counting
    started = runtime.started

    assert len(measuring.floor(host).take().samples) == FLOOR_SAMPLES
    assert runtime.started - started == FLOOR_SAMPLES + 1
