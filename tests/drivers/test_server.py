"""The HTTP driver against a small real server that misbehaves on request."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import cast

import pytest

from pytest_wasmedge.drivers import server as driver
from pytest_wasmedge.drivers import serving
from pytest_wasmedge.drivers.http import Plain, read_phases, with_transfer
from pytest_wasmedge.drivers.program import Versions
from pytest_wasmedge.drivers.server import ServerHost, ServerRuntime, ServingLaunch
from pytest_wasmedge.errors import HostStartError, RuntimeUnavailableError, UnsupportedError
from pytest_wasmedge.model import Artifact, Invocation, Limits, exited, host_failed
from pytest_wasmedge.provision import Found

ALL_BYTES = bytes(range(256))

# Understands the wire format. The first word of stdin says what to do. ``mode`` says what to do at the start.
PROGRAM = r"""
import http.server, json, os, pathlib, signal, sys, threading

mode, home = sys.argv[1], pathlib.Path(os.environ["HOME"])
settings = json.loads(sys.stdin.buffer.readline())
started_before = (home / "started").exists()
(home / "started").touch()
never, arrived, lock, count = threading.Event(), threading.Event(), threading.Lock(), 0
lost = []

if mode == "dies":
    print("cannot find my library", file=sys.stderr)
    sys.exit(7)
if mode == "silent":
    never.wait()
if mode == "dies-when-restarted" and started_before:
    sys.exit(9)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        global count
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["pytest-wasmedge-secret"] != settings["secret"]:
            return self.answer(404, b"")
        with lock:
            count += 1
            number = count
        line, _, stdin = body.partition(b"\n")
        word, _, rest = stdin.partition(b" ")
        if word == b"lose" or lost:
            lost.append(word)
            return self.answer(500, b"lost")
        ending = {"kind": "exited", "status": 0, "detail": ""}
        if word == b"hang" or (word == b"innocent" and not started_before):
            arrived.set()
            never.wait()
        elif word == b"interrupt":
            os.kill(os.getppid(), signal.SIGINT)
            never.wait()
        elif word == b"endless":
            self.send_response(int(rest))
            self.end_headers()
            while True:
                self.wfile.write(b"x" * 65536)
        elif word == b"after-arrival":
            arrived.wait()
        elif word == b"exit":
            print("last words", file=sys.stderr, flush=True)
            os._exit(int(rest))
        elif word == b"abort":
            print("FATAL ERROR: JavaScript heap out of memory", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGABRT)
            never.wait()  # the signal may take another thread, and this one must not answer meanwhile
        elif word == b"raw":
            return self.answer(200, rest)
        elif word == b"status":
            return self.answer(int(rest), b"oops")
        elif word == b"nonsense":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            self.close_connection = True
            return
        elif word == b"slow":
            ending = {"kind": "timed_out", "status": None, "detail": "by itself"}
        stderr = line
        head = {"stdout_bytes": len(rest), "stderr_bytes": len(stderr), "ending": ending}
        head |= {"invocation": number, "phases_ns": {"run": 5}}
        self.answer(200, json.dumps(head).encode() + b"\n" + rest + stderr)

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
if mode == "warns":
    print("warning: something is deprecated", flush=True)
    print('{"level": "warn"}', flush=True)
print(json.dumps({"port": server.server_port, "phases_ns": {"load": 3, "compile": 4}}), flush=True)
server.serve_forever()
"""


class Described(ServerRuntime):
    """The program as a runtime."""

    name = "described"
    engine = "none"
    tool = "deno"

    def __init__(self, program: Path, mode: str = "", *, limits_itself: bool = True) -> None:
        self.program, self.mode = program, mode
        # What is a fact of the class in a real runtime is chosen per test here.
        self.limits_itself = limits_itself

    def locate(self) -> Found | None:
        return Found(Path(sys.executable), "the tests")

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        return [str(launch.executable), "-I", "-S", str(self.program), self.mode]

    def version_argv(self, executable: Path) -> Sequence[str]:
        return [str(executable), "-I", "-S", "-c", "print('1.2.3')"]

    def read_versions(self, said: str) -> Versions:
        return Versions(said.strip(), "0.1")


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """A file that the program never reads."""
    path = tmp_path / "some artifact.wasm"
    path.write_bytes(b"\0asm")
    return Artifact(path, "0" * 64, 4, path.name)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The server's source."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return path


@pytest.fixture
def served(program: Path, artifact: Artifact) -> Iterator[ServerHost]:
    """A host that stops its guests itself."""
    with Described(program).start(artifact, Limits()) as host:
        yield cast("ServerHost", host)


@pytest.fixture
def unstoppable(program: Path, artifact: Artifact) -> Iterator[ServerHost]:
    """A host that cannot stop its guests."""
    with Described(program, limits_itself=False).start(artifact, Limits()) as host:
        yield cast("ServerHost", host)


def process_of(host: ServerHost) -> int:
    """Return the number of the host's process."""
    return host._server.process.pid


def test_outcome_arrives_whole(served: ServerHost) -> None:
    """Streams arrive binary-safe and apart, with ending, number, phases and provenance."""
    outcome = served.invoke(
        Invocation(b"say " + ALL_BYTES, args=("ä", "b"), env=MappingProxyType({"K": "日"}), timeout_s=1.5)
    )

    assert outcome.stdout == ALL_BYTES
    assert outcome.stderr == b'{"args": ["\\u00e4", "b"], "env": [["K", "\\u65e5"]], "timeout_ms": 1500}'
    assert outcome.ending == exited(0)
    assert (outcome.invocation, outcome.runtime, outcome.artifact_sha256) == (1, "described", "0" * 64)
    assert outcome.timings.phases_ns == {"run": 5}
    assert outcome.timings.elapsed_ns > 0
    assert served.run(b"say").invocation == 2


def test_start_tells_its_phases(served: ServerHost) -> None:
    """What the program says of its start is kept beside the time that spawning took."""
    assert served.start_phases_ns["load"] == 3
    assert served.start_phases_ns["compile"] == 4
    assert served.start_phases_ns["spawn"] > 0


def test_pids_are_the_server_s(served: ServerHost) -> None:
    """A host names the process that serves it now: another one after a restart, none once it is closed."""
    (first,) = served.pids()
    served.run(b"exit 3")
    served.run(b"say")
    (second,) = served.pids()
    served.close()

    assert first != second
    assert served.pids() == ()


@pytest.mark.parametrize(
    ("told", "phases"),
    [
        ({"instantiate": 10, "run": 60}, {"instantiate": 10, "run": 60, "transfer": 30}),
        ({"run": 60}, {"run": 60}),
        ({"instantiate": 50, "run": 60}, {"instantiate": 50, "run": 60}),
        ({}, {}),
    ],
)
def test_transfer_is_what_is_left(told: dict[str, int], phases: dict[str, int]) -> None:
    """What a host that tells both its phases leaves of 100 ns is transfer; otherwise nobody can tell."""
    assert with_transfer(told, 100) == phases


@pytest.mark.parametrize(
    "told", [{"run": 0}, {"run": -1}, {"run": "5"}, {"run": None}, {"run": 1e300}, [5], 5]
)
def test_untold_phases(told: object) -> None:
    """A phase of no time, or of what is no time, was not told."""
    assert read_phases(told) == {}


def test_lines_before_the_announcement_go_to_the_log(program: Path, artifact: Artifact) -> None:
    """Warnings on stdout, even if they are JSON, do not disturb the start, and are kept."""
    with Described(program, "warns").start(artifact, Limits()) as host:
        assert host.run(b"say hello").stdout == b"hello"
        log = cast("ServerHost", host)._server.log.read_text(encoding="utf-8")
        assert log.splitlines() == ["warning: something is deprecated", '{"level": "warn"}']


def test_death_before_listening_is_a_start_error(program: Path, artifact: Artifact) -> None:
    """The error names the runtime and artifact, the status, the log's last lines and the next step."""
    with pytest.raises(HostStartError) as caught:
        Described(program, "dies").start(artifact, Limits())

    text = str(caught.value)
    assert "described could not start with some artifact.wasm" in text
    assert "ended with status 7 before it listened" in text
    assert "cannot find my library" in text
    assert "pytest-wasmedge doctor" in text


def test_silence_is_a_start_error(program: Path, artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that never announces a port is killed at the deadline."""
    monkeypatch.setattr(serving, "START_TIMEOUT_S", 0.2)

    with pytest.raises(HostStartError, match="did not listen within"):
        Described(program, "silent").start(artifact, Limits())


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (b"raw ", "answered b'', which we cannot read"),
        (b"raw hello\nworld", "which we cannot read"),
        (b"raw []\n", "which we cannot read"),
        (b'raw {"stdout_bytes":9,"stderr_bytes":0}\n1234', "4 bytes do not make up both streams"),
        (b'raw {"stdout_bytes":0,"stderr_bytes":0,"files":[["/a",[["b",2]]]]}\n1', "b cannot have 2 bytes"),
        (b'raw {"stdout_bytes":0,"stderr_bytes":0,"ending":{"kind":"fine","status":0}}\n', "no ending is"),
        (b'raw {"stdout_bytes":0,"stderr_bytes":0,"ending":{"kind":"exited","status":null}}\n', "no ending"),
        (b"status 500", "answered nonsense (HTTPStatusError: HTTP 500: b'oops') and was killed"),
        (b"nonsense", "RemoteProtocolError"),
    ],
)
def test_malformed_answer_is_the_hosts_failure(
    served: ServerHost, monkeypatch: pytest.MonkeyPatch, source: bytes, complaint: str
) -> None:
    """Whatever is wrong with an answer is host_failed with what came, and the next invocation works."""
    monkeypatch.setattr(serving, "DYING_S", 0.0)

    outcome = served.run(source)

    assert outcome.ending.kind == "host_failed"
    assert complaint in outcome.ending.detail
    assert (outcome.stdout, outcome.stderr) == (b"", b"")
    assert served.run(b"say ok").stdout == b"ok"


def test_a_process_that_has_lost_its_engine_is_replaced(
    served: ServerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who answers in the place of our glue, and would go on with that, costs one invocation, and no next one."""
    monkeypatch.setattr(serving, "DYING_S", 0.0)

    assert served.run(b"lose").ending == host_failed()
    assert served.run(b"say ok").stdout == b"ok"


def test_death_in_mid_run_is_the_hosts_failure(served: ServerHost) -> None:
    """A process that ends during an invocation is reported with status and log, then started again."""
    served.run(b"say")
    outcome = served.run(b"exit 3")

    assert outcome.ending.kind == "host_failed"
    assert "described ended with status 3 during the invocation" in outcome.ending.detail
    assert "last words" in outcome.ending.detail
    after = served.run(b"say ok")
    assert (after.stdout, after.invocation) == (b"ok", 1)
    assert "last words" not in served._server.log.read_text(encoding="utf-8")


def test_death_by_memory_is_out_of_memory(served: ServerHost) -> None:
    """An engine that dies for want of memory is told from one that crashes."""
    outcome = served.run(b"abort")

    assert outcome.ending.kind == "out_of_memory"
    assert f"was ended by signal {signal.SIGABRT.value}" in outcome.ending.detail


def test_own_time_limit_keeps_the_host(served: ServerHost) -> None:
    """A host that stopped the guest itself goes on with the same process."""
    before = process_of(served)

    assert served.run(b"slow").ending.kind == "timed_out"
    assert served.run(b"say").invocation == 2
    assert process_of(served) == before


def test_backstop_stops_a_host_that_should_limit_itself(
    served: ServerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A self-limiting host that does not answer in time is killed, and the next invocation works."""
    monkeypatch.setattr(driver, "BACKSTOP_S", 0.1)

    assert served.run(b"hang", timeout_s=0.1).ending.kind == "timed_out"
    assert served.run(b"say", timeout_s=30).invocation == 1


def test_runaway_guest_ends_with_its_process(unstoppable: ServerHost) -> None:
    """Where nothing else helps, the process is killed at the time limit and started again."""
    before = process_of(unstoppable)

    assert unstoppable.run(b"hang", timeout_s=0.2).ending.kind == "timed_out"
    assert unstoppable.run(b"say").invocation == 1
    assert process_of(unstoppable) != before


@pytest.mark.parametrize("guilty", [b"hang", b"exit 4"])
def test_innocent_invocation_is_never_blamed(unstoppable: ServerHost, guilty: bytes) -> None:
    """Who was under way when another ended the host is run again, alone; the guilty one ends as itself."""
    with ThreadPoolExecutor() as pool:
        # It never ends beside the guilty one, and at once on a host that was started again.
        innocent = pool.submit(unstoppable.run, b"innocent fine")
        unstoppable.run(b"after-arrival")
        outcome = unstoppable.run(guilty, timeout_s=0.3)

        assert outcome.ending.kind == ("timed_out" if guilty == b"hang" else "host_failed")
        assert innocent.result().ending == exited(0)
        assert innocent.result().stdout == b"fine"


def test_host_killed_between_invocations_is_started_again(served: ServerHost) -> None:
    """A process that is found dead costs nobody an outcome."""
    served.run(b"say")
    os.kill(process_of(served), signal.SIGKILL)
    served._server.process.wait()

    after = served.run(b"say again")

    assert (after.stdout, after.invocation) == (b"again", 1)


def test_restart_that_fails_is_a_start_error(program: Path, artifact: Artifact) -> None:
    """A host that died and cannot be started again says so."""
    with Described(program, "dies-when-restarted").start(artifact, Limits()) as host:
        assert host.run(b"exit 1").ending.kind == "host_failed"
        with pytest.raises(HostStartError, match="ended with status 9 before it listened"):
            host.run(b"say")


def test_ctrl_c_costs_the_process(served: ServerHost) -> None:
    """A guest that nobody waits for any more ends with its process, so that it is in nobody's way."""
    interrupted = served._server.process
    with pytest.raises(KeyboardInterrupt):
        served.run(b"interrupt")

    assert interrupted.poll() is not None
    assert served.run(b"say").invocation == 1


@pytest.mark.parametrize("status", [b"200", b"500"])
def test_an_answer_without_end_costs_the_process(program: Path, artifact: Artifact, status: bytes) -> None:
    """Whoever still answers when we have heard enough, well or ill, is stopped."""
    runtime = Described(program)
    runtime.wire = Plain()
    with runtime.start(artifact, Limits(output_bytes=1000)) as host:
        endless = cast("ServerHost", host)._server.process
        outcome = host.run(b"\nendless " + status)

        assert outcome.ending == host_failed()
        assert ("output limit of 1000 bytes" in outcome.ending.detail) == (status == b"200")
        assert endless.poll() is not None


def test_a_process_is_stopped_once(served: ServerHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is gone is left alone: its number may be somebody else's by now."""
    end = serving.end
    stopped: list[subprocess.Popen[bytes]] = []

    def spy(process: subprocess.Popen[bytes]) -> None:
        stopped.append(process)
        end(process)

    monkeypatch.setattr(serving, "end", spy)
    first = served._server.process
    served.run(b"exit 3")
    served.close()

    assert stopped == [first]


def test_a_process_that_was_nearly_stopped(served: ServerHost) -> None:
    """When the wait for a process that failed us is broken off, it is stopped all the same."""
    failed = served._server.process

    def wait(timeout: float | None = None) -> int:
        del failed.wait
        raise KeyboardInterrupt

    failed.wait = wait  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        served.run(b"nonsense")

    assert failed.poll() is not None
    assert served.run(b"say").invocation == 1


def test_many_threads_never_mix(served: ServerHost) -> None:
    """64 invocations from 32 threads each get their own streams and number."""
    with ThreadPoolExecutor(32) as pool:
        outcomes = list(pool.map(lambda i: served.run(b"say " + str(i).encode() * 1000), range(64)))

    assert [outcome.stdout for outcome in outcomes] == [str(i).encode() * 1000 for i in range(64)]
    assert sorted(outcome.invocation for outcome in outcomes) == list(range(1, 65))


def test_close_leaves_nothing(served: ServerHost) -> None:
    """Process, folder and threads go; closing again is harmless; a closed host refuses."""
    served.run(b"say")
    process, folder = served._server.process, served._workspace.path
    served.close()
    served.close()

    assert process.poll() is not None
    assert not folder.exists()
    for thread in threading.enumerate():
        if thread.name == "described-stdout":
            thread.join(10)
            assert not thread.is_alive()
    with pytest.raises(HostStartError, match="closed"):
        served.run(b"say")


def test_close_ends_an_invocation_under_way(served: ServerHost) -> None:
    """A host closed by another thread raises in the invocation, and is not started again."""
    with ThreadPoolExecutor() as pool:
        under_way = pool.submit(served.run, b"hang")
        served.run(b"after-arrival")
        served.close()

        with pytest.raises(HostStartError, match="closed"):
            under_way.result()


def test_preopens_are_refused(served: ServerHost, tmp_path: Path) -> None:
    """What the host cannot give is refused before anything runs."""
    with pytest.raises(UnsupportedError, match="folders"):
        served.invoke(Invocation(preopens={"/data": tmp_path}))

    assert served.run(b"say").invocation == 1


def test_proxy_settings_are_ignored(
    program: Path, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests go straight to loopback, whatever the user's environment says, and none of it is inherited."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    runtime = Described(program)

    with runtime.start(artifact, Limits()) as host:
        assert host.run(b"say ok").stdout == b"ok"
    assert set(runtime.environment(Path("/w"))) == {"HOME", "TMPDIR", "LANG", "NO_COLOR"}


def test_secret_is_new_for_each_host_and_not_in_the_command_line(program: Path, artifact: Artifact) -> None:
    """Other users see command lines; a host listens only to who knows its own secret."""
    import httpx

    runtime = Described(program)
    with runtime.start(artifact, Limits()) as first, runtime.start(artifact, Limits()) as second:
        servers = [cast("ServerHost", host)._server for host in (first, second)]
        secrets = [server.client.headers["pytest-wasmedge-secret"] for server in servers]
        assert secrets[0] != secrets[1]
        assert all(len(secret) >= 32 for secret in secrets)
        assert not any(secrets[0] in str(argument) for argument in cast("list[str]", servers[0].process.args))
        with httpx.Client(trust_env=False, verify=False) as stranger:
            headers = {"pytest-wasmedge-secret": secrets[0]}
            assert stranger.post(servers[1].url, headers=headers, content=b"{}\nsay").status_code == 404


def test_probe_asks_the_program(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Available means that the program itself told its versions."""
    available = Described(program).probe()

    assert available.available
    assert (available.version, available.engine_version) == ("1.2.3", "0.1")
    assert available.path == f"{sys.executable} (the tests)"


def test_probe_refuses_what_is_too_old(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program below the minimum version is unavailable, with both versions in the reason."""
    monkeypatch.setattr(Described, "minimum", (1, 10))
    available = Described(program).probe()

    assert not available.available
    assert "1.2.3, at least 1.10 is needed" in available.reason
    assert available.install == "pytest-wasmedge install described"


def test_probe_reports_a_program_that_does_not_run(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be executed is a reason, not an exception."""
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF but not really")
    broken.chmod(0o700)
    monkeypatch.setattr(Described, "locate", lambda _: Found(broken, "the tests"))

    available = Described(program).probe()

    assert not available.available
    assert "does not tell its version" in available.reason


def test_missing_parts_are_named(program: Path, artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else a runtime needs makes it unavailable, and starting it anyway says the same."""
    monkeypatch.setattr(Described, "missing", lambda _: "the other half is missing")

    assert Described(program).probe().reason == "the other half is missing"
    with pytest.raises(RuntimeUnavailableError, match="the other half is missing; get it with"):
        Described(program).start(artifact, Limits())

    monkeypatch.setattr(Described, "locate", lambda _: None)
    assert Described(program).probe().reason == "no deno found"
