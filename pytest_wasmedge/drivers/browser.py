"""Drives a browser without a driver: a page of ours, loaded from loopback, runs each invocation in a worker."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pytest_wasmedge.drivers.http import Answer, read_answer, request_body, with_transfer
from pytest_wasmedge.drivers.pages import PageLostError, PageServer
from pytest_wasmedge.drivers.process import Workspace, how_it_ended, spawn, stop, tail
from pytest_wasmedge.drivers.turns import Turns
from pytest_wasmedge.drivers.versions import Versions, numbers
from pytest_wasmedge.errors import HostStartError, ProvisionError, RuntimeUnavailableError, UnsupportedError
from pytest_wasmedge.model import (
    Artifact,
    Ending,
    Invocation,
    Limits,
    Outcome,
    Timings,
    host_failed,
    timed_out,
)
from pytest_wasmedge.provision import Found, find_system, install_command
from pytest_wasmedge.runtimes.base import Availability, Host, Runtime

MAX_WORKERS = 32
START_TIMEOUT_S = 60.0

#: How much later than the time limit the page may answer before we stop the browser.
_BACKSTOP_S = 5.0
#: How long a browser may take to end after its page was lost, so that its own last words are reported.
_DYING_S = 2.0
_REMOVING_S = 10.0
_PAGE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Launch:
    """What a browser is started with. ``workspace`` is a private folder, new for each start; ``url`` is secret."""

    executable: Path
    limits: Limits
    workspace: Path
    url: str

    @property
    def profile(self) -> Path:
        """The folder for the browser's profile: there, and empty."""
        return self.workspace / "profile"

    @property
    def memory_pages(self) -> int:
        """The memory limit in WebAssembly pages of 64 KiB; of these there are at most 4 GiB."""
        return min(max(1, self.limits.memory_bytes // _PAGE_BYTES), 1 << 16)


class BrowserRuntime(Runtime):
    """A browser of this system, started once per host. It describes; BrowserHost does.

    ``commands`` are its names on PATH, the preferred one first; ``remedy`` is the command that installs it.
    """

    commands: ClassVar[tuple[str, ...]]
    remedy: ClassVar[str]
    minimum: ClassVar[tuple[int, ...]] = ()

    @abstractmethod
    def argv(self, launch: Launch) -> Sequence[str]:
        """Return the command line; it is visible to every user of the machine. May write to the profile."""

    def greeting(self, launch: Launch) -> bytes:
        """Return what is written to the browser's stdin, which then stays open until the browser is stopped."""
        return b""

    @abstractmethod
    def versions(self, executable: Path) -> Versions:
        """Ask the browser, once per process. Raises RuntimeUnavailableError if it does not say."""

    @abstractmethod
    def glue(self) -> Path:
        """Return the folder with the page's modules. Raises RuntimeUnavailableError, ProvisionError."""

    def missing(self) -> str:
        """Say what else is needed and not there; empty if nothing."""
        return ""

    def environment(self, workspace: Path) -> dict[str, str]:
        """Return the whole environment of the browser; nothing is inherited."""
        folder = str(workspace)
        return {
            "HOME": folder,
            "TMPDIR": folder,
            "LANG": "C.UTF-8",
            # Nothing to talk to, and nothing to start, which could outlive the browser.
            "DBUS_SESSION_BUS_ADDRESS": "disabled:",
            "NO_AT_BRIDGE": "1",
        }

    def locate(self) -> Found | None:
        """Return the browser. Raises ProvisionError."""
        return find_system(self.name, self.commands)

    def probe(self) -> Availability:
        try:
            found = self.locate()
            if found is None:
                return Availability(False, reason=self._not_found(), install=self.remedy)
            versions = self.versions(found.path)
            missing = self.missing()
        except (ProvisionError, RuntimeUnavailableError) as error:
            return Availability(False, reason=str(error), install=self.remedy)
        install, path = install_command(self.name), f"{found.path} ({found.origin})"
        if numbers(versions.version) < self.minimum:
            wanted = ".".join(map(str, self.minimum))
            missing = f"{found.path} is version {versions.version}, at least {wanted} is needed"
            install = self.remedy
        if missing:
            return Availability(False, versions.version, versions.engine_version, missing, install, path)
        return Availability(True, versions.version, versions.engine_version, path=path)

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        found = self.locate()
        if found is None:
            raise RuntimeUnavailableError(
                f"{self.name} cannot start: {self._not_found()}; get it with `{self.remedy}`."
            )
        return BrowserHost(self, found.path, artifact, limits)

    def _not_found(self) -> str:
        return f"{' or '.join(self.commands)} is not on PATH"


class BrowserHost(Host):
    """Owns the browser, its page, its folder and its end; starts another one when it is gone."""

    def __init__(self, runtime: BrowserRuntime, executable: Path, artifact: Artifact, limits: Limits) -> None:
        self.runtime: BrowserRuntime = runtime
        self.artifact, self.limits = artifact, limits
        self._executable = executable
        self._closed = False
        self._lock = threading.Lock()
        self._turns = Turns()
        self._slots = threading.BoundedSemaphore(MAX_WORKERS)
        self._browser = self._start()

    def invoke(self, invocation: Invocation) -> Outcome:
        if invocation.preopens:
            raise UnsupportedError(
                f"{self.runtime.name} cannot give folders to a guest; mark the test with "
                "runtimes(...) to run it where folders can be given."
            )
        timeout_s = self.limits.timeout_s if invocation.timeout_s is None else invocation.timeout_s
        body = request_body(invocation, timeout_s)
        with self._slots, self._turns.together():
            outcome = self._attempt(body, timeout_s, alone=False)
        if outcome is None:
            # Something ended the browser while several invocations were under way. Guests have no effects
            # outside, so each is run again by itself: only the one that did it ends like that again.
            with self._turns.alone():
                outcome = self._attempt(body, timeout_s, alone=True)
                assert outcome is not None
        return outcome

    def pids(self) -> tuple[int, ...]:
        return () if self._browser.retired else (self._browser.process.pid,)

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._retire(self._browser)

    def _attempt(self, body: bytes, timeout_s: float, *, alone: bool) -> Outcome | None:
        """Give the page the invocation once; None if its outcome says nothing because others may have caused it."""
        import httpx

        browser, attempt = self._enter()
        began_ns = time.perf_counter_ns()
        try:
            content = browser.page.post(body).result(timeout_s + _BACKSTOP_S)
            elapsed_ns = time.perf_counter_ns() - began_ns
            answer = read_answer(self.runtime.name, httpx.Response(200, content=content))
        except (PageLostError, TimeoutError) as error:
            elapsed_ns = time.perf_counter_ns() - began_ns
            ending = self._ending_of(error, browser, attempt, alone)
            if ending is None:
                return None
            answer = Answer(ending)
        finally:
            with self._lock:
                browser.in_flight.remove(attempt)
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
        self, error: PageLostError | TimeoutError, browser: _Browser, attempt: _Attempt, alone: bool
    ) -> Ending | None:
        """Stop the browser that failed us, and say how the invocation ended if it alone can be the cause."""
        late = isinstance(error, TimeoutError)
        with self._lock:
            if self._closed:
                raise HostStartError(
                    f"{self.runtime.name}: this host was closed during an invocation."
                ) from error
            ours = not browser.retired
            if ours:
                self._retire(browser, grace_s=0.0 if late else _DYING_S)
        if not alone and (not ours or attempt.shared):
            return None
        if late:
            return timed_out(f"{self.runtime.name} was killed at the limit")
        return host_failed(
            f"{self.runtime.name} {browser.end or error} during the invocation; its log ends:\n{browser.said}"
        )

    def _enter(self) -> tuple[_Browser, _Attempt]:
        with self._lock:
            if self._closed:
                raise HostStartError(f"{self.runtime.name}: this host is closed; start another one.")
            if not self._browser.retired and (self._browser.page.lost or self._browser.ended()):
                self._retire(self._browser)
            if self._browser.retired:
                self._browser = self._start()
            attempt = _Attempt(shared=bool(self._browser.in_flight))
            for other in self._browser.in_flight:
                other.shared = True
            self._browser.in_flight.append(attempt)
            return self._browser, attempt

    def _retire(self, browser: _Browser, grace_s: float = 0.0) -> None:
        """Stop the browser, once it had time to end by itself, and keep its last words."""
        browser.retired = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            browser.process.wait(grace_s)
        browser.end = how_it_ended(browser.process) if browser.ended() else ""
        browser.said = tail(browser.log)
        browser.leave.close()

    def _start(self) -> _Browser:
        """Start the browser and wait until its page takes jobs. Raises HostStartError."""
        name, began_ns = self.runtime.name, time.perf_counter_ns()
        with contextlib.ExitStack() as undo:
            workspace = Workspace.create()
            undo.callback(_remove, workspace)
            page = PageServer(self.runtime.glue(), self.artifact.path, self.limits.output_bytes)
            undo.callback(page.close)
            launch = Launch(self._executable, self.limits, workspace.path, page.url)
            launch.profile.mkdir()
            log = workspace.path / "host.log"
            with log.open("ab") as output:
                process = spawn(
                    self.runtime.argv(launch),
                    env=self.runtime.environment(workspace.path),
                    cwd=workspace.path,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                )
            undo.callback(_stop, process)
            assert process.stdin
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(self.runtime.greeting(launch))
                process.stdin.flush()
            watch = threading.Thread(target=_watch, args=(process, page), name=f"{name}-end", daemon=True)
            watch.start()
            # While the browser boots: what reads its answers.
            import httpx  # noqa: F401

            try:
                phases_ns = page.ready.result(START_TIMEOUT_S)
            except TimeoutError:
                problem = f"did not load its page within {START_TIMEOUT_S:.0f} s and was killed"
            except PageLostError as error:
                problem = str(error)
            else:
                spawn_ns = time.perf_counter_ns() - began_ns - sum(phases_ns.values())
                # A page that tells of more time than there was has told nothing.
                self.start_phases_ns = {"spawn": spawn_ns, **phases_ns} if spawn_ns > 0 else {}
                return _Browser(process, page, log, undo.pop_all())
            raise HostStartError(
                f"{name} could not start with {self.artifact.name}: `{launch.executable}` {problem}. "
                f"Its log ends:\n{tail(log) or '(empty)'}\n`pytest-wasmedge doctor` shows what works here."
            )


@dataclass(slots=True, eq=False)
class _Attempt:
    """One invocation under way; shared if any other was under way at any time of it."""

    shared: bool


@dataclass(slots=True, eq=False)
class _Browser:
    """One started browser and its page. ``leave`` stops and removes both."""

    process: subprocess.Popen[bytes]
    page: PageServer
    log: Path
    leave: contextlib.ExitStack
    in_flight: list[_Attempt] = field(default_factory=list)
    retired: bool = False
    end: str = ""
    said: str = ""

    def ended(self) -> bool:
        return self.process.poll() is not None


def _watch(process: subprocess.Popen[bytes], page: PageServer) -> None:
    """Wait for the end of the browser's first process: without it, the others are not to be relied on."""
    process.wait()
    page.lose(f"{how_it_ended(process)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    with contextlib.suppress(OSError):
        process.stdin.close()
    stop(process)


def _remove(workspace: Workspace) -> None:
    """Remove the folder though processes that were killed a moment ago may still put files into it."""
    deadline_s = time.monotonic() + _REMOVING_S
    while True:
        workspace.close()
        if not workspace.path.exists() or time.monotonic() > deadline_s:
            return
        time.sleep(0.01)


def is_root() -> bool:
    """True if we are root, whom browsers refuse their sandbox."""
    return hasattr(os, "geteuid") and os.geteuid() == 0
