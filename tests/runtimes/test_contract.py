"""What every wasmtime host promises, whether it lives in this process or is a command."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_wasmedge.errors import HostStartError, UnsupportedError
from pytest_wasmedge.model import (
    Ending,
    Invocation,
    exited,
    host_failed,
    out_of_memory,
    timed_out,
    trapped,
)
from tests import wat
from tests.runtimes.conftest import Start

pytestmark = pytest.mark.parametrize("name", ["wasmtime", "wasmtime-cli"])

ENDINGS: dict[str, tuple[str, Ending]] = {
    "returns": (wat.command(""), exited(0)),
    "exits_0": (wat.exits(0), exited(0)),
    "exits_3": (wat.exits(3), exited(3)),
    "exits_125": (wat.exits(125), exited(125)),
    # By a decision of wasmtime, 126 and above are no statuses: it refuses, and that is the host's doing.
    "exits_126": (wat.exits(126), host_failed()),
    "exits_255": (wat.exits(255), host_failed()),
    "unreachable": (wat.TRAP, trapped()),
    "division": (wat.DIVIDES_BY_ZERO, trapped()),
    "stack": (wat.OVERFLOWS_THE_STACK, trapped()),
    "spins": (wat.SPIN, timed_out()),
    "sleeps": (wat.sleeps(3600), timed_out()),
    "memory_at_start": (wat.GREEDY, out_of_memory()),
    "memory_later": (wat.GROWS, exited(7)),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_ending(start: Start, name: str, case: str) -> None:
    """Each way to end is told as what it is, and never as another."""
    program, ending = ENDINGS[case]
    outcome = start(name, program).run(timeout_s=0.3 if ending == timed_out() else None)

    assert outcome.ending == ending
    assert outcome.stdout == outcome.stderr == b""
    assert outcome.runtime == name


@pytest.mark.parametrize(
    ("program", "wording"),
    [(wat.TRAP, "unreachable"), (wat.DIVIDES_BY_ZERO, "divi"), (wat.exits(200), "exit status")],
)
def test_the_engine_s_wording_is_kept(start: Start, name: str, program: str, wording: str) -> None:
    """What the engine says of an ending stands in its detail, on one line."""
    detail = start(name, program).run().ending.detail

    assert wording in detail.replace("_", " ")
    assert "\n" not in detail


def test_output_before_a_time_limit_is_kept(start: Start, name: str) -> None:
    """What a guest wrote before it was stopped is there."""
    outcome = start(name, wat.WRITES_AND_SPINS).run(timeout_s=0.5)

    assert outcome.ending == timed_out()
    assert outcome.stdout == b"before"


def test_a_stopped_guest_does_not_stop_the_host(start: Start, name: str) -> None:
    """After each kind of bad end the next invocation works, and the count goes on."""
    host = start(name, wat.WRITES_AND_SPINS)
    first, second = host.run(timeout_s=0.3), host.run(timeout_s=0.3)

    assert (first.invocation, second.invocation) == (1, 2)
    assert second.stdout == b"before"


def test_sleep_within_the_limit(start: Start, name: str) -> None:
    """A guest that sleeps and then goes on is left alone."""
    outcome = start(name, wat.sleeps(0.02)).run()

    assert outcome.stdout == b"rested"
    assert outcome.ending == exited(0)


def test_64_mb_of_stdout(start: Start, name: str) -> None:
    """64 MiB of stdout arrive whole, and 1 MiB of stderr beside them."""
    outcome = start(name, wat.pours(64 << 20, 1 << 20)).run()

    assert outcome.ending == exited(0)
    assert outcome.stdout == b"o" * (64 << 20)
    assert outcome.stderr == b"e" * (1 << 20)


def test_more_stderr_than_stdout(start: Start, name: str) -> None:
    """A stderr larger than any pipe, beside a small stdout, blocks nothing."""
    outcome = start(name, wat.pours(1 << 16, 16 << 20)).run()

    assert outcome.stdout == b"o" * (1 << 16)
    assert outcome.stderr == b"e" * (16 << 20)


def test_16_mb_of_stdin(start: Start, name: str) -> None:
    """16 MiB of stdin are read to the last byte, and come back unchanged."""
    stdin = bytes(range(256)) * (1 << 16)

    assert start(name, wat.COUNT).run(stdin).stdout == len(stdin).to_bytes(4, "little")
    assert start(name, wat.ECHO).run(stdin).stdout == stdin


def test_stdin_that_nobody_reads(start: Start, name: str) -> None:
    """A guest that ends without reading its stdin has simply ended."""
    assert start(name, wat.exits(4)).run(b"x" * (4 << 20)).ending == exited(4)


def test_output_limit(start: Start, name: str) -> None:
    """A guest that writes more than the limit is stopped, told as such, and took no more memory than that."""
    outcome = start(name, wat.FLOOD, output_bytes=1 << 20).run()

    assert outcome.ending == host_failed()
    assert "output limit of 1048576 bytes" in outcome.ending.detail
    assert len(outcome.stdout) <= (1 << 20) + (1 << 16)


def test_arguments(start: Start, name: str) -> None:
    """The guest's name is artifact.wasm everywhere; arguments arrive as UTF-8, also those like options."""
    outcome = start(name, wat.ARGUMENTS).invoke(Invocation(args=("--help", "größe ☃", "", "-W", "a b")))

    assert outcome.stdout.split(b"\0")[:-1] == [
        b"artifact.wasm",
        b"--help",
        "größe ☃".encode(),
        b"",
        b"-W",
        b"a b",
    ]


def test_environment(start: Start, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest's environment is what the invocation gives, in UTF-8, and nothing of ours."""
    monkeypatch.setenv("HOST_SECRET", "1")
    host = start(name, wat.ENVIRONMENT)
    given = host.invoke(Invocation(env={"GRÖSSE": "☃=1", "EMPTY": ""}))

    assert host.run().stdout == b""
    assert sorted(given.stdout.split(b"\0")[:-1]) == [b"EMPTY=", "GRÖSSE=☃=1".encode()]


def test_preopened_folder(start: Start, name: str, tmp_path: Path) -> None:
    """A folder is there if the invocation grants it, and only in that invocation."""
    (tmp_path / "hello.txt").write_bytes(b"from a file")
    host = start(name, wat.READS_A_FILE)
    granted = host.invoke(Invocation(preopens={"/data": tmp_path}))
    denied = host.invoke(Invocation())

    assert granted.stdout == b"from a file"
    assert granted.ending == exited(0)
    assert denied.ending == exited(8)  # badf: there is no such folder
    assert denied.stdout == b""


def test_a_missing_folder_is_an_error_of_the_caller(start: Start, name: str, tmp_path: Path) -> None:
    """A folder that is granted but not there is said before the guest starts, and the host serves on."""
    host = start(name, wat.READS_A_FILE)

    with pytest.raises(
        UnsupportedError, match=f"{name}: cannot grant .*gone as /data: there is no such folder"
    ):
        host.invoke(Invocation(preopens={"/data": tmp_path / "gone"}))
    assert host.run().ending == exited(8)


def test_many_at_once(start: Start, name: str) -> None:
    """Invocations at once each get their own stdin back, and numbers of their own."""
    host = start(name, wat.ECHO)
    inputs = [b"%d\n" % number * 20_000 for number in range(16)]
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(host.run, inputs))

    assert [outcome.stdout for outcome in outcomes] == inputs
    assert {outcome.invocation for outcome in outcomes} == set(range(1, 17))


def test_one_runaway_beside_others(start: Start, name: str) -> None:
    """A guest that is stopped at its time limit takes no other one with it."""
    host = start(name, wat.sleeps(1.0))
    with ThreadPoolExecutor(2) as threads:
        runaway = threads.submit(host.run, timeout_s=0.3)
        sound = threads.submit(host.run, timeout_s=20)

    assert runaway.result().ending == timed_out()
    assert sound.result().ending == exited(0)


def test_a_closed_host_says_so(start: Start, name: str) -> None:
    """A host can be closed twice, and then says that it is closed."""
    host = start(name, wat.ECHO)
    host.close()
    host.close()

    with pytest.raises(HostStartError, match="is closed; start another one"):
        host.run()


def test_outcomes_name_their_artifact(start: Start, name: str) -> None:
    """Every outcome carries the digest of the artifact it came from."""
    host = start(name, wat.ECHO)

    assert host.run().artifact_sha256 == host.artifact.sha256


def test_a_function_body_that_is_wrong(start: Start, name: str) -> None:
    """A module of sound sections but unsound code does not start, and the message says what to do."""
    body = wat.assemble(wat.command("(drop (i32.const 1))"))
    broken = body.replace(b"\x41\x01\x1a\x0b", b"\x41\x01\x6a\x0b")
    assert broken != body

    with pytest.raises(HostStartError, match=r"cannot (load|compile) program: .*wasm-tools validate"):
        start(name, broken)


def test_kept_code(start: Start, name: str) -> None:
    """The runtime names the file of compiled code that a start has left, and names it before there is one."""
    host = start(name, wat.ECHO)
    kept = host.runtime.kept_code(host.artifact)
    assert kept
    assert kept.exists()
    kept.unlink()

    assert host.runtime.kept_code(host.artifact) == kept
    start(name, wat.ECHO)
    assert kept.exists()
