"""A deployed edge: a URL that answers already, and that we neither start nor stop.

The plain contract: the body of a POST is stdin, the body of a 2xx answer is stdout. All of our requests say
``pytest-wasmedge-wire: 1``: a worker that says the same with all of its answers to them speaks our framed format
(drivers.http), with arguments, environment, stderr and ending. There is one Remote for each ``--wasm-remote``.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_wasmedge.drivers.edge import (
    Edge,
    EdgeError,
    LateError,
    Reply,
    Transport,
    UrlError,
    read_url,
    shown,
)
from pytest_wasmedge.drivers.http import INVOCATION_HEADER, Answer, request_body, with_transfer
from pytest_wasmedge.errors import HostStartError, RuntimeUnavailableError, UnsupportedError, WasmEdgeError
from pytest_wasmedge.model import (
    Artifact,
    Availability,
    Host,
    Invocation,
    Limits,
    Outcome,
    OutcomeField,
    Runtime,
    Timings,
    exited,
    host_failed,
    timed_out,
)

Kind = Literal["edge/cold", "edge/warm", "edge/unknown"]

#: Headers of an answer: the invocation's number (its name is an option; our own glue sends this one), the
#: SHA-256 of the artifact that the worker holds, and the version of the framed format, if it speaks that.
DEFAULT_HEADER = INVOCATION_HEADER
ARTIFACT_HEADER = "x-pytest-wasmedge-artifact"
WIRE_HEADER, WIRE_VERSION = "pytest-wasmedge-wire", "1"

PROBE_TIMEOUT_S = 10.0
_PROBE_BYTES = 1 << 20
#: What the framed format may add to the guest's own output: its line of JSON.
_HEAD_BYTES = 1 << 16
# What a worker of the plain contract does not tell.
_UNTOLD: frozenset[OutcomeField] = frozenset({"stderr", "ending"})
# They mean something else in --runtimes and --wasm-reference.
_RESERVED = frozenset({"all", "golden"})


class RemoteError(WasmEdgeError):
    """``--wasm-remote`` or the name of its header cannot be used as given."""


def kind_of(invocation: int) -> Kind:
    """Name a sample's kind by its invocation number, which counts from 1 in each isolate; 0 is unknown."""
    if invocation < 1:
        return "edge/unknown"
    return "edge/cold" if invocation == 1 else "edge/warm"


def remotes(
    specs: Sequence[str], *, invocation_header: str = DEFAULT_HEADER, taken: Collection[str] = ()
) -> list[Remote]:
    """Return a runtime for each ``[NAME=]URL``; those without a name are remote, remote-2, …

    ``taken`` are the names of other runtimes. Raises RemoteError, whose text never shows a password.
    """
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", invocation_header):
        raise RemoteError(
            f"--wasm-remote-header: {invocation_header!r} cannot be the name of a header; "
            f"the default is {DEFAULT_HEADER}."
        )
    parts: list[tuple[str, str]] = []
    used = {*taken, *_RESERVED}
    for spec in specs:
        # A name ends before anything that only a URL has.
        name, separator, text = spec.partition("=")
        if not separator or set(name) & set(":/?#@"):
            name, separator, text = "", "", spec
        try:
            url = read_url(text)
        except UrlError as error:
            raise RemoteError(
                f"--wasm-remote: {error}. Give [NAME=]URL, such as edge=https://edge.example/run."
            ) from None
        parts.append((name, str(url)))
        if separator and not re.fullmatch(r"[a-z0-9-]+", name):
            raise RemoteError(f"--wasm-remote: {name!r} cannot be a name: use a-z, 0-9 and - only.")
        if name in used:
            raise RemoteError(
                f"--wasm-remote: the name {name!r} is taken already; give {shown(url)} another one."
            )
        used |= {name} - {""}
    usual = ("remote" if number == 1 else f"remote-{number}" for number in itertools.count(1))
    free = (name for name in usual if name not in used)
    return [Remote(name or next(free), url, invocation_header) for name, url in parts]


@dataclass(frozen=True, slots=True)
class _Contract:
    """What a probe found out: whether the worker frames its answers, and the digest that it tells, if any."""

    framed: bool
    artifact_sha256: str


class Remote(Runtime):
    """A URL. ``probe`` finds out how it answers; until then, and with the plain contract, much is unchecked.

    ``unchecked`` are the fields of an outcome that this worker does not tell: there is nothing in them to
    compare. ``probed`` is the outcome of the probe, an empty program. It is an invocation like any other, and
    so may be the only cold one that the isolate will ever have.
    """

    engine = "deployed"
    deployed = True

    def __init__(
        self,
        name: str,
        url: str,
        invocation_header: str = DEFAULT_HEADER,
        *,
        transport: Transport | None = None,
    ) -> None:
        self.name = name
        self.url = read_url(url)
        self.invocation_header = invocation_header
        self.unchecked: frozenset[OutcomeField] = _UNTOLD
        self.probed: Outcome | None = None
        self._transport = transport
        self._contract: _Contract | None = None

    @property
    def artifact_verified(self) -> bool:
        """True if the worker tells the digest of its artifact; `start` and each invocation compare it."""
        return bool(self._contract and self._contract.artifact_sha256)

    def cannot_check(self) -> str:
        """Say what this worker does not let us check, beyond its ``unchecked``; empty if nothing."""
        return "" if self.artifact_verified else f"artifact not verified (it sends no {ARTIFACT_HEADER})"

    def probe(self) -> Availability:
        where = shown(self.url)
        try:
            self._find_out()
        except EdgeError as error:
            return Availability(False, reason=str(error), path=where)
        return Availability(True, path=where)

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        if self._contract is None and not (availability := self.probe()).available:
            raise RuntimeUnavailableError(f"{self.name} cannot be used: {availability.reason}.")
        assert self._contract is not None
        told = self._contract.artifact_sha256
        if told and told != artifact.sha256:
            raise HostStartError(
                f"{self.name}: {shown(self.url)} holds the artifact {_digest(told)}, but under test is "
                f"{artifact.name}, {artifact.sha256}. Deploy that, or give --wasm-artifact what is deployed."
            )
        try:
            return RemoteHost(self, artifact, limits, self._contract.framed, self._edge())
        except EdgeError as error:
            raise HostStartError(f"{self.name}: {error}.") from error

    def read(self, reply: Reply, framed: bool) -> Answer:
        """Take a good reply apart. The header's invocation number counts before the frame's own."""
        told = reply.header(self.invocation_header)
        number = int(told) if re.fullmatch(r"[0-9]{1,18}", told) else 0
        if not framed:
            return Answer(exited(0), reply.body, invocation=number)
        answer = reply.framed(self.name)
        return Answer(
            answer.ending, answer.stdout, answer.stderr, number or answer.invocation, answer.phases_ns
        )

    def outcome(self, reply: Reply, answer: Answer) -> Outcome:
        """Return the outcome; it names the artifact only if the worker did."""
        return Outcome(
            answer.stdout,
            answer.stderr,
            answer.ending,
            answer.invocation,
            Timings(
                reply.elapsed_ns, with_transfer({**reply.phases_ns, **answer.phases_ns}, reply.elapsed_ns)
            ),
            self.name,
            _told(reply),
        )

    def _edge(self) -> Edge:
        return Edge(self.url, self._transport, {WIRE_HEADER: WIRE_VERSION})

    def _find_out(self) -> None:
        """Ask with an empty body, and set what is known then. Raises EdgeError."""
        edge = self._edge()
        try:
            reply = edge.post(b"", PROBE_TIMEOUT_S, _PROBE_BYTES)
            wire = reply.header(WIRE_HEADER)
            if wire not in ("", WIRE_VERSION):
                raise EdgeError(
                    f"{shown(self.url)} speaks version {wire!r:.40} of our format, not {WIRE_VERSION}: "
                    "deploy it anew with this version of pytest-wasmedge"
                )
            framed = bool(wire)
            if framed:
                # An empty body is no framed invocation: that answer told the format, and nothing else.
                left_s = max(0.1, PROBE_TIMEOUT_S - reply.elapsed_ns / 1e9)
                reply = edge.post(request_body(Invocation(), left_s), left_s, _PROBE_BYTES)
            if not reply.ok:
                raise EdgeError(edge.refusal(reply))
        finally:
            edge.close()
        answer = self.read(reply, framed)
        if answer.ending.kind == "host_failed":
            raise EdgeError(f"an empty program failed: {answer.ending.detail}; look at the worker's log")
        self._contract = _Contract(framed, _told(reply))
        self.unchecked = frozenset() if framed else _UNTOLD
        self.probed = self.outcome(reply, answer)


class RemoteHost(Host):
    """A client of the deployed worker; there is no process. Memory is limited by the worker alone."""

    def __init__(self, runtime: Remote, artifact: Artifact, limits: Limits, framed: bool, edge: Edge) -> None:
        self.runtime: Remote = runtime
        self.artifact, self.limits = artifact, limits
        self._framed, self._edge = framed, edge

    def invoke(self, invocation: Invocation) -> Outcome:
        self._check_possible(invocation)
        self._check_open()
        timeout_s = self._time_limit_s(invocation)
        body = request_body(invocation, timeout_s) if self._framed else invocation.stdin
        most_bytes = self.limits.output_bytes + (_HEAD_BYTES if self._framed else 0)
        began_ns = time.perf_counter_ns()
        try:
            reply = self._edge.post(body, timeout_s, most_bytes)
        except EdgeError as error:
            # What closes the client breaks what is under way.
            self._check_open()
            reply = Reply(time.perf_counter_ns() - began_ns, 0)
            ending = timed_out(str(error)) if isinstance(error, LateError) else host_failed(str(error))
            return self.runtime.outcome(reply, Answer(ending))
        return self.runtime.outcome(reply, self._answer(reply))

    def close(self) -> None:
        self._closed = True
        self._edge.close()

    def _answer(self, reply: Reply) -> Answer:
        """Take the reply apart; what is wrong with it is the host's failure."""
        told = _told(reply)
        if not reply.ok:
            return Answer(host_failed(self._edge.refusal(reply)))
        if told and told != self.artifact.sha256:
            detail = f"it answered with the artifact {_digest(told)}, not {self.artifact.sha256}"
            return Answer(host_failed(detail))
        if (reply.header(WIRE_HEADER) == WIRE_VERSION) != self._framed:
            return Answer(host_failed("the format of its answers has changed since its probe: run again"))
        too_long = host_failed(f"output limit of {self.limits.output_bytes} bytes reached")
        if reply.cut:
            return Answer(too_long, b"" if self._framed else reply.body)
        answer = self.runtime.read(reply, self._framed)
        if len(answer.stdout) + len(answer.stderr) > self.limits.output_bytes:
            return Answer(too_long)
        return answer

    def _check_possible(self, invocation: Invocation) -> None:
        """Raise UnsupportedError for what this worker cannot give to its guest."""
        asked = ["folders"] if invocation.preopens else []
        if not self._framed:
            asked += ["arguments"] if invocation.args else []
            asked += ["an environment"] if invocation.env else []
        if asked:
            raise UnsupportedError(
                f"{self.runtime.name} cannot give {' or '.join(asked)} to a guest, it is deployed elsewhere; "
                "mark the test with runtimes(...) to run it where they can be given."
            )


def _told(reply: Reply) -> str:
    """Return the digest that the worker tells, empty if it tells none."""
    return reply.header(ARTIFACT_HEADER).lower()


def _digest(told: str) -> str:
    return told if re.fullmatch(r"[0-9a-f]{64}", told) else f"{told[:64]!r} (which is no SHA-256)"
