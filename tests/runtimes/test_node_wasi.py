"""Node, Deno and Bun with their own node:wasi: endings told out of band, what is granted, how their WASI differs."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from string import hexdigits

import psutil
import pytest

from pytest_wasmedge.drivers.nodewasi import GUEST, NodeWasiHost, NodeWasiRuntime
from pytest_wasmedge.errors import HostStartError, RuntimeUnavailableError, UnsupportedError
from pytest_wasmedge.model import (
    Artifact,
    Invocation,
    Limits,
    Outcome,
    exited,
    host_failed,
    timed_out,
    trapped,
)
from pytest_wasmedge.provision import find
from pytest_wasmedge.runtimes.bun_wasi import BunWasi
from pytest_wasmedge.runtimes.deno_wasi import DenoWasi
from pytest_wasmedge.runtimes.node_wasi import NodeWasi
from tests import wat
from tests.actor import ACTOR, act
from tests.descriptors import open_now, opened_since
from tests.preview1 import OUT, Loaded, Script
from tests.waiting import DEADLINE_S, until

RUNTIMES: tuple[type[NodeWasiRuntime], ...] = (NodeWasi, DenoWasi, BunWasi)

#: What the script would report, in its own words.
IMITATION = '{"kind":"exited","status":0,"detail":""}'

# Tries what is not granted, and reports what it could do. Takes the place of our script for guests.
GREEDY_SCRIPT = """
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { parentPort } from "node:worker_threads";
const attempts = {
  reads: () => readFileSync("/etc/passwd"),
  lists: () => readdirSync("."),
  writes: () => writeFileSync("./another", ""),
  changes: () => writeFileSync("./artifact.wasm", ""),
  rewrites: () => writeFileSync("./nodewasi.mjs", ""),
  starts: () => execFileSync(process.execPath, ["--version"]),
};
const done = Object.keys(attempts).filter((name) => {
  try { attempts[name](); return true; } catch { return false; }
});
let environment;
try { environment = Object.keys(process.env) } catch { environment = [] }
const detail = JSON.stringify([done, environment]);
const ending = { kind: "host_failed", status: null, detail };
parentPort.on("message", ({ folder }) => {
  writeFileSync(`${folder}/report`, JSON.stringify({ ending }) + "\\n");
  process.exit(0);
});
"""


#: Error numbers of preview 1.
_BADF, _PERM, _NOTCAPABLE = 8, 63, 76
#: What a path is opened for, and with.
READ, WRITE, OPEN, CREATE = 1 << 1, 1 << 6, 1 << 13, 1
#: What is in the folder of these tests.
GIVEN = {"/data/file": b"hello", "/data/sub": None, "/data/sub/in": b"x"}


@pytest.fixture(scope="module", params=RUNTIMES, ids=lambda kind: kind.name)
def runtime(request: pytest.FixtureRequest) -> NodeWasiRuntime:
    """Each; one that is missing is a failure, since `make setup` gets them."""
    found: NodeWasiRuntime = request.param()
    availability = found.probe()
    if not availability.available:
        pytest.fail(f"{found.name}: {availability.reason}; run `make setup`", pytrace=False)
    return found


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The program that does what its stdin asks."""
    return wat.artifact(tmp_path_factory.mktemp("actor"), ACTOR)


@pytest.fixture(scope="module")
def host(runtime: NodeWasiRuntime, actor: Artifact) -> Iterator[NodeWasiHost]:
    """A host of the actor."""
    with runtime.start(actor, Limits()) as started:
        assert isinstance(started, NodeWasiHost)
        yield started


@pytest.fixture(scope="module")
def ruby(runtime: NodeWasiRuntime, builtin_artifact: Artifact) -> Iterator[NodeWasiHost]:
    """A host of Ruby."""
    with runtime.start(builtin_artifact, Limits()) as started:
        assert isinstance(started, NodeWasiHost)
        yield started


#: For tests of folders. What grants none has a test that says why (test_bun_wasi.py).
where_folders_are_granted = pytest.mark.parametrize(
    "runtime",
    [each for each in RUNTIMES if "preopens" in each.capabilities],
    indirect=True,
    ids=lambda kind: kind.name,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to grant."""
    place = tmp_path / "folder"
    (place / "sub").mkdir(parents=True)
    (place / "file").write_bytes(b"hello")
    (place / "sub" / "in").write_bytes(b"x")
    return place


def workspace_of(host: NodeWasiHost) -> Path:
    return host._workspace


# -- endings


# As Node ends on: an uncaught error, a bug of its own, a bad option, a top-level await without end, an abort, a fault.
@pytest.mark.parametrize("status", [1, 7, 9, 13, 134, 139])
def test_a_status_of_node_s_own_is_the_guest_s(host: NodeWasiHost, status: int) -> None:
    """A guest may end with any status that the runtime's process has for itself."""
    assert host.run(act("exits", status)).ending == exited(status)


def test_an_imitated_report_is_the_guest_s_text(runtime: NodeWasiRuntime, tmp_path: Path) -> None:
    """What looks like the script's report on a stream is text of the guest, and no ending."""
    with runtime.start(wat.artifact(tmp_path, wat.reports(IMITATION, 3)), Limits()) as host:
        outcome = host.run()

    assert (outcome.stderr, outcome.ending) == (IMITATION.encode(), exited(3))


def test_output_before_a_trap(runtime: NodeWasiRuntime, tmp_path: Path) -> None:
    """A trap leaves what the guest wrote before it, and adds nothing."""
    with runtime.start(wat.artifact(tmp_path, wat.reports_and_traps("no newline")), Limits()) as host:
        outcome = host.run()

    assert (outcome.stdout, outcome.stderr, outcome.ending) == (b"", b"no newline", trapped())


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to see when the guest has started")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_crash_of_the_runtime_is_its_failure(host: NodeWasiHost, number: signal.Signals) -> None:
    """A process that ends in the middle of a guest is the host's failure, and the next invocation works."""
    with under_way(host, Invocation(act("spins"), timeout_s=DEADLINE_S)) as (spinning, process):
        process.send_signal(number)

    outcome = spinning.result()
    assert outcome.ending == host_failed()
    assert f"was ended by signal {number.value} during the invocation" in outcome.ending.detail
    assert host.run(act("exits", 5)).ending == exited(5)


def test_a_runtime_that_does_not_start(
    runtime: NodeWasiRuntime, actor: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that ends before it has compiled the artifact is an error of the start, with what it wrote."""
    found = find(runtime.tool)
    assert found
    # Bun takes any option.
    option = "--preload=--no-such-option" if runtime.tool == "bun" else "--no-such-option"
    monkeypatch.setenv(variable(runtime), str(script(tmp_path, f'exec "{found.path}" {option} "$@"')))
    with pytest.raises(
        HostStartError, match=r"ended with status \d+ before it listened(.|\n)*--no-such-option"
    ):
        runtime.start(actor, Limits())


def test_nothing_is_left_between_invocations(host: NodeWasiHost) -> None:
    """What was made for an invocation is gone with it, also of a guest that was stopped."""
    for stdin, timeout_s, ending in (
        (act("exits", 3), None, exited(3)),
        (act("spins"), 0.5, timed_out()),
        (act("exits", 4), None, exited(4)),
    ):
        assert host.run(stdin, timeout_s=timeout_s).ending == ending
        assert list((workspace_of(host) / "guests").iterdir()) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to count what a process has open")
def test_no_descriptor_is_left_open(runtime: NodeWasiRuntime, folder: Path, tmp_path: Path) -> None:
    """What a guest had open is closed with it: its streams, its folders, and files that it opened."""
    script = Script().call("fd_close", 1)
    given = {}
    if "preopens" in runtime.capabilities:
        given = {"/data": folder}
        for _ in range(4):
            script.open(b"file", rights=READ)
    script.call("fd_renumber", 0, 2)
    with runtime.start(script.artifact(tmp_path), Limits()) as host:
        (pid,) = host.pids()

        def guests() -> int:
            """Return how many descriptors lead to what is a guest's."""
            return sum("/guests/" in each for each in open_now(pid).values())

        for _ in range(3):
            host.run(preopens=given)
        until(lambda: guests() == 0, "the guests' descriptors are closed")


def test_a_worker_serves_one_guest_after_the_other(runtime: NodeWasiRuntime, actor: Artifact) -> None:
    """It is kept after a guest that exited; a fresh one follows a trap, much memory, and the wish for one."""
    with runtime.start(actor, Limits()) as host:
        numbers = [host.run(act(*each)).invocation for each in (("leaves",), ("returns",), ("exits", 3))]
        assert numbers == [1, 2, 3]
        assert host.run(act("leaves")).stdout == bytes(8)
        if "isolates" not in runtime.capabilities:
            # In Bun nothing but the end of its worker stops a guest: all are counted.
            assert host.run(act("returns")).invocation == 5
            return
        for last in (act("unreachable"), act("grows")):
            host.run(last)
            assert [host.run(act("returns")).invocation for _ in range(2)] == [1, 2]
        host.discard_isolates()
        assert [host.run(act("returns")).invocation for _ in range(2)] == [1, 2]
        (pid,) = host.pids()
        psutil.Process(pid).kill()
        host.discard_isolates()
        assert host.run(act("returns")).ending == exited(0)


def test_more_guests_at_once_than_workers_are_kept(host: NodeWasiHost) -> None:
    """Each has its own outcome, and workers that are too many end without a word."""
    for _ in range(2):
        with ThreadPoolExecutor(9) as threads:
            outcomes = list(threads.map(lambda _: host.run(act("sleeps", 200)), range(9)))
        assert {(each.stdout, each.ending) for each in outcomes} == {(b"rested", exited(0))}
    assert host.run(act("exits", 5)).ending == exited(5)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to count what a process has open")
def test_a_worker_that_is_kept_holds_nothing_of_its_guests(host: NodeWasiHost) -> None:
    """After many guests it has no more open than after a few."""
    (pid,) = host.pids()
    for _ in range(3):
        host.run(act("returns"))
    before = open_now(pid)
    for _ in range(20):
        host.run(act("returns"))
    until(lambda: len(opened_since(before, pid)) < 10, "what guests had open is closed")


def test_a_worker_that_fails(runtime: NodeWasiRuntime, actor: Artifact) -> None:
    """A worker that ends without a word is the host's failure, and the process goes on."""
    with runtime.start(actor, Limits()) as host:
        assert isinstance(host, NodeWasiHost)
        glue = workspace_of(host) / GUEST
        ours, before = glue.read_text(), host.pids()
        # The next one is read from what lies there now.
        host._discard()
        for text, said in (("throw new TypeError('broken')", "broken"), ("process.exit(3)", "with status 3")):
            glue.write_text(text)
            outcome = host.run(timeout_s=DEADLINE_S)
            assert outcome.ending == host_failed()
            assert said in outcome.ending.detail
        glue.write_text(ours)
        assert host.run(act("exits", 5)).ending == exited(5)
        assert host.pids() == before


# -- what is granted


@where_folders_are_granted
def test_the_process_may_do_little(runtime: NodeWasiRuntime, actor: Artifact, folder: Path) -> None:
    """The process reads our scripts, the artifact and what guests have, writes to that, and starts nothing."""
    with runtime.start(actor, Limits()) as host:
        assert isinstance(host, NodeWasiHost)
        (workspace_of(host) / GUEST).write_text(GREEDY_SCRIPT)
        host._discard()
        details = [host.run(preopens=given).ending.detail for given in ({}, {"/data": folder})]

    for done, environment in map(json.loads, details):
        assert done == []
        assert not {"PATH", "HOME", "USER"} & set(environment)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to look at another process")
def test_the_process_inherits_nothing(host: NodeWasiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment is ours alone, and what a guest is given does not show on its command line."""
    monkeypatch.setenv("HOST_SECRET", "1")
    invocation = Invocation(act("spins"), ("given-argument",), {"GIVEN": "given-value"}, timeout_s=DEADLINE_S)
    with under_way(host, invocation) as (_, process):
        environment, command = process.environ(), " ".join(process.cmdline())
        process.kill()

    assert not {"HOST_SECRET", "PATH", "HOME"} & set(environment)
    assert "given" not in command


# -- folders


@where_folders_are_granted
def test_a_folder(runtime: NodeWasiRuntime, folder: Path, tmp_path: Path) -> None:
    """A guest reads what is in it and writes there; what it left is told, and the user's own is as it was."""
    script = Script()
    read = script.open(b"sub/../file", rights=READ)
    script.call("fd_read", read, script.buffers(bytes(5)), 1, OUT).show(OUT, 4)
    written = script.open(b"sub/made", CREATE, WRITE)
    outcome = within(runtime, folder, tmp_path, script.write(written, b"from the guest"))

    assert script.read(outcome) == [0, 0, (5).to_bytes(4, "little"), 0, 0]
    assert outcome.files == {**GIVEN, "/data/sub/made": b"from the guest"}
    assert sorted(each.name for each in folder.rglob("*")) == ["file", "in", "sub"]


@where_folders_are_granted
def test_no_link_is_made(runtime: NodeWasiRuntime, folder: Path, tmp_path: Path) -> None:
    """Where a guest has a folder it hears that links are not permitted; else the answer is the program's own."""
    script = Script().call("path_symlink", b"file", 3, b"link").call("path_symlink", b"/", 3, b"sub/link")
    outcome = within(runtime, folder, tmp_path, script)

    assert script.read(outcome) == [_PERM, _PERM]
    assert outcome.files == GIVEN
    with runtime.start(script.artifact(tmp_path), Limits()) as host:
        assert script.read(host.run()) == [_BADF, _BADF]


@where_folders_are_granted
def test_no_folder_with_a_link(runtime: NodeWasiRuntime, host: NodeWasiHost, folder: Path) -> None:
    """It is refused before anything runs, wherever the link leads: the message names it, and what to do."""
    (folder / "sub" / "link").symlink_to("in")
    with pytest.raises(UnsupportedError) as caught:
        host.invoke(Invocation(act("opens"), preopens={"/data": folder}))

    assert str(caught.value) == (
        f"{runtime.name}: cannot grant {folder} as /data: sub/link in it is a symbolic link, and its own WASI may "
        "follow a link out of the folder. Grant a folder without links."
    )


@where_folders_are_granted
def test_no_path_leads_up(runtime: NodeWasiRuntime, folder: Path, tmp_path: Path) -> None:
    """No call takes a path that is absolute, or leaves what it starts from, not even one that comes back."""
    script = Script()
    below = script.open(b"sub", 2, READ | OPEN)
    up = [b"..", b"../file", b"sub/../../folder-0/file", b"/file", b"/data/file", b"./..//data/new", b"..\0"]
    # Of these, neither program refuses all by itself.
    up += [b"../folder-0/file", b"../data../folder-0/file", b"../data../folder-0/new", b"../sub../in"]
    for start in (3, below):
        for path in up:
            calls_of(script, start, path)
    opened, *answers = script.read(outcome := within(runtime, folder, tmp_path, script))

    assert (opened, set(answers)) == (0, {_NOTCAPABLE})
    assert outcome.files == GIVEN


def calls_of(script: Script, start: int | Loaded, path: bytes) -> None:
    """Make every call that takes a path with this one, in each place where it has one."""
    script.call("path_create_directory", start, path)
    script.call("path_filestat_get", start, 1, path, OUT)
    script.call("path_filestat_set_times", start, 0, path, 1, 2, 5)
    script.call("path_link", start, 0, path, 3, b"new")
    script.call("path_link", 3, 0, b"file", start, path)
    script.call("path_open", start, 1, path, 0, READ, 0, 0, OUT)
    script.call("path_readlink", start, path, OUT, 9, 8)
    script.call("path_rename", start, path, 3, b"new")
    script.call("path_rename", 3, b"file", start, path)
    script.call("path_remove_directory", start, path)
    script.call("path_unlink_file", start, path)


@where_folders_are_granted
def test_names_with_dots(runtime: NodeWasiRuntime, folder: Path, tmp_path: Path) -> None:
    """Only a whole name of two dots leads up: others are names like any, also beside it."""
    names = [b"...", b"a..", b"..a", b"sub/../b..", b"./c.", b"sub//d"]
    script = Script()
    for name in names:
        script.open(name, CREATE, WRITE)
    outcome = within(runtime, folder, tmp_path, script)

    assert script.read(outcome) == [0] * len(names)
    made = ("...", "..a", "a..", "b..", "c.", "sub/d")
    assert outcome.files == {**GIVEN, **{f"/data/{name}": b"" for name in made}}


@where_folders_are_granted
def test_a_folder_that_the_guest_removes(runtime: NodeWasiRuntime, folder: Path, tmp_path: Path) -> None:
    """Known: both let a guest remove the folder that it was granted; then it has left nothing."""
    script = Script().call("path_unlink_file", 3, b"file").call("path_unlink_file", 3, b"sub/in")
    script.call("path_remove_directory", 3, b"sub").call("path_remove_directory", 3, b".")
    outcome = within(runtime, folder, tmp_path, script)

    assert script.read(outcome) == [0] * 4
    assert outcome.files == {}
    assert (folder / "file").read_bytes() == b"hello"


@where_folders_are_granted
def test_places_with_commas(
    runtime: NodeWasiRuntime, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What separates paths in a program's options may also be in them."""
    place = tmp_path / "a,b,,c"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    script = Script().call("path_unlink_file", 3, b"file")
    outcome = within(runtime, folder, tmp_path, script)

    assert script.read(outcome) == [0]
    assert "/data/file" not in outcome.files


def within(runtime: NodeWasiRuntime, folder: Path, place: Path, script: Script) -> Outcome:
    """Run the script with the folder as /data; its artifact is kept in the place."""
    with runtime.start(script.artifact(place), Limits()) as host:
        return host.run(preopens={"/data": folder})


# -- how their WASI differs


def test_file_types_of_the_streams(host: NodeWasiHost) -> None:
    """Known: to Node our pipes are sockets, to Deno files, and Bun takes every stream for a terminal."""
    claimed = {"node-wasi": b"\x06\x06\x06", "deno-wasi": b"\x04\x04\x04", "bun-wasi": b"\x02\x02\x02"}

    assert host.run(act("descriptors")).stdout == claimed[host.runtime.name] + b"\xff" * 7


def test_colours(ruby: NodeWasiHost) -> None:
    """Known: where a stream claims to be a terminal, Ruby colours its SyntaxErrors; nothing of ours undoes it."""
    outcome = ruby.run("def f(")

    assert outcome.ending == exited(1)
    assert b"SyntaxError" in outcome.stderr
    assert (b"\x1b[" in outcome.stderr) == (ruby.runtime.name == "bun-wasi")


def test_no_environment_at_all(host: NodeWasiHost) -> None:
    """Known: without any variable, Node's environ_get is an error; a C library does not call it then."""
    ending = trapped() if host.runtime.name == "node-wasi" else exited(0)

    assert host.run(act("environment")).ending == ending
    assert host.run(act("environment"), env={"A": "1"}).stdout == b"A=1\0"


# -- finding them


def test_versions(runtime: NodeWasiRuntime) -> None:
    """Version and engine version (of Bun a commit) are the program's own words, as the runtime with our glue tells."""
    availability = runtime.probe()

    assert availability.version[0].isdigit()
    assert availability.engine_version[0] in hexdigits


@pytest.mark.parametrize(
    ("kind", "says", "reason"),
    [
        (NodeWasi, """echo '{"node":"20.9.0","v8":"11.3"}'""", "is node 20.9.0, at least 22.13 is needed"),
        (DenoWasi, r"printf 'deno 2.7.14\nv8 14.5\n'", "is deno 2.7.14, at least 2.8 is needed"),
        (
            BunWasi,
            """echo '{"bun":"1.3.14","webkit":"d6375c72affe1"}'""",
            "is bun 1.3.14, at least 1.4 is needed",
        ),
        (NodeWasi, "echo v24", "names no version"),
        (DenoWasi, "exit 3", "does not tell its version"),
    ],
)
def test_a_program_of_no_use(
    kind: type[NodeWasiRuntime], says: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that is too old, or tells no version, is not available: with the reason and the remedy."""
    monkeypatch.setenv(variable(kind()), str(script(tmp_path, says)))
    availability = kind().probe()

    assert not availability.available
    assert reason in availability.reason
    assert availability.install == f"pytest-wasmedge install {kind.name}"


@pytest.mark.parametrize("kind", RUNTIMES)
def test_no_program(kind: type[NodeWasiRuntime], actor: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the program the probe gives the command that installs it, and a start says the same."""
    monkeypatch.setattr("pytest_wasmedge.drivers.program.find", lambda name, version: None)

    assert kind().probe().reason == f"no {kind.tool} found"
    with pytest.raises(RuntimeUnavailableError, match=f"get it with `pytest-wasmedge install {kind.name}`"):
        kind().start(actor, Limits())


# -- processes


def variable(runtime: NodeWasiRuntime) -> str:
    return f"PYTEST_WASMEDGE_{runtime.tool.upper()}"


def script(folder: Path, text: str) -> Path:
    """Write a shell script and return it."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@contextmanager
def under_way(host: NodeWasiHost, invocation: Invocation) -> Iterator[tuple[Future[Outcome], psutil.Process]]:
    """Run this meanwhile; yields what becomes of it, and its process, once the guest has started.

    The test ends the process; where the test fails before, nobody waits for the time limit.
    """
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(host.invoke, invocation)
        try:
            until(lambda: started(host), "the guest runs")
            (process,) = map(psutil.Process, host.pids())
            yield running, process
        except BaseException:
            for pid in host.pids():
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).kill()
            raise


def started(host: NodeWasiHost) -> bool:
    """True once the guest of the invocation that is under way has started: then we close its stdin, and listen on."""
    ours = {
        Path(each).name for each in open_now().values() if each.startswith(f"{workspace_of(host)}/guests/")
    }
    return ours == {"stdout", "stderr", "report"}
