"""Wasmer in a process of its own: compiled code that is kept, guests that run on, and how its WASI differs."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import httpx
import psutil
import pytest

from pytest_wasmedge.drivers.http import SECRET_HEADER
from pytest_wasmedge.drivers.server import ServerHost
from pytest_wasmedge.errors import HostStartError, RuntimeUnavailableError
from pytest_wasmedge.model import (
    ARGV0,
    Artifact,
    Limits,
    Outcome,
    exited,
    host_failed,
    timed_out,
    trapped,
)
from pytest_wasmedge.provision.cache import ENV_CACHE, folder
from pytest_wasmedge.provision.pins import pin
from pytest_wasmedge.runtimes import wasmer
from pytest_wasmedge.runtimes.wasmer import Wasmer
from tests import wat
from tests.actor import ACTOR, act
from tests.refused import hear_late
from tests.waiting import is_running, until, with_enough_time

StartProgram = Callable[..., ServerHost]


@pytest.fixture(scope="module")
def runtime() -> Wasmer:
    """The runtime; a missing one is a failure, since `make setup` gets it."""
    found = Wasmer()
    availability = found.probe()
    if not availability.available:
        pytest.fail(f"wasmer: {availability.reason}; run `make setup`", pytrace=False)
    return found


@pytest.fixture
def start(runtime: Wasmer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartProgram]:
    """Start a host of a small program, with a cache of the test's own; it is closed when the test ends."""
    tools, cache = folder("tools"), tmp_path / "cache"
    cache.mkdir(0o700)
    (cache / "tools").symlink_to(tools)
    monkeypatch.setenv(ENV_CACHE, str(cache))
    with ExitStack() as hosts:

        def start(program: str | bytes = ACTOR, **limits: int) -> ServerHost:
            home = tmp_path / f"artifact-{len(list(tmp_path.iterdir()))}"
            home.mkdir()
            host = runtime.start(wat.artifact(home, program), Limits(**limits))
            return cast("ServerHost", hosts.enter_context(host))

        yield start


# -- endings


def test_output_before_a_trap(start: StartProgram) -> None:
    """A trap leaves what the guest wrote before it, though the SDK only tells the trap."""
    outcome = start(wat.reports_and_traps("no newline")).run()

    assert (outcome.stdout, outcome.stderr, outcome.ending) == (b"", b"no newline", trapped())
    assert outcome.ending.detail == "unreachable"


def test_the_status_of_a_stopped_guest_is_a_status(start: StartProgram) -> None:
    """A guest that ends with 137, as the SDK says of one that it stopped, has exited."""
    host = start()

    assert host.run(act("exits", 137)).ending == exited(137)
    assert host.run(act("spins"), timeout_s=0.3).ending == timed_out()


def test_a_runaway_takes_no_core_afterwards(start: StartProgram) -> None:
    """Wasmer lets a guest that only calculates run on, so its process is replaced."""
    host = start()
    before: set[int] = set()

    def run_away(timeout_s: float) -> Outcome:
        # After an earlier try this starts another process.
        assert host.run().ending == exited(0)
        before.update(host.pids())
        return host.run(act("writes_and_spins"), timeout_s=timeout_s)

    assert with_enough_time(run_away, lambda outcome: outcome.stdout).stdout == b"before"

    assert host.run(act("echoes", rest=b"next")).stdout == b"next"
    assert not before & set(host.pids())
    until(lambda: not any(map(is_running, before)), "the process of the runaway has ended")


def test_output_limit_counts_both_streams(start: StartProgram) -> None:
    """A guest is stopped at the limit of both streams together, long before its time limit, and others go on."""
    host = start(output_bytes=3 << 19)
    outcome = host.run(act("pours", 16, 16))

    assert outcome.ending == host_failed()
    assert outcome.ending.detail == f"output limit of {3 << 19} bytes reached"
    assert len(outcome.stdout) + len(outcome.stderr) <= 3 << 19
    assert host.run(act("pours", 8, 8)).ending == exited(0)


# SIGSEGV would not do: once the engine has begun it takes that signal for itself, and a signal from outside,
# which no instruction repeats, ends nothing.
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_crash_in_mid_run(
    start: StartProgram, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """A process that ends during an invocation is the host's failure, with the signal in its detail."""
    host = start()
    transport = host._server.client._transport
    send = transport.handle_request

    def kill_once_sent(event: str, _: object) -> None:
        if event == "http11.send_request_body.complete":
            os.kill(host._server.process.pid, number)

    def traced(request: httpx.Request) -> httpx.Response:
        request.extensions["trace"] = kill_once_sent
        return send(request)

    monkeypatch.setattr(transport, "handle_request", traced)
    outcome = host.run(act("spins"), timeout_s=20)

    assert outcome.ending == host_failed()
    assert f"was ended by signal {number.value} during the invocation" in outcome.ending.detail
    assert host.run(act("echoes", rest=b"next")).stdout == b"next"


# -- compiled code


def test_code_is_kept_where_only_the_user_can_write(start: StartProgram, runtime: Wasmer) -> None:
    """The first start compiles into our cache, under the pin's name; the second one finds the code there."""
    first = start()
    kept = runtime.kept_code(first.artifact)
    assert kept
    inode = kept.stat().st_ino
    second = runtime.start(first.artifact, Limits())
    second.close()

    assert set(first.start_phases_ns) == {"spawn", "load", "compile"}
    assert set(second.start_phases_ns) == {"spawn", "load"}
    assert kept.stat().st_ino == inode
    place = folder("compiled") / pin("wasmer").folder_name
    assert place in kept.parents
    assert place.stat().st_mode & 0o777 == 0o700


def test_the_place_of_code_is_known_beforehand(start: StartProgram, runtime: Wasmer, tmp_path: Path) -> None:
    """The file is named before there is any, and is then where it was said to be."""
    expected = runtime.kept_code(wat.artifact(tmp_path, ACTOR))
    host = start()

    assert expected
    assert expected == runtime.kept_code(host.artifact)
    assert expected.is_file()


def test_old_code_goes(start: StartProgram, runtime: Wasmer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled code of the artifacts that were started longest ago makes room for new one."""
    hosts = [start(wat.exits(status)) for status in (1, 2)]
    sizes = [code.stat().st_size for host in hosts if (code := runtime.kept_code(host.artifact))]
    monkeypatch.setattr(wasmer, "KEPT_BYTES", sum(sizes) + min(sizes) // 2)
    start(wat.exits(1))
    hosts.append(start(wat.exits(3)))

    kept = [runtime.kept_code(host.artifact) for host in hosts]
    assert [path is not None and path.exists() for path in kept] == [True, False, True]


def test_compiling_leaves_no_guest_running(start: StartProgram) -> None:
    """The SDK compiles when it starts a guest: that one is gone with the process that compiled."""
    host = start(wat.SPIN)
    looks: list[float] = []

    def rests() -> bool:
        times = psutil.Process(host.pids()[0]).cpu_times()
        looks.append(times.user + times.system)
        # One that takes a core gets a tick in every 10 ms, about the time between two looks.
        return len(looks) > 50 and len(set(looks[-50:])) == 1

    until(rests, "the host's process rests")


def test_unsound_module(start: StartProgram) -> None:
    """A module that the engine refuses is an error at the start, with the engine's words and what to do."""
    sound = wat.assemble(wat.command("(drop (i32.const 1))"))
    broken = sound.replace(b"\x41\x01\x1a\x0b", b"\x41\x01\x6a\x0b")

    with pytest.raises(
        HostStartError, match=r"wasmer cannot compile program: .*type mismatch.*A validator takes"
    ):
        start(broken)


# -- what is granted


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to look at another process")
def test_the_process_is_given_little(start: StartProgram) -> None:
    """Its environment is ours alone and points into the workspace; its command line tells no secret."""
    host = start()
    process = psutil.Process(host.pids()[0])
    environment, command = process.environ(), process.cmdline()
    secret = host._server.client.headers[SECRET_HEADER]

    assert "PATH" not in environment
    assert environment["HOME"] == environment["TMPDIR"] == str(host._workspace.path)
    assert {"-I", "-S"} <= set(command)
    assert secret not in " ".join(command)


def test_it_connects_to_nothing(start: StartProgram) -> None:
    """It listens on loopback alone, and talks to nobody but us."""
    host = start()
    host.run(act("returns"))
    connections = psutil.Process(host.pids()[0]).net_connections("inet")

    assert {each.laddr.ip for each in connections} == {"127.0.0.1"}
    assert {each.raddr.ip for each in connections if each.raddr} <= {"127.0.0.1"}


@pytest.mark.parametrize("secret", [None, "", "guess", "gü"])
def test_strangers_get_nothing(start: StartProgram, secret: str | None) -> None:
    """Without the host's secret there is a 404 with no body, and nothing runs."""
    host = start()
    with httpx.Client(trust_env=False, verify=False) as stranger:
        headers = [] if secret is None else [(SECRET_HEADER.encode(), secret.encode("latin-1"))]
        body = b'{"args":[],"env":{},"timeout_ms":9999}\n' + act("returns")
        response = stranger.post(host._server.url, headers=headers, content=body)

    assert (response.status_code, response.content) == (404, b"")
    assert host.run(act("returns")).invocation == 1


def test_strangers_hear_their_refusal(start: StartProgram) -> None:
    """Who is refused before it has written its body can write it, and reads the 404."""
    head = b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n"
    authority = httpx.URL(start()._server.url).netloc.decode()
    assert hear_late(authority, head, b"{}", b"{}").startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("body", [b"no json", b"[]\n", b'{"args":[]}\n', b""])
def test_malformed_requests_are_refused(start: StartProgram, body: bytes) -> None:
    """A body that is no invocation gets a 400, and the host goes on."""
    host = start()
    response = host._server.client.post(host._server.url, content=body)

    assert (response.status_code, response.content) == (400, b"")
    assert host.run(act("echoes", rest=b"next")).stdout == b"next"


def test_it_ends_with_its_stdin(start: StartProgram) -> None:
    """A host whose parent is gone ends by itself, whatever its guest is doing."""
    host = start()
    assert host.run(act("spins"), timeout_s=0.3).ending == timed_out()
    host.run(act("returns"))
    process = host._server.process
    assert process.stdin
    process.stdin.close()

    assert process.wait(30) == 0


# -- how its WASI differs


def test_file_types(start: StartProgram) -> None:
    """Known: every stream claims to be a terminal, and every guest has three folders, which are not ours."""
    host = start()

    assert host.run(act("descriptors")).stdout == b"\x02\x02\x02\x03\x03\x03" + b"\xff" * 4
    assert host.run(act("opens")).ending == exited(44)  # noent: there is a folder, and nothing in it


def test_colours_and_no_files(runtime: Wasmer, builtin_artifact: Artifact) -> None:
    """Known: Ruby colours its SyntaxErrors, since its streams claim to be terminals; it sees no file of ours."""
    with runtime.start(builtin_artifact, Limits()) as host:
        coloured = host.run("def f(")
        plain = host.run(
            "p ENV.to_h, ARGV, Dir.glob('/*'), (File.read('/etc/passwd') rescue $!.class); raise 'x'"
        )

    assert (coloured.ending, coloured.stdout) == (exited(1), b"")
    assert b"SyntaxError" in coloured.stderr
    assert b"\x1b[" in coloured.stderr
    assert plain.stdout == b"{}\n[]\n[]\nErrno::ENOENT\n"
    assert plain.stderr == b"main.rb:1:in '<main>': x (RuntimeError)\n"


# -- finding it


def test_versions(runtime: Wasmer) -> None:
    """Both are the package's own words: that of the SDK, and that of the compiler in its library."""
    availability = runtime.probe()

    assert availability.version == pin("wasmer").version
    assert re.fullmatch(r"\d+\.\d+\.\d+", availability.engine_version)


def test_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the SDK the probe gives the command that installs it, and a start says the same."""
    monkeypatch.setenv(ENV_CACHE, str(tmp_path / "cache"))
    availability = Wasmer().probe()

    assert (availability.available, availability.reason) == (False, "no wasmer found")
    assert availability.install == "pytest-wasmedge install wasmer"
    assert Wasmer().kept_code(wat.artifact(tmp_path, ACTOR)) is None
    with pytest.raises(RuntimeUnavailableError, match="get it with `pytest-wasmedge install wasmer`"):
        Wasmer().start(wat.artifact(tmp_path, ACTOR), Limits())


def test_the_server_agrees_with_us() -> None:
    """The program imports nothing of ours, so this holds its constants and ours together."""
    source = wasmer._SERVER.read_text(encoding="utf-8")

    assert f'ARGV0 = "{ARGV0}"' in source
    assert f'SECRET_HEADER = "{SECRET_HEADER}"' in source
    assert "pytest_wasmedge" not in re.sub(r'"""|#.*', "", source)
