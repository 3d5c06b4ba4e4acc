"""The host in an SDK for Python: an HTTP server on loopback that runs each invocation in a sandbox of its own.

A program for `python -I -S`, which imports nothing of ours, and the SDK from the folder that it is given:

    sdk_server.py versions FOLDER                   prints {"version": …, "engine_version": …}
    sdk_server.py compile FOLDER CACHE ARTIFACT CODE    leaves the artifact's compiled code in the cache, as CODE
    sdk_server.py serve FOLDER CACHE                reads one line {secret, artifact, output_bytes} on stdin, prints
                                                    one line {port, phases_ns}, and exits when stdin closes
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import importlib
import importlib.metadata
import json
import mmap
import os
import re
import sys
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

#: The module and its distribution.
_SDK = "wasmer_sdk"
SECRET_HEADER = "pytest-wasmedge-secret"
# The same in every host: model.ARGV0. A guest is called like its command.
ARGV0 = "artifact.wasm"

# How the SDK words a trap; the rest of its message is a backtrace.
_TRAP = re.compile(
    r"command execution failed: (?:unable to spawn the command: Failed to create the instance - )?"
    r"RuntimeError: ([^\n]*)"
)
_CRANELIFT = re.compile(rb"cranelift-codegen-(\d+\.\d+\.\d+)")
#: How long we wait for the rest of the streams of a guest that trapped; it is there already.
_REST_S = 5.0
_WAITING_CONNECTIONS = 128
#: How often we look whether a compiler is done.
_LOOK_S = 0.05


def ending(kind: str, status: int | None = None, detail: str = "") -> dict[str, Any]:
    """Return an ending as it goes over HTTP."""
    return {"kind": kind, "status": status, "detail": " ".join(detail.split())}


class Guests:
    """Holds one artifact, and runs it: each time in a new sandbox, which has no network and no folders."""

    def __init__(self, folder: str, cache: str, output_bytes: int) -> None:
        sys.path.insert(0, folder)
        self._sdk: Any = importlib.import_module(_SDK)
        self._client: Any = self._sdk.Wasmer(cache_root=cache, output_bytes=output_bytes)
        self._output_bytes = output_bytes
        self._package: Any = None

    async def load(self, artifact: bytes) -> None:
        """Take the artifact as it is; nothing is compiled yet."""
        sdk = self._sdk
        command = sdk.PackageCommandDefinition(module=ARGV0)
        definition = sdk.PackageDefinition(modules={ARGV0: artifact}, commands={ARGV0: command})
        self._package = await self._client.packages.create(definition)

    async def compile(self) -> None:
        """Compile, which happens when a guest is started: there is one now, and the process had better end."""
        sandbox = await self._client.sandboxes.create(packages=[self._package])
        await sandbox.command(self._package).spawn()

    async def run(
        self, args: Sequence[str], env: Mapping[str, str], stdin: bytes, timeout_s: float
    ) -> tuple[bytes, bytes, dict[str, Any]]:
        """Run the guest to its end; return its stdout, its stderr and how it ended."""
        async with await self._client.sandboxes.create(packages=[self._package]) as sandbox:
            spawning = sandbox.command(self._package, args, env=env).spawn(
                timeout=timeout_s, output_bytes=self._output_bytes, stdin="pipe"
            )
            try:
                # Its own limit does not count what the guest does before it is started.
                process = await asyncio.wait_for(spawning, timeout_s)
            except TimeoutError:
                return b"", b"", ending("timed_out", detail="it did not get as far as to be started")
            except self._sdk.WasmerError as error:
                return b"", b"", self._ending_of(error)
            streams = _Streams(process, self._output_bytes)
            feeding = asyncio.create_task(self._feed(process, stdin))
            try:
                output = await process.wait()
            except self._sdk.WasmerError as error:
                # All that a trap leaves of the streams is in the pipes.
                return *await streams.rest(), self._ending_of(error)
            finally:
                feeding.cancel()
                streams.cancel()
        # The pipes of a guest that was stopped have no end, and what it wrote is here, too.
        stdout, stderr = output.stdout.bytes, output.stderr.bytes
        limit = self._output_bytes
        truncated = output.stdout.truncated or output.stderr.truncated
        if streams.too_much or truncated or len(stdout) + len(stderr) > limit:
            told = ending("host_failed", detail=f"output limit of {limit} bytes reached")
            return stdout[:limit], stderr[: max(0, limit - len(stdout))], told
        reason = output.reason.value
        if reason == "exited":
            return stdout, stderr, ending("exited", output.exit_code)
        kind = "timed_out" if reason == "timeout" else "host_failed"
        return stdout, stderr, ending(kind, detail=f"the guest was stopped: {reason}")

    async def _feed(self, process: Any, stdin: bytes) -> None:
        # A guest may end without reading all of it.
        with contextlib.suppress(self._sdk.WasmerError):
            if stdin:
                await process.stdin.write(stdin)
            await process.stdin.close()

    def _ending_of(self, error: Any) -> dict[str, Any]:
        if trap := _TRAP.match(str(error)):
            return ending("trapped", detail=trap[1])
        return ending("host_failed", detail=f"{error.code}: {error}")


class _Streams:
    """Reads both outputs of a guest at once, and stops it when they are too much together."""

    def __init__(self, process: Any, output_bytes: int) -> None:
        self._process = process
        self._left = output_bytes
        self.too_much = False
        self._written = (bytearray(), bytearray())
        pipes = zip((process.stdout, process.stderr), self._written, strict=True)
        self._tasks = [asyncio.create_task(self._read(pipe, written)) for pipe, written in pipes]

    async def _read(self, pipe: Any, written: bytearray) -> None:
        async for chunk in pipe:
            self._left -= len(chunk)
            if self._left >= 0:
                written += chunk
            elif not self.too_much:
                self.too_much = True
                await self._process.kill()

    async def rest(self) -> tuple[bytes, bytes]:
        """Return all that the guest wrote, once its pipes have ended."""
        await asyncio.wait(self._tasks, timeout=_REST_S)
        stdout, stderr = self._written
        return bytes(stdout), bytes(stderr)

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()


class Server(ThreadingHTTPServer):
    """Listens on loopback, and hands what comes to the loop in which the guests run."""

    daemon_threads = True
    request_queue_size = _WAITING_CONNECTIONS

    def __init__(self, guests: Guests, secret: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.guests, self.secret = guests, secret.encode()
        self._loop = loop
        self._lock = threading.Lock()
        self._invocations = 0

    def number(self) -> int:
        """Count one more invocation."""
        with self._lock:
            self._invocations += 1
            return self._invocations

    def wait_for(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Have this done in the loop, and return what came of it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class Handler(BaseHTTPRequestHandler):
    """Takes one line of JSON and then stdin, answers with one line of JSON and then both outputs."""

    protocol_version = "HTTP/1.1"
    # Head and body are two writes.
    disable_nagle_algorithm = True
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        given = self.headers.get(SECRET_HEADER, "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, self.server.secret):
            return self._answer(404)
        line, _, stdin = body.partition(b"\n")
        try:
            head = json.loads(line)
            args, env, timeout_s = list(head["args"]), dict(head["env"]), head["timeout_ms"] / 1000
        except (ValueError, LookupError, TypeError):
            return self._answer(400)
        number = self.server.number()
        try:
            stdout, stderr, told = self.server.wait_for(self.server.guests.run(args, env, stdin, timeout_s))
        except Exception as error:
            # Whatever it is, it is this host's failure, and the next invocation may work.
            stdout, stderr, told = b"", b"", ending("host_failed", detail=f"{type(error).__name__}: {error}")
        answer = {
            "stdout_bytes": len(stdout),
            "stderr_bytes": len(stderr),
            "ending": told,
            "invocation": number,
            "phases_ns": {},
        }
        return self._answer(200, b"".join((json.dumps(answer).encode(), b"\n", stdout, stderr)), number)

    def _answer(self, status: int, body: bytes = b"", number: int | None = None) -> None:
        self.send_response_only(status)
        self.send_header("content-length", str(len(body)))
        if number is not None:
            self.send_header("content-type", "application/octet-stream")
            self.send_header("pytest-wasmedge-invocation", str(number))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the log is for what goes wrong."""


def say(what: Mapping[str, object]) -> None:
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def serve(folder: str, cache: str) -> None:
    """Load, listen, and go on until the process is ended by `exit_with_stdin`."""
    settings = json.loads(sys.stdin.buffer.readline())
    began_ns = time.perf_counter_ns()
    guests = Guests(folder, cache, settings["output_bytes"])
    await guests.load(Path(settings["artifact"]).read_bytes())
    load_ns = time.perf_counter_ns() - began_ns
    server = Server(guests, settings["secret"], asyncio.get_running_loop())
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    threading.Thread(target=exit_with_stdin, name="stdin", daemon=True).start()
    say({"port": server.server_port, "phases_ns": {"load": load_ns}})
    await asyncio.Event().wait()


def exit_with_stdin() -> None:
    """End the process, whatever its guests are doing, once nobody holds the other end of stdin."""
    while sys.stdin.buffer.read(1):
        pass
    os._exit(0)


async def compile_into_cache(folder: str, cache: str, artifact: str, code: str) -> None:
    """Compile, and end the process once the code is there, before the guest that this starts gets far."""
    guests = Guests(folder, cache, 0)
    await guests.load(Path(artifact).read_bytes())
    compiling = asyncio.create_task(guests.compile())
    # A guest whose start function loops never gets as far as to be started.
    while not compiling.done() and not Path(code).exists():
        await asyncio.wait([compiling], timeout=_LOOK_S)
    try:
        if compiling.done():
            compiling.result()
    except guests._sdk.WasmerError as error:
        # One that traps before it is started has been compiled.
        if not _TRAP.match(str(error)):
            sys.stderr.write(f"{error.code}: {error}\n")
            sys.stderr.flush()
            os._exit(1)
    os._exit(0)


def versions(folder: str) -> dict[str, str]:
    """Return what the package and its library say of themselves; the library has to load."""
    sys.path.insert(0, folder)
    importlib.import_module(_SDK)
    (library,) = Path(folder).glob(f"{_SDK}/lib{_SDK}_uniffi.*")
    (package,) = importlib.metadata.distributions(name=_SDK, path=[folder])
    # The library tells no version of its engine, but where its sources lay.
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = _CRANELIFT.search(content)
        cranelift = found[1].decode() if found else ""
    return {"version": package.version, "engine_version": cranelift}


def main(mode: str, folder: str, *rest: str) -> None:
    """Do what the command line says."""
    if mode == "versions":
        say(versions(folder))
    elif mode == "compile":
        asyncio.run(compile_into_cache(folder, *rest))
    else:
        asyncio.run(serve(folder, *rest))


if __name__ == "__main__":
    main(*sys.argv[1:])
