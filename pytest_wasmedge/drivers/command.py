"""Drives a runtime that is a command: one process per invocation, its streams ours, its end certain."""

from __future__ import annotations

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
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_wasmedge.drivers.process import Workspace, ends_within, kill, spawn, stop_measured
from pytest_wasmedge.drivers.program import Program, Started
from pytest_wasmedge.drivers.weighing import Scale
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
    timed_out,
)

_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Launch(Started):
    """What a command is made of: the workspace lives as long as the host.

    Of one invocation there are also its own ``folder``, which is there once somebody makes it and goes with the
    invocation, and ``began_s``, the time of day when its command line was asked for.
    """

    folder: Path = Path()
    began_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its status (negative: a signal's number) and all that it wrote."""

    status: int
    stdout: bytes
    stderr: bytes


class CommandRuntime(Program, Runtime):
    """A runtime started once per invocation. It describes its program, its command line, and reads its endings."""

    def prepare(self, launch: Launch) -> None:
        """Do what is done once per host, such as compiling. Raises HostStartError."""

    @abstractmethod
    def argv(self, launch: Launch, invocation: Invocation) -> Sequence[str]:
        """Return the command line of one invocation."""

    @abstractmethod
    def outcome(self, launch: Launch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        """Tell the guest's stdout and stderr from the host's own messages, and how the guest ended.

        ``launch`` is the value that `argv` had for this invocation. Not asked of one that had to be cut short.
        """

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return CommandHost(self, artifact, limits)


class CommandHost(Host):
    """Holds what the command needs; a process exists only during an invocation."""

    def __init__(self, runtime: CommandRuntime, artifact: Artifact, limits: Limits) -> None:
        self.runtime: CommandRuntime = runtime
        self.artifact, self.limits = artifact, limits
        self._numbers = itertools.count(1)
        self._workspace = Workspace.create()
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        try:
            self._launch = Launch(runtime.executable(), artifact, limits, self._workspace.path)
            runtime.prepare(self._launch)
        except BaseException:
            self._workspace.close()
            raise

    def invoke(self, invocation: Invocation) -> Outcome:
        return self._invoke(invocation)

    def weigh(self, invocation: Invocation) -> Outcome:
        """Run the guest once so that the peak memory of its process is in the timings, where we can learn it.

        Something runs beside that takes time: the elapsed time is no measurement, and CPU time is not told.
        """
        if sys.platform != "linux" or self._closed:
            return self.invoke(invocation)
        scale = Scale(self._workspace.path)
        try:
            outcome = self._invoke(invocation, scale.wrap)
            timings = replace(outcome.timings, cpu_ns=None, peak_memory_bytes=scale.read())
        finally:
            scale.close()
        return replace(outcome, timings=timings)

    def _invoke(
        self, invocation: Invocation, wrap: Callable[[Sequence[str]], Sequence[str]] | None = None
    ) -> Outcome:
        self._check_open()
        number = next(self._numbers)
        folder = self._workspace.path / f"invocation-{number}"
        try:
            launch = replace(self._launch, folder=folder, began_s=time.time())
            stdout, stderr, ending, timings = self._run(launch, invocation, wrap)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return self._outcome(stdout, stderr, ending, number, timings)

    def _run(
        self, launch: Launch, invocation: Invocation, wrap: Callable[[Sequence[str]], Sequence[str]] | None
    ) -> tuple[bytes, bytes, Ending, Timings]:
        timeout_s = self._time_limit_s(invocation)
        started_ns = time.perf_counter_ns()
        argv = self.runtime.argv(launch, invocation)
        process = spawn(
            wrap(argv) if wrap else argv,
            env=self.runtime.environment(self._workspace.path),
            cwd=self._workspace.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        streams = _Streams(process, invocation.stdin, self.limits.output_bytes)
        try:
            with self._lock:
                self._running.add(process)
                if self._closed:
                    kill(process)
            cut_short = streams.pump(time.monotonic() + timeout_s)
        finally:
            # Before it is waited for: its number may be somebody else's then.
            with self._lock:
                self._running.discard(process)
            # Also on Ctrl-C: nothing that we started runs on.
            cpu_ns = stop_measured(process)
            streams.close()
        elapsed_ns = time.perf_counter_ns() - started_ns
        if self._closed and process.returncode < 0:
            raise HostStartError(f"{self.runtime.name}: this host was closed during an invocation.")
        timings = Timings(elapsed_ns, cpu_ns=cpu_ns)
        if cut_short:
            return bytes(streams.stdout), bytes(streams.stderr), cut_short, timings
        ended = Ended(process.returncode, bytes(streams.stdout), bytes(streams.stderr))
        return *self.runtime.outcome(launch, ended), timings

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for process in self._running:
                kill(process)
        self._workspace.close()


class _Streams:
    """Feeds stdin and collects both outputs at once, so that no full pipe can block either side."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes, output_bytes: int) -> None:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self._process = process
        self._pipes = (process.stdin, process.stdout, process.stderr)
        self._stdin = memoryview(stdin)
        self._output_bytes = output_bytes
        self.stdout = bytearray()
        self.stderr = bytearray()

    def pump(self, deadline_s: float) -> Ending | None:
        """Run until the process has ended; an ending is returned only if it had to be cut short."""
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
                        if not self._feed():
                            selector.unregister(stdin)
                            stdin.close()
                        continue
                    data = os.read(key.fd, _CHUNK_BYTES)
                    if not data:
                        selector.unregister(key.fileobj)
                        continue
                    key.data.extend(data)
                    if len(self.stdout) + len(self.stderr) > self._output_bytes:
                        return host_failed(f"output limit of {self._output_bytes} bytes reached")
        in_time = ends_within(self._process, max(0.0, deadline_s - time.monotonic()))
        return None if in_time else timed_out("stopped by us")

    def _feed(self) -> bool:
        """Write what fits; False when all is written or the process no longer reads."""
        try:
            written = os.write(self._pipes[0].fileno(), self._stdin[:_CHUNK_BYTES])
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        self._stdin = self._stdin[written:]
        return len(self._stdin) > 0

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
