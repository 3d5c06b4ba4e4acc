"""Drives a function as it is deployed: a folder with handler, artifact, its compiled code, and the engine."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from abc import abstractmethod
from pathlib import Path
from typing import IO

from pytest_wasmedge import drivers
from pytest_wasmedge.drivers.compiled import KeepsCode, RefusedError, compile_phase, renewing, run_compiler
from pytest_wasmedge.drivers.http import WIRE_HEADER, WIRE_VERSION, Answer, request_body
from pytest_wasmedge.drivers.polling import PollingHost
from pytest_wasmedge.drivers.runtime_api import RuntimeApi, event, read_reply
from pytest_wasmedge.drivers.serving import ServingLaunch, ServingRuntime
from pytest_wasmedge.errors import HostStartError, UnsupportedError
from pytest_wasmedge.model import Artifact, Host, Invocation, Limits

# Not imported, since it is a program.
_HANDLER = Path(drivers.__file__).with_name("handler.py")
_ENGINE = "wasmtime"
#: With this error the handler says that the engine does not load the code.
_REFUSED = "RefusedError"


class FunctionRuntime(KeepsCode, ServingRuntime):
    """A platform's own client of a function, in the Python that we run in; FunctionHost drives it.

    A guest that does not end is stopped as the platform does it: its environment is killed.
    """

    limits_itself = False
    cache_state = "code-cache"

    @abstractmethod
    def variables(self, launch: ServingLaunch) -> dict[str, str]:
        """Return the variables that say where the Runtime API is, and what the function may use."""

    def exported(self, artifact: Artifact) -> dict[str, bytes]:
        """Return what is in the folder besides the artifact. Raises HostStartError, UnsupportedError."""
        if sys.platform != "linux":
            raise UnsupportedError(
                f"{self.name} runs functions on Linux, and a folder brings engine and compiled code of the machine "
                f"that writes it, which is {sys.platform}: export it on Linux."
            )
        files = {name: self._content(name, artifact) for name in ("handler.py", "artifact.sha256")}
        packed = importlib.metadata.files(_ENGINE) or ()
        own = [path for path in packed if not {"..", "__pycache__"} & set(path.parts)]
        code = self.code_of(_HANDLER, artifact).read_bytes()
        return {**files, "artifact.cwasm": code, **{path.as_posix(): path.read_binary() for path in own}}

    def write_folder(self, folder: Path, artifact: Artifact) -> None:
        """Put the same into a folder, by links where it is large. Raises HostStartError."""
        for name in ("handler.py", "artifact.sha256"):
            (folder / name).write_bytes(self._content(name, artifact))
        (folder / "artifact.wasm").symlink_to(artifact.path.absolute())
        (folder / "artifact.cwasm").symlink_to(self.code_of(_HANDLER, artifact))
        (folder / _ENGINE).symlink_to(_packages() / _ENGINE)

    def _content(self, name: str, artifact: Artifact) -> bytes:
        if name == "handler.py":
            return _HANDLER.read_bytes()
        return f"{artifact.sha256}  artifact.wasm\n".encode()

    def code_key(self, executable: Path, artifact: Artifact) -> tuple[str, str]:
        return (
            f"{_ENGINE}-py {importlib.metadata.version(_ENGINE)}",
            "a function's handler.py, for all processors",
        )

    def compile_to(self, path: Path, executable: Path, artifact: Artifact, workspace: Path) -> None:
        argv = [sys.executable, "-S", str(_HANDLER), str(artifact.path.absolute()), str(path)]
        problem = f"{_ENGINE} cannot compile {artifact.name}"
        run_compiler(argv, {"PYTHONPATH": str(_packages())}, workspace, problem)

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        """Start a host; its phases contain ``compile`` if the artifact had no compiled code yet."""
        phases_ns = compile_phase(self.kept_code(artifact), lambda: self.code_of(_HANDLER, artifact))

        def run() -> Host:
            try:
                return FunctionHost(self, self.executable(), artifact, limits)
            except HostStartError as error:
                if _REFUSED in str(error):
                    raise RefusedError(str(error)) from error
                raise

        host = renewing(run, lambda: self.discard_code(_HANDLER, artifact), self.name, artifact)
        host.start_phases_ns = {**host.start_phases_ns, **phases_ns}
        return host


def _packages() -> Path:
    """Return the folder that has the engine's package."""
    return Path(str(importlib.metadata.distribution(_ENGINE).locate_file("")))


class FunctionHost(PollingHost[RuntimeApi]):
    """One environment of the function after the other, in which one invocation follows the other."""

    runtime: FunctionRuntime
    most_at_once = 1
    _unready = "did not load the function"

    def _body(self, invocation: Invocation, timeout_s: float) -> bytes:
        framed = request_body(self.runtime.name, invocation, timeout_s)
        return event(framed, {WIRE_HEADER: WIRE_VERSION, "content-type": "application/octet-stream"})

    def _read(self, content: bytes) -> Answer:
        return read_reply(self.runtime.name, content)

    def _open(self, workspace: Path) -> tuple[RuntimeApi, ServingLaunch]:
        self.runtime.write_folder(workspace, self.artifact)
        api = RuntimeApi(self.limits.output_bytes)
        launch = ServingLaunch(self._executable, self.artifact, self.limits, workspace, url=api.authority)
        return api, launch

    def _spawn(
        self, launch: ServingLaunch, stdout: int | IO[bytes], stderr: int | IO[bytes], **more_env: str
    ) -> subprocess.Popen[bytes]:
        return super()._spawn(launch, stdout, stderr, **self.runtime.variables(launch), **more_env)
