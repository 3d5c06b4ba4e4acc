"""Real disks that are full or can only be read, folders without locks, and several installations at once."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import executable, install
from pytest_wasmedge.provision import pins as pins_module
from pytest_wasmedge.provision.cache import folder, locked
from pytest_wasmedge.provision.pins import Pin
from tests.conftest import Mount
from tests.provision.conftest import FakeTool, install_module, leftovers


@pytest.fixture
def small_tool(monkeypatch: pytest.MonkeyPatch) -> FakeTool:
    """A tool that fits on the disk."""
    tool = FakeTool()
    monkeypatch.setattr(install_module, "pin", lambda _: tool.pin)
    monkeypatch.setattr(install_module, "fetch_pypi", tool.fetch)
    return tool


@pytest.fixture
def large_tool(monkeypatch: pytest.MonkeyPatch) -> FakeTool:
    """A tool of 200 kB."""
    tool = FakeTool()

    def fetch(pin: Pin, work: Path) -> Path:
        place = tool.fetch(pin, work)
        (place / "ballast").write_bytes(bytes(200_000))
        return place

    monkeypatch.setattr(install_module, "pin", lambda _: tool.pin)
    monkeypatch.setattr(install_module, "fetch_pypi", fetch)
    return tool


def test_a_full_disk(disk: Mount, large_tool: FakeTool) -> None:
    """It is told in one sentence with the way out, nothing half-installed stays, and with more room it works."""
    with pytest.raises(ProvisionError) as raised:
        install("tool")

    assert str(raised.value).startswith("The cache folder ")
    assert re.search(
        r"cannot be written: No space left on device \(\d\.\d MB are left\)\. Make room", str(raised.value)
    )
    assert "PYTEST_WASMEDGE_CACHE" in str(raised.value)
    assert leftovers(folder("tools").parent) == []

    disk("size=1m")
    assert install("tool").is_dir()


@pytest.mark.network
def test_a_client_on_a_full_disk(disk: Mount) -> None:
    """What a client says of a full disk is told at once, without trying again, and nothing of it stays."""
    with pytest.raises(ProvisionError, match=r"(?s)No space left on device.*make room or give rights"):
        install("wasmtime")

    assert leftovers(folder("tools").parent) == []


def test_a_disk_that_can_only_be_read(disk: Mount, small_tool: FakeTool) -> None:
    """What is there can be used; what is not is told in one sentence, and installed once the disk can be written."""
    folder("tools")
    disk("ro")
    with pytest.raises(
        ProvisionError, match=r"cannot be written: Read-only file system\. Make room or give rights"
    ):
        install("tool")

    disk("rw")
    place = install("tool")
    disk("ro")
    assert install("tool") == place
    assert executable("tool").is_file()


def test_a_cache_folder_that_cannot_be_made(disk: Mount) -> None:
    """Where not even the folder can be made, that is told."""
    disk("ro")

    with pytest.raises(ProvisionError, match="cannot be used: Read-only file system"):
        install("deno")


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem that answers as NFS does without its lock daemon."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("no_locks")
def test_a_filesystem_without_locks(tool: FakeTool, cache: Path) -> None:
    """A file stands for the lock there: it works, keeps others out, and is gone afterwards."""
    place = install("tool")

    assert leftovers(cache) == [place.name]
    with locked(cache / "tools" / "other"):
        assert list((cache / "tools").glob("other.soft*"))
    assert not list((cache / "tools").glob("other.soft*"))


INSTALL = """
import sys
from pytest_wasmedge.commands import cli
sys.exit(cli.main(["install", "shim"]))
"""


@pytest.mark.network
def test_processes_at_once(real_deno: Path, cache: Path) -> None:
    """Several processes that install the same at once end well, and it is there once."""
    (folder("tools") / real_deno.name).symlink_to(real_deno)
    running = [
        subprocess.Popen([sys.executable, "-c", INSTALL], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    told = [each.communicate() for each in running]

    assert [each.returncode for each in running] == [0] * 4, told
    assert leftovers(cache) == sorted([real_deno.name, pins_module.pin("shim").folder_name])
