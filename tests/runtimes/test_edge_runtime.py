"""edge-runtime as it really is: what its sandbox gives, how its versions are told, how it fails."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import psutil
import pytest

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.server import ServerHost
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import Limits, exited
from pytest_wasmedge.provision import executable
from pytest_wasmedge.runtimes.edge_runtime import EdgeRuntime
from tests import wat

# Answers with what it sees around it.
LOOKS_AROUND = """
import artifact from "./artifact.wasm";

export default {
  fetch() {
    const names = ["EdgeRuntime", "process", "require", "Deno", "global", "importScripts"];
    const seen = Object.fromEntries(names.map((name) => [name, typeof globalThis[name]]));
    let evaluates = true;
    try {
      new Function("return 1")();
    } catch {
      evaluates = false;
    }
    const exports = WebAssembly.Module.exports(artifact).map((each) => each.name);
    return new Response(JSON.stringify({ ...seen, evaluates, exports }));
  },
};
"""


@pytest.fixture(scope="module")
def edge() -> EdgeRuntime:
    """The runtime; if it is missing that is a failure, since `make setup` gets it."""
    runtime = EdgeRuntime()
    availability = runtime.probe()
    if not availability.available:
        pytest.fail(f"{availability.reason}; run `make setup`", pytrace=False)
    return runtime


@pytest.fixture
def host(edge: EdgeRuntime, tmp_path: Path) -> Iterator[ServerHost]:
    """A host of a program that writes its stdin to its stdout."""
    with edge.start(wat.artifact(tmp_path, wat.ECHO), Limits()) as started:
        yield cast("ServerHost", started)


def test_versions_are_told_by_the_programs(edge: EdgeRuntime) -> None:
    """The version is the package's, the engine's version that of the V8 which it runs in."""
    availability = edge.probe()
    package = executable("edge-runtime").resolve().parents[2] / "package.json"
    argv = [str(executable("node")), "-p", "process.versions.v8"]
    v8 = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    assert availability.version == json.loads(package.read_text(encoding="utf-8"))["version"]
    assert availability.engine_version == v8


def test_the_worker_lives_in_the_sandbox(
    edge: EdgeRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs the guest sees edge-runtime's globals and none of Node's, and gets the artifact compiled."""
    glue = tmp_path / "glue"
    shutil.copytree(javascript.glue_folder(), glue)
    (glue / "workerd.mjs").write_text(LOOKS_AROUND)
    monkeypatch.setattr(javascript, "glue_folder", lambda: glue)

    with edge.start(wat.artifact(tmp_path, wat.ECHO), Limits()) as started:
        server = cast("ServerHost", started)._server
        seen = server.client.post(server.url).json()

    assert seen.pop("EdgeRuntime") == "string"
    assert seen.pop("exports") == ["memory", "_start"]
    assert seen.pop("evaluates") is False
    assert set(seen.values()) == {"undefined"}


def test_it_is_open_to_nobody_else(host: ServerHost) -> None:
    """It is one process that listens on loopback alone, and its command line does not tell the secret."""
    (pid,) = host.pids()
    process = psutil.Process(pid)

    assert process.children(recursive=True) == []
    listening = [each for each in process.net_connections("tcp") if each.status == "LISTEN"]
    assert [each.laddr.ip for each in listening] == ["127.0.0.1"]
    assert host._server.client.headers["pytest-wasmedge-secret"] not in " ".join(process.cmdline())


def test_it_ends_with_its_stdin(host: ServerHost) -> None:
    """When we are gone it ends by itself."""
    stdin = host._server.process.stdin
    assert stdin is not None
    stdin.close()

    assert host._server.process.wait(10) == 0


def test_a_guest_leaves_no_trace_for_the_next(host: ServerHost) -> None:
    """All guests share one isolate; still each reads its own stdin, and the count of the isolate goes on."""
    outcomes = [host.run(bytes([65 + i]) * 3) for i in range(3)]

    assert [outcome.stdout for outcome in outcomes] == [b"AAA", b"BBB", b"CCC"]
    assert [outcome.invocation for outcome in outcomes] == [1, 2, 3]
    assert {outcome.ending for outcome in outcomes} == {exited(0)}


def test_exit_before_listening(edge: EdgeRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that breaks at its start is one message: how it ended, and the end of what it said."""
    program = tmp_path / "edge-runtime" / "dist" / "cli" / "index.js"
    program.parent.mkdir(parents=True)
    program.write_text("#!/usr/bin/env node\n")
    program.chmod(0o700)
    (tmp_path / "edge-runtime" / "package.json").write_text('{"version": "4.0.0", "main": "broken.js"}')
    (tmp_path / "edge-runtime" / "broken.js").write_text('throw new Error("no such luck")')
    monkeypatch.setenv("PYTEST_WASMEDGE_EDGE_RUNTIME", str(program))

    with pytest.raises(
        HostStartError,
        match=r"edge-runtime could not start with .* ended with status 1 before it listened"
        r"\. Its log ends:\nError: no such luck\n`pytest-wasmedge doctor`",
    ):
        edge.start(wat.artifact(tmp_path, wat.ECHO), Limits())
