"""Drives a runtime that is an HTTP server on loopback: one process per host, many invocations at once."""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wasmedge.drivers.http import Framed, Timed, failure_of, read_phases
from pytest_wasmedge.drivers.process import Announcement, Workspace, announcements, free_port
from pytest_wasmedge.drivers.serving import (
    BACKSTOP_S,
    MAX_WORKERS,
    FailedError,
    Serving,
    ServingHost,
    ServingRuntime,
    end,
)
from pytest_wasmedge.drivers.serving import ServingLaunch as ServingLaunch
from pytest_wasmedge.drivers.shortage import check_loopback
from pytest_wasmedge.model import Artifact, Host, Invocation, Limits

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, slots=True)
class OwnGlueLaunch:
    """What a server is started with that runs a project's own glue: ``entry`` serves, ``folder`` is a copy."""

    executable: Path
    folder: Path
    entry: Path
    args: tuple[str, ...]


class ServerRuntime(ServingRuntime):
    """A runtime that is started once per host and answers over HTTP; ServerHost drives it.

    The program prints one line of JSON with its ``port`` on stdout once it listens. `announcement` reads another format
    (from stderr too if it ``announces_in_log``); `port_environment` assigns a port instead. ``wire`` is the format of
    requests and answers. ``limits_itself`` says whether it answers for a guest at the time limit; if not, the process
    is killed and started again.

    With an ``own_key`` it also runs a project's own glue: the key in pyproject.toml of the file that serves, ``server``
    for a script that listens where PORT and HOST say. `own_argv` is the command line for that.
    """

    wire: Framed = Framed()
    announces_in_log: bool = False
    limits_itself: bool = True
    own_key: str = ""

    def environment(self, workspace: Path) -> dict[str, str]:
        return super().environment(workspace) | {"NO_COLOR": "1"}

    def announcement(self, line: bytes) -> Announcement | None:
        """Return what a line of the program's stdout announces, with its ``port``; None if it is for the log."""
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict) and isinstance(said.get("port"), int):
                return said
        return None

    def port_environment(self, port: int) -> Mapping[str, str]:
        """Return the environment that makes the program listen on this port; empty if it announces its own."""
        return {}

    def greeting(self, launch: ServingLaunch) -> bytes:
        settings = {
            "secret": launch.secret,
            "artifact": str(launch.artifact_link),
            "output_bytes": launch.limits.output_bytes,
            "max_workers": MAX_WORKERS,
            "memory_pages": launch.limits.memory_pages,
        }
        return json.dumps(settings).encode() + b"\n"

    def own_argv(self, own: OwnGlueLaunch) -> Sequence[str]:
        """Return the command line that serves a project's own glue.

        Raises ValueError for an entry that cannot be served; its text continues a sentence about that file.
        """
        raise NotImplementedError(f"{self.name} has an own_key and no own_argv")

    def own_announcement(self, line: bytes) -> Announcement | None:
        """Return what a line of a project's own glue announces, as `announcement` does."""
        return self.announcement(line)

    def own_port_environment(self, port: int) -> Mapping[str, str]:
        """Return the environment that makes a project's own glue listen on this port."""
        return {"PORT": str(port), "HOST": "127.0.0.1"} if self.own_key == "server" else {}

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return ServerHost(self, self.executable(), artifact, limits)


class ServerHost(ServingHost["Server"]):
    """Sends invocations to the process over HTTP; its folder lives as long as the host."""

    runtime: ServerRuntime

    def __init__(self, runtime: ServerRuntime, executable: Path, artifact: Artifact, limits: Limits) -> None:
        with contextlib.ExitStack() as undo:
            self._workspace = undo.enter_context(Workspace())
            super().__init__(runtime, executable, artifact, limits)
            undo.pop_all()

    def close(self) -> None:
        super().close()
        self._workspace.close()

    def discard_isolates(self) -> None:
        if "isolates" not in self.runtime.capabilities:
            return super().discard_isolates()
        import httpx

        server, attempt = self._enter()
        try:
            # If it fails, the next invocation finds that out, and starts another one.
            with contextlib.suppress(httpx.HTTPError):
                server.client.delete(server.url)
        finally:
            self._leave(server, attempt)

    def _body(self, invocation: Invocation, timeout_s: float) -> bytes:
        return self.runtime.wire.body(self.runtime.name, invocation, timeout_s)

    def _ask(self, server: Server, body: bytes, timeout_s: float) -> Timed:
        import httpx

        patience_s = timeout_s + BACKSTOP_S if self.runtime.limits_itself else timeout_s
        try:
            return self.runtime.wire.ask(
                self.runtime.name, server, body, patience_s, self.limits.output_bytes
            )
        except httpx.HTTPError as error:
            problem = f"answered nonsense ({type(error).__name__}: {error}) and was killed"
            heard = error.request.extensions.get("heard")
            streams = (bytes(heard.stdout), bytes(heard.stderr)) if heard else (b"", b"")
            raise FailedError(failure_of(error), problem, streams) from error

    def _start(self) -> Server:
        secret = secrets.token_urlsafe(24)
        launch = ServingLaunch(
            self._executable, self.artifact, self.limits, self._workspace.path, secret=secret
        )
        log = launch.workspace / "host.log"
        launch.artifact_link.unlink(missing_ok=True)
        launch.artifact_link.symlink_to(self.artifact.path.absolute())
        # The log of an earlier process says nothing about this one.
        log.unlink(missing_ok=True)
        check_loopback()
        port = free_port()
        port_environment = self.runtime.port_environment(port)
        began_ns = time.perf_counter_ns()
        with log.open("ab") as file:
            stderr = subprocess.STDOUT if self.runtime.announces_in_log else file
            process = self._spawn(launch, subprocess.PIPE, stderr, **port_environment)
        try:
            announced = announcements(
                self.runtime.name, process, log, self.runtime.announcement, port if port_environment else 0
            )
            # Importing it takes time, which passes while the process boots.
            from pytest_wasmedge.drivers.loopback import open_client

            client = open_client(secret)
            announcement = self._announcement(announced, process, log)
            self._keep_phases(began_ns, read_phases(announcement.get("phases_ns")))
            return Server(process, log, client, f"http://127.0.0.1:{announcement['port']}/")
        except BaseException:
            end(process)
            raise


@dataclass(eq=False)
class Server(Serving):
    """One started process and the way to it; ``numbers`` are for requests that carry one."""

    client: httpx.Client
    url: str
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def release(self) -> None:
        self.client.close()
