"""Whatever the machine is short of: no verdict that is wrong, nothing lost or left, and one sentence that says what."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_wasmedge.drivers.pages import PageServer
from pytest_wasmedge.errors import CorpusError, LatencyError
from pytest_wasmedge.latency.journal import Journal
from pytest_wasmedge.latency.sampling import Sample
from pytest_wasmedge.model import Limits, Outcome, Timings, exited, trapped
from pytest_wasmedge.portability.corpus import Case, write_golden
from pytest_wasmedge.provision.cache import cache_root
from pytest_wasmedge.provision.room import free_bytes
from pytest_wasmedge.runtimes import builtin_runtimes
from tests import wat
from tests.conftest import Mount

#: A run that takes longer hangs.
_HANGS_S = 120
TESTS = """
def test_echo(host):
    outcome = host.run(b"hello")
    assert outcome.ending.ok, outcome.ending
    assert outcome.stdout == b"hello"
"""
FOLDER_TESTS = """
from pytest_wasmedge.model import Invocation

def test_folder(host, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "big").write_bytes(bytes(400_000))
    outcome = host.invoke(Invocation(stdin=b"hello", preopens={"/data": tmp_path / "in"}))
    assert outcome.ending.ok, outcome.ending
    assert outcome.files == {"/data/big": bytes(400_000)}
"""
FILLING_TESTS = """
from pytest_wasmedge.model import Invocation

def test_fills(host, tmp_path):
    (tmp_path / "in").mkdir()
    outcome = host.invoke(Invocation(preopens={"/data": tmp_path / "in"}))
    assert outcome.ending.ok, outcome.ending.detail
    print(len(outcome.files["/data/big"]), "bytes")
"""
CROWDED_TESTS = """
from concurrent.futures import ThreadPoolExecutor
from pytest_wasmedge.errors import ShortageError

def test_at_once(host):
    with ThreadPoolExecutor(40) as pool:
        running = [pool.submit(host.run, b"%d" % number) for number in range(80)]
    short = [each.exception() for each in running if each.exception()]
    assert all(isinstance(each, ShortageError) for each in short), short
    for number, each in enumerate(running):
        if each.exception():
            continue
        failed = each.result().ending.detail if each.result().ending.kind == "host_failed" else ""
        assert "files open" in failed or "open files" in failed or each.result().stdout == b"%d" % number, each.result()
    if short:
        raise short[0]
"""
DELETING_TESTS = """
import os, shutil

def test_all(wasmtime_host, node_host, wasmtime_cli_host):
    started = (wasmtime_host, node_host)
    assert [each.run(b"a").stdout for each in (*started, wasmtime_cli_host)] == [b"a"] * 3
    shutil.rmtree(os.environ["PYTEST_WASMEDGE_CACHE"], ignore_errors=True)
    assert [each.run(b"a").stdout for each in started] == [b"a"] * 2
    wasmtime_cli_host.run(b"a")
"""
NO_ROOM = r"cannot be written: No space left on device \(0\.\d MB are left\)\. Make room or give rights there, or set"
TEMPORARY = rf"^The temporary folder .* {NO_ROOM} TMPDIR to another folder\.$"
CACHE = rf"The cache folder .* {NO_ROOM} PYTEST_WASMEDGE_CACHE to another folder\."

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs pytest in a project of its own, with these tests, for an artifact that echoes or another program."""
    project = tmp_path / "project"
    project.mkdir()

    def run(
        runtimes: str,
        tests: str,
        *options: str,
        program: str = wat.ECHO,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        (project / "test_it.py").write_text(tests)
        wat.write(project / "program.wasm", program)
        ours = (
            "-n0",
            f"--basetemp={tmp_path / 'base'}",
            "--wasm-artifact=program.wasm",
            f"--runtimes={runtimes}",
        )
        argv = [*prefix, sys.executable, "-m", "pytest", *ours, *options]
        given = {**os.environ, **(env or {})}
        done = subprocess.run(
            argv, cwd=project, env=given, capture_output=True, text=True, timeout=_HANGS_S, check=False
        )
        for trace in ("Traceback", "INTERNALERROR", "OSError", "Warning"):
            assert trace not in done.stdout + done.stderr, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def tools() -> Path:
    """The cache of all tests."""
    return cache_root()


@pytest.fixture
def full(tools: Path, disk: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """Gives a disk with this many kilobytes; the cache is elsewhere."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tools))

    def give(size_kb: int) -> Path:
        disk(f"size={size_kb}k")
        return tmp_path / "disk"

    return give


@pytest.fixture
def alone() -> Callable[..., tuple[str, ...]]:
    """Gives what a command begins with that runs in a namespace of its own, after these commands in it."""

    def give(namespace: str, *commands: str) -> tuple[str, ...]:
        prefix = ("unshare", namespace, "sh", "-ec", "; ".join([*commands, 'exec "$@"']), "sh")
        if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], check=False).returncode:
            pytest.skip("no namespace can be made here")
        return prefix

    return give


def linked(tools: Path, place: Path) -> Path:
    """Make a cache with the tools of another one, and nothing that was compiled."""
    place.mkdir(mode=0o700)
    for name in ("tools", "glue", "artifacts"):
        (place / name).symlink_to(tools / name)
    return place


def check(done: subprocess.CompletedProcess[str], sentence: str, count: int) -> None:
    """Check that so many tests failed with this sentence, and that the run has no verdict on the artifact."""
    assert done.returncode == 1, done.stdout
    # The summary repeats a sentence, whole in CI and cut elsewhere.
    told, _, _ = done.stdout.partition("= short test summary info =")
    assert len(re.findall(sentence, told, re.MULTILINE)) == count, done.stdout
    assert "\nINCOMPLETE: this machine ran short of something" in done.stdout


# -- disks


@pytest.mark.parametrize(
    ("runtime", "tests"), [("node-wasi", TESTS), ("wasmtime", FOLDER_TESTS), ("wasmtime-cli", FOLDER_TESTS)]
)
def test_no_room_for_temporary_files(run: Run, full: Callable[[int], Path], runtime: str, tests: str) -> None:
    """A host that cannot write what it needs to is no verdict on a guest, and leaves nothing on the disk."""
    place = full(16)

    check(run(runtime, tests, env={"TMPDIR": str(place)}), TEMPORARY, 1)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("runtime", ["wasmtime", "wasmtime-cli", "wasmedge", "node-wasi"])
def test_no_room_for_what_a_guest_writes(run: Run, full: Callable[[int], Path], runtime: str) -> None:
    """A guest whose files were cut short, of which it says nothing, has no outcome."""
    place = full(600)

    check(run(runtime, FILLING_TESTS, program=wat.FILLS_A_FILE, env={"TMPDIR": str(place)}), TEMPORARY, 1)
    assert list(place.iterdir()) == []


def test_no_room_where_a_function_makes_folders(run: Run, full: Callable[[int], Path]) -> None:
    """A function of AWS Lambda, whose guest's files were cut short, says so."""
    done = run("lambda", FILLING_TESTS, program=wat.FILLS_A_FILE, env={"TMPDIR": str(full(900))})

    assert done.returncode == 1
    assert "AssertionError: no room is left for a guest's folders" in done.stdout


def test_no_room_for_compiled_code(run: Run, tools: Path, full: Callable[[int], Path]) -> None:
    """Who compiles, whether an engine in this process, a compiler that says so, or one whose code is copied."""
    place = full(40)
    cache = linked(tools, place / "cache")
    (place / "ballast").write_bytes(bytes(free_bytes(place) or 0))
    done = run("wasmtime,wasmtime-cli,wasmedge", TESTS, env={"PYTEST_WASMEDGE_CACHE": str(cache)})

    check(done, CACHE, 3)
    assert not [each for each in (cache / "compiled").iterdir() if not each.name.startswith(".lock")]


def test_no_room_for_the_record(run: Run, full: Callable[[int], Path]) -> None:
    """The tests run to their end, the status is not 0, and what was written of the record has whole lines."""
    place = full(16)
    tests = "import pytest\n@pytest.mark.parametrize('number', range(200))\ndef test_echo(host, number):\n    pass\n"
    done = run("wasmtime", tests, f"--wasm-report={place}")

    assert done.returncode == 1
    assert "200 passed" in done.stdout
    assert re.search(
        r"the record cannot be written to .*: No space left on device \(0\.0 MB are left\)\. Give another",
        done.stdout,
    )
    for line in (place / "record.jsonl").read_text().splitlines():
        json.loads(line)


def test_no_room_for_samples(full: Callable[[int], Path]) -> None:
    """A sample that cannot be written whole is told and leaves nothing; all earlier ones can be read."""
    place = full(16)
    journal = Journal(place / "samples.jsonl", "run", 1)
    taken = 0

    def take() -> None:
        nonlocal taken
        while True:
            journal.add(Sample("wasmtime", "warm/tiny", taken, phases_ns={"run" * 100: 1}))
            taken += 1

    with pytest.raises(LatencyError, match=r"No space left on device \(0\.0 MB are left\)"):
        take()

    lines = [json.loads(line) for line in (place / "samples.jsonl").read_bytes().splitlines()]
    assert [each["elapsed_ns"] for each in lines if "runtime" in each] == list(range(taken))


def test_no_room_for_a_golden_file(full: Callable[[int], Path]) -> None:
    """What was approved stays."""
    place = full(16)
    case = Case("case", place / "case.rb")
    small = Outcome(b"small", b"", exited(0), 1, Timings(1), "wasmtime", "")
    write_golden(case, small)
    before = case.golden_path.read_bytes()
    with pytest.raises(CorpusError, match=r"No space left on device .*\. What was there is unchanged\."):
        write_golden(case, replace(small, stdout=b"large\n" * 10_000))

    assert case.golden_path.read_bytes() == before


def test_a_cache_that_can_only_be_read(run: Run, tools: Path, alone: Callable[..., tuple[str, ...]]) -> None:
    """What is there is used; what would have to be compiled is told."""
    assert run("wasmtime,wasmtime-cli,node", TESTS).returncode == 0
    prefix = alone("--mount", f"mount --bind {tools} {tools}", f"mount -o remount,ro,bind {tools}")

    assert run("wasmtime,wasmtime-cli,node", TESTS, prefix=prefix).returncode == 0
    done = run("wasmtime-cli,wasmtime", TESTS, program=wat.pours(12345), prefix=prefix)
    check(
        done, r"^The cache folder .* cannot be written: Read-only file system\. Make room or give rights", 2
    )


def test_a_project_that_can_only_be_read(
    run: Run, tmp_path: Path, alone: Callable[..., tuple[str, ...]]
) -> None:
    """Tests run and measurements are taken, whose samples are not kept."""
    tests = f"{TESTS}\ndef test_start(cold_start):\n    assert cold_start.take().median_ns\n"
    (tmp_path / "base").mkdir()
    prefix = alone("--mount", "mount --bind . .", "mount -o remount,ro,bind .", "cd .")
    done = run("wasmtime", tests, "-p", "no:cacheprovider", prefix=prefix)

    assert done.returncode == 0, done.stdout


def test_a_cache_that_is_deleted_in_mid_run(run: Run, tools: Path, tmp_path: Path) -> None:
    """Hosts that serve go on, one that has to start its program once more says what is missing; so does a start."""
    cache = linked(tools, tmp_path / "cache")
    tests = f"{DELETING_TESTS}\n{TESTS}"
    done = run("wasmtime,node,wasmtime-cli,wasmedge", tests, env={"PYTEST_WASMEDGE_CACHE": str(cache)})

    assert done.returncode == 1
    assert "wasmtime --version` does not tell its version: No such file or directory\n" in done.stdout
    assert (
        "wasmedge cannot start: no wasmedge command found; get it with `pytest-wasmedge install"
        in done.stdout
    )
    assert "2 failed, 2 passed, 1 error" in done.stdout


# -- open files


def files(most: int) -> tuple[str, ...]:
    """Return what a command begins with that may have so many files open, and cannot change it."""
    return ("sh", "-c", f'ulimit -n {most} && exec "$@"', "sh")


def test_few_open_files(run: Run) -> None:
    """With 64 open files all runtimes work but browsers, which say so."""
    done = run("wasmtime,wasmtime-cli,wasmedge,node,deno,workerd,node-wasi,chromium", TESTS, prefix=files(64))

    assert done.returncode == 1
    assert "chromium could not start with program" in done.stdout
    assert "It may have only 64 files open, which may be why: raise that limit (`ulimit -n`)." in done.stdout
    assert "7 passed, 1 error" in done.stdout


@pytest.mark.parametrize("runtime", ["wasmtime", "wasmtime-cli", "node", "node-wasi"])
def test_no_more_open_files(run: Run, runtime: str) -> None:
    """With 64 open files, each of 40 invocations at once has its own outcome, or is told to have none for that."""
    done = run(runtime, CROWDED_TESTS, prefix=files(64))

    if done.returncode:
        check(
            done,
            r"^This process may have 64 files open, and has: raise that limit \(`ulimit -n`\), or have",
            1,
        )


# -- clocks


@pytest.mark.parametrize("set_s", [-3600, 3600], ids=["back", "forward"])
@pytest.mark.parametrize("runtime", ["wasmedge", "wasmedge-interpreter"])
def test_a_clock_that_is_set_meanwhile(
    runtime: str, set_s: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the engine logs with the time is no output of the guest, though the clock is set during the invocation."""
    real, asked = time.time, []

    def clock() -> float:
        # The engine's own clock tells the time after that.
        asked.append(real())
        return real() - set_s * (len(asked) == 1)

    found = {each.name: each for each in builtin_runtimes()}[runtime]
    with found.start(wat.artifact(tmp_path, wat.TRAP), Limits()) as host:
        monkeypatch.setattr(time, "time", clock)
        outcome = host.run()

    assert asked
    assert outcome.ending == trapped()
    assert outcome.stdout == b""


# -- the loopback interface


def test_no_loopback_interface(run: Run, alone: Callable[..., tuple[str, ...]]) -> None:
    """Hosts that listen say so at once, those of all kinds that do not work."""
    listening = ("node", "deno", "workerd", "wasmtime-serve", "wasmer", "chromium", "lambda")
    others = ("wasmtime", "wasmtime-cli", "wasmedge", "node-wasi", "wasm2c")
    done = run(",".join((*listening, *others)), TESTS, prefix=alone("--net"))

    check(done, r"^The loopback interface is down: nobody can connect to 127\.0\.0\.1 \(", len(listening))
    assert f"{len(others)} passed, {len(listening)} errors" in done.stdout


# -- memory


def test_an_artifact_is_not_read_into_our_memory(tmp_path: Path) -> None:
    """What a page loads, however large and often, is sent by the system."""
    program, size_bytes = tmp_path / "program.wasm", 32 << 20
    with program.open("wb") as file:
        file.truncate(size_bytes)
    server = PageServer(tmp_path, program, 1000)
    server.start()
    buffer = bytearray(1 << 16)
    tracemalloc.start()
    try:
        host, _, port = server.authority.partition(":")
        with socket.create_connection((host, int(port)), _HANGS_S) as page:
            request = f"GET /{server.secret}/artifact.wasm HTTP/1.1\r\nHost: {server.authority}\r\n\r\n"
            page.sendall(request.encode())
            received_bytes = 0
            while received_bytes < size_bytes:
                received_bytes += page.recv_into(buffer)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
        assert buffer.count(0) == len(buffer)
    finally:
        tracemalloc.stop()
        server.close()
