"""Drives a browser without a WebDriver: our page, loaded from loopback, runs each invocation in a worker."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.http import Timed, read_answer, request_body
from pytest_wasmedge.drivers.pages import PageLostError, PageServer
from pytest_wasmedge.drivers.process import Workspace, end_with, how_it_ended
from pytest_wasmedge.drivers.serving import (
    BACKSTOP_S,
    START_TIMEOUT_S,
    FailedError,
    Serving,
    ServingHost,
    ServingLaunch,
    ServingRuntime,
    end,
)
from pytest_wasmedge.model import Artifact, Ending, Host, Invocation, Limits, host_failed


class BrowserRuntime(ServingRuntime):
    """A browser that is installed on this system, started once per host; BrowserHost drives it."""

    def glue(self) -> Path:
        """Return the folder with the page's modules. Raises RuntimeUnavailableError, ProvisionError."""
        return javascript.glue_folder()

    def environment(self, workspace: Path) -> dict[str, str]:
        # No services to talk to, and none to start, which could outlive the browser.
        return super().environment(workspace) | {"DBUS_SESSION_BUS_ADDRESS": "disabled:", "NO_AT_BRIDGE": "1"}

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return BrowserHost(self, self.executable(), artifact, limits)


class BrowserHost(ServingHost["_Browser"]):
    """Sends invocations to the page of the browser; each start has a workspace of its own."""

    runtime: BrowserRuntime
    _memory_in_log = False

    def discard_isolates(self) -> None:
        self._server.page.discard_isolates()

    def _body(self, invocation: Invocation, timeout_s: float) -> bytes:
        return request_body(self.runtime.name, invocation, timeout_s)

    def _ask(self, server: _Browser, body: bytes, timeout_s: float) -> Timed:
        began_ns = time.perf_counter_ns()
        try:
            content = server.page.post(body).result(timeout_s + BACKSTOP_S)
        except TimeoutError as error:
            raise FailedError("late", "did not answer in time") from error
        except PageLostError as error:
            raise FailedError("broken" if error.received else "not received", str(error)) from error
        elapsed_ns = time.perf_counter_ns() - began_ns
        return elapsed_ns, read_answer(self.runtime.name, content)

    def _ending_of(self, error: FailedError, server: _Browser) -> Ending:
        if error.failure != "late" and not server.ended_by_itself:
            # The browser itself still runs, and its log says nothing about its page.
            name = self.runtime.name
            return host_failed(f"{name} {error} during the invocation: the page's own process has ended")
        return super()._ending_of(error, server)

    def _start(self) -> _Browser:
        began_ns = time.perf_counter_ns()
        with contextlib.ExitStack() as undo:
            workspace = undo.enter_context(Workspace()).path
            page = PageServer(self.runtime.glue(), self.artifact.path, self.limits.output_bytes)
            undo.callback(page.close)
            launch = ServingLaunch(self._executable, self.artifact, self.limits, workspace, url=page.url)
            log = workspace / "host.log"
            with log.open("ab") as output:
                process = self._spawn(launch, output, output)
            stopping = undo.enter_context(contextlib.ExitStack())
            stopping.callback(end, process)
            name = f"{self.runtime.name}-end"
            threading.Thread(target=_watch, args=(process, page), name=name, daemon=True).start()
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
    """One started browser and its page; ``cleanup`` removes what is left of both."""

    page: PageServer
    cleanup: contextlib.ExitStack

    def gone(self) -> bool:
        return bool(self.page.lost) or super().gone()

    def dismantle(self) -> None:
        self.cleanup.close()


def _watch(process: subprocess.Popen[bytes], page: PageServer) -> None:
    """Wait for the browser's first process to end: its other processes are of no use without it."""
    end_with(process)
    page.lose(how_it_ended(process))
