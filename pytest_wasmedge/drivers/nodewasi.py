"""Runs an artifact under a JavaScript runtime's own ``node:wasi``: one process, whose workers are kept."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.folders import lent
from pytest_wasmedge.drivers.http import Answer, Timed, read_ending, read_phases
from pytest_wasmedge.drivers.process import Announcement, Workspace, announcements
from pytest_wasmedge.drivers.serving import (
    FailedError,
    Serving,
    ServingHost,
    ServingLaunch,
    ServingRuntime,
    end,
)
from pytest_wasmedge.drivers.streams import CHUNK_BYTES, Streams
from pytest_wasmedge.model import ARGV0, Artifact, Ending, Host, Invocation, Limits, Outcome, host_failed

SCRIPT, GUEST = "nodewasi.mjs", "nodewasi_guest.mjs"
_MODULES = (SCRIPT, GUEST, "endings.mjs", "phases.mjs")


class NodeWasiRuntime(ServingRuntime):
    """A program that runs our script; at its time limit a guest is killed with the process.

    In a folder that it grants there are no symbolic links: the programs follow them out of it (docs/design.md).
    """

    engine = "V8"
    capabilities = frozenset({"memory_limit", "preopens", "concurrent", "isolates"})
    no_links = "its own WASI may follow a link out of the folder"
    limits_itself = False

    @abstractmethod
    def options(self, launch: ServingLaunch, modules: Sequence[Path], guests: Path) -> Sequence[str]:
        """Return the program's options: it may read modules and artifact, and use what is in the folder ``guests``."""

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        # In our own folder, so that the paths of the package and of the artifact may contain any characters.
        modules = [launch.workspace / name for name in _MODULES]
        for module in modules:
            module.write_bytes((javascript.GLUE / module.name).read_bytes())
        options = self.options(launch, modules, guests_of(launch.workspace))
        return [str(launch.executable), *options, str(modules[0]), str(launch.artifact_link)]

    def environment(self, workspace: Path) -> dict[str, str]:
        return {}

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return NodeWasiHost(self, self.executable(), artifact, limits)


def guests_of(workspace: Path) -> Path:
    """Return the folder for the folders of guests."""
    return workspace / "guests"


class NodeWasiHost(ServingHost["Worked"]):
    """Gives each guest a folder, with named pipes for its streams and copies of what it is granted."""

    runtime: NodeWasiRuntime

    def __init__(
        self, runtime: NodeWasiRuntime, executable: Path, artifact: Artifact, limits: Limits
    ) -> None:
        self._folders = itertools.count(1)
        with contextlib.ExitStack() as undo:
            self._workspace = undo.enter_context(Workspace()).path
            guests_of(self._workspace).mkdir()
            (self._workspace / ARGV0).symlink_to(artifact.path.absolute())
            super().__init__(runtime, executable, artifact, limits)
            self._cleanup = undo.pop_all()

    def close(self) -> None:
        super().close()
        self._cleanup.close()

    def discard_isolates(self) -> None:
        if "isolates" in self.runtime.capabilities:
            self._discard()
        else:
            super().discard_isolates()

    def _discard(self) -> None:
        """End all workers that wait for a guest, also the one that has booted before any."""
        server, attempt = self._enter()
        try:
            # If it is gone, the next invocation finds that out, and starts another one.
            with contextlib.suppress(BrokenPipeError):
                os.write(server.line, b"\n")
        finally:
            self._leave(server, attempt)

    def _start(self) -> Worked:
        launch = ServingLaunch(self._executable, self.artifact, self.limits, self._workspace)
        log = launch.workspace / "host.log"
        # The log of an earlier process says nothing about this one.
        log.unlink(missing_ok=True)
        began_ns = time.perf_counter_ns()
        with log.open("ab") as file:
            process = self._spawn(launch, subprocess.PIPE, file)
        try:
            announced = announcements(self.runtime.name, process, log, _read_announcement)
            announcement = self._announcement(announced, process, log)
            self._keep_phases(began_ns, read_phases(announcement["phases_ns"]))
            assert process.stdin
            return Worked(process, log, os.dup(process.stdin.fileno()))
        except BaseException:
            end(process)
            raise

    def _try(self, invocation: Invocation, timeout_s: float, *, alone: bool) -> Outcome | None:
        guests = guests_of(self._workspace)
        with lent(self.runtime.name, invocation, guests, self.runtime.no_links) as given:
            outcome = super()._try(given.invocation, timeout_s, alone=alone)
            return outcome and given.outcome(outcome, self.limits.output_bytes)

    def _body(self, invocation: Invocation, timeout_s: float) -> bytes:
        """Return a line of JSON with what the guest is given, and after it stdin."""
        given = {
            "args": [ARGV0, *invocation.args],
            "env": dict(invocation.env),
            "preopens": {guest_path: str(copy) for guest_path, copy in invocation.preopens.items()},
        }
        return json.dumps(given).encode() + b"\n" + invocation.stdin

    def _ask(self, server: Worked, body: bytes, timeout_s: float) -> Timed:
        folder = guests_of(self._workspace) / f"{server.process.pid}-{next(server.numbers)}"
        began_ns = time.perf_counter_ns()
        given_bytes = body.index(b"\n") + 1
        with _guest(folder, body[:given_bytes], body[given_bytes:], self.limits.output_bytes) as guest:
            guest.start(server.line)
            said = guest.pump(server.line, time.monotonic() + timeout_s)
            elapsed_ns = time.perf_counter_ns() - began_ns
        streams = (bytes(guest.stdout), bytes(guest.stderr))
        if isinstance(said, Ending):
            return elapsed_ns, Answer(said, *streams, runs_on=True)
        ending = read_ending(said["ending"]) or host_failed(f"{self.runtime.name} reported {said}")
        invocation, phases_ns = said.get("invocation", 0), read_phases(said.get("phases_ns"))
        return elapsed_ns, Answer(ending, *streams, invocation, phases_ns)


@dataclass(eq=False)
class Worked(Serving):
    """One started process; ``line`` leads to its stdin for as long as invocations are under way."""

    line: int
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def release(self) -> None:
        if self.line >= 0:
            os.close(self.line)
            self.line = -1


#: What is told of a guest.
Said = Mapping[str, Any]


class _Guest(Streams):
    """A guest's folder, and the named pipes in it: its streams, and the report of when it started and how it ended.

    We open each pipe for reading and writing, so that nobody waits for the other side, and none ends before the report.
    """

    def __init__(self, folder: Path, pipes: Sequence[FileIO], stdin: bytes, output_bytes: int) -> None:
        super().__init__(stdin, output_bytes)
        self._folder = folder
        self._stdin_pipe, stdout, stderr, self._report_pipe = pipes
        self._outputs = {stdout.fileno(): self.stdout, stderr.fileno(): self.stderr}
        self._report = bytearray()

    def start(self, line: int) -> None:
        """Ask the process to run it. Raises FailedError."""
        try:
            # So short a text is never mixed with another thread's.
            os.write(line, os.fsencode(self._folder) + b"\n")
        except BrokenPipeError as error:
            raise FailedError("not received", "ended before the guest was sent") from error

    def pump(self, line: int, deadline_s: float) -> Said | Ending:
        """Return what is told of the guest at its end, or an ending if it has to be stopped. Raises FailedError."""
        stdin, report = self._stdin_pipe.fileno(), self._report_pipe.fileno()
        poll = select.poll()
        # Of this one nothing is heard but an error: nobody is there any more to read it.
        poll.register(line, 0)
        poll.register(stdin, select.POLLOUT)
        for descriptor in (*self._outputs, report):
            poll.register(descriptor, select.POLLIN)
        started, fed, gone = False, False, False
        while True:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise FailedError("late", "did not answer in time", self._heard())
            for descriptor, _ in poll.poll(left_s * 1000):
                if descriptor == stdin:
                    if not self.feed(stdin):
                        fed = True
                        poll.unregister(stdin)
                elif descriptor == report:
                    self._report += os.read(report, CHUNK_BYTES)
                elif descriptor == line:
                    gone = True
                elif ending := self._take(descriptor):
                    return ending
            for told in map(json.loads, self._report.split(b"\n")[:-1]):
                started = True
                if isinstance(told, dict):
                    return self._take_rest() or told
            if gone:
                self._take_rest()
                raise FailedError("broken" if started else "not received", "ended", self._heard())
            if started and fed:
                # Before, what is in the pipe would be lost.
                self._stdin_pipe.close()

    def _take(self, output: int) -> Ending | None:
        return self.keep(self._outputs[output], os.read(output, CHUNK_BYTES))

    def _take_rest(self) -> Ending | None:
        for output in self._outputs:
            with contextlib.suppress(BlockingIOError):
                while True:
                    if ending := self._take(output):
                        return ending
        return None

    def _heard(self) -> tuple[bytes, bytes]:
        return bytes(self.stdout), bytes(self.stderr)


@contextlib.contextmanager
def _guest(folder: Path, given: bytes, stdin: bytes, output_bytes: int) -> Iterator[_Guest]:
    with contextlib.ExitStack() as cleanup:
        folder.mkdir(0o700)
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        (folder / "given.json").write_bytes(given)
        pipes = []
        for name in ("stdin", "stdout", "stderr", "report"):
            os.mkfifo(folder / name, 0o600)
            descriptor = os.open(folder / name, os.O_RDWR | os.O_NONBLOCK)
            pipes.append(cleanup.enter_context(FileIO(descriptor, "r+")))
        yield _Guest(folder, pipes, stdin, output_bytes)


def _read_announcement(line: bytes) -> Announcement | None:
    """Return what our script says once it has compiled the artifact; other lines are for the log."""
    with contextlib.suppress(ValueError):
        said = json.loads(line)
        if isinstance(said, dict) and "phases_ns" in said:
            return said
    return None
