"""wasmtime serve: the artifact inside a component of wasi:http, compiled ahead, a fresh instance per request."""

from __future__ import annotations

import itertools
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pytest_wasmedge.drivers import wasi_http
from pytest_wasmedge.drivers.compiled import compiled, place_of
from pytest_wasmedge.drivers.http import Answer, Framed, Served
from pytest_wasmedge.drivers.process import Announcement, spawn, stop
from pytest_wasmedge.drivers.server import Launch, ServerRuntime
from pytest_wasmedge.drivers.versions import Versions, told
from pytest_wasmedge.errors import HostStartError, ProvisionError, RuntimeUnavailableError
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

if TYPE_CHECKING:
    import httpx

#: The log tells of a trap before the answer breaks off, but it comes to us another way.
_LOG_S = 2.0
_LOOK_S = 0.002
_MOST_MEMORY_BYTES = 1 << 32

#: What the compiled component is called where the program finds it.
_CODE = "component.cwasm"


class Wire(Framed):
    """How the component is asked. An invocation's number is the path of its request, by which the log knows it."""

    def __init__(self) -> None:
        self._numbers: WeakKeyDictionary[httpx.Client, Iterator[int]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def body(self, name: str, invocation: Invocation, timeout_s: float) -> bytes:
        return wasi_http.request_body(invocation)

    def ask(
        self, name: str, server: Served, body: bytes, timeout_s: float, output_bytes: int
    ) -> tuple[int, Answer]:
        import httpx

        with self._lock:
            number = next(self._numbers.setdefault(server.client, itertools.count(1)))
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
                for chunk in response.iter_raw() if response.is_success else ():
                    heard.feed(chunk)
                    if heard.too_much:
                        break
                    if time.perf_counter_ns() > deadline_ns:
                        raise httpx.ReadTimeout("the guest did not end", request=response.request)
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


class WasmtimeServe(ServerRuntime):
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
        component.symlink_to(self._compiled(launch))
        return [
            str(launch.executable),
            "serve",
            "--addr=127.0.0.1:0",
            "--allow-precompiled",
            f"--header=@{headers}",
            f"-Wmax-memory-size={launch.limits.memory_bytes}",
            # Or it would refuse to start with a guest that needs more.
            f"-Opooling-max-memory-size={_MOST_MEMORY_BYTES}",
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

    def version_argv(self, executable: Path) -> Sequence[str]:
        return [str(executable), "--version"]

    def read_versions(self, said: str) -> Versions:
        # ``wasmtime 49.0.3 (f96eabaa1 2026-10-14)``
        line = told(r"wasmtime(?:-cli)? (\d+\.\d+\.\d+\S*)(?: .*)?", said)
        return Versions(line[1], line[1], build=line[0])

    def kept_code(self, artifact: Artifact) -> Path | None:
        try:
            found = self.locate()
            return place_of(artifact, *self._key(found.path)) if found else None
        except (ProvisionError, RuntimeUnavailableError):
            return None

    def _compiled(self, launch: Launch) -> Path:
        def compile_to(path: Path) -> None:
            wrapped = launch.workspace / "component.wasm"
            wrapped.write_bytes(wasi_http.wrap(launch.artifact.path.read_bytes()))
            command = [str(launch.executable), "compile", "-o", str(path), str(wrapped)]
            environment = self.environment(launch.workspace)
            process = spawn(command, env=environment, cwd=launch.workspace, stderr=subprocess.PIPE)
            try:
                _, stderr = process.communicate()
            finally:
                stop(process)
                wrapped.unlink()
            if process.returncode:
                said = " ".join(stderr.decode("utf-8", "backslashreplace").split())
                raise HostStartError(
                    f"{self.name} could not start with {launch.artifact.name}: wasmtime cannot compile it inside "
                    f"its component: {said[:400] or 'no message'}. "
                    "Check the file with `wasm-tools validate`, or build it again."
                )

        return compiled(launch.artifact, *self._key(launch.executable), compile_to)

    def _key(self, executable: Path) -> tuple[str, str]:
        """Return engine and settings, by which compiled code is kept: another component of ours is another key.

        49.0.4 calls itself 49.0.3, so the version alone would not do.
        """
        build = self.versions(executable).build
        return f"wasmtime-serve {build}, {executable.stat().st_size} bytes", wasi_http.fingerprint()


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
    if trap := re.search(r"wasm trap: (.*)\n", report):
        return trapped(f"wasmtime: {trap[1]}")
    if unmade := re.search(r"(memory minimum size .*)\n", report):
        return out_of_memory(f"wasmtime: {unmade[1]}")
    return host_failed(f"wasmtime: {report.partition(chr(10))[0]}") if whole else None


RUNTIME = WasmtimeServe
