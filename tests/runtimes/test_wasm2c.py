"""wasm2c: which C compiler makes the program, that there may be none, and what the program tells."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pytest_wasmedge.drivers import c_host
from pytest_wasmedge.errors import RuntimeUnavailableError
from pytest_wasmedge.model import Artifact, Limits, exited
from pytest_wasmedge.provision import find, systems
from pytest_wasmedge.runtimes.wasm2c import Wasm2c
from tests import wat


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of this test's own, so that small programs do not push out the compiled Ruby."""
    found = find("wasm2c")
    assert found
    monkeypatch.setenv("PYTEST_WASMEDGE_WASM2C", str(found.path))
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path / "cache"))


def only(path: Path, *commands: str) -> str:
    """Return a PATH with these commands alone."""
    for command in commands:
        (path / command).symlink_to(shutil.which(command) or "")
    return str(path)


@pytest.mark.parametrize("compiler", ["cc", "tcc"])
@pytest.mark.parametrize("most_bytes", [0, 1 << 20], ids=["large", "small"])
def test_any_compiler_will_do(
    compiler: str, most_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one of both compilers alone, it makes programs of artifacts of every size."""
    monkeypatch.setattr(c_host, "OPTIMISED_BYTES", most_bytes)
    artifact = wat.artifact(tmp_path, wat.ECHO)
    monkeypatch.setenv("PATH", only(tmp_path, compiler))

    with Wasm2c().start(artifact, Limits()) as host:
        assert host.run(b"C").stdout == b"C"


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a C compiler it cannot run: that is said, with the command that installs one."""
    monkeypatch.setattr(systems, "system_ids", lambda: ("debian",))
    artifact = wat.artifact(tmp_path, wat.ECHO)
    monkeypatch.setenv("PATH", str(tmp_path))

    found = Wasm2c().probe()
    assert (found.available, found.reason) == (False, "cc or tcc, which it needs, is not on PATH")
    assert found.install == "apt install gcc libc6-dev tcc"
    with pytest.raises(
        RuntimeUnavailableError, match="wasm2c cannot start: cc or tcc, which it needs, is not on"
    ):
        Wasm2c().start(artifact, Limits())


def kept(artifact: Artifact) -> Path:
    """Return the file with the program of this artifact."""
    path = Wasm2c().kept_code(artifact)
    assert path
    return path


@pytest.mark.parametrize("left", [0, 100, 5000])
def test_a_program_that_is_cut_off(left: int, tmp_path: Path) -> None:
    """It is made anew before it runs."""
    artifact = wat.artifact(tmp_path, wat.ECHO)
    with Wasm2c().start(artifact, Limits()) as host:
        host.run(b"")
    whole = kept(artifact).read_bytes()
    kept(artifact).write_bytes(whole[:left])

    with Wasm2c().start(artifact, Limits()) as host:
        assert host.run(b"again").stdout == b"again"
    assert len(kept(artifact).read_bytes()) == len(whole)


def test_a_whole_status(tmp_path: Path) -> None:
    """A status that is larger than the system's comes whole, and the guest's streams stay its own."""
    program = wat.exits(70000)
    with Wasm2c().start(wat.artifact(tmp_path, program), Limits()) as host:
        outcome = host.run(b"")

    assert (outcome.ending, outcome.stdout, outcome.stderr) == (exited(70000), b"", b"")
