"""Keeps a process that serves many invocations at once; none is blamed for what another one did."""

from __future__ import annotations

import contextlib
import queue
import re
import subprocess
import threading
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Generic, TypeVar

from pytest_wasmedge.drivers import shortage
from pytest_wasmedge.drivers.grants import check_given
from pytest_wasmedge.drivers.http import Answer, Failure, Timed, with_transfer
from pytest_wasmedge.drivers.process import (
    Announced,
    Announcement,
    how_it_ended,
    spawn,
    stop,
    suspended,
    tail,
)
from pytest_wasmedge.drivers.program import Launch, Program
from pytest_wasmedge.drivers.target import Target
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import (
    Artifact,
    Ending,
    Host,
    Invocation,
    Limits,
    Outcome,
    Runtime,
    Timings,
    host_failed,
    out_of_memory,
    timed_out,
)

MAX_WORKERS = 32
START_TIMEOUT_S = 60.0

#: A host that keeps the time limit itself may answer this much later before we stop it.
BACKSTOP_S = 5.0
#: How long a process that failed may take to end by itself, so that its last words can be reported.
DYING_S = 2.0

_OUT_OF_MEMORY = re.compile(r"out of memory|cannot allocate memory|allocation failed", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ServingLaunch(Launch):
    """What a program that serves is started with.

    ``secret`` is what each request to a server carries; ``url`` is where a browser finds its page, and secret, too.
    """

    secret: str = ""
    url: str = ""


class ServingRuntime(Program, Runtime):
    """A runtime whose program is started once per host.

    ``stops_guests`` says whether a guest has really stopped when the host answers that it ran too long. If not, the
    guest goes on to take a core, and the process is replaced as soon as nobody else needs it. ``export`` is the place
    that artifacts can be deployed to for it.
    """

    stops_guests: bool = True
    export: Target | None = None

    @abstractmethod
    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        """Return the command line; every user of the machine can see it. May write to the workspace."""

    def greeting(self, launch: ServingLaunch) -> bytes:
        """Return what is written to the program's stdin, which then stays open until the program is stopped."""
        return b""

    def environment(self, workspace: Path) -> dict[str, str]:
        return {"HOME": str(workspace), "TMPDIR": str(workspace), "LANG": "C.UTF-8"}


class FailedError(Exception):
    """The process failed an invocation; the text is a clause about it, ``heard`` is what had come of both streams."""

    def __init__(self, failure: Failure, text: str, heard: tuple[bytes, bytes] = (b"", b"")) -> None:
        super().__init__(text)
        self.failure, self.heard = failure, heard


@dataclass(slots=True, eq=False)
class Attempt:
    """One invocation under way; ``shared`` if another one was under way at any time of it."""

    shared: bool


@dataclass(eq=False)
class Serving:
    """One started process; ``retired`` once it is to be stopped, ``said`` is the end of its log after it was."""

    process: subprocess.Popen[bytes]
    log: Path
    in_flight: list[Attempt] = field(default_factory=list, init=False)
    retired: bool = field(default=False, init=False)
    stopped: bool = field(default=False, init=False)
    ended_by_itself: bool = field(default=False, init=False)
    said: str = field(default="", init=False)

    def gone(self) -> bool:
        """Return whether it takes no more invocations."""
        return self.process.poll() is not None

    def dismantle(self) -> None:
        """Remove what only this process needed; it has ended."""

    def release(self) -> None:
        """Close what invocations may use until they end; none is under way any more."""


class Turns:
    """A lock for many threads together or one alone; a thread that waits to be alone goes first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._together = 0
        self._waiting_alone = 0
        self._alone = False

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Hold it with others, once no thread is alone or waits to be."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._waiting_alone)
            self._together += 1
        try:
            yield
        finally:
            with self._changed:
                self._together -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold it alone, once all others have left."""
        with self._changed:
            self._waiting_alone += 1
            try:
                self._changed.wait_for(lambda: not self._alone and not self._together)
                self._alone = True
            finally:
                self._waiting_alone -= 1
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()


S = TypeVar("S", bound=Serving)


class ServingHost(Host, Generic[S]):
    """Owns the process and its end; starts another one when it is gone."""

    runtime: ServingRuntime
    #: How many invocations may be under way; others wait before their time begins.
    most_at_once = MAX_WORKERS
    #: Whether the end of the log shows that memory ran out.
    _memory_in_log = True

    def __init__(self, runtime: ServingRuntime, executable: Path, artifact: Artifact, limits: Limits) -> None:
        self.runtime, self._executable = runtime, executable
        self.artifact, self.limits = artifact, limits
        self._lock = threading.Lock()
        self._draining: list[S] = []
        self._turns = Turns()
        self._slots = threading.BoundedSemaphore(self.most_at_once)
        self._server = self._start()

    @abstractmethod
    def _start(self) -> S:
        """Start a process and wait until it serves. Raises HostStartError."""

    @abstractmethod
    def _body(self, invocation: Invocation, timeout_s: float) -> bytes:
        """Return what is sent for an invocation. Raises UnsupportedError."""

    @abstractmethod
    def _ask(self, server: S, body: bytes, timeout_s: float) -> Timed:
        """Send it and return the answer. Raises FailedError."""

    def invoke(self, invocation: Invocation) -> Outcome:
        folders = ("folders",) if "preopens" in self.runtime.capabilities else ()
        possible = ("arguments", "an environment", *folders)
        check_given(self.runtime.name, invocation, possible, self.runtime.no_folders)
        timeout_s = self._time_limit_s(invocation)
        with shortage.told(), self._slots, self._turns.together():
            outcome = self._try(invocation, timeout_s, alone=False)
        if outcome is None:
            # Something ended the process while several invocations were under way. Guests have no effects
            # outside, so each is run again by itself: only the one that did it ends like that again.
            with shortage.told(), self._turns.alone():
                outcome = self._try(invocation, timeout_s, alone=True)
                assert outcome is not None
        return outcome

    def pids(self) -> tuple[int, ...]:
        return tuple(process.pid for process in self._processes())

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Suspend the process: an engine may go on compiling long after it has answered."""
        with self._lock, suspended(self._processes()):
            yield

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                for server in (self._server, *self._draining):
                    self._retire(server)

    def _processes(self) -> list[subprocess.Popen[bytes]]:
        return [each.process for each in (self._server, *self._draining) if not each.retired]

    def _try(self, invocation: Invocation, timeout_s: float, *, alone: bool) -> Outcome | None:
        """Run the invocation once; None if another one may be the cause of its outcome."""
        return self._attempt(self._body(invocation, timeout_s), timeout_s, alone=alone)

    def _attempt(self, body: bytes, timeout_s: float, *, alone: bool) -> Outcome | None:
        """Send it once."""
        server, attempt = self._enter()
        began_ns = time.perf_counter_ns()
        try:
            elapsed_ns, answer = self._ask(server, body, timeout_s)
            if answer.ending.kind == "host_failed" and (found := shortage.found()):
                answer = replace(answer, ending=host_failed(f"{answer.ending.detail}. {found}"))
            if answer.by_log and attempt.shared and not alone:
                return None
            if answer.runs_on or (answer.ending.kind == "timed_out" and not self.runtime.stops_guests):
                self._replace(server)
        except FailedError as error:
            elapsed_ns = time.perf_counter_ns() - began_ns
            first = self._give_up(server, error)
            if not alone and (not first or attempt.shared or error.failure == "not received"):
                return None
            answer = Answer(self._ending_of(error, server), *error.heard)
        except BaseException:
            # A Ctrl-C, or a time limit of the test's own: nobody waits for the guest any more, but it runs on.
            self._replace(server)
            raise
        finally:
            self._leave(server, attempt)
        timings = Timings(elapsed_ns, with_transfer(answer.phases_ns, elapsed_ns))
        return self._outcome(
            answer.stdout, answer.stderr, answer.ending, answer.invocation, timings, answer.files
        )

    def _ending_of(self, error: FailedError, server: S) -> Ending:
        """Return how an invocation ended that the process failed; the process has been stopped."""
        name = self.runtime.name
        if error.failure == "late":
            return timed_out(f"{name} was killed at the limit")
        how = how_it_ended(server.process) if server.ended_by_itself else str(error)
        no_memory = self._memory_in_log and _OUT_OF_MEMORY.search(server.said)
        short = f"{found} " if (found := shortage.found()) else ""
        detail = f"{name} {how} during the invocation. {short}Its log ends:\n{server.said}"
        return (out_of_memory if no_memory else host_failed)(detail)

    def _spawn(
        self, launch: ServingLaunch, stdout: int | IO[bytes], stderr: int | IO[bytes], **more_env: str
    ) -> subprocess.Popen[bytes]:
        """Start the program and write its greeting. Raises HostStartError."""
        self.runtime.check_again(launch.executable)
        process = spawn(
            self.runtime.with_flags(self.runtime.argv(launch)),
            env=self.runtime.environment(launch.workspace) | more_env,
            cwd=launch.workspace,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
        )
        assert process.stdin
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(self.runtime.greeting(launch))
                process.stdin.flush()
        except BaseException:
            end(process)
            raise
        return process

    def _announcement(
        self, announced: Announced, process: subprocess.Popen[bytes], log: Path
    ) -> Announcement:
        """Return what the program announces once it listens. Raises HostStartError."""
        try:
            announcement = announced.get(timeout=START_TIMEOUT_S)
        except queue.Empty:
            problem = f"did not listen within {START_TIMEOUT_S:.0f} s and was killed"
        else:
            if announcement is not None:
                return announcement
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(DYING_S)
            problem = f"{how_it_ended(process)} before it listened"
        raise self._start_error(problem, log)

    def _keep_phases(self, began_ns: int, phases_ns: Mapping[str, int]) -> None:
        """Keep the phases of a start that is over; none if they are longer together than the start was."""
        spawn_ns = time.perf_counter_ns() - began_ns - sum(phases_ns.values())
        self.start_phases_ns = {"spawn": spawn_ns, **phases_ns} if spawn_ns > 0 else {}

    def _start_error(self, problem: str, log: Path) -> HostStartError:
        short = f"{found} " if (found := shortage.found()) else ""
        return HostStartError(
            f"{self.runtime.name} could not start with {self.artifact.name}: `{self._executable}` {problem}. {short}"
            f"Its log ends:\n{tail(log) or '(empty)'}\n`pytest-wasmedge doctor` shows what works here."
        )

    def _enter(self) -> tuple[S, Attempt]:
        with self._lock:
            self._check_open()
            if not self._server.retired and self._server.gone():
                self._retire(self._server)
            if self._server.retired or self._server in self._draining:
                self._server = self._start()
            attempt = Attempt(shared=bool(self._server.in_flight))
            for other in self._server.in_flight:
                other.shared = True
            self._server.in_flight.append(attempt)
            return self._server, attempt

    def _leave(self, server: S, attempt: Attempt) -> None:
        with self._lock:
            server.in_flight.remove(attempt)
            if server.in_flight:
                return
            if server in self._draining:
                self._draining.remove(server)
            elif not server.retired:
                return
            self._retire(server)

    def _replace(self, server: S) -> None:
        """Give this process no more work; it is stopped when its last invocation has ended."""
        with self._lock:
            if not server.retired and server not in self._draining:
                self._draining.append(server)

    def _give_up(self, server: S, error: FailedError) -> bool:
        """Stop the process that failed; False if another thread had stopped it already."""
        with self._lock:
            if self._closed:
                raise HostStartError(
                    f"{self.runtime.name}: this host was closed during an invocation."
                ) from error
            first = not server.retired
            if first:
                self._retire(server, grace_s=0.0 if error.failure == "late" else DYING_S)
            return first

    def _retire(self, server: S, grace_s: float = 0.0) -> None:
        """Stop the process after it had time to end by itself, and keep its last words; harmless when repeated."""
        server.retired = True
        # Once, since its number may be another process's afterwards; again if a Ctrl-C broke off the first time.
        if not server.stopped:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(grace_s)
            server.ended_by_itself = server.process.returncode is not None
            end(server.process)
            server.stopped = True
            server.said = tail(server.log)
        server.dismantle()
        if not server.in_flight:
            server.release()


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process whose stdin is a pipe from us."""
    assert process.stdin
    with contextlib.suppress(OSError):
        process.stdin.close()
    stop(process)
