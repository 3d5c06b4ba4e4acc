"""Drives a browser without a driver: a page of ours, loaded from loopback, runs each invocation in a worker."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.http import Answer, read_answer, request_body
from pytest_wasmedge.drivers.pages import PageLostError, PageServer
from pytest_wasmedge.drivers.process import Workspace, end_with, how_it_ended, spawn
from pytest_wasmedge.drivers.program import Started
from pytest_wasmedge.drivers.serving import (
    BACKSTOP_S,
    START_TIMEOUT_S,
    FailedError,
    Serving,
    ServingHost,
    ServingRuntime,
    end,
)
from pytest_wasmedge.model import (
    Artifact,
    Ending,
    Host,
    Invocation,
    Limits,
    host_failed,
    timed_out,
)


@dataclass(frozen=True, slots=True)
class Launch(Started):
    """What a browser is started with: the workspace is new for each start, ``url`` is secret."""

    url: str

    @property
    def profile(self) -> Path:
        """The folder for the browser's profile: there, and empty."""
        return self.workspace / "profile"


class BrowserRuntime(ServingRuntime):
    """A browser of this system, started once per host. It describes; BrowserHost does."""

    @abstractmethod
    def argv(self, launch: Launch) -> Sequence[str]:
        """Return the command line; it is visible to every user of the machine. May write to the profile."""

    def greeting(self, launch: Launch) -> bytes:
        """Return what is written to the browser's stdin, which then stays open until the browser is stopped."""
        return b""

    def glue(self) -> Path:
        """Return the folder with the page's modules. Raises RuntimeUnavailableError, ProvisionError."""
        return javascript.glue_folder()

    def environment(self, workspace: Path) -> dict[str, str]:
        folder = str(workspace)
        return {
            "HOME": folder,
            "TMPDIR": folder,
            "LANG": "C.UTF-8",
            # Nothing to talk to, and nothing to start, which could outlive the browser.
            "DBUS_SESSION_BUS_ADDRESS": "disabled:",
            "NO_AT_BRIDGE": "1",
        }

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return BrowserHost(self, self.executable(), artifact, limits)


class BrowserHost(ServingHost["_Browser"]):
    """Hands the page of the browser its invocations."""

    runtime: BrowserRuntime

    def _body(self, invocation: Invocation, timeout_s: float) -> bytes:
        return request_body(invocation, timeout_s)

    def _ask(self, server: _Browser, body: bytes, timeout_s: float) -> tuple[int, Answer]:
        import httpx

        began_ns = time.perf_counter_ns()
        try:
            content = server.page.post(body).result(timeout_s + BACKSTOP_S)
        except TimeoutError as error:
            raise FailedError("late", "did not answer in time") from error
        except PageLostError as error:
            raise FailedError("broken" if error.received else "not received", str(error)) from error
        elapsed_ns = time.perf_counter_ns() - began_ns
        return elapsed_ns, read_answer(self.runtime.name, httpx.Response(200, content=content))

    def _ending_of(self, error: FailedError, server: _Browser) -> Ending:
        name = self.runtime.name
        if error.failure == "late":
            return timed_out(f"{name} was killed at the limit")
        if not server.ended_by_itself:
            # The browser is there still, and its log says nothing of its page.
            return host_failed(f"{name} {error} during the invocation: the page's own process has ended")
        how = how_it_ended(server.process)
        return host_failed(f"{name} {how} during the invocation; its log ends:\n{server.said}")

    def _start(self) -> _Browser:
        """Start the browser and wait until its page takes jobs. Raises HostStartError."""
        name, began_ns = self.runtime.name, time.perf_counter_ns()
        with contextlib.ExitStack() as undo:
            workspace = undo.enter_context(Workspace.create())
            page = PageServer(self.runtime.glue(), self.artifact.path, self.limits.output_bytes)
            undo.callback(page.close)
            launch = Launch(self._executable, self.artifact, self.limits, workspace.path, page.url)
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
            stopping = undo.enter_context(contextlib.ExitStack())
            stopping.callback(end, process)
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
                self._keep_phases(began_ns, phases_ns)
                stopping.pop_all()
                return _Browser(process, log, page, undo.pop_all())
            raise self._start_error(problem, log)


@dataclass(eq=False)
class _Browser(Serving):
    """One started browser and its page; ``leave`` removes what is left of both."""

    page: PageServer
    leave: contextlib.ExitStack

    def gone(self) -> bool:
        return self.page.lost or super().gone()

    def dismantle(self) -> None:
        self.leave.close()


def _watch(process: subprocess.Popen[bytes], page: PageServer) -> None:
    """Wait for the end of the browser's first process: without it, the others are not to be relied on."""
    end_with(process)
    page.lose(f"{how_it_ended(process)}")


def is_root() -> bool:
    """True if we are root, whom browsers refuse their sandbox."""
    return hasattr(os, "geteuid") and os.geteuid() == 0
