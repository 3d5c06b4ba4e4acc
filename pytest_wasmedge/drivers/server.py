"""Drives a runtime that is an HTTP server on loopback: one process per host, many invocations at once."""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import secrets
import subprocess
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wasmedge.drivers.http import (
    Answer,
    Framed,
    failure_of,
    heard_of,
    open_client,
    read_phases,
)
from pytest_wasmedge.drivers.javascript import Target
from pytest_wasmedge.drivers.process import (
    Announcement,
    Workspace,
    announcements,
    ending_by_log,
    free_port,
    how_it_ended,
    read_json,
    spawn,
)
from pytest_wasmedge.drivers.program import Started
from pytest_wasmedge.drivers.serving import (
    BACKSTOP_S,
    DYING_S,
    MAX_WORKERS,
    START_TIMEOUT_S,
    FailedError,
    Serving,
    ServingHost,
    ServingRuntime,
    end,
)
from pytest_wasmedge.model import Artifact, Ending, Host, Invocation, Limits, timed_out

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, slots=True)
class Launch(Started):
    """What a server is started with; the workspace lives as long as the host."""

    secret: str


@dataclass(frozen=True, slots=True)
class OwnLaunch:
    """What a server is started with that runs a project's own glue: ``entry`` serves, in ``folder``, a copy."""

    executable: Path
    folder: Path
    entry: Path
    args: tuple[str, ...]


class ServerRuntime(ServingRuntime):
    """A runtime that is started once per host and answers over HTTP. It describes; ServerHost does.

    The program prints one line of JSON with its ``port`` on stdout once it listens; `announcement` reads other
    words (on stderr too if it ``announces_in_log``), `told_port` tells it the port instead. ``wire`` is how it is
    asked. ``limits_itself`` says whether it can answer for a guest at the time limit; if not, the process is killed
    and started again. ``stops_guests`` says whether that guest has then really stopped; if not, it would go on
    to take a core, and the process is replaced as soon as nobody else needs it.

    A runtime with an ``own_key`` also runs a project's own glue: the key by which pyproject.toml names what serves,
    ``server`` for a script that listens where PORT and HOST say. Its `own_argv` is the command line for that.
    ``export`` is the place that its glue can be deployed to.
    """

    wire: Framed = Framed()
    announces_in_log: bool = False
    limits_itself: bool = True
    own_key: str = ""
    export: Target | None = None

    @abstractmethod
    def argv(self, launch: Launch) -> Sequence[str]:
        """Return the command line; it is visible to every user of the machine. May write to the workspace."""

    def environment(self, workspace: Path) -> dict[str, str]:
        folder = str(workspace)
        return {"HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "NO_COLOR": "1"}

    def announcement(self, line: bytes) -> Announcement | None:
        """Return what a line of the program's stdout announces, its ``port`` at least; None for its log."""
        return read_json(line)

    def told_port(self, port: int) -> Mapping[str, str]:
        """Return the environment that makes the program listen on this port; nothing if it announces its own."""
        return {}

    def greeting(self, launch: Launch) -> bytes:
        """Return what is written to the program's stdin, which then stays open until the host is closed."""
        settings = {
            "secret": launch.secret,
            "artifact": str(launch.artifact_link),
            "output_bytes": launch.limits.output_bytes,
            "max_workers": MAX_WORKERS,
        }
        return json.dumps(settings).encode() + b"\n"

    def own_argv(self, own: OwnLaunch) -> Sequence[str]:
        """Return the command line that serves a project's own glue.

        Raises ValueError for an entry that cannot be served; the text goes on after the name of its file.
        """
        raise NotImplementedError(f"{self.name} has an own_key and no own_argv")

    def own_announcement(self, line: bytes) -> Announcement | None:
        """Return what a line of a project's own glue announces, as `announcement` does."""
        return self.announcement(line)

    def own_told_port(self, port: int) -> Mapping[str, str]:
        """Return the environment that makes a project's own glue listen on this port."""
        return {"PORT": str(port), "HOST": "127.0.0.1"} if self.own_key == "server" else {}

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return ServerHost(self, self.executable(), artifact, limits)


class ServerHost(ServingHost["_Server"]):
    """Asks the process over HTTP; its folder lives as long as the host."""

    runtime: ServerRuntime

    def __init__(self, runtime: ServerRuntime, executable: Path, artifact: Artifact, limits: Limits) -> None:
        with contextlib.ExitStack() as undo:
            self._workspace = undo.enter_context(Workspace.create())
            super().__init__(runtime, executable, artifact, limits)
            undo.pop_all()

    def close(self) -> None:
        super().close()
        self._workspace.close()

    def _body(self, invocation: Invocation, timeout_s: float) -> bytes:
        return self.runtime.wire.body(self.runtime.name, invocation, timeout_s)

    def _ask(self, server: _Server, body: bytes, timeout_s: float) -> tuple[int, Answer]:
        import httpx

        patience_s = timeout_s + BACKSTOP_S if self.runtime.limits_itself else timeout_s
        try:
            return self.runtime.wire.ask(
                self.runtime.name, server, body, patience_s, self.limits.output_bytes
            )
        except httpx.HTTPError as error:
            told = f"answered nonsense ({type(error).__name__}: {error}) and was killed"
            raise FailedError(failure_of(error), told, heard_of(error)) from error

    def _ending_of(self, error: FailedError, server: _Server) -> Ending:
        name = self.runtime.name
        if error.failure == "late":
            return timed_out(f"{name} was killed at the limit")
        if not server.ended_by_itself:
            return ending_by_log(f"{name} {error}", server.said)
        how = how_it_ended(server.process)
        detail = f"{name} {how} during the invocation; its log ends:\n{server.said}"
        return ending_by_log(detail, server.said)

    def _start(self) -> _Server:
        """Start the process and wait until it listens. Raises HostStartError."""
        launch = Launch(
            self._executable, self.artifact, self.limits, self._workspace.path, secrets.token_urlsafe(24)
        )
        log = launch.workspace / "host.log"
        launch.artifact_link.unlink(missing_ok=True)
        launch.artifact_link.symlink_to(self.artifact.path.absolute())
        # What a host before this one wrote says nothing about this one.
        log.unlink(missing_ok=True)
        port = free_port()
        told = self.runtime.told_port(port)
        began_ns = time.perf_counter_ns()
        with log.open("ab") as stderr:
            process = spawn(
                self.runtime.argv(launch),
                env={**self.runtime.environment(launch.workspace), **told},
                cwd=launch.workspace,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if self.runtime.announces_in_log else stderr,
            )
        try:
            assert process.stdin
            announced = announcements(
                self.runtime.name, process, log, self.runtime.announcement, port if told else 0
            )
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(self.runtime.greeting(launch))
                process.stdin.flush()
            # While the process boots.
            client = open_client(launch.secret)
            try:
                announcement = announced.get(timeout=START_TIMEOUT_S)
            except queue.Empty:
                problem = f"did not listen within {START_TIMEOUT_S:.0f} s and was killed"
            else:
                if announcement is not None:
                    self._keep_phases(began_ns, read_phases(announcement.get("phases_ns")))
                    return _Server(process, log, client, f"http://127.0.0.1:{announcement['port']}/")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(DYING_S)
                problem = f"{how_it_ended(process)} before it listened"
            raise self._start_error(problem, log)
        except BaseException:
            end(process)
            raise


@dataclass(eq=False)
class _Server(Serving):
    """One started process and the way to it."""

    client: httpx.Client
    url: str
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def release(self) -> None:
        self.client.close()
