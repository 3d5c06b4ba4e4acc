"""Started hosts: at most one of each runtime, and none when it is over."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_wasmedge.drivers.pool import HostPool, explain
from pytest_wasmedge.errors import ArtifactError, HostStartError, RuntimeUnavailableError
from pytest_wasmedge.model import Artifact, Availability, Host, Limits
from pytest_wasmedge.testing import FakeRuntime
from tests import wat


class Counting(FakeRuntime):
    """A fake that counts its probes and starts, and the closings of its hosts."""

    def __init__(self, name: str = "counting", availability: Availability | None = None) -> None:
        super().__init__(name, availability=availability or Availability(True))
        self.probed = self.started = self.closed = 0

    def probe(self) -> Availability:
        self.probed += 1
        return super().probe()

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        self.started += 1
        host = super().start(artifact, limits)

        def close() -> None:
            self.closed += 1

        host.close = close  # type: ignore[method-assign]
        return host


@pytest.fixture
def pool(tmp_path: Path) -> HostPool:
    """An empty pool."""
    return HostPool(wat.artifact(tmp_path, wat.ECHO))


def test_started_once_closed_with_the_last_user(pool: HostPool) -> None:
    """A host starts for its first user, is shared by the others, and ends with the last one."""
    runtime = Counting()
    hosts = {id(pool.acquire(runtime)) for _ in range(3)}

    assert len(hosts) == 1
    assert (runtime.probed, runtime.started) == (1, 1)
    pool.release(runtime)
    pool.release(runtime)
    assert runtime.closed == 0
    pool.release(runtime)
    assert runtime.closed == 1
    pool.acquire(runtime)
    assert runtime.started == 2


def test_close_closes_all(pool: HostPool) -> None:
    """Closing the pool closes every host, whoever still holds one; twice is harmless."""
    runtimes = [Counting("one"), Counting("two")]
    for runtime in runtimes:
        pool.acquire(runtime)
        pool.acquire(runtime)
    pool.close()
    pool.close()

    assert [runtime.closed for runtime in runtimes] == [1, 1]


def test_all_but_one_are_paused(pool: HostPool) -> None:
    """A pause is that of every host but the one that is measured, and ends with it."""
    paused: set[str] = set()

    @contextmanager
    def pause(name: str) -> Iterator[None]:
        paused.add(name)
        yield
        paused.remove(name)

    hosts = {name: pool.acquire(FakeRuntime(name)) for name in ("one", "two", "three")}
    for name, host in hosts.items():
        host.paused = functools.partial(pause, name)  # type: ignore[method-assign]

    with pool.paused(but=hosts["two"]):
        assert paused == {"one", "three"}
    with pool.paused():
        assert paused == {"one", "two", "three"}
    assert not paused


def test_one_host_that_cannot_close_keeps_no_other_open(pool: HostPool) -> None:
    """A host whose closing fails does not keep the others from being closed."""
    first, second, third = Counting("one"), Counting("two"), Counting("three")
    hosts = [pool.acquire(runtime) for runtime in (first, second, third)]

    def fail() -> None:
        raise OSError("stuck")

    hosts[1].close = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="stuck"):
        pool.close()

    assert (first.closed, third.closed) == (1, 1)


def test_unavailable(pool: HostPool) -> None:
    """A runtime that cannot run here is not started; the error gives reason and remedy."""
    runtime = Counting("far", Availability(False, reason="no program found", install="fetch far"))

    with pytest.raises(RuntimeUnavailableError, match="far: no program found; get it with `fetch far`"):
        pool.acquire(runtime)
    assert runtime.started == 0


def test_a_probe_that_raises_is_a_reason(pool: HostPool) -> None:
    """A runtime of another package whose probe raises is unavailable, and says why."""
    runtime = Counting("rude")

    def probe() -> Availability:
        raise ZeroDivisionError("oh")

    runtime.probe = probe  # type: ignore[method-assign]

    assert pool.availability(runtime).reason == "its probe failed: ZeroDivisionError: oh"


def test_a_failed_start_holds_nothing(pool: HostPool) -> None:
    """After a start that failed, the next attempt starts anew."""
    runtime = Counting()
    start = runtime.start

    def fail(artifact: Artifact, limits: Limits) -> Host:
        raise HostStartError("no")

    runtime.start = fail  # type: ignore[method-assign]
    with pytest.raises(HostStartError):
        pool.acquire(runtime)
    runtime.start = start  # type: ignore[method-assign]
    pool.acquire(runtime)
    pool.release(runtime)
    assert runtime.closed == 1


def test_bytes_that_changed_are_refused(pool: HostPool) -> None:
    """A host that loaded other bytes than those of the artifact is refused, and closed."""
    runtime = Counting()
    wat.write(pool.artifact.path, wat.TRAP)

    with pytest.raises(ArtifactError, match="changed during the run"):
        pool.acquire(runtime)
    pool.close()
    assert runtime.closed == 1


def test_explain_without_remedy() -> None:
    """Where there is nothing to install, the sentence ends with the reason."""
    assert explain(FakeRuntime("far"), Availability(False)) == "far: cannot run here"
