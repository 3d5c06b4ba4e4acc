"""The page server against strangers and a page played by a client; browsers that never get as far as the page."""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from pytest_wasmedge.drivers import polling
from pytest_wasmedge.drivers.browser import BrowserRuntime
from pytest_wasmedge.drivers.jobs import LostError
from pytest_wasmedge.drivers.pages import PageServer
from pytest_wasmedge.drivers.program import Versions
from pytest_wasmedge.drivers.serving import ServingLaunch
from pytest_wasmedge.errors import HostStartError, RuntimeUnavailableError
from pytest_wasmedge.model import Artifact, Limits, exited
from tests import wat
from tests.refused import hear_late

PATIENCE_S = 20


@pytest.fixture
def glue(tmp_path: Path) -> Path:
    """A folder with a module and one below it, and a file that is neither."""
    folder = tmp_path / "glue"
    (folder / "shim").mkdir(parents=True)
    (folder / "page.mjs").write_text("// page")
    (folder / "shim" / "wasi.js").write_text("// wasi")
    (folder / "notes.txt").write_text("not for the page")
    return folder


@pytest.fixture
def pages(glue: Path, tmp_path: Path) -> Iterator[PageServer]:
    """A server of such a page."""
    server = PageServer(glue, wat.write(tmp_path / "a.wasm", wat.ECHO), 1000)
    server.start()
    yield server
    server.close()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """Somebody on this machine."""
    with httpx.Client(trust_env=False, verify=False, timeout=PATIENCE_S) as client:
        yield client


def test_page_gets_its_files(pages: PageServer, client: httpx.Client, tmp_path: Path) -> None:
    """Under the secret path there are page, modules and artifact, each as what it is, and nothing else."""
    index, module, inner, artifact, other, outside = (
        client.get(pages.url + name)
        for name in ("", "page.mjs", "shim/wasi.js", "artifact.wasm", "notes.txt", "..%2fa.wasm")
    )

    assert 'data-output-bytes="1000"' in index.text
    assert index.headers["content-type"].startswith("text/html")
    assert (module.text, inner.text) == ("// page", "// wasi")
    assert inner.headers["content-type"].startswith("text/javascript")
    assert artifact.content == (tmp_path / "a.wasm").read_bytes()
    assert (other.status_code, outside.status_code) == (404, 404)


def test_page_may_wait_and_load_nothing_else(pages: PageServer, client: httpx.Client) -> None:
    """Every answer isolates the page, so that a guest can sleep, and forbids it all but this one place."""
    headers = client.get(pages.url + "page.mjs").headers

    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    assert headers["content-security-policy"].startswith("default-src 'none'; ")
    assert headers["referrer-policy"] == "no-referrer"


def test_only_modules_are_cached(pages: PageServer, client: httpx.Client) -> None:
    """Workers load the same modules again and again; the artifact is loaded once and not put on disk."""
    names = ("page.mjs", "shim/wasi.js", "", "artifact.wasm", "unknown")
    caching = [client.get(pages.url + name).headers["cache-control"] for name in names]

    assert caching == ["max-age=86400", "max-age=86400", "no-store", "no-store", "no-store"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", ["", "page.mjs", "artifact.wasm", "guess/", "guess/jobs", "guess/results/1"])
def test_strangers_get_nothing(pages: PageServer, client: httpx.Client, method: str, path: str) -> None:
    """Without the secret there is a 404 with no body, whatever is asked, and nobody is taken for the page."""
    answer = client.request(method, f"http://{pages.authority}/{path}", content=b"{}" * (method == "POST"))

    assert (answer.status_code, answer.content) == (404, b"")
    assert not pages.ready.done()


def test_strangers_hear_their_refusal(pages: PageServer) -> None:
    """Who is refused before it has written its body can write it, and reads the 404."""
    head = b"POST /guess/jobs HTTP/1.1\r\nContent-Length: 4\r\n\r\n"
    assert hear_late(pages.authority, head, b"{}", b"{}").startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("length", ["99999999999", "-1", "1e9", "a lot"])
def test_a_result_has_a_limit(pages: PageServer, length: str) -> None:
    """Nothing is read of a body that no guest can have left, and such a page is lost."""
    host, port = pages.authority.split(":")
    job = pages.post(b"job")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as page:
        head = f"POST /{pages.secret}/results/1 HTTP/1.1\r\nHost: {pages.authority}\r\nContent-Length: {length}\r\n\r\n"
        page.sendall(head.encode())
        answer = page.recv(100)

    assert answer.startswith(b"HTTP/1.1 404 ")
    with pytest.raises(LostError, match=f"posted a body of {length} bytes"):
        job.result(PATIENCE_S)


@pytest.mark.parametrize("host", ["localhost", "example.com", "127.0.0.1"])
def test_other_names_get_nothing(pages: PageServer, client: httpx.Client, host: str) -> None:
    """A request that names another host got here by a trick, even if it knows the path."""
    assert client.get(pages.url, headers={"host": host}).status_code == 404


def read(stream: Iterator[bytes], size: int, held: bytearray) -> bytes:
    """Return so many bytes of a stream; what came beyond stays in ``held``."""
    while len(held) < size:
        held += next(stream)
    taken = bytes(held[:size])
    del held[:size]
    return taken


def test_jobs_and_results(pages: PageServer, client: httpx.Client) -> None:
    """Jobs come down one stream, numbered; each result goes to who waits for it, in any order, once."""
    phases = json.dumps({"phases_ns": {"load": 1, "compile": 2}})
    with client.stream("POST", pages.url + "jobs", content=phases) as jobs:
        assert pages.ready.result(PATIENCE_S) == {"load": 1, "compile": 2}
        first, second = pages.post(b"one"), pages.post(b"")
        stream, held = jobs.iter_raw(), bytearray()
        assert struct.unpack(">II", read(stream, 8, held)) == (1, 3)
        assert read(stream, 3, held) == b"one"
        assert struct.unpack(">II", read(stream, 8, held)) == (2, 0)

        statuses = [
            client.post(pages.url + f"results/{number}", content=content).status_code
            for number, content in ((2, b"two"), (1, b"one"), (1, b"again"), (9, b"never asked"))
        ]
        assert statuses == [204, 204, 404, 404]
        assert (first.result(0), second.result(0)) == (b"one", b"two")
        assert client.post(pages.url + "jobs", content=phases).status_code == 404


def test_page_that_goes_is_missed_at_once(pages: PageServer, client: httpx.Client) -> None:
    """When the stream of jobs breaks, who waits for a result learns of it, and so does who comes later."""
    with client.stream("POST", pages.url + "jobs", content="{}"):
        pages.ready.result(PATIENCE_S)
        under_way = pages.post(b"job")

    with pytest.raises(LostError, match="lost its page"):
        under_way.result(PATIENCE_S)
    with pytest.raises(LostError, match="lost its page"):
        pages.post(b"later").result(0)


def test_job_that_went_out_is_told_from_one_that_did_not(pages: PageServer, client: httpx.Client) -> None:
    """When the page is lost, it counts for each job whether all of it had been sent."""
    with client.stream("POST", pages.url + "jobs", content="{}") as jobs:
        pages.ready.result(PATIENCE_S)
        first, _ = pages.post(b"one"), pages.post(b"two")
        # That the second comes says that the first has gone.
        read(jobs.iter_raw(), 22, bytearray())

    with pytest.raises(LostError) as caught:
        first.result(PATIENCE_S)
    assert caught.value.received
    with pytest.raises(LostError) as caught:
        pages.post(b"later").result(0)
    assert not caught.value.received


def test_job_that_nobody_took(pages: PageServer) -> None:
    """A job that still waits to be sent when the page is lost was not received."""
    waiting = pages.post(b"job")
    pages.lose("was killed")

    with pytest.raises(LostError) as caught:
        waiting.result(0)
    assert not caught.value.received


def test_page_says_why_it_cannot_serve(pages: PageServer, client: httpx.Client) -> None:
    """What the page says of its failure is what the start fails with."""
    assert client.post(pages.url + "failed", content=b"CompileError: bad").status_code == 204

    with pytest.raises(LostError, match="could not load it: CompileError: bad"):
        pages.ready.result(0)


def test_closed_server_leaves_nothing(pages: PageServer, client: httpx.Client) -> None:
    """After closing, nobody listens, its thread has ended, and closing again is harmless."""
    pages.close()
    pages.close()

    with pytest.raises(httpx.ConnectError):
        client.get(pages.url)
    assert "pytest-wasmedge-page" not in {thread.name for thread in threading.enumerate()}


class Odd(BrowserRuntime):
    """Python in the place of a browser, for what no real one does when asked to."""

    name = "odd"
    engine = "none"
    commands = ("odd-browser", "odder-browser")
    remedies: ClassVar[Mapping[str, str]] = {"debian": "apt install odd-browser"}
    minimum = (10,)

    def __init__(self, program: str, glue: Path) -> None:
        self._program, self._glue = program, glue

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        return [str(launch.executable), "-c", self._program]

    def version_argv(self, executable: Path) -> Sequence[str]:
        return [str(executable), "-c", self._program]

    def read_versions(self, said: str) -> Versions:
        return Versions(said.split()[1])

    def glue(self) -> Path:
        return self._glue


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python is named as the odd browser."""
    monkeypatch.setenv("PYTEST_WASMEDGE_ODD", sys.executable)


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """An artifact that nobody gets to run."""
    return wat.artifact(tmp_path, wat.ECHO)


def folders() -> set[Path]:
    """Return our temporary folders."""
    import tempfile

    return set(Path(tempfile.gettempdir()).glob("pytest-wasmedge-*"))


@pytest.mark.usefixtures("odd")
def test_browser_that_ends_before_the_page(
    glue: Path, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that ends at once is a start error with its status and its last words; its folder is gone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = "import sys; print('no display', file=sys.stderr); sys.exit(3)"

    with pytest.raises(HostStartError) as caught:
        Odd(program, glue).start(artifact, Limits())

    text = str(caught.value)
    assert f"odd could not start with program: `{sys.executable}` ended with status 3" in text
    assert "Its log ends:\nno display\n" in text
    assert "`pytest-wasmedge doctor`" in text
    assert folders() == set()


@pytest.mark.usefixtures("odd")
def test_browser_that_never_asks_for_the_page(
    glue: Path, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that runs but does nothing is given up and killed, with the time and its last words."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(polling, "START_TIMEOUT_S", 1.0)
    program = "import signal; print('thinking', flush=True); signal.pause()"

    with pytest.raises(HostStartError, match=r"(?s)did not load its page within 1 s .*thinking"):
        Odd(program, glue).start(artifact, Limits())

    assert folders() == set()


def test_missing_browser_is_named_with_its_remedy(glue: Path, artifact: Artifact) -> None:
    """Without a browser the reason names what was looked for, and the remedy is the system's command."""
    odd = Odd("", glue)
    probe = odd.probe()

    assert (probe.available, probe.install) == (False, "apt install odd-browser")
    assert probe.reason == "odd-browser or odder-browser is not on PATH"
    with pytest.raises(RuntimeUnavailableError, match="get it with `apt install odd-browser`"):
        odd.start(artifact, Limits())


def test_variable_that_names_no_browser(glue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong path in the variable is the reason, with what to correct."""
    monkeypatch.setenv("PYTEST_WASMEDGE_ODD", "/nowhere/odd")

    assert "PYTEST_WASMEDGE_ODD=/nowhere/odd: that file does not exist" in Odd("", glue).probe().reason


@pytest.mark.usefixtures("odd")
def test_browser_that_is_too_old(glue: Path) -> None:
    """Below the minimum it is unavailable; the reason has both versions, the remedy is to get a newer one."""
    probe = Odd("print('Odd 9.1.2')", glue).probe()

    assert (probe.available, probe.version, probe.install) == (False, "9.1.2", "apt install odd-browser")
    assert probe.reason == f"{sys.executable} is version 9.1.2, at least 10 is needed"
    assert Odd("print('Odd 10.0')", glue).probe().available


@pytest.mark.usefixtures("odd")
def test_browser_that_tells_no_version(glue: Path) -> None:
    """One that cannot be asked is a reason, not an exception."""
    assert "does not tell its version" in Odd("raise SystemExit(1)", glue).probe().reason


# A page, as far as a browser without a screen is one: it takes jobs, and answers each with "done".
PAGE = r"""
import http.client, json, struct, sys, urllib.parse

url = urllib.parse.urlsplit(sys.argv[1])
jobs, results = (http.client.HTTPConnection(url.netloc) for _ in range(2))
jobs.request("POST", url.path + "jobs", body="{}")
stream = jobs.getresponse()
ending = {"kind": "exited", "status": 0, "detail": ""}
answer = {"stdout_bytes": 4, "stderr_bytes": 0, "invocation": 1, "ending": ending}
while head := stream.read(8):
    number, size = struct.unpack(">II", head)
    stream.read(size)
    if number:
        results.request("POST", f"{url.path}results/{number}", body=json.dumps(answer) + "\ndone")
        results.getresponse().read()
"""


class Player(Odd):
    """Python that plays the page, too."""

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        return [*super().argv(launch), launch.url]


@pytest.mark.usefixtures("odd")
def test_page_that_was_lost_while_idle(
    glue: Path, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes just when the page is found to be gone is run again on another one, and not blamed."""
    post = PageServer.post
    lost: list[PageServer] = []

    def post_too_late(page: PageServer, body: bytes, timeout_s: float) -> Future[bytes]:
        if not lost:
            lost.append(page)
            page.lose("lost its page")
        return post(page, body, timeout_s)

    monkeypatch.setattr(PageServer, "post", post_too_late)
    with Player(PAGE, glue).start(artifact, Limits()) as host:
        outcome = host.run(b"innocent")

    assert len(lost) == 1
    assert (outcome.ending, outcome.stdout) == (exited(0), b"done")
