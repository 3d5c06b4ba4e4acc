"""Our side of the named pipes between us and a worker: what is read, what ends, and what a dead process means."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_wasmedge.drivers.nodewasi import _guest
from pytest_wasmedge.drivers.serving import FailedError
from pytest_wasmedge.model import host_failed
from tests.waiting import DEADLINE_S, until

STARTED, ENDED = b'"started"\n', b'{"ending": "any"}\n'
#: More than we read at once.
LARGE_BYTES = 200_000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="makes pipes larger")


@pytest.fixture
def process() -> Iterator[tuple[int, int]]:
    """Both ends of what leads to a process's stdin, its own first."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """Open a pipe as a worker does."""
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def told(folder: Path, text: bytes) -> None:
    """Write this to the report."""
    with opened(folder / "report", os.O_RDWR) as report:
        os.write(report, text)


def fill(pipe: int) -> None:
    """Write more than we read at once."""
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)
    assert os.write(pipe, bytes(LARGE_BYTES)) == LARGE_BYTES


@pytest.mark.parametrize("limit_bytes", [LARGE_BYTES, LARGE_BYTES - 1])
def test_all_that_was_written_is_read(tmp_path: Path, process: tuple[int, int], limit_bytes: int) -> None:
    """What is still in a pipe when the guest has ended belongs to it, and counts for the limit."""
    folder = tmp_path / "guest"
    with _guest(folder, b"{}", b"", limit_bytes) as guest, opened(folder / "stdout", os.O_WRONLY) as stdout:
        fill(stdout)
        told(folder, STARTED + ENDED)
        said = guest.pump(process[1], time.monotonic() + DEADLINE_S)

    assert guest.stdout == bytes(limit_bytes)
    assert said == ({"ending": "any"} if limit_bytes == LARGE_BYTES else host_failed())


def test_stdin_ends_only_after_the_start(tmp_path: Path, process: tuple[int, int]) -> None:
    """Until the worker has opened stdin, what is in it would be lost if we closed it."""
    folder = tmp_path / "guest"
    flags = os.O_RDONLY | os.O_NONBLOCK
    with _guest(folder, b"{}", b"input", 0) as guest, opened(folder / "stdin", flags) as stdin:

        def read() -> bytes | None:
            """Return what can be read now, after we had our turn."""
            with pytest.raises(FailedError, match="in time"):
                guest.pump(process[1], time.monotonic() + 0.02)
            try:
                return os.read(stdin, 99)
            except BlockingIOError:
                return None

        until(lambda: read() == b"input", "the input is written")
        assert read() is None
        told(folder, STARTED)
        until(lambda: guest._stdin_pipe.closed or read() == b"", "stdin has ended")


@pytest.mark.parametrize(("report", "failure"), [(b"", "not received"), (STARTED, "broken")])
def test_a_process_that_is_gone(tmp_path: Path, report: bytes, failure: str) -> None:
    """It is seen at once, and what the guest wrote before is kept; a guest that never started may run elsewhere."""
    reading, line = os.pipe()
    folder = tmp_path / "guest"
    with _guest(folder, b"{}", b"", LARGE_BYTES) as guest, opened(folder / "stderr", os.O_WRONLY) as stderr:
        fill(stderr)
        told(folder, report)
        os.close(reading)
        with pytest.raises(FailedError) as caught:
            guest.pump(line, time.monotonic() + DEADLINE_S)
        with pytest.raises(FailedError, match="before the guest was sent"):
            guest.start(line)
    os.close(line)

    assert (caught.value.failure, caught.value.heard) == (failure, (b"", bytes(LARGE_BYTES)))
    assert not folder.exists()
