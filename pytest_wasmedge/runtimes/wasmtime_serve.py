"""wasmtime serve: the artifact inside a component of wasi:http, compiled ahead, a fresh instance per request."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers import wasi_http
from pytest_wasmedge.drivers.compiled import KeepsCode, RefusedError, renewing, run_compiler
from pytest_wasmedge.drivers.folders import lent
from pytest_wasmedge.drivers.http import Answer, Framed, Timed, pieces
from pytest_wasmedge.drivers.process import Announcement
from pytest_wasmedge.drivers.server import Server, ServerHost, ServerRuntime, ServingLaunch
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import (
    Artifact,
    Ending,
    Host,
    Invocation,
    Limits,
    Outcome,
    exited,
    host_failed,
    out_of_memory,
    trapped,
)

#: The log reports a trap before the answer breaks off, but reaches us by another way, perhaps later.
_LOG_S = 2.0
_LOOK_S = 0.002
_MOST_MEMORY_BYTES = 1 << 32

_MOST_MEMORIES = 16

#: In the workspace: the compiled component, and the copies of the folders that guests are granted.
_CODE, _COPIES = "component.cwasm", "copies"


class Wire(Framed):
    """The component's format. An invocation's number is the path of its request, which the log shows."""

    def body(self, name: str, invocation: Invocation, timeout_s: float) -> bytes:
        return wasi_http.request_body(invocation)

    def ask(self, name: str, server: Server, body: bytes, timeout_s: float, output_bytes: int) -> Timed:
        import httpx

        number = next(server.numbers)
        heard, broke_off = wasi_http.Heard(output_bytes), None
        began_ns = time.perf_counter_ns()
        deadline_ns = began_ns + round(timeout_s * 1e9)
        url, limit, extensions = f"{server.url}{number}", httpx.Timeout(timeout_s), {"heard": heard}
        try:
            with server.client.stream(
                "POST", url, content=body, timeout=limit, extensions=extensions
            ) as response:
                for piece in pieces(response, deadline_ns) if response.is_success else ():
                    heard.feed(piece)
                    if heard.too_much:
                        break
        except (httpx.RemoteProtocolError, httpx.ReadError) as error:
            broke_off = error
        elapsed_ns = time.perf_counter_ns() - began_ns
        by_log = False
        if heard.too_much:
            ending = host_failed(f"output limit of {output_bytes} bytes reached")
        elif heard.status is not None and not broke_off:
            ending = exited(heard.status)
        elif not broke_off and response.status_code == wasi_http.NO_ROOM:
            ending = out_of_memory(
                f"{name}: the component's own memory, limited alike, has no room for stdin"
            )
        elif logged := _ending_in(server.log, number):
            ending, by_log = logged, True
        elif broke_off:
            raise broke_off
        else:
            problem = f"answered HTTP {response.status_code} without an ending, and its log does not say why"
            ending, by_log = host_failed(f"{name} {problem}"), True
        stdout, stderr = bytes(heard.stdout), bytes(heard.stderr)
        return elapsed_ns, Answer(ending, stdout, stderr, number, runs_on=heard.too_much, by_log=by_log)


class WasmtimeServeHost(ServerHost):
    """A server whose guests' folders are copies on disk."""

    def _try(self, invocation: Invocation, timeout_s: float, *, alone: bool) -> Outcome | None:
        with lent(self.runtime.name, invocation, self._workspace.path / _COPIES) as given:
            outcome = super()._try(given.invocation, timeout_s, alone=alone)
            return outcome and given.outcome(outcome, self.limits.output_bytes)


class WasmtimeServe(KeepsCode, ServerRuntime):
    """``wasmtime serve``. It has no time limit per request: a guest that does not end is killed with the process."""

    name = "wasmtime-serve"
    engine = "Cranelift"
    groups = frozenset({"edge"})
    flags_at = 2
    capabilities = frozenset({"memory_limit", "preopens", "concurrent"})
    cache_state = "code-cache"
    tool = "wasmtime"
    tools = ("wasmtime",)
    wrapped = (
        "the artifact is inside our component, which gives it preview 1 on top of wasi:http, "
        "unchanged but for the names of functions that it imports twice"
    )
    wire = Wire()
    limits_itself = False
    announces_in_log = True
    # It needs exceptions and --header. Older versions were not tried.
    minimum = (49,)
    version_words = r"wasmtime(?:-cli)? (\d+\.\d+\.\d+\S*)(?: .*)?"

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        def run() -> Host:
            try:
                return WasmtimeServeHost(self, self.executable(), artifact, limits)
            except HostStartError as error:
                # The log names the code if it is damaged, or was compiled for another processor.
                if _CODE in str(error):
                    raise RefusedError(str(error)) from error
                raise

        return renewing(run, lambda: self.discard_code(self.executable(), artifact), self.name, artifact)

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        headers = launch.workspace / "headers"
        headers.touch(mode=0o600)
        headers.write_text(f"{wasi_http.EXPECTED_HEADER}: {launch.secret}\n", encoding="ascii")
        copies = launch.workspace / _COPIES
        copies.mkdir(mode=0o700, exist_ok=True)
        component = launch.workspace / _CODE
        component.unlink(missing_ok=True)
        component.symlink_to(self.code_of(launch.executable, launch.artifact))
        return [
            str(launch.executable),
            "serve",
            "--addr=127.0.0.1:0",
            "--allow-precompiled",
            # Our component opens the copies in it that a request names; the artifact gets those and nothing else.
            "-Scli=y",
            f"--dir={copies}::/",
            f"--header=@{headers}",
            f"-Wmax-memory-size={launch.limits.memory_bytes}",
            *_proposal_flags(launch.artifact),
            # The allocator that it prefers takes no shared memory.
            *(["-Opooling-allocator=n"] if "threads" in launch.artifact.proposals else []),
            # Otherwise it does not start with a guest that needs more.
            f"-Opooling-max-memory-size={_MOST_MEMORY_BYTES}",
            f"-Opooling-max-memories-per-module={_MOST_MEMORIES}",
            str(component),
        ]

    def environment(self, workspace: Path) -> dict[str, str]:
        # The log has to show the requests.
        log = {"WASMTIME_LOG": "wasmtime_cli::commands::serve=info", "RUST_BACKTRACE": "0"}
        return super().environment(workspace) | log

    def greeting(self, launch: ServingLaunch) -> bytes:
        return b""

    def announcement(self, line: bytes) -> Announcement | None:
        found = re.match(rb"Serving HTTP on http://127\.0\.0\.1:(\d+)/", line)
        return {"port": int(found[1])} if found else None

    def code_key(self, executable: Path, artifact: Artifact) -> tuple[str, str]:
        # A change of our component changes the key, too. 49.0.4 prints the version 49.0.3.
        build = self.versions(executable).build
        settings = " ".join((wasi_http.fingerprint(), *_proposal_flags(artifact), *self.flags))
        return f"wasmtime-serve {build}, {executable.stat().st_size} bytes", settings

    def compile_to(self, path: Path, executable: Path, artifact: Artifact, workspace: Path) -> None:
        wrapped = workspace / "component.wasm"
        wrapped.write_bytes(wasi_http.wrap(artifact.path.read_bytes(), artifact.proposals))
        flags = (*_proposal_flags(artifact), *self.flags)
        argv = [str(executable), "compile", *flags, "-o", str(path), str(wrapped)]
        problem = f"{self.name} could not start with {artifact.name}: wasmtime cannot compile it inside its component"
        run_compiler(argv, self.environment(workspace), workspace, problem)


def _proposal_flags(artifact: Artifact) -> tuple[str, ...]:
    """Return the options that enable all proposals, for an artifact that needs any."""
    shared = ",shared-memory=y" if "threads" in artifact.proposals else ""
    return ("-W", f"all-proposals=y{shared}") if artifact.proposals else ()


def _ending_in(log: Path, number: int) -> Ending | None:
    """Wait until the log says how this invocation ended, and return that; None if it does not in time."""
    deadline_s = time.monotonic() + _LOG_S
    while True:
        whole = time.monotonic() > deadline_s
        ending = read_log(log.read_text("utf-8", "backslashreplace"), number, whole=whole)
        if ending is not None or whole:
            return ending
        time.sleep(_LOOK_S)


def read_log(log: str, number: int, *, whole: bool) -> Ending | None:
    """Return how an invocation ended, from the engine's report; None if the log has no report yet.

    The invocation has to be alone: a report does not name its request, and is the first one after it. A report that is
    no trap counts as the host's failure once the log is ``whole``; before that, the rest of it may still come.
    """
    _, came, since = log.partition(f": POST /{number}\n")
    failed = re.search(r"^(?:worker failed|error): (.*)", since, re.DOTALL | re.MULTILINE)
    if not (came and failed):
        return None
    report = failed[1]
    if trap := re.search(r"wasm trap: (.*)\n|(thrown Wasm exception)\n", report):
        return trapped(f"wasmtime: {trap[1] or trap[2]}")
    if report.startswith("instantiation error: error while executing at wasm backtrace:\n    0:"):
        # wasmtime names no cause for a trap in a start function.
        return trapped("wasmtime: trap while it was instantiated")
    if unmade := re.search(r"(memory minimum size .*)\n", report):
        return out_of_memory(f"wasmtime: {unmade[1]}")
    return host_failed(f"wasmtime: {report.partition(chr(10))[0]}") if whole else None


RUNTIME = WasmtimeServe
