"""Serves a page in a browser over loopback: its files, a stream of jobs, and the results that it posts."""

from __future__ import annotations

import contextlib
import hmac
import json
import queue
import secrets
import socket
import struct
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pytest_wasmedge.drivers.http import read_phases

#: A client that has not sent the secret yet may keep its connection this long.
_STRANGER_S = 10.0
#: How often we write to a stream without jobs: before a browser closes a silent stream (300 s were seen), and while a
#: result is awaited soon enough to see that the page is gone. One browser closes the connection of a page whose
#: process has died only when it has something to pass on.
_SIGN_OF_LIFE_S, _BUSY_SIGN_OF_LIFE_S = 60.0, 1.0
#: The line of JSON before the streams of an answer is shorter.
_NAMES_BYTES = 64 << 20
_HEAD = struct.Struct(">II")
_DISCARD = b"discard"
_INDEX = """<!doctype html><html lang="en" data-output-bytes="%d"><meta charset="utf-8">
<link rel="icon" href="data:,"><title>pytest-wasmedge</title><script type="module" src="page.mjs"></script></html>
"""
_MODULE = "text/javascript; charset=utf-8"
_TYPES = {"": "text/html; charset=utf-8", "artifact.wasm": "application/wasm"}
_HEADERS = {
    # Every worker loads the modules again. The browser's cache is in its profile, which we remove.
    "cache-control": "max-age=86400",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    # The page may load from here and compile WebAssembly, nothing else.
    "content-security-policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; "
    "connect-src 'self'; worker-src 'self'; img-src data:",
    # Guests can sleep only in a page that is isolated like this (SharedArrayBuffer).
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
}


class PageLostError(Exception):
    """The page is gone or cannot serve; the text is a clause about the browser.

    ``received`` says whether the job had been sent to the page before.
    """

    def __init__(self, text: str, *, received: bool = False) -> None:
        super().__init__(text)
        self.received = received


class PageServer:
    """Serves one page under a secret path. Close it when the browser has ended.

    ``authority`` is the host and port that the page's requests name; ``url`` is secret. ``ready`` is done when the page
    has compiled the artifact, and holds the phases in nanoseconds or PageLostError. ``lost`` says how it was lost.
    """

    def __init__(self, glue: Path, artifact: Path, output_bytes: int) -> None:
        self.ready: Future[Mapping[str, int]] = Future()
        self.secret = secrets.token_urlsafe(24)
        # Both streams, the files, and what names them.
        self.most_bytes = 2 * output_bytes + _NAMES_BYTES
        self.files: dict[str, Path | bytes] = {
            path.relative_to(glue).as_posix(): path for path in glue.rglob("*js")
        }
        self.files |= {"": (_INDEX % output_bytes).encode(), "artifact.wasm": artifact}
        self.frames: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.jobs: dict[int, Future[bytes]] = {}
        self._last_number = self._sent_number = 0
        self.lost = ""
        self._closed = False
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.page = self
        self.authority = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.authority}/{self.secret}/"
        self._thread = threading.Thread(target=self._serve, name="pytest-wasmedge-page", daemon=True)
        self._thread.start()

    def post(self, body: bytes) -> Future[bytes]:
        """Send a job to the page; the future holds its framed answer, or PageLostError."""
        job: Future[bytes] = Future()
        with self._lock:
            if self.lost:
                job.set_exception(PageLostError(self.lost))
                return job
            self._last_number += 1
            self.jobs[self._last_number] = job
            self.frames.put(_HEAD.pack(self._last_number, len(body)) + body)
        return job

    def discard_isolates(self) -> None:
        """Let the page run what is posted next in fresh workers."""
        self.frames.put(_HEAD.pack(0, len(_DISCARD)) + _DISCARD)

    def opened(self, phases_ns: Mapping[str, int]) -> bool:
        """Note that the page takes jobs now; return False if it did already, or is lost."""
        with self._lock:
            if self.lost or self.ready.done():
                return False
            self.ready.set_result(phases_ns)
            return True

    def sent(self, frame: bytes) -> None:
        """Note that a whole frame was sent; jobs are sent in the order of their numbers."""
        self._sent_number = _HEAD.unpack_from(frame)[0] or self._sent_number

    def answered(self, number: int, content: bytes) -> bool:
        """Note the answer to a job; return False if nobody waits for it."""
        with self._lock:
            job = self.jobs.pop(number, None)
        if job:
            job.set_result(content)
        return job is not None

    def lose(self, how: str) -> None:
        """Note how the page was lost, and end all futures; calls after the first one change nothing."""
        with self._lock:
            if self.lost:
                return
            self.lost = how
            waiting: list[tuple[Future[Any], bool]] = [
                (job, number <= self._sent_number) for number, job in self.jobs.items()
            ]
            self.jobs.clear()
            if not self.ready.done():
                waiting.append((self.ready, False))
        self.frames.put(None)
        for each, received in waiting:
            each.set_exception(PageLostError(how, received=received))

    def close(self) -> None:
        """Stop listening; harmless when called again."""
        self.lose("was closed")
        if not self._closed:
            self._closed = True
            # The thread waits for a connection; this one lets it see that it has to end.
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._server.server_port)).close()
            self._thread.join()
            self._server.server_close()

    def _serve(self) -> None:
        while not self._closed:
            self._server.handle_request()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    page: PageServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report nothing: the end of the stream shows that the connection broke."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = _STRANGER_S
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Log nothing, since paths contain the secret."""

    def send_error(self, *_: object) -> None:
        """Answer every other request like one without the secret."""
        self._refuse()

    def do_GET(self) -> None:
        name = self._name()
        file = None if name is None else self.server.page.files.get(name)
        if name is None or file is None:
            return self._refuse()
        content = file if isinstance(file, bytes) else file.read_bytes()
        return self._answer(200, _TYPES.get(name, _MODULE), content)

    def do_POST(self) -> None:
        name = self._name()
        if name is None:
            self._refuse()
            return
        page, (what, _, number) = self.server.page, name.partition("/")
        length = self.headers.get("content-length") or "0"
        if not (length.isdecimal() and int(length) <= page.most_bytes):
            # A result that no guest can have: the page is not ours any more.
            page.lose(f"posted a body of {length[:20]} bytes")
            self._refuse()
            return
        content = self.rfile.read(int(length))
        if what == "results" and number.isdecimal() and page.answered(int(number), content):
            self._answer(204)
        elif name == "failed":
            page.lose(f"could not load it: {content.decode('utf-8', 'backslashreplace')[:2000]}")
            self._answer(204)
        elif name == "jobs" and page.opened(read_phases(json.loads(content).get("phases_ns"))):
            self._stream()
        else:
            self._refuse()

    def _name(self) -> str | None:
        """Return the path of a request behind the secret; None for a request without the secret."""
        page = self.server.page
        _, secret, name = [*self.path.split("/", 2), "", ""][:3]
        known = hmac.compare_digest(secret.encode(), page.secret.encode())
        if not known or self.headers.get("host") != page.authority:
            return None
        self.connection.settimeout(None)
        return name

    def _stream(self) -> None:
        """Send jobs until the page is gone, which ends this connection at once."""
        page = self.server.page
        self._answer(200, "application/octet-stream", None)
        threading.Thread(target=self._watch, name="pytest-wasmedge-stream", daemon=True).start()
        try:
            while True:
                try:
                    frame = page.frames.get(timeout=_BUSY_SIGN_OF_LIFE_S if page.jobs else _SIGN_OF_LIFE_S)
                except queue.Empty:
                    frame = _HEAD.pack(0, 0)
                if frame is None:
                    return
                self.wfile.write(frame)
                page.sent(frame)
        finally:
            page.lose("broke off")

    def _watch(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.connection.recv(1)
        self.server.page.lose("lost its page")

    def _refuse(self) -> None:
        self.close_connection = True
        self._answer(404, content=b"")

    def _answer(self, status: int, kind: str = "", content: bytes | None = b"") -> None:
        """Send a whole response, or, for content None, the head of a response that ends with its connection."""
        self.send_response_only(status)
        headers = _HEADERS if kind == _MODULE else _HEADERS | {"cache-control": "no-store"}
        for name, value in headers.items():
            self.send_header(name, value)
        if kind:
            self.send_header("content-type", kind)
        if content is None or self.close_connection:
            self.send_header("connection", "close")
        if content is not None and status != 204:
            self.send_header("content-length", str(len(content)))
        self.end_headers()
        if content:
            self.wfile.write(content)
