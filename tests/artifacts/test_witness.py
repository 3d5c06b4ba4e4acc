"""The witness answers each request as its source says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_wasmedge.artifacts.floor import floor_artifact
from pytest_wasmedge.artifacts.witness import witness_artifact
from pytest_wasmedge.model import Artifact, Ending, Host, Limits, exited, trapped
from pytest_wasmedge.runtimes.wasmtime import Wasmtime


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    artifact = witness_artifact(tmp_path_factory.mktemp("witness"))
    with Wasmtime().start(artifact, Limits()) as host:
        yield host


def test_the_file_is_written_once(tmp_path: Path) -> None:
    """It is named after its digest, and a second call finds it."""
    first = witness_artifact(tmp_path)
    written_ns = first.path.stat().st_mtime_ns

    assert witness_artifact(tmp_path) == first
    assert first.path.stat().st_mtime_ns == written_ns
    assert first.path.name == f"{first.sha256[:16]}-witness.wasm"


@pytest.mark.parametrize("make", [witness_artifact, floor_artifact])
def test_another_file_of_its_name_is_replaced(tmp_path: Path, make: Callable[[Path], Artifact]) -> None:
    """What was cut off or swapped, or leads elsewhere, is never taken for it."""
    first = make(tmp_path)
    first.path.write_bytes(first.path.read_bytes()[:8])
    assert make(tmp_path) == first

    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"not ours")
    first.path.unlink()
    first.path.symlink_to(elsewhere)
    assert make(tmp_path) == first
    assert elsewhere.read_bytes() == b"not ours"


@pytest.mark.parametrize(
    ("request_", "stdout", "stderr", "ending"),
    [
        (b"", b"", b"", exited(0)),
        (b"echo\na\0b\r\n", b"a\0b\r\n", b"a\0b\r\n", exited(0)),
        (b"echo\n", b"", b"", exited(0)),
        (b"\xef\xbb\xbfall\nof it", b"\xef\xbb\xbfall\nof it", b"\xef\xbb\xbfall\nof it", exited(0)),
        (b"fill 20 9 8\n", b"0000000\n0000001\n0000", b"0000000\n0", exited(0)),
        (b"fill 0 0 8\n", b"", b"", exited(0)),
        (b"args\n", b"1 \nartifact.wasm\0", b"", exited(0)),
        (b"variables\n", b"0 \n", b"", exited(0)),
        (b"quit 7\nbye", b"bye", b"bye", exited(7)),
        (b"trap\nbye", b"bye", b"bye", trapped()),
        (b"blow\nbye", b"bye", b"bye", trapped()),
        (b"descriptors\n", b"0 0 8 \n1 0 8 \n2 0 8 \n", b"", exited(0)),
        (b"grow 100\n", b"3 \n", b"", exited(0)),
        (b"memory\n", b"0 0 3 \n", b"", exited(0)),
        (b"new x\nabc", b"8 \n", b"", exited(0)),
        (b"peek x\n", b"8 \n", b"", exited(0)),
        (b"unheard of\n", b"", b"", exited(99)),
    ],
)
def test_answers(witness: Host, request_: bytes, stdout: bytes, stderr: bytes, ending: Ending) -> None:
    """A request has one answer; what it does not know, it refuses with a status of its own."""
    outcome = witness.run(request_)

    assert (outcome.stdout, outcome.stderr, outcome.ending) == (stdout, stderr, ending)


def test_arguments_and_variables(witness: Host) -> None:
    """They are told as the host gives them, with their number."""
    args = witness.run(b"args\n", args=("", "two words", "ü\n"))
    env = witness.run(b"variables\n", env={"B": "=", "A": ""})

    assert args.stdout == b"4 \nartifact.wasm\0\0two words\0\xc3\xbc\n\0"
    assert env.stdout == b"2 \nB==\0A=\0"


def test_clocks(witness: Host) -> None:
    """Resolution and time of both clocks are told, then readings of the monotonic one; a sleep is told at both ends."""
    of_day, monotonic, readings = (
        line.split() for line in witness.run(b"clocks 3\n").stdout_text.splitlines()
    )
    before, error, after = (line.split() for line in witness.run(b"sleep 1\n").stdout_text.splitlines())

    assert (len(of_day), len(monotonic), len(readings)) == (2, 2, 3)
    assert (len(before), error, len(after)) == (2, ["0"], 2)


def test_random_bytes(witness: Host) -> None:
    """As many come as were asked for."""
    assert len(witness.run(b"random 100000\n").stdout) == 100_000


def test_folders(witness: Host, tmp_path: Path) -> None:
    """It sees the folder that it is granted, reads in it, and writes there what is not there."""
    folder = tmp_path / "granted"
    folder.mkdir()
    (folder / "given").write_bytes(b"text")
    granted = {"/data": folder}

    assert witness.run(b"descriptors\n", preopens=granted).stdout.endswith(b"3 3 0 /data\n")
    assert witness.run(b"peek given\n", preopens=granted).stdout == b"0 \ntext"
    made = witness.run(b"new made\ndata", preopens=granted)
    assert (made.stdout, made.files) == (b"0 \n", {"/data/given": b"text", "/data/made": b"data"})
    refused = witness.run(b"new given\nother", preopens=granted)
    assert (refused.stdout, refused.files) == (b"20 \n", {"/data/given": b"text"})
