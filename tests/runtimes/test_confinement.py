"""What each runtime confines a guest to: the table of SECURITY.md, which is made from what is asked here.

After a change, `.venv/bin/python -m tests.runtimes.test_confinement` writes that table anew.
"""

from __future__ import annotations

import socket
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from pytest_wasmedge.artifacts.wasi import WASI
from pytest_wasmedge.drivers.command import CommandRuntime
from pytest_wasmedge.drivers.serving import ServingRuntime
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import Limits, Outcome, Runtime, exited
from pytest_wasmedge.runtimes import builtin_runtimes
from tests import wat

PAGE = Path(__file__).parents[2] / "SECURITY.md"
BEGIN, END = "<!-- confinement: made by tests/runtimes/test_confinement.py -->", "<!-- end of confinement -->"
RUNTIMES = {each.name: each for each in builtin_runtimes() if not each.yardstick}
#: Gives each guest an empty folder of its own, which nobody asked for and which is gone with it.
OWN_FOLDER = {"wasmer"}
#: Its own functions for sockets, which cannot be taken away, reach whatever this machine reaches.
OWN_SOCKETS = {"wasmedge", "wasmedge-interpreter"}
LIMITS = Limits(timeout_s=20.0, memory_bytes=32 << 20)
_BAD_DESCRIPTOR = 8

#: Ends with 1 if it gets twice its limit of memory, with 0 if that is refused.
GROWS = wat.command(
    "(call $proc_exit (select (i32.const 0) (i32.const 1) (i32.eq (memory.grow (i32.const 1024)) (i32.const -1))))"
)
#: Ends with what it is told of the first descriptor that could be a folder.
LOOKS = f"""(module (import "{WASI}" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
  (import "{WASI}" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)
  (func (export "_start") (call $exit (call $prestat (i32.const 3) (i32.const 64)))))"""
#: Ends with the number of its variables.
COUNTS = f"""(module (import "{WASI}" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "{WASI}" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)
  (func (export "_start") (drop (call $sizes (i32.const 64) (i32.const 68)))
    (call $exit (i32.load (i32.const 64)))))"""
#: Each connects to a port of this machine by functions that are in no standard: WasmEdge's, and those of WASIX. The
#: port stands there as a number, or as two bytes.
CONNECT = {
    "WasmEdge's": f"""(module (import "{WASI}" "sock_open" (func $open (param i32 i32 i32) (result i32)))
  (import "{WASI}" "sock_connect" (func $connect (param i32 i32 i32) (result i32)))
  (import "{WASI}" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)
  (data (i32.const 64) "\\7f\\00\\00\\01") (data (i32.const 80) "\\40\\00\\00\\00\\04\\00\\00\\00")
  (func (export "_start")
    (drop (call $open (i32.const 1) (i32.const 2) (i32.const 96)))
    (call $exit (call $connect (i32.load (i32.const 96)) (i32.const 80) (i32.const PORT)))))""",
    "WASIX": f"""(module (import "wasix_32v1" "sock_open" (func $open (param i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "sock_connect" (func $connect (param i32 i32) (result i32)))
  (import "{WASI}" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)
  (data (i32.const 64) "\\01\\00BYTES\\7f\\00\\00\\01")
  (func (export "_start")
    (drop (call $open (i32.const 1) (i32.const 1) (i32.const 6) (i32.const 96)))
    (call $exit (call $connect (i32.load (i32.const 96)) (i32.const 64)))))""",
}


def table() -> str:
    """Return the table, from what the runtimes say of themselves and what is known here."""
    lines = [
        "| runtime | memory | time | folders | network | environment |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{name}` | {memory(each)} | {time(each)} | {folders(each)} | {network(each)} | only what is given |"
        for name, each in RUNTIMES.items()
    ]
    return "\n".join(lines)


def memory(runtime: Runtime) -> str:
    """Return what keeps a guest from taking memory."""
    return "limited" if "memory_limit" in runtime.capabilities else "**not limited**, up to 4 GiB"


def time(runtime: Runtime) -> str:
    """Return what happens to a guest at its time limit."""
    if isinstance(runtime, CommandRuntime):
        return "its process is killed"
    if not isinstance(runtime, ServingRuntime):
        return "it is stopped"
    if not getattr(runtime, "limits_itself", True):
        return "the host is killed"
    return "it is stopped" if runtime.stops_guests else "answered; it runs on until its host is replaced"


def folders(runtime: Runtime) -> str:
    """Return which folders a guest can be given."""
    if runtime.name in OWN_FOLDER:
        return "none; an empty one of its own"
    return "copies of those that are granted" if "preopens" in runtime.capabilities else "none"


def network(runtime: Runtime) -> str:
    """Return what of the network a guest reaches."""
    return "**all**, by its own functions" if runtime.name in OWN_SOCKETS else "none"


def runtime_of(name: str) -> Runtime:
    """Return a runtime that can start here."""
    availability = RUNTIMES[name].probe()
    if not availability.available:
        pytest.fail(f"{name}: {availability.reason}; run `make setup`", pytrace=False)
    return RUNTIMES[name]


def run(name: str, tmp_path: Path, program: str, timeout_s: float | None = None) -> Outcome:
    """Run the program once on this runtime, under the limits of this page."""
    artifact = wat.unchecked(wat.write(tmp_path / "program.wasm", program))
    with runtime_of(name).start(artifact, LIMITS) as host:
        outcome = host.run(b"", timeout_s=timeout_s)
        if timeout_s:
            assert host.run(b"", timeout_s=timeout_s).ending.kind == outcome.ending.kind
    return outcome


@pytest.mark.parametrize("name", RUNTIMES)
def test_memory(name: str, tmp_path: Path) -> None:
    """A guest gets no more than its limit, but where the table says that there is none."""
    ending = run(name, tmp_path, GROWS).ending

    if memory(RUNTIMES[name]) == "limited":
        assert ending == exited(0) or ending.kind == "out_of_memory"
    else:
        assert ending == exited(1)


@pytest.mark.parametrize("name", RUNTIMES)
def test_time(name: str, tmp_path: Path) -> None:
    """A guest without end is answered for at its time limit."""
    assert run(name, tmp_path, wat.SPIN, timeout_s=0.5).ending.kind == "timed_out"


@pytest.mark.parametrize("name", RUNTIMES)
def test_folders(name: str, tmp_path: Path) -> None:
    """A guest that was granted nothing has no folder, but where the table says that it has one of its own."""
    ending = run(name, tmp_path, LOOKS).ending

    # Some tell of a failure no more than that it is one.
    told = min(_BAD_DESCRIPTOR, RUNTIMES[name].highest_status)
    assert ending == exited(0 if name in OWN_FOLDER else told)


@pytest.mark.parametrize("name", RUNTIMES)
def test_environment(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of ours, or of a host's, comes through."""
    monkeypatch.setenv("PYTEST_WASMEDGE_TEST", "seen")
    assert run(name, tmp_path, COUNTS).ending == exited(0)


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize("functions", CONNECT)
def test_network(name: str, functions: str, tmp_path: Path) -> None:
    """A guest that asks for a connection to this machine gets none, but where the table says that it does."""
    reaches = name in OWN_SOCKETS and functions == "WasmEdge's"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = int(server.getsockname()[1])
        as_bytes = "".join(f"\\{byte:02x}" for byte in port.to_bytes(2, "little"))
        program = CONNECT[functions].replace("PORT", str(port)).replace("BYTES", as_bytes)
        # One that has no such functions may say so at once.
        with nullcontext() if reaches else suppress(HostStartError):
            ending = run(name, tmp_path, program).ending
            assert (ending == exited(0)) == reaches
        try:
            server.accept()[0].close()
            connected = True
        except BlockingIOError:
            connected = False

    assert connected == reaches


def test_the_table_is_what_is_tested() -> None:
    """SECURITY.md has a row for each runtime, made from what these tests hold."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(f"{BEGIN}\n")
    told, _, after = rest.partition(f"\n{END}")

    assert told == table()
    assert before
    assert after


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
