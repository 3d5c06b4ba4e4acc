"""wazero: its log tells exits from traps, and kept code lies in its own cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.drivers.command import CommandHost
from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.model import Invocation, exited, trapped
from pytest_wasmedge.runtimes import wazero
from tests import wat
from tests.runtimes.conftest import Start

TRAP = "error instantiating wasm binary: module[] function[_start] failed: wasm error: unreachable\n"
EXIT = "==> wasi_snapshot_preview1.proc_exit(rval=0)\n"


@pytest.fixture(autouse=True)
def _real_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The wazero of the user's cache, also where a test has a cache of its own."""
    found = wazero.Wazero().locate()
    if found is None:
        pytest.fail("no wazero command found; run `make setup`", pytrace=False)
    monkeypatch.setenv("PYTEST_WASMEDGE_WAZERO", str(found.path))


def test_an_imitated_trap_is_the_guest_s_text(start: Start) -> None:
    """A guest that prints what the engine prints at a trap, and exits with 1, has exited with 1."""
    outcome = start("wazero", wat.reports(TRAP, 1)).run()

    assert outcome.ending == exited(1)
    assert outcome.stderr == TRAP.encode()


def test_an_imitated_exit_is_the_guest_s_text(start: Start) -> None:
    """A guest that prints what the log says of an exit, and then traps, has trapped."""
    outcome = start("wazero", wat.reports_and_traps(EXIT)).run()

    assert outcome.ending == trapped()
    assert outcome.ending.detail == "wazero: module[] function[_start] failed: wasm error: unreachable"
    assert outcome.stderr == EXIT.encode()


def test_code_is_found_in_its_own_cache(start: Start) -> None:
    """The engine compiles once: an invocation adds no code to the cache that it is given."""
    host = start("wazero", wat.ECHO)
    assert isinstance(host, CommandHost)
    cache = host._workspace.path / "cache"
    before = list(cache.glob("*/*"))
    assert host.run(b"same").stdout == b"same"

    assert list(cache.glob("*/*")) == before
    assert len(before) == 1


def test_compiling_does_not_run_the_guest(start: Start) -> None:
    """A guest without an end is compiled, and stopped only when it is invoked."""
    host = start("wazero", wat.SPIN)

    assert host.run(timeout_s=0.2).ending.kind == "timed_out"


def test_arguments_arrive_as_they_are(start: Start) -> None:
    """What separates the engine's arguments from the guest's is no argument of the guest."""
    host = start("wazero", wat.ARGUMENTS)

    for args in ((), ("--",), ("--", "-x"), ("-env=A=B", "")):
        told = host.invoke(Invocation(args=args)).stdout
        assert told == b"".join(each.encode() + b"\0" for each in ("artifact.wasm", *args))


def test_the_version_is_the_package_s() -> None:
    """Debian's program says no version, its package has one."""
    availability = wazero.Wazero().probe()

    assert availability.available
    assert availability.version[0].isdigit()


def test_no_folders(start: Start, tmp_path: Path) -> None:
    """None is granted, since a guest would not be kept in it; the refusal says so."""
    with pytest.raises(UnsupportedError, match="cannot give folders to a guest: a link that the guest makes"):
        start("wazero", wat.ECHO).invoke(Invocation(preopens={"/data": tmp_path}))
