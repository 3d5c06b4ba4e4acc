"""wasmtime serve: what is particular to an artifact inside a component of wasi:http."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import cast

import httpx
import pytest

from pytest_wasmedge.artifacts.binary import sections
from pytest_wasmedge.artifacts.floor import FLOOR
from pytest_wasmedge.artifacts.wasi import SIGNATURES
from pytest_wasmedge.drivers import wasi_http
from pytest_wasmedge.drivers.compiled import place_of
from pytest_wasmedge.drivers.server import ServerHost
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import (
    Artifact,
    Invocation,
    Limits,
    exited,
    host_failed,
    out_of_memory,
    timed_out,
    trapped,
)
from pytest_wasmedge.runtimes.wasmtime_serve import WasmtimeServe, read_log
from tests import wat
from tests.actor import ACTOR, act
from tests.runtimes.conftest import Start
from tests.waiting import with_enough_time

NAME = WasmtimeServe.name
ALL_BYTES = bytes(range(256))


@pytest.fixture
def host(start: Start) -> ServerHost:
    """A host of the program that does what its stdin asks."""
    return cast("ServerHost", start(NAME, ACTOR))


@pytest.fixture(scope="module")
def ruby(builtin_artifact: Artifact) -> Iterator[ServerHost]:
    """A host that holds Ruby; wrapping and compiling it takes most of a minute, once."""
    runtime = WasmtimeServe()
    availability = runtime.probe()
    if not availability.available:
        pytest.fail(f"{NAME}: {availability.reason}; run `make setup`", pytrace=False)
    with runtime.start(builtin_artifact, Limits()) as started:
        yield cast("ServerHost", started)


#: Makes the file "new" in its folder, where there may be none yet, and traps; ends with the error otherwise.
MAKES_AND_TRAPS = wat.command(
    """(local $error i32)
    (local.set $error (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 3)
      (i32.const 5) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16)))
    (if (local.get $error) (then (call $proc_exit (local.get $error))))
    (unreachable)""",
    data="new",
)


# -- the component


def test_the_artifact_lies_in_it_unchanged() -> None:
    """The component holds the artifact's bytes, whole and as one core module of it."""
    artifact = wat.assemble(ACTOR)
    wrapped = wasi_http.wrap(artifact)

    assert wrapped.count(artifact) == 1
    assert wrapped.startswith(b"\0asm\x0d\0\x01\0")
    at = wrapped.index(artifact)
    assert (at, at + len(artifact)) in [(start, end) for _, start, end in sections(wrapped, "the component")]


def test_what_is_imported_twice_is_renamed(start: Start) -> None:
    """Components allow no import twice, so the second comes under another name; nothing else is changed."""
    text = """(module
      (import "wasi_snapshot_preview1" "proc_exit" (func $one (param i32)))
      (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $other (param i32)))
      (memory (export "memory") 1)
      (func (export "_start") (call $other (i32.const 5)) (call $one (i32.const 6))))"""
    renamed = text.replace('1" "proc_exit" (func $other', '1#1" "proc_exit" (func $other')

    assert wasi_http.imports_once(wat.assemble(text)) == wat.assemble(renamed)
    assert wasi_http.imports_once(padded(wat.assemble(text))) == wat.assemble(renamed)
    assert start(NAME, text).run().ending == exited(5)


def padded(module: bytes) -> bytes:
    """Return the module with the size of its import section in five bytes, as linkers write it."""
    at = module.index(b"\x16wasi") - 3
    assert module[at] == 2
    start, size = next((start, end - start) for number, start, end in sections(module, "") if number == 2)
    return module[: at + 1] + bytes([size & 0x7F | 0x80, size >> 7 | 0x80, 0x80, 0x80, 0]) + module[start:]


def test_an_artifact_may_import_all_of_it(start: Start) -> None:
    """All functions have the parameters that preview 1 says; without a folder, what needs one has none to work on."""
    letters = {"i": "i32", "I": "i64"}
    imports = []
    calls = []
    for name, params in SIGNATURES.items():
        result = "" if name == "proc_exit" else "(result i32)"
        types = " ".join(letters[letter] for letter in params)
        imports.append(f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {types}) {result}))')
        if name.startswith(("path_", "sock_", "fd_prestat_")):
            # File descriptor 3, and whatever.
            given = " ".join(
                f"({letters[letter]}.const {3 if i == 0 else 0})" for i, letter in enumerate(params)
            )
            calls.append(f"(call $note (call ${name} {given}))")
    program = f"""(module {" ".join(imports)} (memory (export "memory") 1)
      (global $at (mut i32) (i32.const 1024))
      (func $note (param i32)
        (i32.store8 (global.get $at) (local.get 0))
        (global.set $at (i32.add (global.get $at) (i32.const 1))))
      (func (export "_start") {" ".join(calls)}
        (call $note (call $sched_yield)) (call $note (call $proc_raise (i32.const 9)))
        (call $note (call $fd_seek (i32.const 1) (i64.const 0) (i32.const 0) (i32.const 0)))
        (call $note (call $fd_seek (i32.const 3) (i64.const 0) (i32.const 0) (i32.const 0)))
        (call $note (call $fd_tell (i32.const 0) (i32.const 0)))
        (call $note (call $fd_close (i32.const 0))) (call $note (call $fd_tell (i32.const 0) (i32.const 0)))
        (call $note (call $clock_time_get (i32.const 2) (i64.const 0) (i32.const 0)))
        (i32.store (i32.const 0) (i32.const 1024))
        (i32.store (i32.const 4) (i32.sub (global.get $at) (i32.const 1024)))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
    outcome = start(NAME, program).run()

    badf, notsup, spipe = 8, 58, 70
    assert outcome.stdout == bytes([badf] * len(calls) + [0, notsup, spipe, badf, spipe, 0, badf, badf])
    assert outcome.ending == exited(0)


def test_an_artifact_needs_no_memory(start: Start) -> None:
    """A program that exports no memory runs, as does the floor."""
    assert start(NAME, '(module (func (export "_start")))').run().ending == exited(0)
    assert start(NAME, FLOOR).run().ending == exited(0)


def test_wrong_types_are_told(start: Start) -> None:
    """An import of preview 1 with other parameters is a start error that names the function."""
    program = """(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32)))
      (memory (export "memory") 1) (func (export "_start")))"""

    with pytest.raises(
        HostStartError, match=r"cannot compile it inside its component: .*fd_write.*A validator takes"
    ):
        start(NAME, wat.assemble(program))


# -- streams and endings


def test_streams_and_status_arrive_apart(host: ServerHost) -> None:
    """All byte values pass both streams; a status that wasmtime itself refuses passes too."""
    outcome = host.run(act("echoes", 1, rest=ALL_BYTES * 4096))

    assert (outcome.stdout, outcome.stderr) == (ALL_BYTES * 4096, ALL_BYTES * 4096)
    assert outcome.ending == exited(0)
    assert host.run(act("exits", 200)).ending == exited(200)


def test_what_was_written_before_a_trap_is_kept(start: Start) -> None:
    """Output is sent as it is written: a trap takes none of it along, and adds nothing."""
    outcome = start(NAME, wat.reports_and_traps("before")).run()

    assert (outcome.stdout, outcome.stderr) == (b"", b"before")
    assert outcome.ending == trapped()
    assert outcome.ending.detail == "wasmtime: wasm `unreachable` instruction executed"


def test_what_was_written_before_the_limit_is_kept(host: ServerHost) -> None:
    """So it is with the time limit."""
    outcome = with_enough_time(
        lambda timeout_s: host.run(act("writes_and_spins"), timeout_s=timeout_s),
        lambda outcome: outcome.stdout,
    )

    assert (outcome.stdout, outcome.ending) == (b"before", timed_out())


def test_a_limit_that_is_written_past(start: Start) -> None:
    """A guest that writes and writes is stopped at its time limit all the same."""
    forever = wat.command(
        """(loop $forever
        (i32.store (i32.const 2064) (i32.const 1))
        (i64.store (i32.const 2072) (i64.const 20000000))
        (drop (call $poll_oneoff (i32.const 2048) (i32.const 4096) (i32.const 1) (i32.const 8)))
        (call $write (i32.const 1) (i32.const 1024) (i32.const 1))
        (br $forever))""",
        data=".",
    )
    host = start(NAME, forever)
    outcome = with_enough_time(
        lambda timeout_s: host.run(timeout_s=timeout_s), lambda outcome: outcome.stdout
    )

    assert outcome.ending == timed_out()
    assert set(outcome.stdout) == {ord(".")}


def test_traps_at_once_are_told_apart(host: ServerHost) -> None:
    """Each of many invocations at once gets the engine's word for its own end."""
    acts = ["unreachable", "returns", "division", "stack"] * 8
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda name: host.run(act(name)), acts))

    words = {"unreachable": "unreachable", "returns": "", "division": "divide", "stack": "stack"}
    for name, outcome in zip(acts, outcomes, strict=True):
        assert outcome.ending == (exited(0) if name == "returns" else trapped())
        assert words[name] in outcome.ending.detail


def test_who_is_run_again_has_a_fresh_folder(start: Start, tmp_path: Path) -> None:
    """Guests that trap at once are run again, one by one, since the log does not say whose trap it is."""
    (tmp_path / "empty").mkdir()
    grant = Invocation(preopens={"/data": tmp_path / "empty"})
    host = start(NAME, MAKES_AND_TRAPS)
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(host.invoke, [grant] * 16))

    assert {each.ending for each in outcomes} == {trapped()}
    assert [each.files for each in outcomes] == [{"/data/new": b""}] * 16


def test_limits_are_told_apart(start: Start, host: ServerHost) -> None:
    """Time, memory at the start, memory later, and output: four limits, four endings."""
    small = start(NAME, ACTOR, memory_bytes=64 << 20, output_bytes=1 << 20)

    assert host.run(act("spins"), timeout_s=0.3).ending == timed_out()
    assert host.run(act("sleeps", 3_600_000), timeout_s=0.3).ending == timed_out()
    greedy = start(NAME, wat.GREEDY).run()
    assert greedy.ending == out_of_memory()
    assert "memory minimum size" in greedy.ending.detail
    assert small.run(act("grows")).ending == exited(7)
    flood = small.run(act("floods"))
    assert (flood.ending, len(flood.stdout)) == (host_failed(), 1 << 20)
    assert small.run(act("echoes", rest=b"next")).stdout == b"next"


def test_no_room_for_stdin(start: Start) -> None:
    """A stdin larger than the memory limit is told as such, whole ones are read, and the host goes on."""
    host = start(NAME, wat.COUNT, memory_bytes=8 << 20)
    outcome = host.run(b"x" * (16 << 20))

    assert outcome.ending == out_of_memory()
    assert "has no room for stdin" in outcome.ending.detail
    assert host.run(b"x" * (4 << 20)).stdout == (4 << 20).to_bytes(4, "little")


def test_a_trap_keeps_the_process(host: ServerHost) -> None:
    """A trap ends one instance of many: the same process serves on, and the count goes on."""
    (before,) = host.pids()
    outcomes = [host.run(act("unreachable")), host.run(act("returns"))]

    assert [outcome.invocation for outcome in outcomes] == [1, 2]
    assert host.pids() == (before,)


def test_arguments_and_environment(start: Start) -> None:
    """Both arrive whatever the letters and however many there are."""
    args = ("größe ☃", "", *("x" * 1000 for _ in range(100)))
    arguments = start(NAME, wat.ARGUMENTS.replace("(i32.const 2048)", "(i32.const 4096)")).invoke(
        Invocation(args=args)
    )
    given = start(NAME, wat.ENVIRONMENT).run(env=MappingProxyType({"GRÖSSE": "☃=1", "EMPTY": ""}))

    assert arguments.stdout.split(b"\0")[1:-1] == [arg.encode() for arg in args]
    assert given.stdout.split(b"\0")[:-1] == ["GRÖSSE=☃=1".encode(), b"EMPTY="]


def test_several_things_are_waited_for(start: Start) -> None:
    """Of two clocks the earlier wakes the guest; a stream is ready at once; each event names what happened."""
    program = wat.command(
        """
      (i64.store (i32.const 2048) (i64.const 11)) (i32.store (i32.const 2064) (i32.const 1))
      (i64.store (i32.const 2072) (i64.const 3600000000000))
      (i64.store (i32.const 2096) (i64.const 22)) (i32.store (i32.const 2112) (i32.const 1))
      (i64.store (i32.const 2120) (i64.const 1000000))
      (drop (call $poll_oneoff (i32.const 2048) (i32.const 4096) (i32.const 2) (i32.const 512)))
      (call $write (i32.const 1) (i32.const 512) (i32.const 4))
      (call $write (i32.const 1) (i32.const 4096) (i32.const 11))
      (i32.store8 (i32.const 2056) (i32.const 1)) (i32.store (i32.const 2064) (i32.const 0))
      (drop (call $poll_oneoff (i32.const 2048) (i32.const 4096) (i32.const 1) (i32.const 8)))
      (call $write (i32.const 1) (i32.const 4096) (i32.const 11))"""
    )
    outcome = start(NAME, program).run()

    clock, stream = struct.pack("<QHB", 22, 0, 0), struct.pack("<QHB", 11, 0, 1)
    assert outcome.stdout == struct.pack("<I", 1) + clock + stream


# -- the server


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"pytest-wasmedge-secret": ""},
        {"pytest-wasmedge-secret": "guess"},
        {"pytest-wasmedge-secret": "guess", wasi_http.EXPECTED_HEADER: "guess"},
    ],
    ids=["none", "empty", "guess", "expectation"],
)
def test_strangers_get_nothing(host: ServerHost, headers: dict[str, str]) -> None:
    """Without the host's secret there is a 404 with no body, whatever the stranger says is to be expected."""
    with httpx.Client(trust_env=False) as stranger:
        body = wasi_http.request_body(Invocation(act("echoes", rest=b"x")))
        response = stranger.post(host._server.url, headers=headers, content=body)

    assert (response.status_code, response.content) == (404, b"")


def test_the_secret_is_ours_alone(host: ServerHost) -> None:
    """It stands on no command line, and in a file that only we can read."""
    secret = host._server.client.headers["pytest-wasmedge-secret"]
    headers = host._workspace.path / "headers"

    assert headers.read_text(encoding="ascii") == f"{wasi_http.EXPECTED_HEADER}: {secret}\n"
    assert headers.stat().st_mode & 0o077 == 0
    assert not any(secret in argument for argument in cast("list[str]", host._server.process.args))


def test_half_a_request(host: ServerHost) -> None:
    """A body that ends before stdin begins gets a 400 and does not end the host."""
    assert host._server.client.post(host._server.url, content=b"half").status_code == 400
    assert host.run(act("exits", 3)).ending == exited(3)


def test_a_changed_component_is_compiled_anew(
    start: Start, private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code is kept by artifact, version and component: that of another is never used, and ours is found again."""
    first = start(NAME, wat.exits(3))
    runtime = WasmtimeServe()
    kept = runtime.kept_code(first.artifact)
    assert kept is not None
    assert kept.is_file()
    stale = place_of(first.artifact, "wasmtime-serve 0.0.0", "another component")
    stale.write_bytes(b"no code at all")
    before = kept.stat().st_ino
    assert start(NAME, wat.exits(3)).run().ending == exited(3)
    assert kept.stat().st_ino == before

    changed = wasi_http.component_wat()
    monkeypatch.setattr(wasi_http, "component_wat", lambda **_: f"{changed};; changed")
    assert runtime.kept_code(first.artifact) not in (None, kept)
    assert start(NAME, wat.exits(3)).run().ending == exited(3)


def test_outcomes_are_the_artifact_s(host: ServerHost) -> None:
    """An outcome bears the digest of the artifact, not of what it is wrapped in, and the runtime says that it is."""
    outcome = host.run(act("returns"))

    assert outcome.artifact_sha256 == host.artifact.sha256
    assert (outcome.runtime, "component" in WasmtimeServe.wrapped) == (NAME, True)


# -- what it says


def test_answers_may_come_in_any_pieces() -> None:
    """However an answer is cut, the same streams and status come out."""
    answer = b"\1\3\0\0\0one" + b"\2\2\0\0\0to" + b"\1\0\0\0\0" + b"\1\1\0\0\0!" + b"\0\xc8\0\0\0"
    for size in range(1, len(answer) + 1):
        heard = wasi_http.Heard(100)
        for at in range(0, len(answer), size):
            heard.feed(answer[at : at + size])
        assert (bytes(heard.stdout), bytes(heard.stderr), heard.status) == (b"one!", b"to", 200)


LOG = """\
2026-11-21T17:57:41.850489Z  INFO wasmtime_cli::commands::serve: Received request 0: POST /11
worker failed: out of date
2026-11-21T17:57:41.850489Z  INFO wasmtime_cli::commands::serve: Received request 1: POST /1
2026-11-21T17:57:41.850653Z  INFO wasmtime_cli::commands::serve: Instance 1 handling request 1
worker failed: error while executing at wasm backtrace:
    0:    0xe3b - <unknown>!<wasm function 13>

Caused by:
    wasm trap: integer divide by zero

error: guest never invoked `response-outparam::set` method
"""


def test_the_log_is_read_per_invocation() -> None:
    """A report counts from its own request on, and one that is cut short is waited for."""
    ending = read_log(LOG, 1, whole=False)

    assert ending == trapped()
    assert ending is not None
    assert ending.detail == "wasmtime: integer divide by zero"
    assert read_log(LOG, 2, whole=True) is None
    for size in range(LOG.index("by zero") + len("by zero")):
        assert read_log(LOG[:size], 1, whole=False) is None
    assert read_log(LOG.replace("wasm trap: ", ""), 1, whole=True) == host_failed()


# -- Ruby


def test_ruby_streams(ruby: ServerHost) -> None:
    """A megabyte in and five out, with stderr and status apart from it."""
    source = f"s = {'x' * (1 << 20)!r}\nwarn s.size\n5.times {{ $stdout.write(s) }}\nexit 3"
    outcome = ruby.run(source)

    assert outcome.stdout == b"x" * (5 << 20)
    assert outcome.stderr == b"%d\n" % (1 << 20)
    assert outcome.ending == exited(3)


def test_ruby_finds_pipes_and_clocks(ruby: ServerHost) -> None:
    """Its streams are pipes, it has no environment and no files, and time passes while it sleeps."""
    outcome = ruby.run(
        "streams = [$stdin, $stdout, $stderr]\n"
        "p streams.map(&:tty?), streams.map { _1.stat.ftype }, streams.map { |s| s.pos rescue $!.class }\n"
        "p ENV.to_h, Dir.glob('/*'), (File.read('/etc/passwd') rescue $!.class)\n"
        "def now = [Time.now.to_f, Process.clock_gettime(Process::CLOCK_MONOTONIC)]\n"
        "before = now; sleep 0.05; p now.zip(before).map { |a, b| a - b >= 0.049 }, Time.now.year > 2020\n"
        "p Random.new_seed == Random.new_seed\n"
    )

    assert re.sub(rb"\n", b" ", outcome.stdout) == (
        b'[false, false, false] ["unknown", "unknown", "unknown"] '
        b"[Errno::ESPIPE, Errno::ESPIPE, Errno::ESPIPE] {} [] Errno::ENOENT [true, true] true false "
    )
    assert outcome.stderr == b""


def test_ruby_too_deep(ruby: ServerHost) -> None:
    """A recursion without end is Ruby's own error, as everywhere."""
    outcome = ruby.run("def f(n) = f(n + 1)\nf(0)")

    assert outcome.ending == exited(1)
    assert b"SystemStackError" in outcome.stderr
