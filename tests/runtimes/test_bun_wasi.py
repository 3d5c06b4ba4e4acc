"""Bun with its own node:wasi: how a guest ends there, why it gets no folders, and what its WASI does otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_wasmedge.drivers.nodewasi import GUEST, NodeWasiHost
from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.model import Host, Invocation, Limits, Runtime, exited
from pytest_wasmedge.runtimes.bun_wasi import BunWasi
from tests import wat
from tests.actor import ACTOR, act
from tests.preview1 import OUT, Script
from tests.waiting import until

#: What a path is opened for.
READ, WRITE, OPEN = 1 << 1, 1 << 6, 1 << 13


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    """Bun, which `make setup` gets."""
    found = BunWasi()
    availability = found.probe()
    if not availability.available:
        pytest.fail(f"{found.name}: {availability.reason}; run `make setup`", pytrace=False)
    return found


@pytest.fixture(scope="module")
def host(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host of the actor."""
    with runtime.start(wat.artifact(tmp_path_factory.mktemp("actor"), ACTOR), Limits()) as started:
        yield started


def start(runtime: Runtime, folder: Path, program: str) -> Host:
    """Start a host of a program of this text."""
    return runtime.start(wat.artifact(folder, program), Limits())


# -- endings


def test_a_guest_cannot_catch_its_exit(runtime: Runtime, tmp_path: Path) -> None:
    """A guest that catches every exception goes on after no proc_exit."""
    program = wat.command(
        "(block $all (try_table (catch_all $all) (call $proc_exit (i32.const 3)))) (call $proc_exit (i32.const 4))"
    )
    with start(runtime, tmp_path, program) as host:
        assert host.run().ending == exited(3)


# -- folders


def test_no_folders(host: Host, tmp_path: Path) -> None:
    """None is granted, since a guest would not be kept in it; the refusal says so."""
    with pytest.raises(UnsupportedError, match="cannot give folders to a guest: a link that the guest puts"):
        host.invoke(Invocation(act("opens"), preopens={"/data": tmp_path}))


def test_why_there_are_no_folders(runtime: Runtime, tmp_path: Path) -> None:
    """Known: it keeps the path of a folder that is open, so a link in its place leads a guest out of what it has.

    When this fails, look whether Bun keeps a guest in its folders now.
    """
    (tmp_path / "granted" / "sub").mkdir(parents=True)
    script = Script()
    below = script.open(b"sub", 2, READ | OPEN)
    script.call("path_rename", 3, b"sub", 3, b"other").call("path_symlink", b"..", 3, b"sub")
    script.call("path_open", below, 0, b"outside", 1, WRITE, 0, 0, OUT)
    with start(runtime, tmp_path, script.module()) as host:
        assert isinstance(host, NodeWasiHost)
        glue = host._workspace / GUEST
        grant = f"preopens: {json.dumps({'/data': str(tmp_path / 'granted')})}, returnOnExit"
        glue.write_text(glue.read_text().replace("returnOnExit: true", f"{grant}: true"))
        host._discard()
        assert script.run(host) == [0, 0, 0, 0]

    assert (tmp_path / "outside").exists()


# -- how its WASI differs


def test_what_it_would_print(runtime: Runtime, tmp_path: Path) -> None:
    """Of a buffer that ends outside of memory it would tell on the process's stdout; a guest could fill the log."""
    program = wat.command(
        "(i32.store (i32.const 0) (i32.const 65530)) (i32.store (i32.const 4) (i32.const 9)) "
        "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))",
        pages=1,
    )
    with start(runtime, tmp_path, program) as host:
        assert isinstance(host, NodeWasiHost)
        glue, log = host._workspace / GUEST, host._server.log
        told = "closeSync(report);"
        glue.write_text(glue.read_text().replace(told, f'{told} writeSync(1, "end\\n");'))
        host._discard()
        assert host.run().stdout == bytes(6)
        until(lambda: log.read_bytes().endswith(b"end\n"), "the log has all")
        assert log.read_bytes() == b"end\n"


def test_a_module_without_imports(runtime: Runtime, tmp_path: Path) -> None:
    """Bun's own getImports refuses one; with what we take it runs."""
    with start(runtime, tmp_path, '(module (memory (export "memory") 1) (func (export "_start")))') as host:
        assert host.run().ending == exited(0)
