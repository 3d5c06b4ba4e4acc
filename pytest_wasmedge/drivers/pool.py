"""Started hosts, at most one per runtime, shared by the tests of one process."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from pytest_wasmedge.artifacts.proposals import example
from pytest_wasmedge.errors import RuntimeUnavailableError, ShortageError, WasmEdgeError
from pytest_wasmedge.model import Artifact, Availability, Host, Invocation, Limits, Runtime


class HostPool:
    """Starts a host when it is first acquired, and closes it when its last user releases it.

    ``where`` is the name of this machine, if people have to be told which one a runtime cannot run on.
    """

    def __init__(self, artifact: Artifact, limits: Limits | None = None, where: str = "") -> None:
        self.artifact = artifact
        self.limits = limits or Limits()
        self._where = where
        self._hosts: dict[str, Host] = {}
        self._users: dict[str, int] = {}
        self._availability: dict[str, Availability] = {}

    def availability(self, runtime: Runtime) -> Availability:
        """Return whether the runtime can run the artifact, with the proposals that it lacks; probes it once."""
        if runtime.name not in self._availability:
            found = probe(runtime)
            if found.available and self.artifact.proposals and not runtime.deployed:
                lacks = _lacking(runtime, self.artifact.proposals)
                reason = f"NOT SUPPORTED: needs {' and '.join(lacks)}"
                found = replace(found, available=False, reason=reason, lacks=lacks) if lacks else found
            if self._where and not found.available:
                found = replace(found, reason=f"on {self._where}: {found.reason or 'cannot run'}")
            self._availability[runtime.name] = found
        return self._availability[runtime.name]

    def know(self, runtime: Runtime, availability: Availability) -> None:
        """Take what another machine has found out, instead of probing here."""
        self._availability[runtime.name] = availability

    def acquire(self, runtime: Runtime) -> Host:
        """Return the runtime's host, after starting it if necessary.

        Raises RuntimeUnavailableError if it cannot run here, HostStartError if it fails to start.
        """
        if runtime.name not in self._hosts:
            availability = self.availability(runtime)
            if not availability.available:
                raise RuntimeUnavailableError(explain(runtime, availability))
            host = runtime.start(self.artifact, self.limits)
            self._hosts[runtime.name] = host
            # Checks that the loaded bytes are the artifact's; afterwards, so that it is in no cold start.
            self.artifact.verify()
        self._users[runtime.name] = self._users.get(runtime.name, 0) + 1
        return self._hosts[runtime.name]

    def release(self, runtime: Runtime) -> None:
        """Release the host for one user; close it after the last one."""
        self._users[runtime.name] -= 1
        if not self._users[runtime.name]:
            self._hosts.pop(runtime.name).close()

    @contextmanager
    def holding(self, runtime: Runtime) -> Iterator[Host]:
        """Acquire the runtime's host, and release it in the end. Raises as `acquire` does."""
        host = self.acquire(runtime)
        try:
            yield host
        finally:
            self.release(runtime)

    @contextmanager
    def paused(self, but: Host | None = None) -> Iterator[None]:
        """Suspend all hosts, or all but this one; nobody may invoke them meanwhile."""
        with ExitStack() as pauses:
            for host in self._hosts.values():
                if host is not but:
                    pauses.enter_context(host.paused())
            yield

    def close(self) -> None:
        """Close every host, the last one first, even if one of them fails to close."""
        with ExitStack() as closing:
            for host in self._hosts.values():
                closing.callback(host.close)
            self._hosts.clear()
            self._users.clear()


def probe(runtime: Runtime) -> Availability:
    """Return whether this runtime can run here; a probe that raises counts as no. Raises ShortageError."""
    try:
        return runtime.probe()
    except ShortageError:
        raise
    except Exception as error:  # a runtime of another package may raise, which must not end the run
        return Availability(False, reason=f"its probe failed: {type(error).__name__}: {error}")


def _lacking(runtime: Runtime, proposals: Sequence[str]) -> tuple[str, ...]:
    """Return the proposals whose example the runtime cannot run; those without an example are left to the artifact.

    Returns none if the runtime cannot run even an example without proposals: the artifact's start will show why.
    """
    lacks = tuple(name for name in proposals if (data := example(name)) and not _runs(runtime, data, name))
    return lacks if lacks and _runs(runtime, example("")) else ()


def _runs(runtime: Runtime, data: bytes | None, *proposals: str) -> bool:
    assert data is not None
    with tempfile.TemporaryDirectory(prefix="pytest-wasmedge-") as scratch:
        path = Path(scratch) / "example.wasm"
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        artifact = Artifact(path, digest, len(data), "example", proposals=proposals)
        try:
            with runtime.start(artifact, Limits()) as host:
                return host.invoke(Invocation()).ending.ok
        except ShortageError:
            raise
        except WasmEdgeError:
            return False


def explain(runtime: Runtime, availability: Availability) -> str:
    """Return why a runtime cannot run here and how to get it, as one sentence."""
    remedy = f"; get it with `{availability.install}`" if availability.install else ""
    return f"{runtime.name}: {availability.reason or 'cannot run here'}{remedy}"
