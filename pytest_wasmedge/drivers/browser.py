"""Drives a browser without a WebDriver: our page, loaded from loopback, runs each invocation in a worker."""

from __future__ import annotations

from pathlib import Path

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.http import Answer, read_answer, request_body
from pytest_wasmedge.drivers.pages import PageServer
from pytest_wasmedge.drivers.polling import Polling, PollingHost
from pytest_wasmedge.drivers.serving import BACKSTOP_S, FailedError, ServingLaunch, ServingRuntime
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


class BrowserHost(PollingHost[PageServer]):
    """Sends invocations to the page of the browser; each start has a workspace of its own."""

    runtime: BrowserRuntime
    grace_s = BACKSTOP_S
    _unready = "did not load its page"
    _memory_in_log = False

    def discard_isolates(self) -> None:
        self._server.jobs.discard_isolates()

    def _body(self, invocation: Invocation, timeout_s: float) -> bytes:
        return request_body(self.runtime.name, invocation, timeout_s)

    def _read(self, content: bytes) -> Answer:
        return read_answer(self.runtime.name, content)

    def _ending_of(self, error: FailedError, server: Polling[PageServer]) -> Ending:
        if error.failure != "late" and not server.ended_by_itself:
            # The browser itself still runs, and its log says nothing about its page.
            name = self.runtime.name
            return host_failed(f"{name} {error} during the invocation: the page's own process has ended")
        return super()._ending_of(error, server)

    def _open(self, workspace: Path) -> tuple[PageServer, ServingLaunch]:
        page = PageServer(self.runtime.glue(), self.artifact.path, self.limits.output_bytes)
        return page, ServingLaunch(self._executable, self.artifact, self.limits, workspace, url=page.url)
