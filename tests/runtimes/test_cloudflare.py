"""wrangler as it really is: the processes that it starts, what it tells, how it fails."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import psutil
import pytest

from pytest_wasmedge.drivers.server import ServerHost
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import Artifact, Limits, exited, host_failed, timed_out
from pytest_wasmedge.provision import executable
from pytest_wasmedge.runtimes.cloudflare import Cloudflare
from tests import wat
from tests.actor import ACTOR, act
from tests.waiting import DEADLINE_S, until_gone, until_it_spins

# Enters a network of its own, where there is loopback and nothing else, and runs the rest of its command line.
ALONE = """
import ctypes, fcntl, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
NEWUSER, NEWNET, SIOCSIFFLAGS, UP = 0x10000000, 0x40000000, 0x8914, 0x1
if libc.unshare(NEWNET) and libc.unshare(NEWUSER | NEWNET):
    sys.exit(77)
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", UP))
if sys.argv[1:]:
    os.execv(sys.argv[1], sys.argv[1:])
"""

# Starts a host with this program and tells what the guest makes of its stdin.
CHILD = """
import sys
from pathlib import Path
from pytest_wasmedge.model import Limits
from pytest_wasmedge.runtimes.cloudflare import Cloudflare
from pytest_wasmedge.artifacts.loading import load_artifact

with Cloudflare().start(load_artifact(Path(sys.argv[1])), Limits()) as host:
    print(host.run(b"alone").stdout_text)
"""


@pytest.fixture(scope="module")
def cloudflare() -> Cloudflare:
    """The runtime; if it is missing that is a failure, since `make setup` gets it."""
    runtime = Cloudflare()
    availability = runtime.probe()
    if not availability.available:
        pytest.fail(f"{availability.reason}; run `make setup`", pytrace=False)
    return runtime


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The program that does what its stdin asks."""
    return wat.artifact(tmp_path_factory.mktemp("actor"), ACTOR)


@pytest.fixture(scope="module")
def shared(cloudflare: Cloudflare, actor: Artifact) -> Iterator[ServerHost]:
    """One host for all tests here that do not close it: wrangler takes seconds to start."""
    with cloudflare.start(actor, Limits()) as started:
        yield cast("ServerHost", started)


@pytest.fixture
def host(shared: ServerHost) -> ServerHost:
    """The shared host, with all of its processes: what an earlier test has killed is started again."""
    assert shared.run(act("echoes", rest=b"here")).stdout == b"here"
    return shared


def family_of(host: ServerHost) -> list[psutil.Process]:
    """Return the processes of a host: wrangler's, and those that it started."""
    (pid,) = host.pids()
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def engines_of(host: ServerHost) -> list[psutil.Process]:
    """Return the processes of workerd."""
    return [each for each in family_of(host) if "workerd" in each.name()]


def test_versions_are_told_by_the_programs(cloudflare: Cloudflare) -> None:
    """The version is wrangler's, the engine's version is that of V8 in its workerd."""
    availability = cloudflare.probe()
    wrangler = executable("wrangler").resolve()
    package = json.loads((wrangler.parent.parent / "package.json").read_text(encoding="utf-8"))

    assert availability.version == package["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d[\d.]*", availability.engine_version)


def test_it_starts_without_a_network(tmp_path: Path) -> None:
    """Where there is nothing but loopback, it starts and serves: it needs no account, no registry, no answer."""
    alone = [sys.executable, "-c", ALONE]
    if subprocess.run(alone, check=False, timeout=60).returncode == 77:
        pytest.skip("this system gives us no network of our own")
    program = wat.artifact(tmp_path, wat.ECHO)

    argv = [*alone, sys.executable, "-c", CHILD, str(program.path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)

    assert (done.returncode, done.stdout) == (0, "alone\n"), done.stderr


def test_it_is_open_to_nobody_else(host: ServerHost) -> None:
    """All of its processes listen on loopback alone, and none of their command lines or files tells the secret."""
    secret = host._server.client.headers["pytest-wasmedge-secret"]
    family = family_of(host)

    listening = [
        each for process in family for each in process.net_connections("tcp") if each.status == "LISTEN"
    ]
    assert listening
    assert {each.laddr.ip for each in listening} <= {"127.0.0.1", "::1"}
    assert [process for process in family if secret in " ".join(process.cmdline())] == []
    files = [path for path in host._workspace.path.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if secret.encode() in path.read_bytes()] == []


def test_killed_wrangler(host: ServerHost) -> None:
    """After kill -9 of wrangler the next invocation works, and the engines that it had started are gone."""
    before = family_of(host)
    assert engines_of(host)
    before[0].kill()
    before[0].wait(10)

    assert host.run(act("echoes", rest=b"again")).stdout == b"again"
    until_gone([process.pid for process in before], [])


def test_wrangler_killed_in_mid_run(host: ServerHost) -> None:
    """kill -9 of wrangler ends its engines too, so that the guest under way has failed with its host."""
    before = family_of(host)
    engines = engines_of(host)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(host.run, act("spins"), timeout_s=DEADLINE_S)
        until_it_spins(engines)
        before[0].kill()
        ending = running.result().ending

    assert ending == host_failed()
    assert "was ended by signal 9 during the invocation" in ending.detail
    until_gone([process.pid for process in before], [])


def test_closing_takes_the_engines_of_a_killed_wrangler(cloudflare: Cloudflare, actor: Artifact) -> None:
    """Also if nobody asks anything any more, nothing of it stays."""
    with cloudflare.start(actor, Limits()) as started:
        host = cast("ServerHost", started)
        before = family_of(host)
        assert engines_of(host)
        before[0].kill()
        before[0].wait(10)

    until_gone([process.pid for process in before], [host._workspace.path])


def test_killed_engine(host: ServerHost) -> None:
    """After kill -9 of every workerd, whose end wrangler outlives, an invocation soon works again."""
    for engine in engines_of(host):
        engine.kill()

    outcomes = [host.run(act("echoes", rest=b"again")) for _ in range(2)]
    assert outcomes[-1].ending == exited(0)
    assert outcomes[-1].stdout == b"again"


def test_runaway_engine(host: ServerHost) -> None:
    """A guest that does not end is killed with all of wrangler."""
    before = family_of(host)
    assert host.run(act("spins"), timeout_s=0.5).ending == timed_out()

    until_gone([process.pid for process in before], [])


def test_it_ends_with_its_stdin(host: ServerHost) -> None:
    """When we are gone, wrangler ends by itself, and its engines with it."""
    before = family_of(host)
    stdin = host._server.process.stdin
    assert stdin is not None
    stdin.close()

    until_gone([process.pid for process in before], [])


def test_exit_before_listening(
    cloudflare: Cloudflare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrangler that breaks at its start is one message: how it ended, and the end of what it said."""
    program = tmp_path / "wrangler" / "bin" / "wrangler.js"
    program.parent.mkdir(parents=True)
    program.write_text("#!/usr/bin/env node\n")
    program.chmod(0o700)
    (tmp_path / "wrangler" / "package.json").write_text('{"version": "4.0.0", "main": "broken.js"}')
    (tmp_path / "wrangler" / "broken.js").write_text('throw new Error("no such luck")')
    monkeypatch.setenv("PYTEST_WASMEDGE_WRANGLER", str(program))

    with pytest.raises(
        HostStartError,
        match=r"cloudflare could not start with .* ended with status 1 before it listened"
        r"\. Its log ends:\nError: no such luck\n`pytest-wasmedge doctor`",
    ):
        cloudflare.start(wat.artifact(tmp_path, wat.ECHO), Limits())


def test_something_else_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is no wrangler makes the runtime unavailable, with the command that failed."""
    program = tmp_path / "wrangler"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    monkeypatch.setenv("PYTEST_WASMEDGE_WRANGLER", str(program))

    availability = Cloudflare().probe()

    assert not availability.available
    assert f"{program} versions " in availability.reason
    assert "` does not tell its version" in availability.reason
