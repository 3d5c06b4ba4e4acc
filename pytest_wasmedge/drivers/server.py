"""Drives a runtime that is an HTTP server on loopback: one process per host, many invocations at once."""

from __future__ import annotations

import contextlib
import json
import queue
import secrets
import subprocess
import threading
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pytest_wasmedge.drivers.http import (
    Answer,
    Framed,
    failure_of,
    heard_of,
    open_client,
    read_phases,
    with_transfer,
)
from pytest_wasmedge.drivers.process import (
    Announcement,
    Workspace,
    announcements,
    ending_by_log,
    free_port,
    how_it_ended,
    read_json,
    spawn,
    stop,
    tail,
)
from pytest_wasmedge.drivers.turns import Turns
from pytest_wasmedge.drivers.versions import Versions, ask, numbers
from pytest_wasmedge.errors import HostStartError, ProvisionError, RuntimeUnavailableError, UnsupportedError
from pytest_wasmedge.model import Artifact, Ending, Invocation, Limits, Outcome, Timings, timed_out
from pytest_wasmedge.provision import Found, find, install_command
from pytest_wasmedge.runtimes.base import Availability, Host, Runtime

if TYPE_CHECKING:
    import httpx

MAX_WORKERS = 32
START_TIMEOUT_S = 60.0

#: How much later than its own time limit a host may answer before we stop it ourselves.
_BACKSTOP_S = 5.0
#: How long a process may take to end after its connections broke, so that its own last words are reported.
_DYING_S = 2.0
_PAGE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Launch:
    """What a server is started with. ``workspace`` is a private folder that lives as long as the host."""

    executable: Path
    artifact: Artifact
    limits: Limits
    workspace: Path
    secret: str

    @property
    def artifact_link(self) -> Path:
        """Where the host finds the artifact, whatever characters the path of the user's file is made of."""
        return self.workspace / "artifact.wasm"

    @property
    def memory_pages(self) -> int:
        """The memory limit in WebAssembly pages of 64 KiB; of these there are at most 4 GiB."""
        return min(max(1, self.limits.memory_bytes // _PAGE_BYTES), 1 << 16)


class ServerRuntime(Runtime):
    """A runtime that is started once per host and answers over HTTP. It describes; ServerHost does.

    The program prints one line of JSON with its ``port`` on stdout once it listens; `announcement` reads other
    words (on stderr too if it ``announces_in_log``), `told_port` tells it the port instead. ``wire`` is how it is
    asked. ``limits_itself`` says whether it can answer for a guest at the time limit; if not, the process is killed
    and started again. ``stops_guests`` says whether that guest has then really stopped; if not, it would go on
    to take a core, and the process is replaced as soon as nobody else needs it.
    """

    minimum: ClassVar[tuple[int, ...]] = ()
    wire: ClassVar[Framed] = Framed()
    announces_in_log: ClassVar[bool] = False
    limits_itself: ClassVar[bool] = True
    stops_guests: ClassVar[bool] = True

    @abstractmethod
    def argv(self, launch: Launch) -> Sequence[str]:
        """Return the command line; it is visible to every user of the machine. May write to the workspace."""

    @abstractmethod
    def version_argv(self, executable: Path) -> Sequence[str]:
        """Return the command line that makes the program tell its versions."""

    @abstractmethod
    def read_versions(self, said: str) -> Versions:
        """Find the versions in what the program said. Raises ValueError or LookupError."""

    def environment(self, workspace: Path) -> dict[str, str]:
        """Return the whole environment of the process; nothing is inherited."""
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

    def locate(self) -> Found | None:
        """Return the program. Raises ProvisionError."""
        return find(self.tool, self.version)

    def missing(self) -> str:
        """Say what else is needed and not there; empty if nothing."""
        return ""

    def probe(self) -> Availability:
        install = install_command(self.name)
        try:
            found, missing = self.locate(), self.missing()
            if found is None:
                return Availability(False, reason=f"no {self.tool} found", install=install)
            versions = self.versions(found.path)
        except (ProvisionError, RuntimeUnavailableError) as error:
            return Availability(False, reason=str(error), install=install)
        told = Availability(
            True, versions.version, versions.engine_version, path=f"{found.path} ({found.origin})"
        )
        if numbers(versions.version) < self.minimum:
            wanted = ".".join(map(str, self.minimum))
            missing = f"{found.path} is {self.tool} {versions.version}, at least {wanted} is needed"
            # Of a version that was asked for there is no newer one to install.
            install = "" if self.version else install
        if missing:
            return Availability(False, told.version, told.engine_version, missing, install, told.path)
        return told

    def versions(self, executable: Path) -> Versions:
        """Ask the program, once per process. Raises RuntimeUnavailableError if it does not say."""
        return ask(self.version_argv(executable), self.environment, self.read_versions)

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        found, missing = self.locate(), self.missing()
        if found is None or missing:
            raise RuntimeUnavailableError(
                f"{self.name} cannot start: {missing or f'no {self.tool} found'}; "
                f"get it with `{install_command(self.name)}`."
            )
        return ServerHost(self, found.path, artifact, limits)


class ServerHost(Host):
    """Owns the process, its folder, its connections and its end; starts it again when it is gone."""

    def __init__(self, runtime: ServerRuntime, executable: Path, artifact: Artifact, limits: Limits) -> None:
        self.runtime: ServerRuntime = runtime
        self.artifact, self.limits = artifact, limits
        self._executable = executable
        self._closed = False
        self._lock = threading.Lock()
        self._draining: list[_Server] = []
        self._turns = Turns()
        self._slots = threading.BoundedSemaphore(MAX_WORKERS)
        with contextlib.ExitStack() as undo:
            self._workspace = undo.enter_context(Workspace.create())
            self._server = self._start()
            undo.pop_all()

    def invoke(self, invocation: Invocation) -> Outcome:
        if invocation.preopens:
            raise UnsupportedError(
                f"{self.runtime.name} cannot give folders to a guest; mark the test with "
                "runtimes(...) to run it where folders can be given."
            )
        timeout_s = self.limits.timeout_s if invocation.timeout_s is None else invocation.timeout_s
        body = self.runtime.wire.body(self.runtime.name, invocation, timeout_s)
        with self._slots, self._turns.together():
            outcome = self._attempt(body, timeout_s, alone=False)
        if outcome is None:
            # Something ended the host while several invocations were under way. Guests have no effects
            # outside, so each is run again by itself: only the one that did it ends like that again.
            with self._turns.alone():
                outcome = self._attempt(body, timeout_s, alone=True)
                assert outcome is not None
        return outcome

    def pids(self) -> tuple[int, ...]:
        serving = (self._server, *self._draining)
        return tuple(each.process.pid for each in serving if not each.retired)

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                for server in (self._server, *self._draining):
                    self._retire(server)
        self._workspace.close()

    def _attempt(self, body: bytes, timeout_s: float, *, alone: bool) -> Outcome | None:
        """Post the invocation once; None if its outcome says nothing because others may have caused it."""
        import httpx

        server, attempt = self._enter()
        patience_s = timeout_s + _BACKSTOP_S if self.runtime.limits_itself else timeout_s
        began_ns = time.perf_counter_ns()
        try:
            elapsed_ns, answer = self.runtime.wire.ask(
                self.runtime.name, server, body, patience_s, self.limits.output_bytes
            )
            if answer.by_log and attempt.shared and not alone:
                return None
            if answer.runs_on or (answer.ending.kind == "timed_out" and not self.runtime.stops_guests):
                self._replace(server)
            return self._outcome(answer, elapsed_ns)
        except httpx.HTTPError as error:
            elapsed_ns = time.perf_counter_ns() - began_ns
            ending = self._ending_of(error, server, attempt, alone)
            return None if ending is None else self._outcome(Answer(ending, *heard_of(error)), elapsed_ns)
        finally:
            self._leave(server, attempt)

    def _outcome(self, answer: Answer, elapsed_ns: int) -> Outcome:
        return Outcome(
            answer.stdout,
            answer.stderr,
            answer.ending,
            answer.invocation,
            Timings(elapsed_ns, with_transfer(answer.phases_ns, elapsed_ns)),
            self.runtime.name,
            self.artifact.sha256,
        )

    def _ending_of(
        self, error: httpx.HTTPError, server: _Server, attempt: _Attempt, alone: bool
    ) -> Ending | None:
        """Stop the server that failed us, and say how the invocation ended if it alone can be the cause."""
        failure = failure_of(error)
        with self._lock:
            if self._closed:
                raise HostStartError(
                    f"{self.runtime.name}: this host was closed during an invocation."
                ) from error
            ours = not server.retired
            if ours:
                self._retire(server, grace_s=0.0 if failure == "late" else _DYING_S)
        if not alone and (not ours or attempt.shared or failure == "not received"):
            return None
        if failure == "late":
            return timed_out(f"{self.runtime.name} was killed at the limit")
        said = tail(server.log)
        if server.ended_by_itself:
            how = how_it_ended(server.process)
            detail = f"{self.runtime.name} {how} during the invocation; its log ends:\n{said}"
        else:
            detail = f"{self.runtime.name} answered nonsense ({type(error).__name__}: {error}) and was killed"
        return ending_by_log(detail, said)

    def _enter(self) -> tuple[_Server, _Attempt]:
        with self._lock:
            if self._closed:
                raise HostStartError(f"{self.runtime.name}: this host is closed; start another one.")
            if not self._server.retired and self._server.process.poll() is not None:
                self._retire(self._server)
            if self._server.retired or self._server in self._draining:
                self._server = self._start()
            attempt = _Attempt(shared=bool(self._server.in_flight))
            for other in self._server.in_flight:
                other.shared = True
            self._server.in_flight.append(attempt)
            return self._server, attempt

    def _leave(self, server: _Server, attempt: _Attempt) -> None:
        with self._lock:
            server.in_flight.remove(attempt)
            if server.in_flight:
                return
            if server in self._draining:
                self._draining.remove(server)
                self._retire(server)
            elif server.retired:
                server.client.close()

    def _replace(self, server: _Server) -> None:
        """Give this server no more work; it is stopped when what is under way on it has ended."""
        with self._lock:
            if not server.retired and server not in self._draining:
                self._draining.append(server)

    def _retire(self, server: _Server, grace_s: float = 0.0) -> None:
        """Stop the process, once it had time to end by itself; the client goes with its last user."""
        server.retired = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(grace_s)
        server.ended_by_itself = server.process.returncode is not None
        _end(server.process)
        if not server.in_flight:
            server.client.close()

    def _start(self) -> _Server:
        """Start the process and wait until it listens. Raises HostStartError."""
        name, artifact = self.runtime.name, self.artifact
        launch = Launch(
            self._executable, artifact, self.limits, self._workspace.path, secrets.token_urlsafe(24)
        )
        log = launch.workspace / "host.log"
        launch.artifact_link.unlink(missing_ok=True)
        launch.artifact_link.symlink_to(artifact.path.absolute())
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
            announced = announcements(name, process, log, self.runtime.announcement, port if told else 0)
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
                    ready_ns = time.perf_counter_ns() - began_ns
                    phases_ns = read_phases(announcement.get("phases_ns"))
                    spawn_ns = ready_ns - sum(phases_ns.values())
                    # A program that tells of more time than there was has told nothing.
                    self.start_phases_ns = {"spawn": spawn_ns, **phases_ns} if spawn_ns > 0 else {}
                    return _Server(process, log, client, f"http://127.0.0.1:{announcement['port']}/")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_DYING_S)
                problem = f"{how_it_ended(process)} before it listened"
            raise HostStartError(
                f"{name} could not start with {artifact.name}: `{launch.executable}` {problem}. "
                f"Its log ends:\n{tail(log) or '(empty)'}\n`pytest-wasmedge doctor` shows what works here."
            )
        except BaseException:
            _end(process)
            raise


@dataclass(slots=True, eq=False)
class _Attempt:
    """One request under way; shared if any other was under way at any time of it."""

    shared: bool


@dataclass(slots=True, eq=False)
class _Server:
    """One started process and the way to it."""

    process: subprocess.Popen[bytes]
    log: Path
    client: httpx.Client
    url: str
    in_flight: list[_Attempt] = field(default_factory=list)
    retired: bool = False
    ended_by_itself: bool = False


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    with contextlib.suppress(OSError):
        process.stdin.close()
    stop(process)
