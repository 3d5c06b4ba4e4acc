"""Drives a program whose client asks our server for jobs: what browsers and functions share."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pytest_wasmedge.drivers.http import Answer, Timed
from pytest_wasmedge.drivers.jobs import JobServer, LostError
from pytest_wasmedge.drivers.process import Workspace, end_with, how_it_ended
from pytest_wasmedge.drivers.serving import (
    START_TIMEOUT_S,
    FailedError,
    Serving,
    ServingHost,
    ServingLaunch,
    end,
)

J = TypeVar("J", bound=JobServer)


class PollingHost(ServingHost["Polling[J]"], Generic[J]):
    """Posts invocations to the client in the process; each start has a workspace and a server of its own.

    ``grace_s`` is how much later than the time limit a client may answer that keeps the limit itself.
    """

    grace_s = 0.0
    #: What a client has not done that never asks for a job, for a message.
    _unready = "did not ask for a job"

    @abstractmethod
    def _open(self, workspace: Path) -> tuple[J, ServingLaunch]:
        """Return a server that listens, and what the program is started with."""

    @abstractmethod
    def _read(self, content: bytes) -> Answer:
        """Take an answer apart; anything wrong with it is the host's failure."""

    def _ask(self, server: Polling[J], body: bytes, timeout_s: float) -> Timed:
        began_ns = time.perf_counter_ns()
        try:
            content = server.jobs.post(body, timeout_s).result(timeout_s + self.grace_s)
        except TimeoutError as error:
            raise FailedError("late", "did not answer in time") from error
        except LostError as error:
            raise FailedError("broken" if error.received else "not received", str(error)) from error
        elapsed_ns = time.perf_counter_ns() - began_ns
        return elapsed_ns, self._read(content)

    def _start(self) -> Polling[J]:
        began_ns = time.perf_counter_ns()
        with contextlib.ExitStack() as undo:
            workspace = undo.enter_context(Workspace()).path
            jobs, launch = self._open(workspace)
            undo.callback(jobs.close)
            log = workspace / "host.log"
            with log.open("ab") as output:
                process = self._spawn(launch, output, output)
            stopping = undo.enter_context(contextlib.ExitStack())
            stopping.callback(end, process)
            jobs.start(process.pid)
            name = f"{self.runtime.name}-end"
            threading.Thread(target=_watch, args=(process, jobs), name=name, daemon=True).start()
            try:
                phases_ns = jobs.ready.result(START_TIMEOUT_S)
            except TimeoutError:
                problem = f"{self._unready} within {START_TIMEOUT_S:.0f} s and was killed"
            except LostError as error:
                problem = str(error)
            else:
                self._keep_phases(began_ns, phases_ns)
                stopping.pop_all()
                return Polling(process, log, jobs, undo.pop_all())
            raise self._start_error(problem, log)


@dataclass(eq=False)
class Polling(Serving, Generic[J]):
    """One started program and the server of its jobs; ``cleanup`` removes what is left of both."""

    jobs: J
    cleanup: contextlib.ExitStack

    def gone(self) -> bool:
        return bool(self.jobs.lost) or super().gone()

    def dismantle(self) -> None:
        self.cleanup.close()


def _watch(process: subprocess.Popen[bytes], jobs: JobServer) -> None:
    """Wait for the program's first process to end: its other processes are of no use without it."""
    end_with(process)
    jobs.lose(how_it_ended(process))
