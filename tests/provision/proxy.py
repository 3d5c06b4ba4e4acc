"""A proxy on loopback that stands for a registry, and answers as badly as it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import unquote, urlsplit

#: down: 503. dropped: the connection ends without an answer. cut: half of the body comes, then the connection ends.
#: slow: the body comes in pieces. stalled: nothing comes, until the proxy is closed.
Fault = Literal["down", "dropped", "cut", "slow", "stalled"]


class Proxy:
    """Serves files by address, ``http://pypi.test/simple/tool/``; names of hosts are never looked up.

    Each of the next ``count`` answers has the fault. ``asked`` are the paths asked for, in order.
    """

    def __init__(self) -> None:
        self.files: dict[str, tuple[str, bytes]] = {}
        self.asked: list[str] = []
        self.fault: Fault | None = None
        self.count = 0
        self.closed = threading.Event()
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy._answer(self)

            do_HEAD = do_GET

            def do_CONNECT(self) -> None:
                self.send_error(403)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def serve(self, url: str, content: bytes, kind: str = "application/octet-stream") -> None:
        """Have this address answered with this content."""
        self.files[url] = (kind, content)

    def fails(self, fault: Fault, count: int = 1_000_000) -> None:
        """Let the next answers be bad."""
        self.fault, self.count = fault, count

    def _next_fault(self) -> Fault | None:
        with self._lock:
            if not self.count:
                return None
            self.count -= 1
            return self.fault

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        url = unquote(request.path)
        self.asked.append(urlsplit(url).path)
        request.close_connection = True
        fault = self._next_fault()
        if fault == "dropped":
            return
        if fault == "stalled":
            self.closed.wait(60)
            return
        found = self.files.get(url)
        if found is None or fault == "down":
            request.send_response(404 if found is None else 503)
            request.send_header("Content-Length", "0")
            request.send_header("Connection", "close")
            request.end_headers()
            return
        kind, content = found
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(content)))
        request.send_header("Connection", "close")
        request.end_headers()
        if request.command == "HEAD":
            return
        if fault == "cut":
            request.wfile.write(content[: len(content) // 2])
        elif fault == "slow":
            step = max(1, len(content) // 8)
            for at in range(0, len(content), step):
                request.wfile.write(content[at : at + step])
                request.wfile.flush()
                self.closed.wait(0.05)
        else:
            request.wfile.write(content)

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        """Answer requests for as long as the context lasts."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.closed.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()
