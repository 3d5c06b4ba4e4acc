"""Serves a page in a browser over loopback: its files, a stream of jobs, and the results that it posts."""

from __future__ import annotations

import contextlib
import hmac
import json
import queue
import secrets
import struct
import threading
from pathlib import Path

from pytest_wasmedge.drivers.http import read_phases
from pytest_wasmedge.drivers.jobs import Job, JobHandler, JobServer

#: How often we write to a stream without jobs: before a browser closes a silent stream (300 s were seen), and while a
#: result is awaited soon enough to see that the page is gone. One browser closes the connection of a page whose
#: process has died only when it has something to pass on.
_SIGN_OF_LIFE_S, _BUSY_SIGN_OF_LIFE_S = 60.0, 1.0
_HEAD = struct.Struct(">II")
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


class PageServer(JobServer):
    """Serves one page under a secret path, and its jobs; ``url`` is secret."""

    def __init__(self, glue: Path, artifact: Path, output_bytes: int) -> None:
        super().__init__(_Handler, output_bytes)
        self.secret = secrets.token_urlsafe(24)
        self.files: dict[str, Path | bytes] = {
            path.relative_to(glue).as_posix(): path for path in glue.rglob("*js")
        }
        self.files |= {"": (_INDEX % output_bytes).encode(), "artifact.wasm": artifact}
        self.url = f"http://{self.authority}/{self.secret}/"

    def discard_isolates(self) -> None:
        """Let the page run what is posted next in fresh workers."""
        self.posted.put(Job(0, b"discard"))


class _Handler(JobHandler):
    @property
    def page(self) -> PageServer:
        page = self.server.jobs
        assert isinstance(page, PageServer)
        return page

    def do_GET(self) -> None:
        name = self._name()
        file = None if name is None else self.page.files.get(name)
        if name is None or file is None:
            return self.refuse()
        return self._answer(200, _TYPES.get(name, _MODULE), file)

    def do_POST(self) -> None:
        name = self._name()
        content = None if name is None else self.read_body()
        if name is None or content is None:
            self.refuse()
            return
        page, (what, _, number) = self.page, name.partition("/")
        if what == "results" and number.isdecimal() and page.answered(int(number), content):
            self._answer(204)
        elif name == "failed":
            page.lose(f"could not load it: {content.decode('utf-8', 'backslashreplace')[:2000]}")
            self._answer(204)
        elif name == "jobs" and page.opened(read_phases(json.loads(content).get("phases_ns"))):
            self._stream()
        else:
            self.refuse()

    def _name(self) -> str | None:
        """Return the path of a request behind the secret; None for a request without the secret."""
        _, secret, name = [*self.path.split("/", 2), "", ""][:3]
        known = hmac.compare_digest(secret.encode(), self.page.secret.encode())
        if not known or self.headers.get("host") != self.page.authority:
            return None
        self.connection.settimeout(None)
        return name

    def _stream(self) -> None:
        """Send jobs until the page is gone, which ends this connection at once."""
        page = self.page
        self._answer(200, "application/octet-stream", None)
        threading.Thread(target=self._watch, name="pytest-wasmedge-stream", daemon=True).start()
        try:
            while True:
                try:
                    job = page.posted.get(timeout=_BUSY_SIGN_OF_LIFE_S if page.jobs else _SIGN_OF_LIFE_S)
                except queue.Empty:
                    job = Job(0, b"")
                if job is None:
                    return
                self.wfile.write(_HEAD.pack(job.number, len(job.body)) + job.body)
                page.sent(job)
        finally:
            page.lose("broke off")

    def _watch(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.connection.recv(1)
        self.page.lose("lost its page")

    def _answer(self, status: int, kind: str = "", content: bytes | Path | None = b"") -> None:
        headers = _HEADERS if kind == _MODULE else _HEADERS | {"cache-control": "no-store"}
        self.answer(status, headers | ({"content-type": kind} if kind else {}), content)

    def refuse(self) -> None:
        """Answer as for a page, so that nobody keeps it."""
        self.close_connection = True
        self._answer(404)
