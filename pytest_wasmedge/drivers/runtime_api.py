"""The Runtime API of AWS Lambda, of which a function's runtime client asks for one invocation after the other.

The client cannot be given a secret: its requests carry none, and name the address that they are told. So who asks is
looked up: the other end of a connection has to be a socket of the process that we started (Linux).
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_wasmedge.drivers.http import Answer, read_answer
from pytest_wasmedge.drivers.jobs import JobHandler, JobServer
from pytest_wasmedge.model import host_failed

_VERSION = "/2018-06-01/runtime/"
#: What a function's own account would have here.
_FUNCTION_ARN = "arn:aws:lambda:us-east-1:123456789012:function:artifact"


class RuntimeApi(JobServer):
    """Hands each job to the client as an event; ``serving`` is the identity and the number of the one that it has."""

    def __init__(self, output_bytes: int) -> None:
        super().__init__(_Handler, output_bytes)
        self.serving = ("", 0)


class _Handler(JobHandler):
    @property
    def api(self) -> RuntimeApi:
        api = self.server.jobs
        assert isinstance(api, RuntimeApi)
        return api

    def handle(self) -> None:
        """Answer the client alone: nothing of a stranger is read."""
        if holds(self.api.client_pid, self.connection):
            self.connection.settimeout(None)
            super().handle()
        else:
            self.wfile.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    def do_GET(self) -> None:
        if self.path != f"{_VERSION}invocation/next":
            return self.refuse()
        api = self.api
        # Its first question shows that the function is loaded.
        api.opened({})
        job = api.posted.get()
        if job is None:
            return self.refuse()
        api.serving = (str(uuid.uuid4()), job.number)
        headers = {
            "content-type": "application/json",
            "lambda-runtime-aws-request-id": api.serving[0],
            "lambda-runtime-deadline-ms": str(int((time.time() + job.timeout_s) * 1000)),
            "lambda-runtime-invoked-function-arn": _FUNCTION_ARN,
            "lambda-runtime-trace-id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
        }
        self.answer(200, headers, job.body)
        return api.sent(job)

    def do_POST(self) -> None:
        content, (request_id, number) = self.read_body(), self.api.serving
        if content is None:
            return self.refuse()
        if self.path == f"{_VERSION}init/error":
            self.api.lose(f"could not load the function: {said(content)}")
        elif not (
            # An error is an answer, too: the function is there for the next invocation.
            self.path in (f"{_VERSION}invocation/{request_id}/{what}" for what in ("response", "error"))
            and self.api.answered(number, content)
        ):
            return self.refuse()
        return self.answer(202, {"content-type": "application/json"}, b'{"status":"OK"}\n')


def event(body: bytes, headers: Mapping[str, str], method: str = "POST") -> bytes:
    """Return the event that a request to a function's URL becomes (payload format 2.0)."""
    http = {"method": method, "path": "/", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": ""}
    request = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/",
        "rawQueryString": "",
        "headers": dict(headers),
        "requestContext": {"http": http, "requestId": str(uuid.uuid4()), "stage": "$default"},
        "body": base64.b64encode(body).decode("ascii"),
        "isBase64Encoded": True,
    }
    return json.dumps(request).encode()


def read_reply(name: str, content: bytes) -> Answer:
    """Take what a function returned apart, an answer to a request of HTTP with a framed body; or its error."""
    try:
        reply = json.loads(content)
        if "errorMessage" in reply:
            return Answer(host_failed(f"{name}: the function failed: {said(content)}"))
        body = base64.b64decode(reply["body"]) if reply["isBase64Encoded"] else reply["body"].encode()
        if reply["statusCode"] == 200:
            return read_answer(name, body)
        return Answer(host_failed(f"{name} answered HTTP {reply['statusCode']}: {body[:200]!r}"))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return Answer(host_failed(f"{name} answered {content[:200]!r}, which we cannot read: {error!r}"))


def said(content: bytes) -> str:
    """Return an error's type and message, as the client posts them."""
    with contextlib.suppress(ValueError, AttributeError):
        error: Any = json.loads(content)
        return f"{error.get('errorType')}: {error.get('errorMessage')}"[:2000]
    return repr(content[:200])


def holds(pid: int, connection: socket.socket) -> bool:
    """Return whether the other end of a connection over loopback is a socket of this process."""
    theirs, ours = (_as_listed(*each) for each in (connection.getpeername(), connection.getsockname()))
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
            fields = line.split()
            # One that its owner has closed has no socket any more.
            if fields[1:3] == [theirs, ours]:
                return any(_leads_to(fd, f"socket:[{fields[9]}]") for fd in Path(f"/proc/{pid}/fd").iterdir())
    return False


def _leads_to(link: Path, target: str) -> bool:
    # A descriptor may be closed while we look.
    with contextlib.suppress(OSError):
        return str(link.readlink()) == target
    return False


def _as_listed(address: str, port: int) -> str:
    """Return an address as the system lists it: a number in the byte order of the machine, in hexadecimal digits."""
    (number,) = struct.unpack("=I", socket.inet_aton(address))
    return f"{number:08X}:{port:04X}"
