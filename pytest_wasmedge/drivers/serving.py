"""Keeps a process that serves: many invocations at once, each told how it ended, none blamed for another's end."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from pytest_wasmedge.drivers.http import Answer, Failure, with_transfer
from pytest_wasmedge.drivers.process import stop, suspended, tail
from pytest_wasmedge.drivers.program import Program
from pytest_wasmedge.drivers.turns import Turns
from pytest_wasmedge.errors import HostStartError, UnsupportedError
from pytest_wasmedge.model import Artifact, Ending, Host, Invocation, Limits, Outcome, Runtime, Timings

MAX_WORKERS = 32
START_TIMEOUT_S = 60.0

#: How much later than the time limit a host that keeps the limit itself may answer before we stop it.
BACKSTOP_S = 5.0
#: How long a process may take to end after it failed us, so that its own last words are reported.
DYING_S = 2.0


class ServingRuntime(Program, Runtime):
    """A runtime whose program is started once per host.

    ``stops_guests`` says whether a guest has really stopped when the host answers that it ran too long; if not, it
    would go on to take a core, and the process is replaced as soon as nobody else needs it.
    """

    stops_guests: bool = True


class FailedError(Exception):
    """The process failed an invocation; the text is a clause about it, ``heard`` what had come of both streams."""

    def __init__(self, failure: Failure, text: str, heard: tuple[bytes, bytes] = (b"", b"")) -> None:
        super().__init__(text)
        self.failure, self.heard = failure, heard


@dataclass(slots=True, eq=False)
class Attempt:
    """One invocation under way; shared if any other was under way at any time of it."""

    shared: bool


@dataclass(eq=False)
class Serving:
    """One started process: ``retired`` when it is to be stopped; ``said`` is the end of its log once it has been."""

    process: subprocess.Popen[bytes]
    log: Path
    in_flight: list[Attempt] = field(default_factory=list, init=False)
    retired: bool = field(default=False, init=False)
    stopped: bool = field(default=False, init=False)
    ended_by_itself: bool = field(default=False, init=False)
    said: str = field(default="", init=False)

    def gone(self) -> bool:
        """True if it takes no invocation any more."""
        return self.process.poll() is not None

    def dismantle(self) -> None:
        """Remove what it alone needed; its process has ended."""

    def release(self) -> None:
        """Close what an invocation may use to its end; none is under way any more."""


S = TypeVar("S", bound=Serving)


class ServingHost(Host, Generic[S]):
    """Owns the process and its end; starts another one when it is gone."""

    def __init__(self, runtime: ServingRuntime, executable: Path, artifact: Artifact, limits: Limits) -> None:
        self.runtime: ServingRuntime = runtime
        self._executable = executable
        self.artifact, self.limits = artifact, limits
        self._lock = threading.Lock()
        self._draining: list[S] = []
        self._turns = Turns()
        self._slots = threading.BoundedSemaphore(MAX_WORKERS)
        self._server = self._start()

    @abstractmethod
    def _start(self) -> S:
        """Start a process and wait until it serves. Raises HostStartError."""

    @abstractmethod
    def _body(self, invocation: Invocation, timeout_s: float) -> bytes:
        """Return what is sent for an invocation. Raises UnsupportedError."""

    @abstractmethod
    def _ask(self, server: S, body: bytes, timeout_s: float) -> tuple[int, Answer]:
        """Send it; return the nanoseconds until the answer was complete, and the answer. Raises FailedError."""

    @abstractmethod
    def _ending_of(self, error: FailedError, server: S) -> Ending:
        """Say how the invocation ended that the process failed, which has been stopped."""

    def invoke(self, invocation: Invocation) -> Outcome:
        if invocation.preopens:
            raise UnsupportedError(
                f"{self.runtime.name} cannot give folders to a guest; mark the test with "
                "runtimes(...) to run it where folders can be given."
            )
        timeout_s = self._time_limit_s(invocation)
        body = self._body(invocation, timeout_s)
        with self._slots, self._turns.together():
            outcome = self._attempt(body, timeout_s, alone=False)
        if outcome is None:
            # Something ended the process while several invocations were under way. Guests have no effects
            # outside, so each is run again by itself: only the one that did it ends like that again.
            with self._turns.alone():
                outcome = self._attempt(body, timeout_s, alone=True)
                assert outcome is not None
        return outcome

    def pids(self) -> tuple[int, ...]:
        serving = (self._server, *self._draining)
        return tuple(each.process.pid for each in serving if not each.retired)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the process: an engine may go on compiling long after it has answered."""
        with self._lock:
            serving = () if self._closed else (self._server, *self._draining)
            with suspended([each.process for each in serving if not each.retired]):
                yield

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                for server in (self._server, *self._draining):
                    self._retire(server)

    def _attempt(self, body: bytes, timeout_s: float, *, alone: bool) -> Outcome | None:
        """Send the invocation once; None if its outcome says nothing because others may have caused it."""
        server, attempt = self._enter()
        began_ns = time.perf_counter_ns()
        try:
            elapsed_ns, answer = self._ask(server, body, timeout_s)
            if answer.by_log and attempt.shared and not alone:
                return None
            if answer.runs_on or (answer.ending.kind == "timed_out" and not self.runtime.stops_guests):
                self._replace(server)
        except FailedError as error:
            elapsed_ns = time.perf_counter_ns() - began_ns
            ours = self._give_up(server, error)
            if not alone and (not ours or attempt.shared or error.failure == "not received"):
                return None
            answer = Answer(self._ending_of(error, server), *error.heard)
        except BaseException:
            # A Ctrl-C, or somebody else's time limit: nobody waits for the guest any more, but it runs on.
            self._replace(server)
            raise
        finally:
            self._leave(server, attempt)
        timings = Timings(elapsed_ns, with_transfer(answer.phases_ns, elapsed_ns))
        return self._outcome(answer.stdout, answer.stderr, answer.ending, answer.invocation, timings)

    def _keep_phases(self, began_ns: int, phases_ns: Mapping[str, int]) -> None:
        """Note the phases of a start that is over; who tells of more time than there was has told nothing."""
        spawn_ns = time.perf_counter_ns() - began_ns - sum(phases_ns.values())
        self.start_phases_ns = {"spawn": spawn_ns, **phases_ns} if spawn_ns > 0 else {}

    def _start_error(self, problem: str, log: Path) -> HostStartError:
        return HostStartError(
            f"{self.runtime.name} could not start with {self.artifact.name}: `{self._executable}` {problem}. "
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
        """Give this process no more work; it is stopped when what is under way on it has ended."""
        with self._lock:
            if not server.retired and server not in self._draining:
                self._draining.append(server)

    def _give_up(self, server: S, error: FailedError) -> bool:
        """Stop the process that failed us; False if somebody else had stopped it already."""
        with self._lock:
            if self._closed:
                raise HostStartError(
                    f"{self.runtime.name}: this host was closed during an invocation."
                ) from error
            ours = not server.retired
            if ours:
                self._retire(server, grace_s=0.0 if error.failure == "late" else DYING_S)
            return ours

    def _retire(self, server: S, grace_s: float = 0.0) -> None:
        """Stop the process, once it had time to end by itself, and keep its last words; harmless when said again."""
        server.retired = True
        # Once: afterwards its number may be that of somebody else's process. A wait that was broken off did not count.
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
    """Stop a process that has a pipe from us as its stdin."""
    assert process.stdin
    with contextlib.suppress(OSError):
        process.stdin.close()
    stop(process)
