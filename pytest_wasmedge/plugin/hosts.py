"""The hosts that one pytest run has started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.drivers.pool import HostPool
from pytest_wasmedge.model import Artifact, Host, Limits, Runtime

if TYPE_CHECKING:
    from pytest_wasmedge.portability.testsuite import Program


class Pools:
    """Makes a pool of hosts for each artifact, and pauses and closes all of them."""

    def __init__(self) -> None:
        self._made: list[HostPool] = []

    def make(self, artifact: Artifact) -> HostPool:
        """Return a new pool of hosts that hold this artifact."""
        self._made.append(HostPool(artifact))
        return self._made[-1]

    @contextmanager
    def paused(self, but: Host | None = None) -> Iterator[None]:
        """Keep all started hosts, or all but this one, from using the machine."""
        with ExitStack() as pauses:
            for pool in self._made:
                pauses.enter_context(pool.paused(but))
            yield

    def close(self) -> None:
        """Close all started hosts."""
        with ExitStack() as closing:
            for pool in self._made:
                closing.callback(pool.close)


@contextmanager
def program_host(program: Program, runtime: Runtime) -> Iterator[Host]:
    """Start a host of a program for one test, and delete the compiled code that it leaves, to save disk space.

    Raises ArtifactError or HostStartError.
    """
    artifact = load_artifact(program.path, name=program.short_name)
    kept = runtime.kept_code(artifact)
    had_code = kept is not None and kept.exists()
    try:
        with runtime.start(artifact, Limits()) as host:
            artifact.verify()
            yield host
    finally:
        if kept is not None and not had_code:
            kept.unlink(missing_ok=True)
