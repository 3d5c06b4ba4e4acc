"""What goes over HTTP between us and a host: our client, the formats of requests and answers, and failures."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from pytest_wasmedge.drivers.folders import granted, told
from pytest_wasmedge.drivers.grants import check_given
from pytest_wasmedge.model import Content, Ending, EndingKind, Files, Invocation, exited, host_failed

if TYPE_CHECKING:
    import httpx

    from pytest_wasmedge.drivers.server import Server

SECRET_HEADER = "pytest-wasmedge-secret"
#: An answer may carry the invocation's number in this header.
INVOCATION_HEADER = "pytest-wasmedge-invocation"
#: Where requests of the plain contract are taken as well, framed ones have this header, and so have their answers.
WIRE_HEADER, WIRE_VERSION = "pytest-wasmedge-wire", "1"

_LONGEST_PHASE_NS = 1 << 62

#: How a request failed: the server took too long, never received it, or broke off.
Failure = Literal["late", "not received", "broken"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The parts of an answer.

    ``runs_on``: the guest may still be running and has to be stopped. ``by_log``: the ending comes from a log that does
    not name the invocation.
    """

    ending: Ending
    stdout: bytes = b""
    stderr: bytes = b""
    invocation: int = 0
    phases_ns: Mapping[str, int] = field(default_factory=dict)
    runs_on: bool = False
    by_log: bool = False
    files: Files = field(default_factory=dict)


#: The nanoseconds until an answer was complete, and the answer.
Timed = tuple[int, Answer]


class Framed:
    """Our own format, in which the whole outcome comes back."""

    def body(self, name: str, invocation: Invocation, timeout_s: float) -> bytes:
        """Return the body of the request. Raises UnsupportedError for what the format has no place for."""
        return request_body(name, invocation, timeout_s)

    def ask(self, name: str, server: Server, body: bytes, timeout_s: float, output_bytes: int) -> Timed:
        """Post once.

        Raises httpx.HTTPError; the part of an answer that came before is ``heard`` in its request's extensions.
        """
        import httpx

        began_ns = time.perf_counter_ns()
        response = server.client.post(server.url, content=body, timeout=httpx.Timeout(timeout_s))
        elapsed_ns = time.perf_counter_ns() - began_ns
        if response.status_code != 200:
            # Not our glue's answer: who stands before it, as wrangler does, has lost the process that runs it.
            problem = f"HTTP {response.status_code}: {response.content[:200]!r}"
            raise httpx.HTTPStatusError(problem, request=response.request, response=response)
        return elapsed_ns, read_answer(name, response.content)


class Numbered(Framed):
    """The same where each guest is the first one of its isolate: invocations are numbered here."""

    def ask(self, name: str, server: Server, body: bytes, timeout_s: float, output_bytes: int) -> Timed:
        elapsed_ns, answer = super().ask(name, server, body, timeout_s, output_bytes)
        return elapsed_ns, replace(answer, invocation=next(server.numbers))


class Plain(Framed):
    """The plain contract: the request's body is stdin, and the body of a 2xx answer is stdout. Nothing else is sent."""

    def body(self, name: str, invocation: Invocation, timeout_s: float) -> bytes:
        check_given(name, invocation, why="its own glue takes stdin alone")
        return invocation.stdin

    def ask(self, name: str, server: Server, body: bytes, timeout_s: float, output_bytes: int) -> Timed:
        import httpx

        began_ns = time.perf_counter_ns()
        deadline_ns = began_ns + round(timeout_s * 1e9)
        limit = httpx.Timeout(timeout_s)
        with server.client.stream("POST", server.url, content=body, timeout=limit) as response:
            content, too_much = read_at_most(response, output_bytes, deadline_ns)
            elapsed_ns = time.perf_counter_ns() - began_ns
        number = read_number(response.headers.get(INVOCATION_HEADER, ""))
        if not response.is_success:
            ending = _refused(name, response, content)
            return elapsed_ns, Answer(ending, invocation=number, runs_on=too_much)
        ending = host_failed(f"output limit of {output_bytes} bytes reached") if too_much else exited(0)
        return elapsed_ns, Answer(ending, content, invocation=number, runs_on=too_much)


def _refused(name: str, response: httpx.Response, content: bytes) -> Ending:
    return host_failed(f"{name} answered HTTP {response.status_code}: {content[:200]!r}")


def request_body(name: str, invocation: Invocation, timeout_s: float) -> bytes:
    """Return the body of a framed request: one line of JSON, the contents of files in folders, and then stdin.

    Raises UnsupportedError for folders that cannot be granted.
    """
    folders = granted(name, invocation)
    head = {
        "args": invocation.args,
        # JavaScript sorts the keys of an object that look like numbers.
        "env": list(invocation.env.items()),
        "timeout_ms": max(1, round(timeout_s * 1000)),
    }
    if not folders:
        return b"".join((json.dumps(head).encode(), b"\n", invocation.stdin))
    head["folders"] = [
        (guest_path, [(each.path, _described(each.content), str(each.modified_ns)) for each in entries])
        for guest_path, entries in folders
    ]
    contents = [each.content for _, entries in folders for each in entries if isinstance(each.content, bytes)]
    return b"".join((json.dumps(head).encode(), b"\n", *contents, invocation.stdin))


def _described(content: Content) -> int | str | None:
    """Return what stands for a content in a line of JSON: the size of a file, whose bytes come after the line."""
    return len(content) if isinstance(content, bytes) else content


def pieces(response: httpx.Response, deadline_ns: int) -> Iterator[bytes]:
    """Yield an answer piece by piece, since it may never end. Raises httpx.ReadTimeout."""
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


def failure_of(error: httpx.HTTPError) -> Failure:
    """Return the failure that an error of httpx means."""
    import httpx

    if isinstance(error, httpx.ConnectError):
        return "not received"
    return "late" if isinstance(error, httpx.TimeoutException) else "broken"


def read_answer(name: str, content: bytes) -> Answer:
    """Take a framed answer apart; anything wrong with it is the host's failure."""
    try:
        at = content.index(b"\n") + 1
        head = json.loads(content[:at])
        stdout_end = at + head["stdout_bytes"]
        stderr_end = stdout_end + head["stderr_bytes"]
        files, end = _read_files(head.get("files", ()), content, stderr_end)
        if not at <= stdout_end <= stderr_end <= end == len(content):
            raise ValueError(f"{len(content) - at} bytes do not make up both streams and the files")
        ending = read_ending(head["ending"])
        if ending is None:
            raise ValueError(f"no ending is {head['ending']}")
        return Answer(
            ending,
            content[at:stdout_end],
            content[stdout_end:stderr_end],
            int(head["invocation"]),
            read_phases(head.get("phases_ns")),
            files=files,
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return Answer(host_failed(f"{name} answered {content[:200]!r}, which we cannot read: {error}"))


def _read_files(described: Iterable[Any], content: bytes, at: int) -> tuple[Files, int]:
    """Return what came of the folders, and where the contents of their files end. Raises ValueError, TypeError."""
    folders: list[tuple[str, dict[str, Content]]] = []
    for guest_path, entries in described:
        read: dict[str, Content] = {}
        for path, what in entries:
            read[path] = what
            if isinstance(what, int):
                if not 0 <= what <= len(content) - at:
                    raise ValueError(f"{path} cannot have {what} bytes")
                read[path], at = content[at : at + what], at + what
        folders.append((guest_path, read))
    return told(folders), at


def read_ending(given: Mapping[str, Any]) -> Ending | None:
    """Return the ending in an object that our glue wrote; None if it is not one."""
    kind, status = given.get("kind", ""), given.get("status")
    known = kind in get_args(EndingKind) and (kind == "exited") == isinstance(status, int)
    return Ending(kind, status, str(given["detail"])) if known and "detail" in given else None


def read_number(text: str) -> int:
    """Return an invocation number from a header; 0 if it holds none."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0


def read_phases(given: object) -> dict[str, int]:
    """Return a host's phases in nanoseconds, without those of a clock that did not move."""
    if not isinstance(given, dict):
        return {}
    return {
        str(name): round(ns)
        for name, ns in given.items()
        if isinstance(ns, int | float) and 1 <= ns < _LONGEST_PHASE_NS
    }


def with_transfer(phases_ns: Mapping[str, int], elapsed_ns: int) -> Mapping[str, int]:
    """Add the phase ``transfer``: the part of the elapsed time that is neither instantiate nor run.

    Adds nothing if the host lacks one of the two phases, or if all phases are longer than the elapsed time.
    """
    left_ns = elapsed_ns - sum(phases_ns.values())
    if left_ns > 0 and {"instantiate", "run"} <= phases_ns.keys():
        return {**phases_ns, "transfer": left_ns}
    return phases_ns
