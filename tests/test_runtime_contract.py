"""What every runtime of ours promises, asked of each of them for real; what an engine does otherwise is in BENT."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import psutil
import pytest

from pytest_wasmedge.errors import HostStartError, UnsupportedError
from pytest_wasmedge.model import (
    Artifact,
    Ending,
    Host,
    Invocation,
    Limits,
    Runtime,
    exited,
    host_failed,
    out_of_memory,
    timed_out,
    trapped,
)
from pytest_wasmedge.portability.offsets import first_difference
from pytest_wasmedge.runtimes import builtin_names, builtin_runtimes
from tests import wat
from tests.actor import ACTOR, act
from tests.families import adoption, descendants, family_of
from tests.waiting import is_running, until, with_enough_time

#: The statuses that a guest may end with; from 126 on, engines differ.
STATUSES = (0, 1, 2, 3, 64, 100, 124, 125, 126, 127, 128, 134, 137, 139, 143, 254, 255)

#: What each case expects of every runtime: what the guest is asked, and how that ends.
ENDINGS: dict[str, tuple[bytes, Ending]] = {
    "returns": (act("returns"), exited(0)),
    **{f"exits_{status}": (act("exits", status), exited(status)) for status in STATUSES},
    "unreachable": (act("unreachable"), trapped()),
    "division": (act("division"), trapped()),
    "stack": (act("stack"), trapped()),
    "spins": (act("spins"), timed_out()),
    "sleeps": (act("sleeps", 3_600_000), timed_out()),
}
#: Time limits of those that may not end, in seconds: of a case, or of a case on one runtime.
LIMITS_S: dict[object, float] = {
    "spins": 0.3,
    "sleeps": 0.3,
    "stack": 5.0,
    ("wasmedge-interpreter", "stack"): 0.3,
}
#: For a descriptor that is not open.
NONE = b"\xff"
#: What the other facts that may be bent expect.
FACTS: dict[str, object] = {
    "descriptors": b"\x00\x00\x00" + NONE * 7,
    "no_folder": exited(8),  # badf
    "greedy": out_of_memory(),
    "greedy_without_limit": exited(0),
    "grows": exited(7),
    "arguments": (b"artifact.wasm", b"--help", "größe ☃".encode(), b"", b"-W", b"a b"),
}

#: Wherever an engine does otherwise than the contract says, by its own decision. Nothing else is made allowance for.
BENT: dict[tuple[str, str], object] = {
    # Wasmtime refuses statuses from 126 on: "exit with invalid exit status outside of [0..126)".
    **{
        (name, f"exits_{status}"): host_failed()
        for name in ("wasmtime", "wasmtime-cli", "wasmtime-winch", "wasmtime-pulley", "gvisor", "lambda")
        for status in STATUSES
        if status >= 126
    },
    # Code that WasmEdge compiled does not watch the stack: the process ends by signal 11
    # (https://github.com/WasmEdge/WasmEdge/issues/4410).
    ("wasmedge", "stack"): host_failed(),
    # Its interpreter keeps the stack on the heap, without a limit: it grows by a gigabyte a second.
    ("wasmedge-interpreter", "stack"): timed_out(),
    # wazero copies all memory whenever it grows: 4 GiB take longer than the time limit.
    ("wazero", "grows"): timed_out(),
    # To Node's node:wasi a pipe is a socket, to Deno's and Bun's all three streams are terminals.
    ("node-wasi", "descriptors"): b"\x06\x06\x06" + NONE * 7,
    ("deno-wasi", "descriptors"): b"\x04\x04\x04" + NONE * 7,
    ("bun-wasi", "descriptors"): b"\x02\x02\x02" + NONE * 7,
    # Wasmer calls all three terminals, too, and opens folders of a file system of its own (44: no such file in them).
    ("wasmer", "descriptors"): b"\x02\x02\x02\x03\x03\x03" + NONE * 4,
    ("wasmer", "no_folder"): exited(44),
    # The exit that jco's adapter calls has success and failure alone. It counts strings by the memory that they are
    # given, and jco gives none to an empty one.
    **{("jco", f"exits_{status}"): exited(1) for status in STATUSES if status > 1},
    ("jco", "no_folder"): exited(1),
    ("jco", "grows"): exited(1),
    ("jco", "arguments"): (b"artifact.wasm", b"--help", "größe ☃".encode(), b"-W", b"a b", b""),
}

RUNTIMES = [runtime.name for runtime in builtin_runtimes() if not runtime.yardstick]
ALL_BYTES = bytes(range(256))
ODD_NAME = "a, \"b\" 'c' ü %41 #"
STREAMS = {
    "nothing": b"",
    "newline": b"\n",
    "no_final_newline": b"one\ntwo",
    "carriage_returns": b"one\r\ntwo\r",
    "nul": b"a\0b",
    "byte_order_mark": b"\xef\xbb\xbfa",
    "not_utf8": b"a\xff\xc3b\xe2\x98",
    "utf8": "größe ☃ 日本\n".encode(),
    "all_byte_values": ALL_BYTES,
}
#: What an ending's detail speaks of, whatever the engine.
WORDING = {"unreachable": "unreachable", "division": "divi", "stack": "stack"}

# Starts a host, tells its processes, and then runs a guest that does not end.
CHILD = """
import json, os, sys
from pathlib import Path
from pytest_wasmedge.model import Limits
from pytest_wasmedge.runtimes import builtin_runtimes
from pytest_wasmedge.artifacts.loading import load_artifact

name, program, spins, cut = sys.argv[1:]
runtime = next(each for each in builtin_runtimes() if each.name == name)
host = runtime.start(load_artifact(Path(program)), Limits())
print(json.dumps([host.run(bytes.fromhex(cut)).ending.kind, host.pids()]), flush=True)
host.run(bytes.fromhex(spins), timeout_s=600)
"""


def bent(name: str, case: str, expected: object) -> object:
    """Return what is expected of this runtime: the contract's word, or the engine's where that is known."""
    return BENT.get((name, case), expected)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the artifacts."""
    return tmp_path_factory.mktemp("contract")


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, places: Path) -> Iterator[Runtime]:
    """Each runtime; one that cannot start here is a failure, since `make setup` gets all of them."""
    found = next(each for each in builtin_runtimes() if each.name == request.param)
    availability = found.probe()
    if not availability.available:
        pytest.fail(f"{found.name}: {availability.reason}; run `make setup`", pytrace=False)
    yield found
    # Small programs are not to push the compiled Ruby out of the cache.
    for path in places.rglob("*.wasm"):
        if kept := found.kept_code(wat.unchecked(path)):
            kept.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def actor(places: Path) -> Artifact:
    """The program that does what its stdin asks, in a folder whose name is hard to pass on."""
    return named_artifact(places, ODD_NAME, ACTOR)


@pytest.fixture(scope="module")
def host(runtime: Runtime, actor: Artifact) -> Iterator[Host]:
    """A host of the actor with the usual limits, shared by all tests of one runtime."""
    with runtime.start(actor, Limits()) as started:
        yield started


@pytest.fixture(scope="module")
def tight(runtime: Runtime, actor: Artifact) -> Iterator[Host]:
    """A host of the actor with narrow limits."""
    with runtime.start(actor, Limits(memory_bytes=64 << 20, output_bytes=1 << 20)) as started:
        yield started


def named_artifact(place: Path, name: str, program: str | bytes) -> Artifact:
    """Return the program as an artifact in a folder of this name."""
    home = place / name
    home.mkdir()
    return wat.artifact(home, program)


# -- streams


@pytest.mark.parametrize("name", STREAMS)
def test_streams(host: Host, name: str) -> None:
    """What goes in comes out on both streams, neither a newline nor a byte more or less."""
    outcome = host.run(act("echoes", 1, rest=STREAMS[name]))

    assert (outcome.stdout, outcome.stderr) == (STREAMS[name], STREAMS[name])
    assert outcome.ending == exited(0)


def test_big_stdin(host: Host) -> None:
    """16 MiB of stdin are read to the last byte, and come back unchanged."""
    stdin = ALL_BYTES * (1 << 16)

    check_same(host.run(act("echoes", rest=stdin)).stdout, stdin)


def test_big_stdout(host: Host) -> None:
    """64 MiB of stdout arrive whole, and 1 MiB of stderr beside them."""
    outcome = host.run(act("pours", 1024, 16))
    ending = outcome.ending

    assert ending == exited(0)
    check_same(outcome.stdout, b"o" * (64 << 20))
    check_same(outcome.stderr, b"e" * (1 << 20))


def test_big_stderr(host: Host) -> None:
    """A stderr larger than any pipe, beside a small stdout, blocks nothing."""
    outcome = host.run(act("pours", 1, 256))

    check_same(outcome.stdout, b"o" * (1 << 16))
    check_same(outcome.stderr, b"e" * (16 << 20))


def test_stdin_that_nobody_reads(host: Host) -> None:
    """A guest that ends without reading its stdin has simply ended."""
    ending = host.run(act("exits", 1, rest=b"x" * (4 << 20))).ending

    assert ending == exited(1)


def check_same(actual: bytes, expected: bytes) -> None:
    """Fail unless they are the same, without printing megabytes."""
    if actual != expected:
        pytest.fail(
            f"{len(actual)} bytes instead of {len(expected)}, differing from {first_difference(actual, expected)} on"
        )


# -- endings


@pytest.mark.parametrize("case", ENDINGS)
def test_ending(host: Host, case: str) -> None:
    """Each way to end is told as what it is, nothing is added to the streams, and the host goes on."""
    stdin, expected = ENDINGS[case]
    outcome = host.run(stdin, timeout_s=LIMITS_S.get((host.runtime.name, case), LIMITS_S.get(case)))

    assert outcome.ending == bent(host.runtime.name, case, expected)
    assert outcome.stdout == outcome.stderr == b""
    assert outcome.ending.ok or outcome.ending.kind == "exited" or outcome.ending.detail
    assert "\n" not in outcome.ending.detail
    if outcome.ending == trapped():
        assert WORDING[case] in outcome.ending.detail.lower()
    assert host.run(act("echoes", rest=b"next")).stdout == b"next"


def test_output_before_a_time_limit(host: Host) -> None:
    """What a guest wrote before it was stopped is there; only a server's worker may take it along."""
    serving = set(host.pids()) - {os.getpid()}
    outcome = with_enough_time(
        lambda timeout_s: host.run(act("writes_and_spins"), timeout_s=timeout_s),
        lambda outcome: outcome.stdout or serving,
    )

    assert outcome.ending == timed_out()
    assert outcome.stdout == b"before" or (serving and outcome.stdout == b"")


def test_sleep_within_the_limit(host: Host) -> None:
    """A guest that sleeps and then goes on is left alone."""
    outcome = host.run(act("sleeps", 20))

    assert (outcome.stdout, outcome.ending) == (b"rested", exited(0))


def test_memory_at_the_start(runtime: Runtime, places: Path) -> None:
    """A guest that begins with more memory than the limit is out of memory; where there is none, it runs."""
    artifact = named_artifact(places, f"greedy-{runtime.name}", wat.GREEDY)
    case = "greedy" if "memory_limit" in runtime.capabilities else "greedy_without_limit"
    with runtime.start(artifact, Limits()) as started:
        outcome = started.run()

    assert outcome.ending == bent(runtime.name, case, FACTS[case])


def test_memory_later(tight: Host) -> None:
    """A guest that wants more memory than there is hears so, and ends in its own way, each time anew."""
    expected = bent(tight.runtime.name, "grows", FACTS["grows"])
    # Half a minute would show no more of a host whose guest takes memory until it is stopped.
    timeout_s = 3.0 if expected == timed_out() else None
    outcomes = [tight.run(act("grows"), timeout_s=timeout_s) for _ in range(2)]

    assert [outcome.ending for outcome in outcomes] == [expected] * 2


def test_output_limit(tight: Host) -> None:
    """A guest that writes more than the limit is stopped, told as such, and took no more memory than that."""
    outcome = tight.run(act("floods"))
    ending, size = outcome.ending, len(outcome.stdout)

    assert ending == host_failed()
    assert f"output limit of {1 << 20} bytes" in ending.detail
    assert size <= (1 << 20) + (1 << 16)
    assert tight.run(act("echoes", rest=b"next")).stdout == b"next"


# -- isolation


def test_fresh_guest(host: Host) -> None:
    """Each invocation finds memory and globals as the artifact has them."""
    assert [host.run(act("leaves")).stdout for _ in range(3)] == [bytes(8)] * 3


def test_a_stopped_guest_leaves_nothing(host: Host) -> None:
    """After a trap the next guest is as fresh as any."""
    host.run(act("leaves"))
    host.run(act("unreachable"))

    assert host.run(act("leaves")).stdout == bytes(8)


def test_many_at_once(host: Host) -> None:
    """Invocations at once each get their own stdin back, and numbers of their own in each isolate."""
    before = host.run().invocation
    inputs = [b"%d\n" % number * 20_000 for number in range(16)]
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda stdin: host.run(act("echoes", rest=stdin)), inputs))

    for outcome, stdin in zip(outcomes, inputs, strict=True):
        check_same(outcome.stdout, stdin)
    numbers = {outcome.invocation for outcome in outcomes}
    if "isolates" in host.runtime.capabilities:
        assert numbers <= set(range(1, before + 17))
    else:
        assert numbers == set(range(before + 1, before + 17))


@pytest.mark.parametrize("deed", ["unreachable", "spins", "discarded"])
def test_fresh_isolates(host: Host, deed: str) -> None:
    """An isolate serves one guest after the other, until one does not exit, or it is discarded."""
    if "isolates" not in host.runtime.capabilities:
        with pytest.raises(UnsupportedError, match=f"{host.runtime.name} keeps no isolates"):
            host.discard_isolates()
        return
    host.discard_isolates()
    assert [host.run(act("leaves")).invocation for _ in range(3)] == [1, 2, 3]

    if deed == "discarded":
        host.discard_isolates()
    else:
        host.run(act(deed), timeout_s=0.3)
    outcomes = [host.run(act("leaves")) for _ in range(2)]
    assert [(outcome.stdout, outcome.invocation) for outcome in outcomes] == [(bytes(8), 1), (bytes(8), 2)]


def test_one_runaway_beside_others(host: Host) -> None:
    """A guest that is stopped at its time limit takes no other one with it."""
    with ThreadPoolExecutor(4) as threads:
        sound = [threads.submit(host.run, act("sleeps", 400), timeout_s=30) for _ in range(2)]
        runaway = threads.submit(host.run, act("spins"), timeout_s=0.3)
        sound.append(threads.submit(host.run, act("sleeps", 400), timeout_s=30))

    assert runaway.result().ending == timed_out()
    assert [each.result().stdout for each in sound] == [b"rested"] * 3


# -- no grant


def test_arguments(host: Host) -> None:
    """The guest's name is artifact.wasm everywhere; arguments arrive as UTF-8, also those like options."""
    outcome = host.invoke(Invocation(act("arguments"), ("--help", "größe ☃", "", "-W", "a b")))

    expected = bent(host.runtime.name, "arguments", FACTS["arguments"])
    assert tuple(outcome.stdout.split(b"\0")[:-1]) == expected
    assert host.run(act("arguments")).stdout == b"artifact.wasm\0"


def test_environment(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest's environment is what the invocation gives, in UTF-8, and nothing of ours."""
    monkeypatch.setenv("HOST_SECRET", "1")
    given = host.run(act("environment"), env={"GRÖSSE": "☃=1", "EMPTY": ""})

    assert sorted(given.stdout.split(b"\0")[:-1]) == [b"EMPTY=", "GRÖSSE=☃=1".encode()]
    assert host.run(act("environment")).stdout == b""


def test_folders(host: Host, tmp_path: Path) -> None:
    """A folder is there if an invocation grants it and only then; who cannot give one says so before it runs."""
    (tmp_path / "hello.txt").write_bytes(b"from a file")
    name = host.runtime.name
    grant = Invocation(act("opens"), preopens={"/data": tmp_path})
    if "preopens" in host.runtime.capabilities:
        granted = host.invoke(grant)
        assert (granted.stdout, granted.ending) == (b"from a file", exited(0))
        with pytest.raises(UnsupportedError, match=f"{name}: cannot grant .*: there is no such folder"):
            host.invoke(Invocation(preopens={"/data": tmp_path / "gone"}))
    else:
        with pytest.raises(UnsupportedError, match=f"{name} cannot give folders"):
            host.invoke(grant)

    denied = host.run(act("opens"))
    assert (denied.stdout, denied.ending) == (b"", bent(name, "no_folder", FACTS["no_folder"]))


def test_descriptors(host: Host) -> None:
    """A guest has three streams of unknown type, no terminals, and nothing else is open."""
    found = host.run(act("descriptors")).stdout

    assert found.hex() == cast("bytes", bent(host.runtime.name, "descriptors", FACTS["descriptors"])).hex()


# -- hosts


def test_outcomes_say_where_they_are_from(host: Host) -> None:
    """Every outcome carries its runtime, and the digest of the user's artifact, also where that is wrapped."""
    outcome = host.run()

    assert (outcome.runtime, outcome.artifact_sha256) == (host.runtime.name, host.artifact.sha256)
    assert outcome.timings.elapsed_ns > 0
    assert host.run().invocation == outcome.invocation + 1


def test_host_killed_from_outside(host: Host) -> None:
    """After kill -9 of all that serves a host the next invocation works; a host of no process goes on."""
    before = host.run(act("echoes", rest=b"one")).invocation
    family = family_of(host)
    own = {each.pid for each in psutil.Process().children()}
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in family & own:
        # All threads of it, where a look at /proc tells of the first alone; the status is left for the driver.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    until(lambda: not any(map(is_running, family)), f"processes {family} have ended")

    outcome = host.run(act("echoes", rest=b"two"))
    assert (outcome.stdout, outcome.ending) == (b"two", exited(0))
    assert outcome.invocation == (1 if family else before + 1)
    assert not family & set(host.pids())


def test_paused_host(host: Host) -> None:
    """While a host is paused none of its processes runs; afterwards it goes on as before."""
    before = host.run().invocation
    family = [psutil.Process(pid) for pid in family_of(host)]
    with host.paused():
        # One that has just ended stays a zombie, since its parent is stopped: it runs no more than the others.
        still = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
        until(lambda: all(each.status() in still for each in family), f"{family} have stopped")

    outcome = host.run(act("echoes", rest=b"on"))
    assert (outcome.stdout, outcome.invocation) == (b"on", before + 1)


@pytest.fixture
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for temporary files whose name is short: Netlify's server listens on a socket in it."""
    return tmp_path_factory.mktemp("t")


def test_closed_host(runtime: Runtime, actor: Artifact, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed host leaves no process and no file; it can be closed twice, and then says that it is closed."""
    monkeypatch.setattr("tempfile.tempdir", str(empty))
    with adoption() as adopted:
        host = runtime.start(actor, Limits())
        assert host.run(act("echoes", rest=b"here")).stdout == b"here"
        family = {*family_of(host), *adopted()}
        host.close()
        host.close()
        until(lambda: not any(map(is_running, {*family, *adopted()})), f"processes {family} have ended")

    assert list(empty.iterdir()) == []
    assert not [pid for pid in host.pids() if pid != os.getpid()]
    with pytest.raises(HostStartError, match=rf"{runtime.name}: this host is closed; start another one\."):
        host.run()


def test_parent_killed(runtime: Runtime, actor: Artifact, empty: Path) -> None:
    """After kill -9 of the Python process that holds a host, no process and no file of it stays."""
    command = [
        sys.executable, "-c", CHILD, runtime.name, str(actor.path), act("spins").hex(), act("exits", 3).hex()
    ]  # fmt: skip
    with adoption() as adopted:
        child = subprocess.Popen(
            command, env={**os.environ, "TMPDIR": str(empty)}, stdout=subprocess.PIPE, text=True
        )
        with child, ExitStack() as ends:
            # Also where a check fails: it would go on for minutes, and we wait for its end.
            ends.callback(child.kill)
            assert child.stdout
            said = child.stdout.readline()
            assert said, f"{runtime.name} did not start in another process"
            kind, pids = json.loads(said)
            assert kind == "exited"
            if not pids:
                # Its reaper, and the command that runs the guest.
                until(lambda: len(psutil.Process(child.pid).children()) > 1, "the guest's process is there")
            family = descendants(child.pid)
            assert set(pids) <= {child.pid, *family}
        until(lambda: not any(map(is_running, {*family, *adopted()})), f"processes {family} have ended")

    assert list(empty.iterdir()) == []


def test_odd_paths(host: Host) -> None:
    """The artifact may lie in a folder with any name."""
    assert host.artifact.path.parent.name == ODD_NAME
    assert host.run().ending == exited(0)


def test_unsound_module(runtime: Runtime, places: Path) -> None:
    """A module that the engine refuses is an error at the start, or else the host's failure, with its words."""
    sound = wat.assemble(wat.command("(drop (i32.const 1))"))
    broken = sound.replace(b"\x41\x01\x1a\x0b", b"\x41\x01\x6a\x0b")
    assert broken != sound
    artifact = named_artifact(places, f"broken-{runtime.name}", broken)

    try:
        with runtime.start(artifact, Limits()) as host:
            ending = host.run().ending
    except HostStartError as error:
        ending, said = host_failed(), str(error)
    else:
        said = ending.detail
    assert ending == host_failed()
    assert any(word in said.lower() for word in ("compil", "parse", "valid", "load", "malformed"))


def test_kept_code(runtime: Runtime, host: Host) -> None:
    """A runtime that keeps compiled code, if only of some artifacts, names its file, with or without it there."""
    kept = runtime.kept_code(host.artifact)
    assert kept is not None or runtime.cache_state == "no-cache"
    if kept is not None:
        assert kept.exists()
        kept.unlink()
        assert runtime.kept_code(host.artifact) == kept
        runtime.start(host.artifact, Limits()).close()
        assert kept.exists()


# -- the table


def test_what_is_bent_is_known() -> None:
    """Every allowance is of a runtime that there is and of a fact that is asked, and differs from the contract."""
    facts = {**{case: ending for case, (_, ending) in ENDINGS.items()}, **FACTS}
    for (name, case), expected in BENT.items():
        assert name in builtin_names()
        assert expected != facts[case]


# -- processes
