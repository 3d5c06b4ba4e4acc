"""The host in a Python SDK: an HTTP server on loopback that runs each invocation in a new sandbox.

A program for `python -I -S`. It does not import this package, and takes the SDK from the folder on its command line:

    sdk_server.py versions FOLDER                       prints {"version": …, "engine_version": …}
    sdk_server.py compile FOLDER CACHE ARTIFACT CODE    writes the artifact's compiled code to the cache, as CODE
    sdk_server.py serve FOLDER CACHE                    reads one line {secret, artifact, output_bytes} on stdin, prints
                                                        one line {port, phases_ns}, and exits when stdin closes
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import importlib
import importlib.metadata
import itertools
import json
import mmap
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

#: The SDK's module and its distribution.
_SDK = "wasmer_sdk"
SECRET_HEADER = "pytest-wasmedge-secret"
# The same in every host: model.ARGV0. A guest has the name of its command.
ARGV0 = "artifact.wasm"

# The SDK's message for a trap, which a backtrace follows.
_TRAP = re.compile(
    r"command execution failed: (?:unable to spawn the command: Failed to create the instance - )?"
    r"RuntimeError: ([^\n]*)"
)
_CRANELIFT = re.compile(rb"cranelift-codegen-(\d+\.\d+\.\d+)")
#: How long we wait for the rest of the streams of a guest that trapped; it should be available at once.
_REST_S = 5.0
_WAITING_CONNECTIONS = 128
#: A client that has not sent the secret yet may keep its connection this long.
_STRANGER_S = 10.0
_MOST_BODY_BYTES = 1 << 31
# How much of what a stranger sends after its refusal is thrown away.
_LINGER_BYTES = 1 << 16
#: How often we check whether the compiler is done.
_LOOK_S = 0.05

Result = tuple[bytes, bytes, dict[str, Any]]


def ending(kind: str, status: int | None = None, detail: str = "") -> dict[str, Any]:
    """Return an ending in the format of an answer."""
    return {"kind": kind, "status": status, "detail": " ".join(detail.split())}


class Guests:
    """Holds one artifact and runs it, each time in a new sandbox without network and folders."""

    def __init__(self, folder: str, cache: str, output_bytes: int) -> None:
        sys.path.insert(0, folder)
        self.sdk: Any = importlib.import_module(_SDK)
        self._client: Any = self.sdk.Wasmer(cache_root=cache, output_bytes=output_bytes)
        self._output_bytes = output_bytes
        self._package: Any = None

    async def load(self, artifact: Path) -> None:
        """Load the artifact; nothing is compiled yet."""
        command = self.sdk.PackageCommandDefinition(module=ARGV0)
        modules = {ARGV0: artifact.read_bytes()}
        definition = self.sdk.PackageDefinition(modules=modules, commands={ARGV0: command})
        self._package = await self._client.packages.create(definition)

    async def compile(self) -> None:
        """Compile by starting a guest; the process should end soon afterwards."""
        sandbox = await self._client.sandboxes.create(packages=[self._package])
        await sandbox.command(self._package).spawn()

    async def run(
        self, args: Sequence[str], env: Mapping[str, str], stdin: bytes, timeout_s: float
    ) -> Result:
        """Run the guest to its end; return its stdout, its stderr and how it ended."""
        limit = self._output_bytes
        async with await self._client.sandboxes.create(packages=[self._package]) as sandbox:
            spawning = sandbox.command(self._package, args, env=env).spawn(
                timeout=timeout_s, output_bytes=limit, stdin="pipe"
            )
            try:
                # The SDK's time limit does not cover a guest's start function.
                process = await asyncio.wait_for(spawning, timeout_s)
            except TimeoutError:
                return b"", b"", ending("timed_out", detail="it did not get as far as to be started")
            except self.sdk.WasmerError as error:
                return b"", b"", _ending_of(error)
            streams = _Streams(process, limit)
            feeding = asyncio.create_task(self._feed(process, stdin))
            try:
                output = await process.wait()
            except self.sdk.WasmerError as error:
                # After a trap, the streams are in the pipes alone.
                return *await streams.rest(), _ending_of(error)
            finally:
                feeding.cancel()
                streams.cancel()
        # The pipes of a guest that was stopped do not end, but its output is here, too.
        stdout, stderr = output.stdout.bytes, output.stderr.bytes
        truncated = output.stdout.truncated or output.stderr.truncated
        if streams.too_much or truncated or len(stdout) + len(stderr) > limit:
            too_much = ending("host_failed", detail=f"output limit of {limit} bytes reached")
            return stdout[:limit], stderr[: max(0, limit - len(stdout))], too_much
        reason = output.reason.value
        if reason == "exited":
            return stdout, stderr, ending("exited", output.exit_code)
        kind = "timed_out" if reason == "timeout" else "host_failed"
        return stdout, stderr, ending(kind, detail=f"the guest was stopped: {reason}")

    async def _feed(self, process: Any, stdin: bytes) -> None:
        # A guest may end without reading all of it.
        with contextlib.suppress(self.sdk.WasmerError):
            if stdin:
                await process.stdin.write(stdin)
            await process.stdin.close()


def _ending_of(error: Any) -> dict[str, Any]:
    if trap := _TRAP.match(str(error)):
        return ending("trapped", detail=trap[1])
    return ending("host_failed", detail=f"{error.code}: {error}")


class _Streams:
    """Reads both outputs of a guest at once, and stops the guest when they are too long together."""

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
        """Return the whole output once the pipes have ended."""
        await asyncio.wait(self._tasks, timeout=_REST_S)
        stdout, stderr = self._written
        return bytes(stdout), bytes(stderr)

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()


class Server(ThreadingHTTPServer):
    """Listens on loopback, and passes requests to the event loop that the guests run in."""

    daemon_threads = True
    request_queue_size = _WAITING_CONNECTIONS

    def __init__(self, guests: Guests, secret: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.guests, self.secret = guests, secret.encode()
        self.loop = asyncio.get_running_loop()
        self.numbers = itertools.count(1)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection once its other end has, or has sent enough: closed earlier, it breaks what is written."""
        until_s, left = time.monotonic() + _STRANGER_S, _LINGER_BYTES
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            while left > 0 and (wait_s := until_s - time.monotonic()) > 0:
                request.settimeout(wait_s)
                heard = len(request.recv(left))
                left = left - heard if heard else 0
        self.close_request(request)


class Handler(BaseHTTPRequestHandler):
    """Reads one line of JSON and then stdin, answers with one line of JSON and then both outputs."""

    protocol_version = "HTTP/1.1"
    # Head and body are written separately.
    disable_nagle_algorithm = True
    timeout = _STRANGER_S
    server: Server

    def do_POST(self) -> None:
        given = self.headers.get(SECRET_HEADER, "").encode("latin-1", "replace")
        length = self.headers.get("content-length", "")
        known = hmac.compare_digest(given, self.server.secret)
        # Nothing of a stranger's body is read, nor one of unknown length.
        if not (known and length.isdecimal() and int(length) <= _MOST_BODY_BYTES):
            return self._refuse()
        self.connection.settimeout(None)
        body = self.rfile.read(int(length))
        line, _, stdin = body.partition(b"\n")
        try:
            head = json.loads(line)
            args, env, timeout_s = list(head["args"]), dict(head["env"]), head["timeout_ms"] / 1000
        except (ValueError, LookupError, TypeError):
            return self._answer(400)
        number = next(self.server.numbers)
        running = self.server.guests.run(args, env, stdin, timeout_s)
        try:
            stdout, stderr, how = asyncio.run_coroutine_threadsafe(running, self.server.loop).result()
        except Exception as error:
            # Any error is this host's failure, and the next invocation may work.
            stdout, stderr, how = b"", b"", ending("host_failed", detail=f"{type(error).__name__}: {error}")
        answer = {
            "stdout_bytes": len(stdout),
            "stderr_bytes": len(stderr),
            "ending": how,
            "invocation": number,
            "phases_ns": {},
        }
        return self._answer(200, b"".join((json.dumps(answer).encode(), b"\n", stdout, stderr)), number)

    def send_error(self, *_: object) -> None:
        """Answer every other request like one without the secret."""
        self._refuse()

    def _refuse(self) -> None:
        self.close_connection = True
        self._answer(404)

    def _answer(self, status: int, body: bytes = b"", number: int | None = None) -> None:
        self.send_response_only(status)
        self.send_header("content-length", str(len(body)))
        if self.close_connection:
            self.send_header("connection", "close")
        if number is not None:
            self.send_header("content-type", "application/octet-stream")
            self.send_header("pytest-wasmedge-invocation", str(number))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log no requests: the log is for failures."""


def say(what: Mapping[str, object]) -> None:
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def serve(folder: str, cache: str) -> None:
    """Load the artifact, listen, and serve until `exit_with_stdin` ends the process."""
    settings = json.loads(sys.stdin.buffer.readline())
    began_ns = time.perf_counter_ns()
    guests = Guests(folder, cache, settings["output_bytes"])
    await guests.load(Path(settings["artifact"]))
    load_ns = time.perf_counter_ns() - began_ns
    server = Server(guests, settings["secret"])
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    threading.Thread(target=exit_with_stdin, name="stdin", daemon=True).start()
    say({"port": server.server_port, "phases_ns": {"load": load_ns}})
    await asyncio.Event().wait()


def exit_with_stdin() -> None:
    """End the process, even while guests run, when the other end of stdin is closed."""
    while sys.stdin.buffer.read(1):
        pass
    os._exit(0)


async def compile_into_cache(folder: str, cache: str, artifact: str, code: str) -> None:
    """Compile, and end the process as soon as the code exists, since this starts the guest, too."""
    guests = Guests(folder, cache, 0)
    await guests.load(Path(artifact))
    compiling = asyncio.create_task(guests.compile())
    # A guest whose start function loops is never started.
    while not compiling.done() and not Path(code).exists():
        await asyncio.wait([compiling], timeout=_LOOK_S)
    try:
        if compiling.done():
            compiling.result()
    except guests.sdk.WasmerError as error:
        # A guest that traps in its start function has been compiled.
        if not _TRAP.match(str(error)):
            sys.stderr.write(f"{error.code}: {error}\n")
            sys.stderr.flush()
            os._exit(1)
    os._exit(0)


def versions(folder: str) -> dict[str, str]:
    """Return the versions of the package and of its engine; raises if the library cannot be loaded."""
    sys.path.insert(0, folder)
    importlib.import_module(_SDK)
    (library,) = Path(folder).glob(f"{_SDK}/lib{_SDK}_uniffi.*")
    (package,) = importlib.metadata.distributions(name=_SDK, path=[folder])
    # The library has no version of its engine, but the paths of the engine's sources.
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = _CRANELIFT.search(content)
        return {"version": package.version, "engine_version": found[1].decode() if found else ""}


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    if mode == "versions":
        say(versions(*rest))
    else:
        asyncio.run((compile_into_cache if mode == "compile" else serve)(*rest))
