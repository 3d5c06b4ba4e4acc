"""wasmtime serve: the artifact inside a component of wasi:http, compiled ahead, a fresh instance per request."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers import wasi_http
from pytest_wasmedge.drivers.compiled import KeepsCode, run_compiler
from pytest_wasmedge.drivers.http import Answer, Framed, Served, pieces
from pytest_wasmedge.drivers.process import Announcement
from pytest_wasmedge.drivers.server import Launch, ServerRuntime
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import (
    Artifact,
    Ending,
    Host,
    Invocation,
    Limits,
    exited,
    host_failed,
    out_of_memory,
    trapped,
)

#: The log tells of a trap before the answer breaks off, but it comes to us another way.
_LOG_S = 2.0
_LOOK_S = 0.002
_MOST_MEMORY_BYTES = 1 << 32

#: What the compiled component is called where the program finds it.
_MOST_MEMORIES = 16
_CODE = "component.cwasm"


class Wire(Framed):
    """How the component is asked. An invocation's number is the path of its request, by which the log knows it."""

    def body(self, name: str, invocation: Invocation, timeout_s: float) -> bytes:
        return wasi_http.request_body(invocation)

    def ask(
        self, name: str, server: Served, body: bytes, timeout_s: float, output_bytes: int
    ) -> tuple[int, Answer]:
        import httpx

        number = next(server.numbers)
        heard, by_log = wasi_http.Heard(output_bytes), False
        began_ns = time.perf_counter_ns()
        deadline_ns = began_ns + round(timeout_s * 1e9)
        try:
            with server.client.stream(
                "POST",
                f"{server.url}{number}",
                content=body,
                timeout=httpx.Timeout(timeout_s),
                extensions={"heard": heard},
            ) as response:
                for piece in pieces(response, deadline_ns) if response.is_success else ():
                    heard.feed(piece)
                    if heard.too_much:
                        break
            elapsed_ns = time.perf_counter_ns() - began_ns
            if heard.too_much:
                ending = host_failed(f"output limit of {output_bytes} bytes reached")
            elif heard.status is not None:
                ending = exited(heard.status)
            elif response.status_code == wasi_http.NO_ROOM:
                ending = out_of_memory(
                    f"{name}: the component's own memory, limited alike, has no room for stdin"
                )
            else:
                by_log = True
                ending = _ending_in(server.log, number) or host_failed(
                    f"{name} answered HTTP {response.status_code} without an ending, and its log does not say why"
                )
        except (httpx.RemoteProtocolError, httpx.ReadError):
            elapsed_ns = time.perf_counter_ns() - began_ns
            logged = _ending_in(server.log, number)
            if logged is None:
                raise
            ending, by_log = logged, True
        stdout, stderr = bytes(heard.stdout), bytes(heard.stderr)
        return elapsed_ns, Answer(ending, stdout, stderr, number, runs_on=heard.too_much, by_log=by_log)


class WasmtimeServe(KeepsCode, ServerRuntime):
    """``wasmtime serve``, which knows no time limit per request: a guest that does not end costs its process."""

    name = "wasmtime-serve"
    engine = "Cranelift"
    capabilities = frozenset({"memory_limit", "concurrent"})
    cache_state = "code-cache"
    tool = "wasmtime"
    tools = ("wasmtime",)
    wrapped = (
        "the artifact lies in a component of ours that gives it preview 1 on top of wasi:http, "
        "unchanged but for the names of functions that it imports twice"
    )
    wire = Wire()
    limits_itself = False
    announces_in_log = True
    # Older ones were not tried: they need exceptions, and --header.
    minimum = (49,)
    version_words = r"wasmtime(?:-cli)? (\d+\.\d+\.\d+\S*)(?: .*)?"

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        try:
            return super().start(artifact, limits)
        except HostStartError as error:
            kept = self.kept_code(artifact)
            # The log speaks of the code if it is damaged, or was compiled for another processor.
            if _CODE not in str(error) or not kept or not kept.exists():
                raise
            kept.unlink()
        return super().start(artifact, limits)

    def argv(self, launch: Launch) -> Sequence[str]:
        headers = launch.workspace / "headers"
        headers.touch(mode=0o600)
        headers.write_text(f"{wasi_http.EXPECTED_HEADER}: {launch.secret}\n", encoding="ascii")
        component = launch.workspace / _CODE
        component.unlink(missing_ok=True)
        component.symlink_to(self.code_of(launch.executable, launch.artifact))
        return [
            str(launch.executable),
            "serve",
            "--addr=127.0.0.1:0",
            "--allow-precompiled",
            f"--header=@{headers}",
            f"-Wmax-memory-size={launch.limits.memory_bytes}",
            *_proposal_flags(launch.artifact),
            # Or it would refuse to start with a guest that needs more.
            f"-Opooling-max-memory-size={_MOST_MEMORY_BYTES}",
            f"-Opooling-max-memories-per-module={_MOST_MEMORIES}",
            str(component),
        ]

    def environment(self, workspace: Path) -> dict[str, str]:
        # Its log has to name the requests.
        said = {"WASMTIME_LOG": "wasmtime_cli::commands::serve=info", "RUST_BACKTRACE": "0"}
        return super().environment(workspace) | said

    def greeting(self, launch: Launch) -> bytes:
        return b""

    def announcement(self, line: bytes) -> Announcement | None:
        found = re.match(rb"Serving HTTP on http://127\.0\.0\.1:(\d+)/", line)
        return {"port": int(found[1])} if found else None

    def code_key(self, executable: Path, artifact: Artifact) -> tuple[str, str]:
        # Another component of ours is another key; and 49.0.4 calls itself 49.0.3.
        build = self.versions(executable).build
        return (
            f"wasmtime-serve {build}, {executable.stat().st_size} bytes",
            f"{wasi_http.fingerprint()}{' '.join(_proposal_flags(artifact))}",
        )

    def compile_to(self, path: Path, executable: Path, artifact: Artifact, workspace: Path) -> None:
        wrapped = workspace / "component.wasm"
        wrapped.write_bytes(wasi_http.wrap(artifact.path.read_bytes()))
        run_compiler(
            self,
            [str(executable), "compile", *_proposal_flags(artifact), "-o", str(path), str(wrapped)],
            workspace,
            f"{self.name} could not start with {artifact.name}: wasmtime cannot compile it inside its component",
        )


def _proposal_flags(artifact: Artifact) -> tuple[str, ...]:
    """Return what lets wasmtime take proposals that it has and leaves off, for an artifact that needs any."""
    return ("-W", "all-proposals=y") if artifact.proposals else ()


def _ending_in(log: Path, number: int) -> Ending | None:
    """Wait for what the log tells of this invocation's end, and return it; None if it tells nothing in time."""
    deadline_s = time.monotonic() + _LOG_S
    while True:
        whole = time.monotonic() > deadline_s
        ending = read_log(log.read_text("utf-8", "backslashreplace"), number, whole=whole)
        if ending is not None or whole:
            return ending
        time.sleep(_LOOK_S)


def read_log(log: str, number: int, *, whole: bool) -> Ending | None:
    """Return how an invocation that was alone ended, by the words of the engine; None if it has said nothing of it.

    The engine's report does not say of which request it speaks: it is the first after the request came. What is
    no trap is taken for the host's failure once the log is ``whole``: the rest may be on the way.
    """
    _, came, since = log.partition(f": POST /{number}\n")
    failed = re.search(r"^(?:worker failed|error): (.*)", since, re.DOTALL | re.MULTILINE)
    if not (came and failed):
        return None
    report = failed[1]
    if trap := re.search(r"wasm trap: (.*)\n|(thrown Wasm exception)\n", report):
        return trapped(f"wasmtime: {trap[1] or trap[2]}")
    if report.startswith("instantiation error: error while executing at wasm backtrace:\n    0:"):
        # It names no cause of a trap in a start function.
        return trapped("wasmtime: trap while it was instantiated")
    if unmade := re.search(r"(memory minimum size .*)\n", report):
        return out_of_memory(f"wasmtime: {unmade[1]}")
    return host_failed(f"wasmtime: {report.partition(chr(10))[0]}") if whole else None


RUNTIME = WasmtimeServe
