"""A deployed edge: a URL that answers already, which we neither start nor stop.

In the plain contract, the body of a POST is stdin and the body of a 2xx answer is stdout. All our requests have the
header ``pytest-wasmedge-wire: 1``. A worker that sends it back with each answer speaks our framed format
(drivers.http), with arguments, environment, stderr and ending. There is one Remote for each ``--wasm-remote``.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import replace
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
from pytest_wasmedge.drivers.grants import check_given
from pytest_wasmedge.drivers.http import (
    INVOCATION_HEADER,
    WIRE_HEADER,
    WIRE_VERSION,
    Answer,
    read_answer,
    read_number,
    request_body,
    with_transfer,
)
from pytest_wasmedge.errors import HostStartError, RuntimeUnavailableError, WasmEdgeError
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

#: Headers of an answer: the invocation's number (an option may name another header; our own glue sends this one), and
#: the SHA-256 of the worker's artifact.
DEFAULT_HEADER = INVOCATION_HEADER
ARTIFACT_HEADER = "x-pytest-wasmedge-artifact"

PROBE_TIMEOUT_S = 10.0
_PROBE_BYTES = 1 << 20
#: The most that the framed format adds to the guest's output: its line of JSON.
_HEAD_BYTES = 1 << 16
# A worker of the plain contract does not send these.
_UNSENT: frozenset[OutcomeField] = frozenset({"stderr", "ending"})
# They mean something else in --runtimes and --wasm-reference.
_RESERVED = frozenset({"all", "golden"})


class RemoteError(WasmEdgeError):
    """``--wasm-remote`` or the name of its header cannot be used as given."""


def kind_of(invocation: int) -> Kind:
    """Return the kind of a sample from its invocation number, which counts from 1 in each isolate; 0 is unknown."""
    if invocation < 1:
        return "edge/unknown"
    return "edge/cold" if invocation == 1 else "edge/warm"


def remotes(
    specs: Sequence[str], *, invocation_header: str = DEFAULT_HEADER, taken: Collection[str] = ()
) -> list[Remote]:
    """Return a runtime for each ``[NAME=]URL``; those without a name are called remote, remote-2, …

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
        # An equals sign behind any of these characters is part of a URL.
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
                f"--wasm-remote: the name {name!r} is already in use; give {shown(url)} another one."
            )
        used |= {name} - {""}
    usual = ("remote" if number == 1 else f"remote-{number}" for number in itertools.count(1))
    free = (name for name in usual if name not in used)
    return [Remote(name or next(free), url, invocation_header) for name, url in parts]


class Remote(Runtime):
    """A URL. Until `probe` has found out how it answers, and with the plain contract, much is unchecked.

    ``unchecked`` are the fields of an outcome that the worker does not send, so that they cannot be compared.
    ``probed`` is the outcome of the probe, an empty program. The probe is an invocation like any other, so it may be
    the only cold one that the isolate ever has.
    """

    engine = "deployed"
    deployed = True

    def __init__(
        self, name: str, url: str, header: str = DEFAULT_HEADER, *, transport: Transport | None = None
    ) -> None:
        self.name = name
        self.url = read_url(url)
        self.invocation_header = header
        self.unchecked: frozenset[OutcomeField] = _UNSENT
        self.probed: Outcome | None = None
        self._transport = transport
        self._framed = False
        self._sha256 = ""

    def cannot_check(self) -> str:
        """Return what we cannot check on this worker, beyond its ``unchecked``; empty if nothing."""
        return "" if self._sha256 else f"artifact not verified (it sends no {ARTIFACT_HEADER})"

    def probe(self) -> Availability:
        where = shown(self.url)
        try:
            self._find_out()
        except EdgeError as error:
            return Availability(False, reason=str(error), path=where)
        return Availability(True, path=where)

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        if self.probed is None and not (availability := self.probe()).available:
            raise RuntimeUnavailableError(f"{self.name} cannot be used: {availability.reason}.")
        if self._sha256 and self._sha256 != artifact.sha256:
            raise HostStartError(
                f"{self.name}: {shown(self.url)} has the artifact {_digest(self._sha256)}, but under test is "
                f"{artifact.name}, {artifact.sha256}. Deploy that, or pass the deployed one to --wasm-artifact."
            )
        try:
            return RemoteHost(self, artifact, limits, self._framed, self._edge())
        except EdgeError as error:
            raise HostStartError(f"{self.name}: {error}.") from error

    def read(self, reply: Reply, framed: bool) -> Answer:
        """Take a 2xx reply apart. The invocation number in the header has precedence over the one in the frame."""
        number = read_number(reply.header(self.invocation_header))
        if not framed:
            return Answer(exited(0), reply.body, invocation=number)
        answer = read_answer(self.name, reply.body)
        return replace(answer, invocation=number or answer.invocation)

    def outcome(self, reply: Reply, answer: Answer) -> Outcome:
        """Return the outcome; it has the artifact's digest only if the worker sent it."""
        timings = Timings(
            reply.elapsed_ns, with_transfer({**reply.phases_ns, **answer.phases_ns}, reply.elapsed_ns)
        )
        stdout, stderr, ending, number = answer.stdout, answer.stderr, answer.ending, answer.invocation
        return Outcome(stdout, stderr, ending, number, timings, self.name, _sha256_of(reply))

    def _edge(self) -> Edge:
        return Edge(self.url, self._transport, {WIRE_HEADER: WIRE_VERSION})

    def _find_out(self) -> None:
        """Send an empty program, and keep what the answer shows. Raises EdgeError."""
        with closing(self._edge()) as edge:
            reply = edge.post(b"", PROBE_TIMEOUT_S, _PROBE_BYTES)
            wire = reply.header(WIRE_HEADER)
            if wire not in ("", WIRE_VERSION):
                raise EdgeError(
                    f"{shown(self.url)} speaks version {wire!r:.40} of our format, not {WIRE_VERSION}: "
                    "deploy it again with this version of pytest-wasmedge"
                )
            if wire:
                # An empty body is no framed invocation: that answer shows nothing but the format.
                left_s = max(0.1, PROBE_TIMEOUT_S - reply.elapsed_ns / 1e9)
                reply = edge.post(request_body(self.name, Invocation(), left_s), left_s, _PROBE_BYTES)
            if not reply.ok:
                raise EdgeError(edge.refusal(reply))
        answer = self.read(reply, bool(wire))
        if answer.ending.kind == "host_failed":
            raise EdgeError(f"an empty program failed: {answer.ending.detail}; look at the worker's log")
        self._framed, self._sha256 = bool(wire), _sha256_of(reply)
        self.unchecked = frozenset() if self._framed else _UNSENT
        self.probed = self.outcome(reply, answer)


class RemoteHost(Host):
    """A client of the deployed worker. It has no process, and only the worker limits memory."""

    def __init__(self, runtime: Remote, artifact: Artifact, limits: Limits, framed: bool, edge: Edge) -> None:
        self.runtime: Remote = runtime
        self.artifact, self.limits = artifact, limits
        self._framed, self._edge = framed, edge

    def invoke(self, invocation: Invocation) -> Outcome:
        possible = ("arguments", "an environment") if self._framed else ()
        check_given(self.runtime.name, invocation, possible, "it is deployed elsewhere")
        self._check_open()
        timeout_s = self._time_limit_s(invocation)
        body = request_body(self.runtime.name, invocation, timeout_s) if self._framed else invocation.stdin
        most_bytes = self.limits.output_bytes + (_HEAD_BYTES if self._framed else 0)
        began_ns = time.perf_counter_ns()
        try:
            reply = self._edge.post(body, timeout_s, most_bytes)
        except EdgeError as error:
            # Closing this host breaks requests that are under way.
            self._check_open()
            reply = Reply(time.perf_counter_ns() - began_ns, 0)
            ending = timed_out(str(error)) if isinstance(error, LateError) else host_failed(str(error))
            return self.runtime.outcome(reply, Answer(ending))
        return self.runtime.outcome(reply, self._answer(reply))

    def close(self) -> None:
        self._closed = True
        self._edge.close()

    def _answer(self, reply: Reply) -> Answer:
        """Take the reply apart; anything wrong with it is the host's failure."""
        sha256 = _sha256_of(reply)
        if not reply.ok:
            return Answer(host_failed(self._edge.refusal(reply)))
        if sha256 and sha256 != self.artifact.sha256:
            detail = f"it answered with the artifact {_digest(sha256)}, not {self.artifact.sha256}"
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


def _sha256_of(reply: Reply) -> str:
    """Return the digest that the worker sends; empty if it sends none."""
    return reply.header(ARTIFACT_HEADER).lower()


def _digest(sha256: str) -> str:
    return sha256 if re.fullmatch(r"[0-9a-f]{64}", sha256) else f"{sha256[:64]!r} (which is no SHA-256)"
