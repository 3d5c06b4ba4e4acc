"""Drives a runtime that is a command: one process per invocation, which always ends."""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import shutil
import subprocess
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pytest_wasmedge.drivers import shortage
from pytest_wasmedge.drivers.folders import lent
from pytest_wasmedge.drivers.grants import check_given
from pytest_wasmedge.drivers.process import Workspace, ends_within, kill, spawn, stop_measured
from pytest_wasmedge.drivers.program import Launch, Program
from pytest_wasmedge.drivers.streams import CHUNK_BYTES, Streams
from pytest_wasmedge.drivers.weighing import measured, read_peak
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
    exited,
    host_failed,
    timed_out,
)

#: Turns a command line into another one.
Wrap = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment by two clocks: the time of day, which people set, and a clock that nobody sets."""

    day_s: float = field(default_factory=lambda: time.time())
    steady_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class CommandLaunch(Launch):
    """What a command is made of; the workspace lives as long as the host.

    ``folder`` is for one invocation: a runtime that needs it makes it, and the driver removes it. ``began`` is
    before the invocation's process was started.
    """

    folder: Path = Path()
    began: Moment = field(default_factory=Moment)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its status (minus the number of a signal) and everything that it wrote."""

    status: int
    stdout: bytes
    stderr: bytes

    def ending(self, program: str) -> Ending:
        """Return the guest's ending for a program that ends with the guest's own status."""
        if self.status < 0:
            return host_failed(f"{program} was ended by signal {-self.status}")
        return exited(self.status)


class CommandRuntime(Program, Runtime):
    """A runtime whose program is started once per invocation; CommandHost drives it."""

    def prepare(self, launch: CommandLaunch) -> None:
        """Do what is needed once per host, such as compiling. Raises HostStartError."""

    @abstractmethod
    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        """Return the command line of one invocation."""

    @abstractmethod
    def outcome(self, launch: CommandLaunch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        """Return the guest's stdout and stderr without the host's own messages, and how the guest ended.

        ``launch`` is the one that `argv` was called with. Not called for a process that was stopped at a limit.
        """

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return CommandHost(self, artifact, limits)


class CommandHost(Host):
    """Holds what the command needs; its process exists only during an invocation."""

    runtime: CommandRuntime

    def __init__(self, runtime: CommandRuntime, artifact: Artifact, limits: Limits) -> None:
        self.runtime, self.artifact, self.limits = runtime, artifact, limits
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        with contextlib.ExitStack() as undo:
            self._workspace = undo.enter_context(Workspace())
            self._launch = CommandLaunch(runtime.executable(), artifact, limits, self._workspace.path)
            runtime.prepare(self._launch)
            undo.pop_all()

    def invoke(self, invocation: Invocation) -> Outcome:
        with shortage.told():
            return self._invoke(invocation)

    def weigh(self, invocation: Invocation) -> Outcome:
        """Run the guest once, with the peak memory of its process in the timings where the system reports it.

        A small process around it takes time, too: the elapsed time is no measurement, and there is no CPU time.
        """
        if sys.platform != "linux" or self._closed:
            return self.invoke(invocation)
        with (
            shortage.told(),
            TemporaryDirectory(dir=self._workspace.path, ignore_cleanup_errors=True) as folder,
        ):
            report = Path(folder) / "peak"
            outcome = self._invoke(invocation, lambda argv: measured(argv, report))
            timings = replace(outcome.timings, cpu_ns=None, peak_memory_bytes=read_peak(report))
        return replace(outcome, timings=timings)

    def _invoke(self, invocation: Invocation, wrap: Wrap = list) -> Outcome:
        self._check_open()
        if "preopens" not in self.runtime.capabilities:
            possible = ("arguments", "an environment")
            check_given(self.runtime.name, invocation, possible, self.runtime.no_folders)
        number = next(self._numbers)
        folder = self._workspace.path / f"invocation-{number}"
        with lent(self.runtime.name, invocation, self._workspace.path, self.runtime.no_links) as given:
            try:
                launch = replace(self._launch, folder=folder, began=Moment())
                outcome = self._run(launch, given.invocation, wrap, number)
                return given.outcome(outcome, self.limits.output_bytes)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _run(self, launch: CommandLaunch, invocation: Invocation, wrap: Wrap, number: int) -> Outcome:
        timeout_s = self._time_limit_s(invocation)
        self.runtime.check_again(launch.executable)
        started_ns = time.perf_counter_ns()
        process = spawn(
            wrap(self.runtime.with_flags(self.runtime.argv(launch, invocation))),
            env=self.runtime.environment(self._workspace.path),
            cwd=self._workspace.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        streams = _Pipes(process, invocation.stdin, self.limits.output_bytes)
        try:
            with self._lock:
                self._running.add(process)
                if self._closed:
                    kill(process)
            cut_short = streams.pump(time.monotonic() + timeout_s)
        finally:
            # Before we wait for the process: its number may be another process's afterwards.
            with self._lock:
                self._running.discard(process)
            # Also on Ctrl-C: nothing that we started runs on.
            cpu_ns = stop_measured(process)
            streams.close()
        elapsed_ns = time.perf_counter_ns() - started_ns
        if self._closed and process.returncode < 0:
            raise HostStartError(f"{self.runtime.name}: this host was closed during an invocation.")
        timings = Timings(elapsed_ns, cpu_ns=cpu_ns)
        ended = Ended(process.returncode, bytes(streams.stdout), bytes(streams.stderr))
        if cut_short:
            return self._outcome(ended.stdout, ended.stderr, cut_short, number, timings)
        return self._outcome(*self.runtime.outcome(launch, ended), number, timings)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for process in self._running:
                kill(process)
        self._workspace.close()


class _Pipes(Streams):
    """Writes stdin and reads both outputs at once, so that no full pipe can block either side."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes, output_bytes: int) -> None:
        super().__init__(stdin, output_bytes)
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self._process = process
        self._pipes = (process.stdin, process.stdout, process.stderr)

    def pump(self, deadline_s: float) -> Ending | None:
        """Run until the process has ended; return an ending only if it has to be stopped at a limit."""
        stdin, stdout, stderr = self._pipes
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ, self.stdout)
            selector.register(stderr, selectors.EVENT_READ, self.stderr)
            os.set_blocking(stdin.fileno(), False)
            selector.register(stdin, selectors.EVENT_WRITE)
            while selector.get_map():
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return timed_out("stopped by us")
                for key, _ in selector.select(left_s):
                    if key.fileobj is stdin:
                        if not self.feed(key.fd):
                            selector.unregister(stdin)
                            stdin.close()
                        continue
                    data = os.read(key.fd, CHUNK_BYTES)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif ending := self.keep(key.data, data):
                        return ending
        in_time = ends_within(self._process, max(0.0, deadline_s - time.monotonic()))
        return None if in_time else timed_out("stopped by us")

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
