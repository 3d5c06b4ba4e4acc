"""A worker that is deployed already: how its URL is given, how it answers, and what it cannot tell."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import cast

import httpx
import pytest

from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.drivers.edge import TOKEN_VARIABLE
from pytest_wasmedge.drivers.http import WIRE_HEADER
from pytest_wasmedge.drivers.server import ServerHost, ServingLaunch
from pytest_wasmedge.errors import HostStartError, RuntimeUnavailableError, UnsupportedError
from pytest_wasmedge.model import Artifact, Ending, Invocation, Limits, exited
from pytest_wasmedge.runtimes import builtin_names
from pytest_wasmedge.runtimes.remote import (
    ARTIFACT_HEADER,
    DEFAULT_HEADER,
    Kind,
    Remote,
    RemoteError,
    RemoteHost,
    kind_of,
    remotes,
)
from pytest_wasmedge.runtimes.workerd import Workerd
from tests import wat

DIGEST = "5" * 64
TOKEN = "tok-3n"
ALL_BYTES = bytes(range(256))

Handler = Callable[[httpx.Request], httpx.Response]
Deploy = Callable[..., Remote]


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's own token."""
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """An artifact that nobody reads."""
    return Artifact(tmp_path / "mine.wasm", DIGEST, 4, "mine.wasm")


def remote(handler: Handler, url: str = "https://edge.example/run", header: str = DEFAULT_HEADER) -> Remote:
    """Return a runtime whose requests this function answers."""
    return Remote("edge", url, header, transport=httpx.MockTransport(handler))


def answering(body: bytes = b"", status: int = 200, headers: Mapping[str, str] | None = None) -> Handler:
    """Always answer so."""
    return lambda request: httpx.Response(status, content=body, headers=headers)


def after_probe(then: Handler) -> Handler:
    """Answer the probe, which has no body, with nothing, and all else as told."""
    return lambda request: then(request) if request.content else httpx.Response(200)


def failing(error: Exception) -> Handler:
    """Raise this, with its cause, instead of answering."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise error

    return handler


def caused(error: httpx.HTTPError, cause: Exception) -> httpx.HTTPError:
    """Return the error as httpx raises it: with the system's own behind it."""
    error.__cause__ = cause
    return error


# --- the command line ------------------------------------------------------------------------------------


def test_names() -> None:
    """A URL has the name given, or else the first free one of remote, remote-2, …; order is kept."""
    found = remotes(
        [
            "https://a.example",
            "tokyo=https://b.example/run?x=1",
            "https://c.example/p?q=r",
            "remote-2=http://[::1]:8787/",
        ],
        invocation_header="x-n",
        taken=["wasmtime"],
    )

    assert [(each.name, str(each.url)) for each in found] == [
        ("remote", "https://a.example"),
        ("tokyo", "https://b.example/run?x=1"),
        ("remote-3", "https://c.example/p?q=r"),
        ("remote-2", "http://[::1]:8787/"),
    ]
    assert {each.invocation_header for each in found} == {"x-n"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("edge.example", "'edge.example' begins with neither http:// nor https://"),
        ("localhost:8787", "'localhost:8787' begins with neither http:// nor https://"),
        ("", "'' begins with neither http:// nor https://"),
        ("edge=", "'' begins with neither http:// nor https://"),
        ("ftp://edge.example", "the scheme of 'ftp://edge.example' is neither http nor https"),
        ("https://", "there is no host in 'https://'"),
        ("https://edge.example:port/", "'https://edge.example:port/' is no valid URL"),
        ("https://edge.example:99999/", "there is no port 99999, as in 'https://edge.example:99999/'"),
        ("https://edge.example:0/", "there is no port 0, as in 'https://edge.example:0/'"),
        ("https://edge. example/", "there is a space or a control character in 'https://edge. example/'"),
        ("https://edge.example/\n", "there is a space or a control character in 'https://edge.example/\\n'"),
        ("Edge=https://edge.example", "'Edge' cannot be a name: use a-z, 0-9 and - only"),
        ("=https://edge.example", "'' cannot be a name: use a-z, 0-9 and - only"),
        (
            "deno=https://edge.example",
            "the name 'deno' is already in use; give https://edge.example/ another one",
        ),
        (
            "all=https://edge.example",
            "the name 'all' is already in use; give https://edge.example/ another one",
        ),
        (
            "one=https://edge.example",
            "the name 'one' is already in use; give https://edge.example/ another one",
        ),
    ],
)
def test_bad_urls_and_names(spec: str, message: str) -> None:
    """What cannot be used is refused at once, with the problem in one sentence."""
    with pytest.raises(RemoteError) as caught:
        remotes(["one=https://first.example", spec], taken=["deno"])

    assert str(caught.value).startswith(f"--wasm-remote: {message}.")


@pytest.mark.parametrize(
    "spec",
    [
        "https://me:hunter2@edge.example/",
        "https://hunter2@edge.example/",
        "edge=https://me:hunter2@edge.example:99999/",
        "me:hunter2@edge.example/",
        "ftp://me:hunter2@edge.example/",
        "https://me:hunter2/?@edge.example/",
        "Edge=https://edge.example/?key=hunter2",
        "https://edge. example/?key=hunter2",
    ],
)
def test_no_secret_of_a_url_is_shown(spec: str) -> None:
    """Whatever is wrong with a URL, its user, password and query are in no message."""
    with pytest.raises(RemoteError) as caught:
        remotes([spec])

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_password_is_told_where_it_belongs() -> None:
    """A password in the URL is refused with the name of the environment variable for it."""
    with pytest.raises(RemoteError, match=f"Set the environment variable {TOKEN_VARIABLE} instead"):
        remotes(["https://me:secret@edge.example/"])


@pytest.mark.parametrize("header", ["", "two words", "x:y", "ü"])
def test_bad_header_name(header: str) -> None:
    """A text that no header can be named by is refused."""
    with pytest.raises(RemoteError, match="cannot be the name of a header; the default is pytest-wasmedge-"):
        remotes([], invocation_header=header)


def test_remote_is_no_builtin() -> None:
    """Without a URL there is no remote: it is not among the runtimes that `all` means."""
    assert "remote" not in builtin_names()


# --- the probe -------------------------------------------------------------------------------------------


def test_probe_of_a_plain_worker() -> None:
    """A worker that answers stdout alone is available, and it is said what cannot be checked."""
    asked: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, headers={DEFAULT_HEADER: "1"})

    edge = remote(handler, "https://edge.example/run?key=hunter2")
    availability = edge.probe()

    assert (availability.available, availability.path) == (True, "https://edge.example/run?…")
    assert [(request.method, request.content) for request in asked] == [("POST", b"")]
    assert edge.unchecked == {"stderr", "ending"}
    assert "artifact not verified" in edge.cannot_check()
    assert edge.cannot_check() == "artifact not verified (it sends no x-pytest-wasmedge-artifact)"
    assert edge.probed
    assert kind_of(edge.probed.invocation) == "edge/cold"


def test_nothing_is_taken_for_told_before_the_probe() -> None:
    """A worker that was not asked yet has told neither stderr nor ending nor artifact."""
    edge = remote(answering())

    assert edge.unchecked == {"stderr", "ending"}
    assert "artifact not verified" in edge.cannot_check()


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (
            failing(caused(httpx.ConnectError("x"), socket.gaierror(-2, "Name not known"))),
            "the name edge.example cannot be resolved ([Errno -2] Name not known): "
            "check the URL and the network",
        ),
        (
            failing(caused(httpx.ConnectError("x"), ConnectionRefusedError(111, "refused"))),
            "https://edge.example/run refuses connections ([Errno 111] refused): "
            "check the port and that it is deployed",
        ),
        (
            failing(caused(httpx.ConnectError("x"), ssl.SSLCertVerificationError("self-signed"))),
            "no TLS connection to https://edge.example/run (('self-signed',)): "
            "check its certificate, and that it speaks https",
        ),
        (
            failing(httpx.ConnectTimeout("slow")),
            "https://edge.example/run did not answer in time (slow): check the network and the worker's log",
        ),
        (failing(httpx.ReadTimeout("slow")), "no complete answer within 10 s"),
        (
            failing(httpx.RemoteProtocolError("Server disconnected")),
            "the connection to https://edge.example/run broke (Server disconnected): "
            "look at the worker's log, then run again",
        ),
        (
            failing(UnicodeError("label too long")),
            "https://edge.example/run cannot be asked (label too long): "
            "check the URL, and SSL_CERT_FILE if it is set",
        ),
        (
            answering(status=404),
            "https://edge.example/run answered HTTP 404: "
            "check the path of the URL and that the worker is deployed",
        ),
        (
            answering(b"\n who are you?\nmore", 401),
            "https://edge.example/run answered HTTP 401 (who are you?): set PYTEST_WASMEDGE_REMOTE_TOKEN",
        ),
        (
            answering(status=405),
            "https://edge.example/run answered HTTP 405: "
            "deploy a worker that takes a POST with stdin as its body",
        ),
        (
            answering(status=429),
            "https://edge.example/run answered HTTP 429: it limits the rate of requests; wait",
        ),
        (
            answering(b"\xff" * 9999, 500),
            "https://edge.example/run answered HTTP 500 (" + "\\xff" * 50 + "): look at the worker's log",
        ),
        (
            answering(status=302, headers={"location": "https://me:pw@other.example/?key=1"}),
            "https://edge.example/run answered HTTP 302 (a redirect to …@other.example/?…): "
            "give the URL that it leads to",
        ),
        (
            answering(headers={WIRE_HEADER: "9"}),
            "https://edge.example/run speaks version '9' of our format, not 1: "
            "deploy it again with this version of pytest-wasmedge",
        ),
    ],
)
def test_why_it_is_unavailable(handler: Handler, reason: str, artifact: Artifact) -> None:
    """Each way of not answering is one sentence that ends with what to do; a probe never raises."""
    availability = remote(handler).probe()

    assert (availability.available, availability.reason) == (False, reason)
    with pytest.raises(RuntimeUnavailableError, match=re.escape(f"edge cannot be used: {reason}.")):
        remote(handler).start(artifact, Limits())


def test_a_port_where_nobody_listens() -> None:
    """A real refused connection is told as one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    availability = Remote("edge", f"http://127.0.0.1:{port}/").probe()

    assert availability.reason.startswith(f"http://127.0.0.1:{port}/ refuses connections")


def test_what_answers_is_told_by_its_own_words_only() -> None:
    """A framed worker whose second answer is no frame is unavailable, with what it said."""
    availability = remote(answering(b"hello", headers={WIRE_HEADER: "1"})).probe()

    assert "an empty program failed: edge answered b'hello', which we cannot read" in availability.reason


# --- the token -------------------------------------------------------------------------------------------


def test_the_token_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of the environment is sent as a bearer's; a worker that echoes it does not get it printed."""
    monkeypatch.setenv(TOKEN_VARIABLE, f" {TOKEN}\n")

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(403, text=f"bad {request.headers['authorization']}")

    assert remote(handler).probe().reason == (
        "https://edge.example/run answered HTTP 403 (bad Bearer [token]): "
        "put another token into PYTEST_WASMEDGE_REMOTE_TOKEN"
    )


@pytest.mark.parametrize("url", ["http://edge.example/", "http://127.0.0.1.example/"])
def test_the_token_is_never_sent_in_the_clear(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TLS nothing is sent to another machine while a token is set."""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)

    reason = remote(failing(AssertionError("it was asked")), url).probe().reason

    assert reason == f"{url} would get PYTEST_WASMEDGE_REMOTE_TOKEN unencrypted: use https, or unset it"


@pytest.mark.parametrize("url", ["http://localhost:8787/", "http://127.0.0.1:8787/", "http://[::1]:8787/"])
def test_the_token_may_go_to_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker on this machine gets the token without TLS."""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200 if request.headers["authorization"] == f"Bearer {TOKEN}" else 401)

    assert remote(handler, url).probe().available


def test_a_token_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token with a line break in it is refused without being shown."""
    monkeypatch.setenv(TOKEN_VARIABLE, "hunter2\nx: y")

    reason = remote(answering()).probe().reason

    assert "contains a space or another character" in reason
    assert "hunter2" not in reason


# --- which artifact --------------------------------------------------------------------------------------


def test_the_artifact_that_it_tells_is_compared(artifact: Artifact) -> None:
    """A worker that holds other bytes does not start; the message has both digests."""
    with pytest.raises(HostStartError) as caught:
        remote(answering(headers={ARTIFACT_HEADER: "7" * 64})).start(artifact, Limits())

    assert "7" * 64 in str(caught.value)
    assert DIGEST in str(caught.value)


def test_the_right_artifact(artifact: Artifact) -> None:
    """A worker that tells the digest is verified, and its outcomes name the artifact; others name none."""
    edge = remote(answering(headers={ARTIFACT_HEADER: DIGEST.upper()}))
    with edge.start(artifact, Limits()) as host:
        assert host.run("x").artifact_sha256 == DIGEST
    assert edge.cannot_check() == ""
    assert edge.cannot_check() == ""

    with remote(answering()).start(artifact, Limits()) as host:
        assert host.run("x").artifact_sha256 == ""


def test_an_artifact_that_is_deployed_meanwhile(artifact: Artifact) -> None:
    """An answer of other bytes than those that were verified is the host's failure."""
    with remote(after_probe(answering(headers={ARTIFACT_HEADER: "7" * 64}))).start(
        artifact, Limits()
    ) as host:
        ending = host.run("x").ending

    assert (ending.kind, "7" * 64 in ending.detail) == ("host_failed", True)


# --- invocations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "number", "kind"),
    [
        ("1", 1, "edge/cold"),
        (" 2 ", 2, "edge/warm"),
        ("0", 0, "edge/unknown"),
        ("-1", 0, "edge/unknown"),
        ("1, 1", 0, "edge/unknown"),
        ("one", 0, "edge/unknown"),
        ("9" * 5000, 0, "edge/unknown"),
        (None, 0, "edge/unknown"),
    ],
)
def test_the_number_says_cold_or_warm(told: str | None, number: int, kind: Kind, artifact: Artifact) -> None:
    """The header alone says cold or warm; without a number in it, nothing is guessed."""
    headers = {} if told is None else {"x-count": told}
    handler = after_probe(lambda request: httpx.Response(200, headers=headers))
    with remote(handler, header="X-Count").start(artifact, Limits()) as host:
        outcome = host.run("x")

    assert (outcome.invocation, kind_of(outcome.invocation)) == (number, kind)


@pytest.mark.parametrize(
    ("handler", "kind", "detail"),
    [
        (failing(httpx.ReadTimeout("slow")), "timed_out", "no complete answer within 30 s"),
        (failing(httpx.ConnectTimeout("slow")), "host_failed", "did not answer in time"),
        (failing(httpx.WriteTimeout("slow")), "host_failed", "did not answer in time"),
        (failing(httpx.ConnectError("no route")), "host_failed", "broke (no route)"),
        (failing(httpx.ReadError("reset")), "host_failed", "broke (reset)"),
        (answering(b"\nError 1101\n<html>", 500), "host_failed", "answered HTTP 500 (Error 1101): look"),
        (
            answering(status=307, headers={"location": "/elsewhere"}),
            "host_failed",
            "a redirect to /elsewhere): give",
        ),
        (answering(headers={WIRE_HEADER: "1"}), "host_failed", "has changed since its probe"),
    ],
)
def test_failures_of_an_invocation(handler: Handler, kind: str, detail: str, artifact: Artifact) -> None:
    """Late is timed out; whatever else kept the answer away is the host's failure, told in its words."""
    with remote(after_probe(handler)).start(artifact, Limits()) as host:
        outcome = host.run("x")

    assert outcome.ending.kind == kind
    assert detail in outcome.ending.detail
    assert (outcome.stdout, outcome.stderr, outcome.invocation) == (b"", b"", 0)


def test_nothing_is_asked_twice(artifact: Artifact) -> None:
    """A request that failed is not sent again: the guest may have run."""
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.content)
        raise httpx.ReadError("reset")

    with remote(after_probe(handler)).start(artifact, Limits()) as host:
        host.run("x")

    assert asked == [b"x"]


class Drip(httpx.SyncByteStream):
    """A body that never ends."""

    def __init__(self) -> None:
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield b"drip"

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("limits", "ending", "stdout"),
    [
        (
            Limits(output_bytes=9),
            Ending("host_failed", detail="output limit of 9 bytes reached"),
            b"dripdripd",
        ),
        (Limits(timeout_s=0), Ending("timed_out", detail="no complete answer within 0 s"), b""),
    ],
)
def test_an_answer_without_end(limits: Limits, ending: Ending, stdout: bytes, artifact: Artifact) -> None:
    """An endless answer is given up at the output limit or at the time limit, whichever comes first."""
    body = Drip()
    handler = after_probe(lambda request: httpx.Response(200, stream=body))
    with remote(handler).start(artifact, limits) as host:
        outcome = host.run("x")

    assert (outcome.ending, outcome.ending.detail) == (ending, ending.detail)
    assert outcome.stdout == stdout
    assert body.closed


@pytest.mark.parametrize(
    ("invocation", "noun"),
    [
        (Invocation(args=("a",)), "arguments"),
        (Invocation(env=MappingProxyType({"A": "b"})), "an environment"),
        (Invocation(preopens=MappingProxyType({"/": Path()})), "folders"),
        (Invocation(args=("a",), env=MappingProxyType({"A": "b"})), "arguments or an environment"),
    ],
)
def test_a_plain_worker_takes_stdin_alone(invocation: Invocation, noun: str, artifact: Artifact) -> None:
    """What the plain contract has no place for is refused by name, and nothing is sent."""
    with (
        remote(answering()).start(artifact, Limits()) as host,
        pytest.raises(UnsupportedError, match=f"edge cannot give {noun} to a guest"),
    ):
        host.invoke(invocation)


def test_a_closed_host_says_so(artifact: Artifact) -> None:
    """Closing twice is harmless; an invocation afterwards is an error."""
    host = remote(answering()).start(artifact, Limits())
    host.close()
    host.close()

    with pytest.raises(HostStartError, match="edge: this host is closed"):
        host.run("x")


def test_a_framed_worker_that_writes_too_much(artifact: Artifact) -> None:
    """The output limit counts both streams of a frame."""

    def handler(request: httpx.Request) -> httpx.Response:
        if not request.content:
            return httpx.Response(400, headers={WIRE_HEADER: "1"})
        stdin = request.content.partition(b"\n")[2]
        head = {"stdout_bytes": len(stdin), "stderr_bytes": len(stdin), "invocation": 3}
        head["ending"] = {"kind": "exited", "status": 0, "detail": ""}  # type: ignore[assignment]
        body = json.dumps(head).encode() + b"\n" + stdin + stdin
        return httpx.Response(200, headers={WIRE_HEADER: "1"}, content=body)

    with remote(handler).start(artifact, Limits(output_bytes=8)) as host:
        assert host.run("four").stderr == b"four"
        assert host.run("fives").ending.detail == "output limit of 8 bytes reached"
        assert host.run("x" * (1 << 17)).ending.detail == "output limit of 8 bytes reached"


def test_a_head_without_end(artifact: Artifact) -> None:
    """An answer whose headers come line by line for ever is left at the time limit."""
    left = threading.Event()

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not left.wait(0.01):
                connection.sendall(b"a: b\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as threads:
        threads.submit(serve, server)
        edge = Remote("edge", f"http://127.0.0.1:{server.getsockname()[1]}/")
        with edge.start(artifact, Limits()) as host:
            try:
                ending = host.run("x", timeout_s=0.2).ending
            finally:
                left.set()

    assert ending == Ending("timed_out")


# --- a real worker ---------------------------------------------------------------------------------------

PLAIN = """
import module from "artifact.wasm";
import { run } from "./guest.mjs";
let count = 0;
export default {
  async fetch(request) {
    const number = ++count;
    const stdin = new Uint8Array(await request.arrayBuffer());
    const { stdout } = run(module, { args: [], env: [], stdin, timeoutMs: 1000, outputBytes: 1 << 24 });
    return new Response(stdout, { headers: { "x-invocation": String(number) } });
  },
};
"""
FRAMED = """
import module from "artifact.wasm";
import { run } from "./guest.mjs";
import { frameResult, parseInvocation, responseHeaders } from "./wire.mjs";
const ours = { "pytest-wasmedge-wire": "1", "x-pytest-wasmedge-artifact": "DIGEST" };
let count = 0;
export default {
  async fetch(request) {
    let invocation;
    try {
      invocation = parseInvocation(new Uint8Array(await request.arrayBuffer()));
    } catch {
      return new Response(null, { status: 400, headers: ours });
    }
    const number = ++count;
    const result = { ...run(module, { ...invocation, outputBytes: 1 << 24 }), phases: {} };
    return new Response(frameResult(result, number), { headers: { ...responseHeaders(number), ...ours } });
  },
};
"""


class Deployed(Workerd):
    """A workerd that serves a worker of the test's own, which asks nobody for a secret."""

    def __init__(self, worker: str) -> None:
        self.worker = worker

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        argv = super().argv(launch)
        source = self.worker.replace("DIGEST", launch.artifact.sha256)
        (launch.workspace / "deployed.mjs").write_text(source, encoding="utf-8")
        config = launch.workspace / "config.capnp"
        # The first module is the one that serves.
        mine = '  modules = [\n    (name = "deployed.mjs", esModule = embed "deployed.mjs"),'
        config.write_text(config.read_text(encoding="utf-8").replace("  modules = [", mine), encoding="utf-8")
        return argv


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Deploy]:
    """Serve this worker with this program, for as long as the test lasts; return it as a deployed edge."""
    with ExitStack() as hosts:

        def deploy(worker: str, program: str) -> Remote:
            if reason := Workerd().missing():
                pytest.fail(f"workerd: {reason}; run `make setup`", pytrace=False)
            host = Deployed(worker).start(wat.artifact(tmp_path, program), Limits())
            server = cast("ServerHost", hosts.enter_context(host))._server
            return remotes([f"edge={server.url}"], invocation_header="x-invocation")[0]

        yield deploy


def program_of(folder: Path) -> Artifact:
    """Return the artifact that `deploy` made."""
    return load_artifact(folder / "program.wasm")


def test_real_plain_worker(deploy: Deploy, tmp_path: Path) -> None:
    """A worker that answers stdout alone: bytes arrive whole, cold and warm are told by its number."""
    edge = deploy(PLAIN, wat.ECHO)

    assert edge.probe().available
    assert edge.probed
    assert kind_of(edge.probed.invocation) == "edge/cold"
    with edge.start(program_of(tmp_path), Limits()) as host:
        outcome = host.run(ALL_BYTES)
        assert (outcome.stdout, outcome.stderr, outcome.ending) == (ALL_BYTES, b"", exited(0))
        assert (outcome.invocation, kind_of(outcome.invocation)) == (2, "edge/warm")
        assert set(outcome.timings.phases_ns) == {"connect"}
        again = host.run(b"x")
        assert (again.stdout, again.invocation) == (b"x", 3)
        assert again.timings.phases_ns == {}
    assert edge.unchecked == {"stderr", "ending"}


def test_real_plain_worker_tells_no_ending(deploy: Deploy, tmp_path: Path) -> None:
    """A guest that fails looks as if it had ended well: this is what `unchecked` warns of."""
    edge = deploy(PLAIN, wat.reports("oops", 7))

    with edge.start(program_of(tmp_path), Limits()) as host:
        outcome = host.run()
    assert (outcome.stdout, outcome.stderr, outcome.ending) == (b"", b"", exited(0))
    assert edge.unchecked == {"stderr", "ending"}


def test_real_framed_worker(deploy: Deploy, tmp_path: Path) -> None:
    """A worker that speaks our format tells stderr, status and artifact: nothing stays unchecked."""
    edge = deploy(FRAMED, wat.reports("oops", 7))

    with edge.start(program_of(tmp_path), Limits()) as host:
        outcome = host.run()
    assert (outcome.stdout, outcome.stderr, outcome.ending) == (b"", b"oops", exited(7))
    # The header of the option is not sent, so the number is the frame's own; the probe was the first.
    assert outcome.invocation == 2
    assert outcome.artifact_sha256 == program_of(tmp_path).sha256
    assert edge.unchecked == frozenset()
    assert edge.cannot_check() == ""


def test_real_framed_worker_takes_arguments(deploy: Deploy, tmp_path: Path) -> None:
    """Arguments reach the guest of a framed worker; folders are refused there too."""
    edge = deploy(FRAMED, wat.ARGUMENTS)

    with edge.start(program_of(tmp_path), Limits()) as host:
        assert host.run(args=("ä", "")).stdout == "artifact.wasm\0ä\0\0".encode()
        with pytest.raises(UnsupportedError, match="edge cannot give folders"):
            host.invoke(Invocation(preopens=MappingProxyType({"/": tmp_path})))


def test_real_worker_that_holds_other_bytes(deploy: Deploy, artifact: Artifact) -> None:
    """What runs there is compared with what is under test, by the digests."""
    with pytest.raises(HostStartError, match=DIGEST):
        deploy(FRAMED, wat.ECHO).start(artifact, Limits())


def test_real_worker_from_many_threads(deploy: Deploy, tmp_path: Path) -> None:
    """One host serves several threads; each gets its own answer, and no number comes twice."""
    edge = deploy(PLAIN, wat.ECHO)
    with edge.start(program_of(tmp_path), Limits()) as host, ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(host.run, map(str, range(40))))

    assert [outcome.stdout_text for outcome in outcomes] == [str(number) for number in range(40)]
    assert sorted(outcome.invocation for outcome in outcomes) == list(range(2, 42))


def test_real_worker_that_never_answers(deploy: Deploy, tmp_path: Path) -> None:
    """An invocation that the worker does not answer ends at its own time limit, not at the host's."""
    spins_if_asked = wat.command("""
        (if (call $read (i32.const 0) (i32.const 65536) (i32.const 1)) (then (loop $on (br $on))))""")
    edge = deploy(PLAIN, spins_if_asked)
    with edge.start(program_of(tmp_path), Limits()) as host:
        assert isinstance(host, RemoteHost)
        assert host.run("x", timeout_s=0.3).ending == Ending("timed_out")


def test_real_tls_failure(deploy: Deploy) -> None:
    """https on a port that speaks http is told as a failure of TLS."""
    url = str(deploy(PLAIN, wat.ECHO).url).replace("http:", "https:")

    assert Remote("edge", url).probe().reason.startswith(f"no TLS connection to {url}")


def test_real_worker_is_measured_by_its_count(
    deploy: Deploy, tmp_path: Path, pytester: pytest.Pytester
) -> None:
    """In a pytest run the first invocation of an isolate is its cold start, all others are warm; nothing is started."""
    url = deploy(PLAIN, wat.ECHO).url
    pytester.makepyfile(
        """
        def test_cold(cold_start):
            assert (cold_start.kind, len(cold_start.take().elapsed_ns)) == ("edge/cold", 1)

        def test_warm(warm_latency):
            assert (warm_latency.kind, len(warm_latency.take().elapsed_ns)) == ("edge/warm", 20)

        def test_floor(cold_floor):
            raise AssertionError("a floor was measured")

        def test_stdout(host):
            assert host.run(b"x").stdout == b"x"
        """
    )
    result = pytester.runpytest_subprocess(
        f"--wasm-remote=edge={url}",
        "--wasm-remote-header=x-invocation",
        "--runtimes=edge",
        f"--wasm-artifact={program_of(tmp_path).path}",
        "-rs",
    )

    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.re_match_lines(
        [
            r"edge +\S+ +deployed +3 +0 +1 +0 +\d+\.\d +\d+\.\d",
            "edge does not report ending and stderr: not checked there",
            r"edge: artifact not verified \(it sends no x-pytest-wasmedge-artifact\)",
            r"SKIPPED .* edge is deployed: we do not start it\.",
        ]
    )
    again = pytester.runpytest_subprocess(
        f"--wasm-remote=edge={url}",
        "--wasm-remote-header=x-nothing",
        "--runtimes=edge",
        f"--wasm-artifact={program_of(tmp_path).path}",
        "-rs",
        "-k",
        "cold",
    )
    again.assert_outcomes(skipped=1, deselected=3)
    again.stdout.re_match_lines(
        [r"SKIPPED .*edge gave no edge/cold in 30 invocations\. We know cold from warm by its count .*"]
    )
