"""Files in memory that an engine writes a guest's output to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_wasmedge.drivers.memory_files import AVAILABLE, MemoryFiles
from tests.descriptors import open_now

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="this system has no files in memory that have a path")


@pytest.fixture
def files() -> Iterator[MemoryFiles]:
    """Return files for eight bytes."""
    files = MemoryFiles(8)
    yield files
    files.close()


def test_what_is_written_is_read(files: MemoryFiles) -> None:
    """Each stream has its own file, which the engine opens anew."""
    stdout, stderr = files.paths
    Path(stdout).write_bytes(b"out\0")
    Path(stderr).write_bytes(b"err")
    files.check()

    assert files.read() == (b"out\0", b"err")


def test_output_over_the_limit_ends(files: MemoryFiles) -> None:
    """The limit is of both together; once it was seen to be passed, nothing more is taken."""
    out, err = map(Path, files.paths)
    with out.open("wb", buffering=0) as stdout, err.open("wb", buffering=0) as stderr:
        stdout.write(b"12345678")
        files.check()
        stderr.write(b"9")
        files.check()
        for stream in (stdout, stderr):
            with pytest.raises(PermissionError):
                stream.write(b"x")

    assert files.read() == (b"12345678", b"9")


def test_far_more_than_the_limit(files: MemoryFiles) -> None:
    """What a guest wrote before somebody looked is not read, however much it is."""
    for path in files.paths:
        Path(path).write_bytes(bytes(1 << 20))

    assert files.read() == (bytes(9), bytes(9))


def test_output_that_is_ended(files: MemoryFiles) -> None:
    """What comes afterwards is not kept, though the limit is far."""
    with Path(files.paths[0]).open("wb", buffering=0) as stdout:
        stdout.write(b"before")
        files.end()
        with pytest.raises(PermissionError):
            stdout.write(b"after")

    assert files.read() == (b"before", b"")


def test_closed_files_are_not_checked(files: MemoryFiles) -> None:
    """A clock that is late finds nothing to do, and no descriptor stays open."""
    ours = {int(Path(path).name) for path in files.paths}
    assert ours <= open_now().keys()
    files.close()
    files.check()
    files.end()

    assert not ours & open_now().keys()
