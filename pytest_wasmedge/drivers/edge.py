"""Sends requests to a deployed worker: its URL, the token, answers, and errors as sentences for the user."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

import httpx

from pytest_wasmedge.drivers.http import read_at_most
from pytest_wasmedge.errors import WasmEdgeError

Transport = httpx.BaseTransport

TOKEN_VARIABLE = "PYTEST_WASMEDGE_REMOTE_TOKEN"

_FAILURE_BYTES = 4096
_LINE_CHARACTERS = 200
_IDLE_CONNECTION_S = 4.0
#: A request that httpx does not end at its time limit is given up this much later.
_BACKSTOP_S = 0.5


class EdgeError(WasmEdgeError):
    """A worker gave no usable answer, or cannot be sent a request; the text ends with what to do."""


class LateError(EdgeError):
    """The worker received the request, but its answer was not complete in time."""


class UrlError(EdgeError):
    """A text is not the URL of a worker; the message starts with the problem."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; ``cut`` if it was longer than the limit. A new connection for it is the phase ``connect``."""

    elapsed_ns: int
    status: int
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    body: bytes = b""
    cut: bool = False
    phases_ns: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True for HTTP 2xx."""
        return 200 <= self.status < 300

    def header(self, name: str) -> str:
        """Return a header's value; empty if there is none."""
        return str(self.headers.get(name, "")).strip()


class Edge:
    """A client for one worker; several threads may use it. Raises EdgeError if the token cannot be sent."""

    def __init__(self, url: httpx.URL, transport: Transport | None, more_headers: Mapping[str, str]) -> None:
        self.url = url
        self._token = os.environ.get(TOKEN_VARIABLE, "").strip()
        headers = {
            "user-agent": "pytest-wasmedge",
            "accept-encoding": "identity",
            "content-type": "application/octet-stream",
            **more_headers,
        }
        local = _is_loopback(url.host)
        if self._token:
            if not re.fullmatch(r"[\x21-\x7e]+", self._token):
                raise EdgeError(
                    f"{TOKEN_VARIABLE} contains a space or another character that no token has: set it again"
                )
            if url.scheme != "https" and not local:
                raise EdgeError(
                    f"{shown(url)} would get {TOKEN_VARIABLE} unencrypted: use https, or unset it"
                )
            headers["authorization"] = f"Bearer {self._token}"
        try:
            self._client = httpx.Client(
                headers=headers,
                transport=transport,
                # The user's proxy and certificates are for other machines.
                trust_env=not local,
                follow_redirects=False,
                limits=httpx.Limits(max_connections=None, keepalive_expiry=_IDLE_CONNECTION_S),
            )
        except (OSError, ValueError) as error:
            raise EdgeError(_explain(error, url)) from error

    def close(self) -> None:
        """Close the connections; harmless when called again."""
        self._client.close()

    def post(self, body: bytes, timeout_s: float, most_bytes: int) -> Reply:
        """Post once, without retries, and wait no longer than the limit.

        Raises LateError, or EdgeError for any other reason why there is no answer.
        """
        sent = threading.Event()
        reply: Future[Reply] = Future()

        def work() -> None:
            try:
                reply.set_result(self._post(body, timeout_s, most_bytes, sent))
            except BaseException as error:
                reply.set_exception(error)

        # On a thread that we can abandon: a name may take long to resolve, and an answer may come very slowly.
        threading.Thread(target=work, name="pytest-wasmedge-edge", daemon=True).start()
        problem: Exception
        try:
            return reply.result(timeout_s + _BACKSTOP_S)
        except TimeoutError:
            problem = (httpx.ReadTimeout if sent.is_set() else httpx.ConnectTimeout)("given up at the limit")
        # UnicodeError: DNS has no such names. RuntimeError: another thread has closed the client.
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RuntimeError) as error:
            problem = error
        if isinstance(problem, httpx.ReadTimeout):
            raise LateError(f"no complete answer within {timeout_s:g} s") from problem
        raise EdgeError(self._clean(_explain(problem, self.url))) from problem

    def _post(self, body: bytes, timeout_s: float, most_bytes: int, sent: threading.Event) -> Reply:
        connecting_ns: list[int] = []

        def trace(event: str, _: object) -> None:
            if event.startswith(("connection.connect_tcp.", "connection.start_tls.")):
                connecting_ns.append(time.perf_counter_ns())
            elif event.endswith(".send_request_body.complete"):
                sent.set()

        began_ns = time.perf_counter_ns()
        deadline_ns = began_ns + round(timeout_s * 1e9)
        limit, extensions = httpx.Timeout(timeout_s), {"trace": trace}
        with self._client.stream(
            "POST", self.url, content=body, timeout=limit, extensions=extensions
        ) as response:
            most_bytes = most_bytes if response.is_success else _FAILURE_BYTES
            content, cut = read_at_most(response, most_bytes, deadline_ns)
            elapsed_ns = time.perf_counter_ns() - began_ns
        phases_ns = {"connect": connecting_ns[-1] - connecting_ns[0]} if connecting_ns else {}
        return Reply(elapsed_ns, response.status_code, response.headers, content, cut, phases_ns)

    def refusal(self, reply: Reply) -> str:
        """Return what an answer that is not 2xx was, and what to do; never shows the token."""
        status, body = reply.status, reply.body.decode("utf-8", "backslashreplace")
        said = self._clean(first_line(body))
        if 300 <= status < 400:
            said = f"a redirect to {self._clean(shown(reply.header('location'))) or 'nowhere'}"
            todo = "give the URL that it leads to"
        elif status in (401, 403):
            todo = f"put another token into {TOKEN_VARIABLE}" if self._token else f"set {TOKEN_VARIABLE}"
        else:
            todo = {
                404: "check the path of the URL and that the worker is deployed",
                405: "deploy a worker that takes a POST with stdin as its body",
                429: "it limits the rate of requests; wait",
            }.get(status, "look at the worker's log")
        return f"{shown(self.url)} answered HTTP {status}{said and f' ({said})'}: {todo}"

    def _clean(self, text: str) -> str:
        return text.replace(self._token, "[token]") if self._token else text


def read_url(text: str) -> httpx.URL:
    """Return the URL of a worker. Raises UrlError, whose text never shows a user, password or query."""
    if not text.isprintable() or " " in text:
        raise UrlError(f"there is a space or a control character in {shown(text)!r}")
    if "://" not in text.partition("?")[0]:
        raise UrlError(f"{shown(text)!r} begins with neither http:// nor https://")
    try:
        url = httpx.URL(text)
        port = url.port
    except (httpx.InvalidURL, ValueError):
        # Without the cause, which may show a password.
        raise UrlError(f"{shown(text)!r} is no valid URL") from None
    if url.scheme not in ("http", "https"):
        raise UrlError(f"the scheme of {shown(text)!r} is neither http nor https")
    if url.userinfo:
        raise UrlError(
            f"the URL of {url.host} holds a user or a password (not shown). Set the environment variable "
            f"{TOKEN_VARIABLE} instead, which is sent as `Authorization: Bearer`"
        )
    if not url.host:
        raise UrlError(f"there is no host in {shown(text)!r}")
    if port is not None and not 0 < port < 1 << 16:
        raise UrlError(f"there is no port {port}, as in {shown(text)!r}")
    return url


def shown(url: str | httpx.URL) -> str:
    """Return a URL for messages, without user, password and query; of other texts what follows the last ``@``."""
    if isinstance(url, httpx.URL):
        text = f"{url.scheme}://{url.netloc.decode()}{url.path}" + ("?…" if url.query else "")
    else:
        _, at, rest = url.rpartition("@")
        rest, query, _ = rest.partition("?")
        text = ("…@" if at else "") + rest + ("?…" if query else "")
    return text[:_LINE_CHARACTERS]


def first_line(text: str) -> str:
    """Return the first line that is not empty, cut to 200 characters."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:_LINE_CHARACTERS]


def _explain(error: Exception, url: httpx.URL) -> str:
    """Return why there was no answer, and what to do, as one sentence."""
    where = shown(url)
    # The first row with the class of any cause counts; the last one matches every error.
    table: tuple[tuple[type[BaseException], str, str], ...] = (
        (socket.gaierror, f"the name {url.host} cannot be resolved", "check the URL and the network"),
        (ssl.SSLError, f"no TLS connection to {where}", "check its certificate, and that it speaks https"),
        (ConnectionRefusedError, f"{where} refuses connections", "check the port and that it is deployed"),
        (httpx.TimeoutException, f"{where} did not answer in time", "check the network and the worker's log"),
        (httpx.RequestError, f"the connection to {where} broke", "look at the worker's log, then run again"),
        (BaseException, f"{where} cannot be asked", "check the URL, and SSL_CERT_FILE if it is set"),
    )
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    kind, what, todo = next(row for row in table if any(isinstance(each, row[0]) for each in causes))
    said = first_line(str(next(each for each in causes if isinstance(each, kind))))
    return f"{what}{said and f' ({said})'}: {todo}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
