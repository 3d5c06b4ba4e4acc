"""What goes over HTTP between us and a host: our client, its errors in our words, and the answers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.model import Ending, EndingKind, Invocation, exited, host_failed

if TYPE_CHECKING:
    import httpx

SECRET_HEADER = "pytest-wasmedge-secret"
#: In which an answer may tell the invocation's number.
INVOCATION_HEADER = "pytest-wasmedge-invocation"

#: Shorter than the time after which any of the hosts closes an idle connection (workerd: 5 s).
_IDLE_CONNECTION_S = 4.0
_IDLE_CONNECTIONS = 64

_LONGEST_PHASE_NS = 1 << 62

#: How a request failed: the server was too slow, never got it, or broke off.
Failure = Literal["late", "not received", "broken"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, taken apart.

    ``runs_on``: the guest may still be running, and is to be stopped. ``by_log``: how it ended is known from a log
    that does not say whose end it was.
    """

    ending: Ending
    stdout: bytes = b""
    stderr: bytes = b""
    invocation: int = 0
    phases_ns: Mapping[str, int] = field(default_factory=dict)
    runs_on: bool = False
    by_log: bool = False


def request_body(invocation: Invocation, timeout_s: float) -> bytes:
    """Return one line of JSON and then stdin."""
    head = {
        "args": invocation.args,
        "env": dict(invocation.env),
        "timeout_ms": max(1, round(timeout_s * 1000)),
    }
    return b"".join((json.dumps(head).encode(), b"\n", invocation.stdin))


class Served(Protocol):
    """A started server, as far as asking it goes; ``numbers`` are those of its requests, if somebody takes them."""

    client: httpx.Client
    url: str
    log: Path
    numbers: Iterator[int]


class Framed:
    """How a host is asked: in our own format, in which the whole outcome comes back."""

    def body(self, name: str, invocation: Invocation, timeout_s: float) -> bytes:
        """Return the body of the request. Raises UnsupportedError for what it has no place for."""
        return request_body(invocation, timeout_s)

    def ask(
        self, name: str, server: Served, body: bytes, timeout_s: float, output_bytes: int
    ) -> tuple[int, Answer]:
        """Post once; return the nanoseconds until the answer was complete, and the answer.

        Raises httpx.HTTPError; what had come of the answer by then is `heard` in its request's extensions.
        """
        import httpx

        began_ns = time.perf_counter_ns()
        response = server.client.post(server.url, content=body, timeout=httpx.Timeout(timeout_s))
        return time.perf_counter_ns() - began_ns, read_answer(name, response)


class Plain(Framed):
    """The plain contract: the body of the request is stdin, that of a 2xx answer is stdout, and no more is told."""

    def body(self, name: str, invocation: Invocation, timeout_s: float) -> bytes:
        asked = (["arguments"] if invocation.args else []) + (["an environment"] if invocation.env else [])
        if asked:
            raise UnsupportedError(
                f"{name} cannot give {' or '.join(asked)} to a guest: its own glue takes stdin alone; "
                "mark the test with runtimes(...) to run it where they can be given."
            )
        return invocation.stdin

    def ask(
        self, name: str, server: Served, body: bytes, timeout_s: float, output_bytes: int
    ) -> tuple[int, Answer]:
        import httpx

        began_ns = time.perf_counter_ns()
        deadline_ns = began_ns + round(timeout_s * 1e9)
        limit = httpx.Timeout(timeout_s)
        with server.client.stream("POST", server.url, content=body, timeout=limit) as response:
            content, too_much = read_at_most(response, output_bytes, deadline_ns)
            elapsed_ns = time.perf_counter_ns() - began_ns
        told = response.headers.get(INVOCATION_HEADER, "")
        number = int(told) if re.fullmatch(r"[0-9]{1,18}", told) else 0
        if not response.is_success:
            ending = host_failed(f"{name} answered HTTP {response.status_code}: {content[:200]!r}")
            return elapsed_ns, Answer(ending, invocation=number, runs_on=too_much)
        ending = host_failed(f"output limit of {output_bytes} bytes reached") if too_much else exited(0)
        return elapsed_ns, Answer(ending, content, invocation=number, runs_on=too_much)


def pieces(response: httpx.Response, deadline_ns: int) -> Iterator[bytes]:
    """Yield an answer as it comes: one that somebody else sends may have no end. Raises httpx.ReadTimeout."""
    import httpx

    for piece in response.iter_bytes():
        yield piece
        if time.perf_counter_ns() > deadline_ns:
            raise httpx.ReadTimeout("the answer did not end", request=response.request)


def read_at_most(response: httpx.Response, most_bytes: int, deadline_ns: int) -> tuple[bytes, bool]:
    """Return an answer cut at the limit, and whether it is longer than that. Raises httpx.ReadTimeout."""
    content = bytearray()
    for piece in pieces(response, deadline_ns):
        content += piece
        if len(content) > most_bytes:
            return bytes(content[:most_bytes]), True
    return bytes(content), False


def open_client(secret: str) -> httpx.Client:
    """Return a client that talks to this machine only: no proxy, no settings of the user, no certificates."""
    import httpx

    limits = httpx.Limits(
        max_connections=None, max_keepalive_connections=_IDLE_CONNECTIONS, keepalive_expiry=_IDLE_CONNECTION_S
    )
    transport = httpx.HTTPTransport(verify=False, trust_env=False, limits=limits)
    headers = {SECRET_HEADER: secret, "accept-encoding": "identity"}
    return httpx.Client(transport=transport, trust_env=False, headers=headers)


def failure_of(error: httpx.HTTPError) -> Failure:
    """Translate what httpx raises; the first match counts."""
    import httpx

    table: tuple[tuple[type[httpx.HTTPError], Failure], ...] = (
        (httpx.ConnectError, "not received"),
        (httpx.TimeoutException, "late"),
        (httpx.HTTPError, "broken"),
    )
    return next(failure for kind, failure in table if isinstance(error, kind))


def heard_of(error: httpx.HTTPError) -> tuple[bytes, bytes]:
    """Return what had come of both streams when the answer broke off."""
    heard = error.request.extensions.get("heard")
    return (bytes(heard.stdout), bytes(heard.stderr)) if heard else (b"", b"")


def read_answer(name: str, response: httpx.Response) -> Answer:
    """Take a response apart; whatever is wrong with it is the host's failure."""
    content = response.content
    if response.status_code != 200:
        return Answer(host_failed(f"{name} answered HTTP {response.status_code}: {content[:200]!r}"))
    try:
        at = content.index(b"\n") + 1
        head = json.loads(content[:at])
        stdout_end = at + head["stdout_bytes"]
        if head["stdout_bytes"] < 0 or stdout_end + head["stderr_bytes"] != len(content):
            raise ValueError(f"{len(content) - at} bytes do not make up both streams")
        kind, status = head["ending"]["kind"], head["ending"]["status"]
        if kind not in get_args(EndingKind) or (kind == "exited") != isinstance(status, int):
            raise ValueError(f"no ending is {head['ending']}")
        return Answer(
            Ending(kind, status, str(head["ending"]["detail"])),
            content[at:stdout_end],
            content[stdout_end:],
            int(head["invocation"]),
            read_phases(head.get("phases_ns")),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return Answer(host_failed(f"{name} answered {content[:200]!r}, which we cannot read: {error}"))


def read_phases(told: object) -> dict[str, int]:
    """Return the phases that a host tells, in nanoseconds; a clock that did not move has told nothing."""
    if not isinstance(told, dict):
        return {}
    return {
        str(name): round(ns)
        for name, ns in told.items()
        if isinstance(ns, int | float) and 1 <= ns < _LONGEST_PHASE_NS
    }


def with_transfer(phases_ns: Mapping[str, int], elapsed_ns: int) -> Mapping[str, int]:
    """Add the phase that only the caller can tell: what is left of the time beside instantiate and run.

    Nothing is added where the host did not tell both of them, or told more than there was.
    """
    left_ns = elapsed_ns - sum(phases_ns.values())
    if left_ns > 0 and {"instantiate", "run"} <= phases_ns.keys():
        return {**phases_ns, "transfer": left_ns}
    return phases_ns
