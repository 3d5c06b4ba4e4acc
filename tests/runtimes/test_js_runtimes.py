"""What is particular to Node, Deno, Bun and workerd; test_runtime_contract.py asks what all runtimes promise."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import httpx
import pytest

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.server import ServerHost, ServerRuntime
from pytest_wasmedge.drivers.serving import MAX_WORKERS
from pytest_wasmedge.model import ARGV0, Artifact, Limits, exited, host_failed, timed_out
from pytest_wasmedge.runtimes.bun import Bun
from pytest_wasmedge.runtimes.deno import Deno
from pytest_wasmedge.runtimes.node import Node
from pytest_wasmedge.runtimes.workerd import Workerd
from tests import waiting, wat

RUNTIMES: tuple[type[ServerRuntime], ...] = (Node, Deno, Bun, Workerd)

StartProgram = Callable[..., ServerHost]


@pytest.fixture(scope="module", params=RUNTIMES, ids=lambda kind: kind.name)
def js(request: pytest.FixtureRequest) -> ServerRuntime:
    """Each of the four; one that is missing is a failure, since `make test` sets all of them up."""
    runtime = cast("ServerRuntime", request.param())
    availability = runtime.probe()
    if not availability.available:
        pytest.fail(f"{runtime.name}: {availability.reason}; run `make setup`", pytrace=False)
    return runtime


@pytest.fixture(scope="module")
def ruby(js: ServerRuntime, builtin_artifact: Artifact) -> Iterator[ServerHost]:
    """A host that holds Ruby."""
    with js.start(builtin_artifact, Limits()) as host:
        yield cast("ServerHost", host)


@pytest.fixture
def start_program(js: ServerRuntime, tmp_path: Path) -> Iterator[StartProgram]:
    """Start a host that holds a small program; it is closed when the test ends."""
    with ExitStack() as hosts:

        def start(program: str | bytes, **limits: int) -> ServerHost:
            host = js.start(wat.artifact(tmp_path, program), Limits(**limits))
            return cast("ServerHost", hosts.enter_context(host))

        yield start


def test_versions_are_told_by_the_runtime(js: ServerRuntime) -> None:
    """The version is the program's own word, and the engine's too where it tells it."""
    availability = js.probe()

    assert availability.version[0].isdigit()
    assert re.match(r"[\da-f]", availability.engine_version)


@pytest.mark.parametrize(
    ("kind", "said", "versions"),
    [
        (Deno, "deno 2.9.8 (stable, release)\nv8 15.0.245\ntypescript 6.0.2", ("2.9.8", "15.0.245")),
        (Workerd, "workerd 2026-11-17", ("2026-11-17", "")),
        (Workerd, "workerd 2026-11-17\nworkerd 2026-11-17, V8 15.8.62.5, AMD", ("2026-11-17", "15.8.62.5")),
        (Node, '{"node":"24.19.0","v8":"13.6"}', None),
        (Bun, '{"bun":"1.4.5","webkit":"0123456789abcdef"}', None),
    ],
)
def test_warnings_before_the_version(
    kind: type[ServerRuntime],
    said: str,
    versions: tuple[str, str] | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A warning on stdout is never a version: one that stands by itself is found, any other is said to be missing."""
    command = tmp_path / kind.tool
    command.write_text(f"#!/bin/sh\necho 'warning: something 1.2.3 is deprecated'\necho '{said}'\n")
    command.chmod(0o755)
    monkeypatch.setenv(f"PYTEST_WASMEDGE_{kind.tool.upper()}", str(command))
    availability = kind().probe()

    assert availability.available == (versions is not None)
    if versions:
        assert (availability.version, availability.engine_version) == versions
    else:
        assert "names no version: it printed 'warning: something 1.2.3" in availability.reason


def test_streams_are_pipes(ruby: ServerHost) -> None:
    """The standard streams are no terminals, of unknown type, and have no position."""
    outcome = ruby.run(
        "streams = [$stdin, $stdout, $stderr]\n"
        "p streams.map(&:tty?), streams.map { _1.stat.ftype }\n"
        "p streams.map { |s| s.pos rescue $!.class }, streams.map { |s| s.seek(0) rescue $!.class }\n"
    )

    pipe = "[Errno::ESPIPE, Errno::ESPIPE, Errno::ESPIPE]"
    expected = ["[false, false, false]", '["unknown", "unknown", "unknown"]', pipe, pipe]
    assert outcome.stdout_text.splitlines() == expected


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to look at another process")
@pytest.mark.parametrize("source", ["loop {}", "sleep", "begin; loop {}; rescue Exception; retry; end"])
def test_a_runaway_takes_no_core_afterwards(ruby: ServerHost, source: str) -> None:
    """A guest that was stopped has stopped: soon, the host's process uses no processor time at all."""

    def ticks() -> int:
        stat = Path(f"/proc/{ruby._server.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(stat[11]) + int(stat[12])

    assert ruby.run(source, timeout_s=0.3).ending == timed_out()
    ruby.run("puts 1")
    looks: list[int] = []

    def rests() -> bool:
        looks.append(ticks())
        # One that takes a core gets a tick in every 10 ms, about the time between two looks.
        return len(looks) > 50 and len(set(looks[-50:])) == 1

    waiting.until(rests, "the host's process rests")


def test_sleep_passes_time(ruby: ServerHost) -> None:
    """A guest that slept sees that time has passed, on both clocks."""
    outcome = ruby.run(
        "def now = [Time.now.to_f, Process.clock_gettime(Process::CLOCK_MONOTONIC)]\n"
        "before = now; sleep 0.05; p now.zip(before).map { |a, b| a - b >= 0.049 }"
    )

    assert outcome.stdout == b"[true, true]\n"


def test_memory_limit_later(js: ServerRuntime, builtin_artifact: Artifact) -> None:
    """A guest that wants more while it runs is refused, and reports it in its own way."""
    if "memory_limit" not in js.capabilities:
        pytest.skip(f"{js.name} has no memory limit")

    with js.start(builtin_artifact, Limits(memory_bytes=512 << 20)) as host:
        outcome = host.run("a = []; loop { a << 'x' * 10_000_000 }")
        assert outcome.ending == exited(1)
        assert b"NoMemoryError" in outcome.stderr
        assert host.run("puts 1").stdout == b"1\n"


def test_output_limit(start_program: StartProgram) -> None:
    """A guest that writes more than the limit, both streams together, is stopped and told as such."""
    outcome = start_program(wat.pours(1 << 20, 1 << 20), output_bytes=(1 << 20) + 4096).run()

    assert outcome.ending == host_failed()
    assert outcome.ending.detail == f"output limit of {(1 << 20) + 4096} bytes reached"
    assert len(outcome.stdout) + len(outcome.stderr) <= (1 << 20) + 4096


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to look at another process")
def test_the_process_is_given_little(ruby: ServerHost) -> None:
    """Its environment is ours alone and points into the workspace; its command line tells no secret."""
    proc = Path("/proc") / str(ruby._server.process.pid)
    environment = dict(
        entry.split("=", 1) for entry in (proc / "environ").read_text(encoding="utf-8").split("\0") if entry
    )

    assert "PATH" not in environment
    assert environment["HOME"] == environment["TMPDIR"] == str(ruby._workspace.path)
    secret = ruby._server.client.headers["pytest-wasmedge-secret"]
    assert secret not in (proc / "cmdline").read_text(encoding="utf-8")
    assert secret not in environment.values()


def test_invocations_are_counted(ruby: ServerHost) -> None:
    """Numbers go up by one, in the outcome as in the response's header; the guest starts afresh each time."""
    first = ruby.run("$count = ($count || 0) + 1; puts $count")
    second = ruby.run("$count = ($count || 0) + 1; puts $count")

    assert second.invocation == first.invocation + 1
    assert first.stdout == second.stdout == b"1\n"
    response = ruby._server.client.post(ruby._server.url, content=b'{"args":[],"env":{},"timeout_ms":9999}\n')
    assert response.headers["pytest-wasmedge-invocation"] == str(second.invocation + 1)
    assert response.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("secret", [None, "", "guess"])
def test_strangers_get_nothing(ruby: ServerHost, secret: str | None) -> None:
    """Without the host's secret there is a 404 with no body, and nothing runs."""
    before = ruby.run("").invocation
    with httpx.Client(trust_env=False, verify=False) as stranger:
        headers = {} if secret is None else {"pytest-wasmedge-secret": secret}
        body = b'{"args":[],"env":{},"timeout_ms":9999}\nputs 1'
        response = stranger.post(ruby._server.url, headers=headers, content=body)

    assert (response.status_code, response.content) == (404, b"")
    assert ruby.run("").invocation == before + 1


def test_malformed_requests_are_refused(ruby: ServerHost) -> None:
    """A body that is no invocation gets a 400 and does not end the host."""
    response = ruby._server.client.post(ruby._server.url, content=b"no json")

    assert response.status_code == 400
    assert ruby.run("puts 1").stdout == b"1\n"


def test_32_at_once_never_mix(ruby: ServerHost) -> None:
    """As many at once as there may be workers, and as many in line: each gets its own streams."""
    source = "$own = {0}; warn $own; puts [$own] * 1000; exit {0} % 100"
    with ThreadPoolExecutor(2 * MAX_WORKERS) as pool:
        outcomes = list(pool.map(lambda i: ruby.run(source.format(i)), range(2 * MAX_WORKERS)))

    for i, outcome in enumerate(outcomes):
        assert outcome.stdout == b"%d\n" % i * 1000
        assert outcome.stderr == b"%d\n" % i
        assert outcome.ending == exited(i % 100)
    if "isolates" not in ruby.runtime.capabilities:
        numbers = sorted(outcome.invocation for outcome in outcomes)
        assert numbers == list(range(numbers[0], numbers[0] + 2 * MAX_WORKERS))


@pytest.mark.parametrize(("pages", "numbers"), [(1024, [1, 2, 3]), (1025, [1, 1, 1])])
def test_isolate_of_a_large_guest(
    start_program: StartProgram, js: ServerRuntime, pages: int, numbers: list[int]
) -> None:
    """An isolate whose guest took more than 64 MiB is given up with it: engines may keep such memory for long."""
    host = start_program(wat.command(f"(drop (memory.grow (i32.const {pages})))"))

    expected = numbers if "isolates" in js.capabilities else [1, 2, 3]
    assert [host.run().invocation for _ in range(3)] == expected


def test_phases_are_told(ruby: ServerHost, js: ServerRuntime) -> None:
    """A host tells the phases that it can measure; a clock that stands still tells none."""
    phases = ruby.run("puts 1").timings.phases_ns

    assert set(phases) == (set() if js.name == "workerd" else {"instantiate", "run", "transfer"})
    assert all(ns > 0 for ns in phases.values())
    expected = {"spawn"} if js.name == "workerd" else {"spawn", "load", "compile"}
    assert set(ruby.start_phases_ns) == expected
    assert all(ns > 0 for ns in ruby.start_phases_ns.values())


def test_host_killed_in_mid_run(start_program: StartProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 during an invocation is the host's failure, with the signal in its detail."""
    host = start_program(wat.SPIN)
    transport = host._server.client._transport
    send = transport.handle_request

    def kill_once_sent(event: str, _: object) -> None:
        if event == "http11.send_request_body.complete":
            os.kill(host._server.process.pid, signal.SIGKILL)

    def traced(request: httpx.Request) -> httpx.Response:
        request.extensions["trace"] = kill_once_sent
        return send(request)

    monkeypatch.setattr(transport, "handle_request", traced)

    outcome = host.run(timeout_s=20)
    assert outcome.ending == host_failed()
    assert "was ended by signal 9 during the invocation" in outcome.ending.detail


def test_host_ends_with_its_stdin(js: ServerRuntime, start_program: StartProgram) -> None:
    """A host whose parent is gone ends by itself."""
    if js.name == "workerd":
        pytest.skip("workerd does not read its stdin; the reaper ends it")

    process = start_program(wat.ECHO)._server.process
    assert process.stdin is not None
    process.stdin.close()

    assert process.wait(10) == 0


def test_glue_is_prepared_once(js: ServerRuntime) -> None:
    """All hosts load the same folder, named after its content; a second start copies nothing."""
    folder = javascript.glue_folder()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    assert javascript.glue_folder() == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert {"guest.mjs", "server.mjs", "worker.mjs", "workerd.mjs", "shim"} <= {
        p.name for p in folder.iterdir()
    }


def test_glue_agrees_on_the_name_of_the_guest() -> None:
    """The glue cannot import Python's constant, so this holds them together."""
    source = (javascript.GLUE / "guest.mjs").read_text(encoding="utf-8")

    assert f'const ARGV0 = "{ARGV0}";' in source
