"""Netlify's emulation as it really is: who reaches it, what a function sees, how it ends and fails."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import psutil
import pytest

from pytest_wasmedge.drivers.process import Workspace
from pytest_wasmedge.drivers.server import ServerHost
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import Limits, exited, host_failed
from pytest_wasmedge.provision import executable
from pytest_wasmedge.runtimes import netlify
from pytest_wasmedge.runtimes.netlify import Netlify
from tests import wat
from tests.runtimes.test_cloudflare import ALONE
from tests.waiting import is_running, until

# Starts a host with this program and tells what the guest makes of its stdin.
CHILD = """
import sys
from pathlib import Path
from pytest_wasmedge.model import Limits
from pytest_wasmedge.runtimes.netlify import Netlify
from pytest_wasmedge.artifacts.loading import load_artifact

with Netlify().start(load_artifact(Path(sys.argv[1])), Limits()) as host:
    print(host.run(b"alone").stdout_text)
"""
# Answers with what it may do, and with its variables.
LOOKS_AROUND = b"""
const asked = [
  { name: "run" }, { name: "ffi" }, { name: "sys" }, { name: "net" }, { name: "import" },
  { name: "net", host: "127.0.0.1" }, { name: "read", path: "/etc" }, { name: "read", path: "host.log" },
  { name: "read", path: "artifact.wasm" }, { name: "write", path: "netlify" }, { name: "write", path: "bin/deno" },
];
export default async () => {
  const states = [];
  for (const each of asked) states.push((await Deno.permissions.query(each)).state);
  return Response.json({ states, variables: Object.keys(Netlify.env.toObject()) });
};
export const config = { path: "/*" };
"""


@pytest.fixture(scope="module")
def runtime() -> Netlify:
    """The runtime; if it is missing that is a failure, since `make setup` gets it."""
    found = Netlify()
    availability = found.probe()
    if not availability.available:
        pytest.fail(f"{availability.reason}; run `make setup`", pytrace=False)
    return found


@pytest.fixture
def host(runtime: Netlify, tmp_path: Path) -> Iterator[ServerHost]:
    """A host of a program that writes its stdin to its stdout."""
    with runtime.start(wat.artifact(tmp_path, wat.ECHO), Limits()) as started:
        yield cast("ServerHost", started)


def family_of(host: ServerHost) -> list[psutil.Process]:
    """Return the processes of a host: our script's in Node, and deno's."""
    (pid,) = host.pids()
    node = psutil.Process(pid)
    family = [node, *node.children(recursive=True)]
    assert [Path(each.exe()).name for each in family] == ["node", "deno"]
    return family


def ended(pid: int) -> bool:
    """True if all threads of our child have ended, where /proc tells of the first alone; its status is left."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    except ChildProcessError:
        return True


def test_versions(runtime: Netlify) -> None:
    """The version is that of Netlify's package, the engine's that of V8 in deno."""
    availability = runtime.probe()
    package = executable("edge-functions-dev").parents[2] / "package.json"
    said = subprocess.run(
        [executable("deno"), "--version"], capture_output=True, text=True, check=True
    ).stdout

    assert availability.version == json.loads(package.read_text(encoding="utf-8"))["version"]
    assert f"\nv8 {availability.engine_version}\n" in said


@pytest.mark.parametrize(
    ("tool", "says", "reason"),
    [
        ("node", "22.11.0", r"is node 22\.11\.0, at least 22\.12 is needed"),
        ("deno", "deno 2.8.3\nv8 1.2", r"is deno 2\.8\.3, at least 2\.9 is needed"),
    ],
)
def test_an_older_program(
    tool: str, says: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has an older Node or deno is told so, with the command that gets a newer one."""
    program = tmp_path / tool
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o700)
    monkeypatch.setenv(f"PYTEST_WASMEDGE_{tool.upper()}", str(program))
    availability = Netlify().probe()

    assert not availability.available
    assert re.search(rf"{reason}; get one with `pytest-wasmedge install {tool}`", availability.reason)


def test_it_starts_without_a_network(runtime: Netlify, tmp_path: Path) -> None:
    """Where there is nothing but loopback it starts and serves: nothing is fetched, no deno and no bootstrap."""
    alone = [sys.executable, "-c", ALONE]
    if subprocess.run(alone, check=False, timeout=60).returncode == 77:
        pytest.skip("this system gives us no network of our own")
    program = wat.artifact(tmp_path, wat.ECHO)
    argv = [*alone, sys.executable, "-c", CHILD, str(program.path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)

    assert (done.returncode, done.stdout) == (0, "alone\n"), done.stderr


def test_it_is_open_to_nobody_else(host: ServerHost) -> None:
    """Our script listens on loopback, Netlify's server in a folder of ours; nothing but the pipe tells the secret."""
    secret = host._server.client.headers["pytest-wasmedge-secret"]
    node, deno = family_of(host)

    listening = [each for each in node.net_connections("tcp") if each.status == "LISTEN"]
    assert [each.laddr.ip for each in listening] == ["127.0.0.1"]
    assert deno.net_connections("inet") == []
    assert host._workspace.path.stat().st_mode & 0o077 == 0
    assert (host._workspace.path / "sock").is_socket()
    for process in (node, deno):
        assert secret not in f"{process.cmdline()} {process.environ()}"
    files = [path for path in host._workspace.path.rglob("*") if path.is_file()]
    assert [path for path in files if secret.encode() in path.read_bytes()] == []


def test_what_a_function_may_do(runtime: Netlify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may read itself and the artifact, and nothing else: no file, no program, no host, none of our variables."""
    project = netlify._project

    def looking_around(*given: object) -> dict[str, bytes]:
        files = project(*given)  # type: ignore[arg-type]
        return {path: LOOKS_AROUND if path.endswith("index.mjs") else files[path] for path in files}

    monkeypatch.setattr(netlify, "_project", looking_around)
    monkeypatch.setenv("OURS", "1")
    with runtime.start(wat.artifact(tmp_path, wat.ECHO), Limits()) as started:
        server = cast("ServerHost", started)._server
        seen = server.client.post(server.url).json()

    assert seen["states"] == ["prompt"] * 8 + ["granted"] + ["prompt"] * 2
    assert "OURS" not in seen["variables"]
    assert "PYTEST_WASMEDGE_OUTPUT_BYTES" in seen["variables"]


def test_each_guest_has_an_isolate_of_its_own(host: ServerHost) -> None:
    """Netlify makes a new one for each request, so that its own count stays at one; ours goes on."""
    server = host._server
    outcomes = [host.run(bytes([65 + i]) * 3) for i in range(3)]

    assert [outcome.stdout for outcome in outcomes] == [b"AAA", b"BBB", b"CCC"]
    assert [outcome.invocation for outcome in outcomes] == [1, 2, 3]
    answer = server.client.post(server.url, content=b'{"args":[],"env":[],"timeout_ms":1000}\n').content
    assert json.loads(answer.partition(b"\n")[0])["invocation"] == 1


def test_no_isolate_stays(host: ServerHost) -> None:
    """Guests take their isolates along: a host that serves many keeps no thread of theirs, and so no memory."""
    _, deno = family_of(host)
    assert host.run(b"first").stdout == b"first"
    before = deno.num_threads()
    for _ in range(40):
        assert host.run(b"again").stdout == b"again"

    assert deno.num_threads() < before + 20


def test_it_ends_with_its_stdin(host: ServerHost) -> None:
    """When we are gone it ends by itself, and deno with it."""
    family = family_of(host)
    stdin = host._server.process.stdin
    assert stdin is not None
    stdin.close()

    until(lambda: not any(is_running(each.pid) for each in family), f"{family} have ended")


def test_a_deno_that_is_killed(host: ServerHost) -> None:
    """Without its deno the host is of no use: it ends too, says why, and another one is started."""
    node, deno = family_of(host)
    deno.kill()
    until(lambda: ended(node.pid), "our script has ended")

    assert "deno" in (host._workspace.path / "host.log").read_text()
    outcome = host.run(b"again")
    assert (outcome.stdout, outcome.ending, outcome.invocation) == (b"again", exited(0), 1)


def test_a_function_that_does_not_load(
    runtime: Netlify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Netlify says of a broken function is the ending's detail."""
    monkeypatch.setattr(netlify, "_FETCH", "}")
    with runtime.start(wat.artifact(tmp_path, wat.ECHO), Limits()) as started:
        ending = started.run().ending

    assert ending == host_failed()
    assert "Failed to parse edge function `program`" in ending.detail


def test_a_deno_that_does_not_start(
    runtime: Netlify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that breaks at its start is one message, with the end of what it said."""
    monkeypatch.setattr(netlify, "_RUN", ("run", "absent.mjs"))

    with pytest.raises(
        HostStartError, match=r"(?s)netlify could not start with .* ended with status 1 before .*absent\.mjs"
    ):
        runtime.start(wat.artifact(tmp_path, wat.ECHO), Limits())


def test_a_path_that_no_socket_can_have(
    runtime: Netlify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder for temporary files that is too deep is one sentence, and leaves nothing behind."""
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    # Not the reaper's first folder.
    Workspace().close()

    with pytest.raises(HostStartError, match=r"is too long a path for a socket: set a shorter TMPDIR\."):
        runtime.start(wat.artifact(tmp_path, wat.ECHO), Limits())
    assert list(deep.iterdir()) == []
