"""A real runtime whose tool, or our glue beside it, is changed while hosts are there or before they start."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.errors import HostStartError, ProvisionError
from pytest_wasmedge.model import Host, Limits, Runtime, exited
from pytest_wasmedge.provision import executable
from pytest_wasmedge.provision.cache import ENV_CACHE, folder
from pytest_wasmedge.provision.pins import pin
from pytest_wasmedge.runtimes import builtin_runtimes
from tests import wat


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, with a copy of the tools that these tests use."""
    tools, cache = folder("tools"), tmp_path / "cache"
    (cache / "tools").mkdir(0o700, parents=True)
    cache.chmod(0o700)
    for name in "deno", "wasmtime", "shim":
        place = pin(name).folder_name
        shutil.copytree(tools / place, cache / "tools" / place, symlinks=True)
    monkeypatch.setenv(ENV_CACHE, str(cache))
    return cache


def runtime_of(name: str) -> Runtime:
    """Return this runtime."""
    return next(each for each in builtin_runtimes() if each.name == name)


def change(program: Path) -> None:
    """Append a byte to a program that may be running: by a copy, as an upgrade would do."""
    copy = program.with_name("copy")
    shutil.copy2(program, copy)
    with copy.open("ab") as file:
        file.write(b"\n")
    copy.replace(program)


def ask_until_it_fails(host: Host) -> None:
    """Ask twice: that a process was killed may be noticed by the first guest or by the second."""
    for _ in range(2):
        host.run(b"again")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("name", "tool"), [("wasmtime-cli", "wasmtime"), ("deno", "deno"), ("deno-wasi", "deno")]
)
def test_a_program_that_is_changed_while_a_host_is_there(name: str, tool: str, tmp_path: Path) -> None:
    """It is started no more: neither for a next guest, nor in the place of a process that was killed, nor anew."""
    runtime, artifact = runtime_of(name), wat.artifact(tmp_path, wat.ECHO)
    with runtime.start(artifact, Limits()) as host:
        assert host.run(b"once").stdout == b"once"
        change(executable(tool))
        for pid in host.pids():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(
            HostStartError, match=f"{tool} is not used: .*`pytest-wasmedge install {tool}` installs it"
        ):
            ask_until_it_fails(host)

    with pytest.raises(ProvisionError, match=f"{tool} is not used"):
        runtime.start(artifact, Limits())
    availability = runtime.probe()
    assert not availability.available
    assert availability.reason.startswith(f"{tool} is not used: ")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("how", ["changed", "missing", "written by all", "linked"])
def test_glue_that_is_changed_is_made_anew(how: str, tmp_path: Path) -> None:
    """Our modules in the cache are those of this package at each start, whatever was done to them."""
    artifact = wat.artifact(tmp_path, wat.ECHO)
    module = javascript.glue_folder() / "server.mjs"
    content = module.read_bytes()
    if how == "changed":
        module.write_bytes(b"throw new Error('not ours')")
    elif how == "missing":
        module.unlink()
    elif how == "linked":
        module.symlink_to(module.rename(tmp_path / "elsewhere.mjs"))
    else:
        module.chmod(0o666)

    with runtime_of("deno").start(artifact, Limits()) as host:
        assert host.run(b"same").ending == exited(0)
    assert module.read_bytes() == content
    assert not module.is_symlink()
    assert module.stat().st_mode & 0o022 == 0
    assert [each.name for each in module.parents[1].iterdir()] == [module.parent.name]
