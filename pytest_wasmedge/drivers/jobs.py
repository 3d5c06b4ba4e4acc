"""A server on loopback that a client of it asks for jobs: the page in a browser, the runtime client of a function."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pytest_wasmedge.drivers.shortage import check_loopback

#: A stranger, who has not shown yet to be the client, may keep a connection this long.
STRANGER_S = 10.0
#: How much of what a stranger sends after its refusal is thrown away.
_LINGER_BYTES = 1 << 16
#: What comes with the streams of an answer, or names them, is shorter.
_NAMES_BYTES = 64 << 20


class LostError(Exception):
    """The client is gone or cannot serve; the text is a clause about it.

    ``received`` says whether the job had been sent to the client before.
    """

    def __init__(self, text: str, *, received: bool = False) -> None:
        super().__init__(text)
        self.received = received


@dataclass(frozen=True, slots=True)
class Job:
    """What is posted for the client: jobs have numbers from 1 on, a 0 is a word to the client itself."""

    number: int
    body: bytes
    timeout_s: float = 0.0


class JobServer:
    """Listens from the beginning, and answers once it was started. Close it when the client has ended.

    ``authority`` is the host and port that the client's requests name. ``ready`` is done when the client asks for its
    first job, and holds the phases in nanoseconds or LostError. ``lost`` says how it was lost. Nothing that it posts is
    longer than ``most_bytes``.
    """

    def __init__(self, handler: type[JobHandler], output_bytes: int) -> None:
        self.ready: Future[Mapping[str, int]] = Future()
        # Both streams, as text where the client's format is one, the files, and what names them.
        self.most_bytes = 2 * output_bytes + _NAMES_BYTES
        self.posted: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.jobs: dict[int, Future[bytes]] = {}
        self.lost = ""
        #: The process of the client, once it was spawned.
        self.client_pid = 0
        self._lock = threading.Lock()
        self._last_number = self._sent_number = 0
        self._closed = False
        check_loopback()
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.jobs = self
        self.authority = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._serve, name="pytest-wasmedge-jobs", daemon=True)

    def start(self, client_pid: int = 0) -> None:
        """Answer requests from now on; those that came earlier have waited."""
        self.client_pid = client_pid
        self._thread.start()

    def post(self, body: bytes, timeout_s: float = 0.0) -> Future[bytes]:
        """Send a job to the client; the future holds its answer, or LostError."""
        job: Future[bytes] = Future()
        with self._lock:
            if self.lost:
                job.set_exception(LostError(self.lost))
                return job
            self._last_number += 1
            self.jobs[self._last_number] = job
            self.posted.put(Job(self._last_number, body, timeout_s))
        return job

    def opened(self, phases_ns: Mapping[str, int]) -> bool:
        """Note that the client takes jobs now; return False if it did already, or is lost."""
        with self._lock:
            if self.lost or self.ready.done():
                return False
            self.ready.set_result(phases_ns)
            return True

    def sent(self, job: Job) -> None:
        """Note that a whole job was sent; they are sent in the order of their numbers."""
        self._sent_number = job.number or self._sent_number

    def answered(self, number: int, content: bytes) -> bool:
        """Note the answer to a job; return False if nobody waits for it."""
        with self._lock:
            job = self.jobs.pop(number, None)
        if job:
            job.set_result(content)
        return job is not None

    def lose(self, how: str) -> None:
        """Note how the client was lost, and end all futures; calls after the first one change nothing."""
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
        self.posted.put(None)
        for each, received in waiting:
            each.set_exception(LostError(how, received=received))

    def close(self) -> None:
        """Stop listening; harmless when called again."""
        self.lose("was closed")
        if not self._closed:
            self._closed = True
            if self._thread.ident:
                # The thread waits for a connection; this one lets it see that it has to end.
                try:
                    socket.create_connection(("127.0.0.1", self._server.server_port)).close()
                except OSError:
                    return  # no way to it any more: it waits until this process ends
                self._thread.join()
            self._server.server_close()

    def _serve(self) -> None:
        while not self._closed:
            self._server.handle_request()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    jobs: JobServer

    def shutdown_request(self, request: Any) -> None:
        """Close a connection once its other end has, or has sent enough: a close before that may break what it writes.

        Who is refused by its head, and breaks off while it writes its body, never reads the refusal.
        """
        until_s, left = time.monotonic() + STRANGER_S, _LINGER_BYTES
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            while left > 0 and (wait_s := until_s - time.monotonic()) > 0:
                request.settimeout(wait_s)
                heard = len(request.recv(left))
                left = left - heard if heard else 0
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report nothing: who waits for the client sees that the connection broke."""


class JobHandler(BaseHTTPRequestHandler):
    """Answers one connection; `refuse` is for whoever is not the client, and for what it should not ask."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = STRANGER_S
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Log nothing, since paths may contain a secret."""

    def send_error(self, *_: object) -> None:
        """Answer every other request like a stranger's."""
        self.refuse()

    def read_body(self) -> bytes | None:
        """Return the body of the client's request; None if it is longer than any answer that a guest can have."""
        length = self.headers.get("content-length") or "0"
        if length.isdecimal() and int(length) <= self.server.jobs.most_bytes:
            return self.rfile.read(int(length))
        # The client is not ours any more.
        self.server.jobs.lose(f"posted a body of {length[:20]} bytes")
        return None

    def refuse(self) -> None:
        """Answer with a 404 without a body, and close the connection."""
        self.close_connection = True
        self.answer(404)

    def answer(
        self, status: int, headers: Mapping[str, str] | None = None, content: bytes | Path | None = b""
    ) -> None:
        """Send a whole response, or, for content None, the head of a response that ends with its connection.

        A file is sent without being read into our memory. Raises OSError if it cannot be opened.
        """
        if isinstance(content, Path):
            with content.open("rb") as file:
                self._head(status, headers, os.fstat(file.fileno()).st_size)
                self.connection.sendfile(file)
            return
        self._head(status, headers, None if content is None else len(content))
        if content:
            self.wfile.write(content)

    def _head(self, status: int, headers: Mapping[str, str] | None, size_bytes: int | None) -> None:
        self.send_response_only(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if size_bytes is None or self.close_connection:
            self.send_header("connection", "close")
        if size_bytes is not None and status != 204:
            self.send_header("content-length", str(size_bytes))
        self.end_headers()
