"""Other users of the machine: what they can send to a host, see of it, and put where we load from."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_wasmedge.drivers.browser import BrowserRuntime
from pytest_wasmedge.drivers.function import FunctionRuntime
from pytest_wasmedge.drivers.server import ServerRuntime
from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.model import Host, Limits, Runtime
from pytest_wasmedge.provision.cache import cache_root
from pytest_wasmedge.runtimes import builtin_runtimes
from tests import wat

RUNTIMES = {each.name: each for each in builtin_runtimes() if not each.yardstick}
#: Those that a request can reach.
LISTENING = [
    name
    for name, each in RUNTIMES.items()
    if isinstance(each, ServerRuntime | BrowserRuntime | FunctionRuntime)
]
STRANGER = 54321
_SENT_BYTES, _MOST_GROWTH_BYTES = 400 << 20, 200 << 20

#: What another user tries. It is told on stdin what there is, and prints what it got.
_TRY = """
import encodings.idna, json, os, socket, sys
told = json.load(sys.stdin)
# Only now, since our Python may lie where another user cannot read it.
os.setgroups([])
os.setgid(told["user"])
os.setuid(told["user"])
got = {"read": [], "written": [], "answers": [], "seen": []}
def attempt(what, do, *args):
    try:
        got[what].append([str(args[0])[:80], do(*args)])
    except OSError:
        pass
def read(path):
    with open(path, "rb") as file:
        return told["secret"] in file.read(1 << 20).decode("latin-1")
def write(folder):
    path = os.path.join(folder, "planted")
    with open(path, "w") as file:
        file.write("planted")
    return True
for pid in told["pids"]:
    for name in "environ", "mem", "maps", "fd/0", "fd/1", "fd/2":
        attempt("read", read, f"/proc/{pid}/{name}")
    attempt("read", os.listdir, f"/proc/{pid}/fd")
    attempt("seen", read, f"/proc/{pid}/cmdline")
for folder in told["folders"]:
    attempt("read", os.listdir, folder)
    attempt("written", write, folder)
    attempt("written", lambda where: os.symlink("/etc", os.path.join(where, "linked")), folder)
    attempt("written", lambda where: os.rename(where, where + ".away"), folder)
for path in told["files"]:
    attempt("read", read, path)
for parent, _, names in os.walk(told["temporary"]):
    for name in names:
        path = os.path.join(parent, name)
        try:
            if os.path.isfile(path) and os.stat(path).st_mtime >= told["began_s"]:
                got["seen"].append([path, read(path)])
        except OSError:
            pass
def post(port):
    body = b'{"args":[],"env":[],"timeout_ms":1000}\\n' + told["input"].encode()
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        head = "POST /1 HTTP/1.1\\r\\nHost: 127.0.0.1:%d\\r\\nContent-Length: %d\\r\\n\\r\\n"
        connection.sendall((head % (port, len(body))).encode() + body)
        answer = connection.recv(1 << 16).decode("latin-1")
    return [answer[:60], told["input"] in answer]
for port in told["ports"]:
    attempt("answers", post, port)
print(json.dumps(got))
"""


@dataclass(frozen=True)
class Family:
    """A host with all that belongs to it."""

    host: Host
    port: int
    secret: str
    workspaces: tuple[Path, ...]

    @property
    def we_serve(self) -> bool:
        """Whether its program asks a server of ours."""
        return isinstance(self.host.runtime, BrowserRuntime | FunctionRuntime)

    def processes(self) -> list[psutil.Process]:
        """Return its processes, and those that they started, and us if the server is ours."""
        return everybody() if self.we_serve else everybody()[1:]

    def memory_bytes(self) -> int:
        """Return the memory of whoever reads what is sent."""
        if self.we_serve:
            return int(psutil.Process().memory_info().rss)
        return sum(rss_bytes(process) for process in self.processes())


def everybody() -> list[psutil.Process]:
    """Return this process and all that it, or what it started, has started, but for those that have ended.

    One that has ended, and that nobody has waited for, has no memory: anybody may open its ``maps``, which are empty.
    """
    us = psutil.Process()
    return [us, *(process for process in us.children(recursive=True) if not has_ended(process))]


def has_ended(process: psutil.Process) -> bool:
    """Return whether a process has ended, even if nobody has waited for it."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True


def test_a_process_that_has_ended_is_nobody() -> None:
    """One that another test has not waited for yet is none of a host's."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        assert process.pid in [each.pid for each in everybody()]
        assert process.stdin
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process.pid not in [each.pid for each in everybody()]


def rss_bytes(process: psutil.Process) -> int:
    """Return the memory of a process; none of one that has ended."""
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def runtime_of(name: str) -> Runtime:
    """Return a runtime; one that is missing is a failure, since `make test` sets all of them up."""
    availability = RUNTIMES[name].probe()
    if not availability.available:
        pytest.fail(f"{name}: {availability.reason}; run `make setup`", pytrace=False)
    return RUNTIMES[name]


@pytest.fixture(scope="module", params=LISTENING)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    """A started host of each runtime that listens, which has served a guest."""
    artifact = wat.artifact(tmp_path_factory.mktemp("artifact"), wat.ECHO)
    with runtime_of(request.param).start(artifact, Limits()) as host:
        assert host.run(b"ours").stdout == b"ours"
        server: Any = host._server  # type: ignore[attr-defined]
        if isinstance(host.runtime, BrowserRuntime | FunctionRuntime):
            # A function's client has no secret: it is known by its process.
            # A function has none: nothing that anybody could read holds this.
            secret = getattr(server.jobs, "secret", secrets.token_hex(16))
            port = int(server.jobs.authority.partition(":")[2])
        else:
            port = int(server.url.rpartition(":")[2].strip("/"))
            secret = server.client.headers["pytest-wasmedge-secret"]
        yield Family(host, port, secret, (server.log.parent,))


@pytest.mark.parametrize("framing", ["a length", "chunks"])
def test_a_stranger_fills_no_memory(family: Family, framing: str) -> None:
    """Without the secret, 400 MB are not taken: the connection is closed, or what comes is thrown away as it comes."""
    chunked = framing == "chunks"
    says = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {_SENT_BYTES}"
    head = f"POST /1 HTTP/1.1\r\nHost: 127.0.0.1:{family.port}\r\npytest-wasmedge-secret: guess\r\n{says}\r\n\r\n"
    block = b"\0" * (1 << 16)
    block = b"10000\r\n" + block + b"\r\n" if chunked else block
    before_bytes = most_bytes = family.memory_bytes()
    with socket.create_connection(("127.0.0.1", family.port)) as stranger:
        stranger.settimeout(3)
        # It may close the connection, or leave it to us.
        with suppress(OSError):
            stranger.sendall(head.encode())
            for number in range(_SENT_BYTES >> 16):
                stranger.sendall(block)
                if number % 256 == 0:
                    most_bytes = max(most_bytes, family.memory_bytes())
        most_bytes = max(most_bytes, family.memory_bytes())

    assert most_bytes - before_bytes < _MOST_GROWTH_BYTES
    assert family.host.run(b"again").stdout == b"again"


@pytest.mark.parametrize("says", ["Content-Length: 3221225472", "Transfer-Encoding: chunked"])
def test_a_body_has_a_limit(family: Family, says: str) -> None:
    """Who knows the secret cannot make a host read without end, either: 3 GiB are refused by what is said of them."""
    name = family.host.runtime.name
    if family.we_serve:
        pytest.skip("tests/drivers/test_browser.py asks our server")
    if name in {"wasmtime-serve", "cloudflare"} or (name, says[0]) == ("workerd", "T"):
        pytest.skip(f"{name} lets the worker read it in pieces: what it may keep is its memory limit")
    with socket.create_connection(("127.0.0.1", family.port)) as client:
        client.settimeout(10)
        head = f"POST /1 HTTP/1.1\r\nHost: 127.0.0.1:{family.port}\r\npytest-wasmedge-secret: {family.secret}\r\n{says}"
        client.sendall(f"{head}\r\n\r\n".encode())
        answer = client.recv(100)

    assert re.match(rb"HTTP/1\.1 4\d\d ", answer)
    assert family.host.run(b"again").stdout == b"again"


def test_a_stranger_that_says_nothing(family: Family) -> None:
    """Connections without a request, or with half of one, keep nobody waiting."""
    with socket.create_connection(("127.0.0.1", family.port)) as silent:
        with socket.create_connection(("127.0.0.1", family.port)) as half:
            half.sendall(b"POST /1 HTTP/1.1\r\nContent-Length: 99999")
            assert family.host.run(b"meanwhile").stdout == b"meanwhile"
        silent.close()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can act as another user"
)
def test_another_user(family: Family) -> None:
    """A second user of the machine gets no secret, reaches no guest, and can place nothing where we load from."""
    cache = cache_root()
    folders = [
        cache,
        *(cache / name for name in ("tools", "compiled", "glue", "artifacts")),
        *family.workspaces,
    ]
    files = [path for folder in family.workspaces for path in folder.rglob("*") if path.is_file()]
    processes = family.processes()
    ports = {each.laddr.port for each in listening(everybody())}
    assert family.port in ports
    told = {
        "user": STRANGER,
        "secret": family.secret,
        "pids": [process.pid for process in processes],
        "folders": [str(folder) for folder in folders if folder.is_dir()],
        "files": [str(path) for path in files],
        "temporary": str(family.workspaces[0].parent),
        "began_s": family.workspaces[0].stat().st_ctime - 60,
        "ports": sorted(ports),
        "input": "a guest was reached",
    }
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _TRY],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        cwd="/",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)

    assert got["read"] == []
    assert got["written"] == []
    # Command lines are for everybody to see, and so is much in the folder for temporary files.
    assert got["seen"]
    assert [each for each in got["seen"] if each[1]] == []
    assert got["answers"]
    assert [each for each in got["answers"] if each[1][1] or " 200 " in each[1][0]] == []
    assert family.host.run(b"again").stdout == b"again"


def listening(processes: list[psutil.Process]) -> list[Any]:
    """Return the sockets on which these processes take connections, or datagrams of anybody."""
    found = []
    for process in processes:
        with suppress(psutil.Error):
            for each in process.net_connections("inet"):
                datagrams = each.type == socket.SOCK_DGRAM and not each.raddr
                if each.status == psutil.CONN_LISTEN or datagrams:
                    found.append(each)
    return found


@pytest.mark.parametrize("name", RUNTIMES)
def test_nothing_but_loopback_is_listened_on(name: str, tmp_path: Path) -> None:
    """While a host starts, runs a guest and ends, whoever listens does so on loopback; who needs no port has none."""
    runtime, artifact = runtime_of(name), wat.artifact(tmp_path, wat.sleeps(0.3))
    done, seen = threading.Event(), []

    def look() -> None:
        while not done.is_set():
            seen.extend(listening(everybody()))
            time.sleep(0.01)

    watcher = threading.Thread(target=look)
    before = {each.laddr for each in listening(everybody())}
    watcher.start()
    try:
        # How the guest ends is another test's business.
        with suppress(WasmEdgeError), runtime.start(artifact, Limits()) as host:
            host.run(b"")
            # Once for certain: a host may be gone before the watcher looks.
            seen.extend(listening(everybody()))
            host.run(b"")
    finally:
        done.set()
        watcher.join()

    places = {each.laddr for each in seen} - before
    assert {place.ip for place in places} <= {"127.0.0.1", "::1"}
    assert bool(places) == (name in LISTENING)
