"""What this machine can be short of while hosts run: room on a disk, files that may be open, the loopback interface."""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pytest_wasmedge.errors import ProvisionError, ShortageError
from pytest_wasmedge.provision.cache import ENV_CACHE, cache_root
from pytest_wasmedge.provision.room import NO_FILES, NO_ROOM, UNWRITABLE, free_bytes, is_full, unwritable

#: With fewer, a browser does not start.
_FEW_FILES = 256
_CONNECTING_S = 1.0


@contextmanager
def told() -> Iterator[None]:
    """Turn the system's error for what has run out here into one sentence. Raises ShortageError."""
    try:
        yield
    except OSError as error:
        if sentence := _sentence(error):
            raise ShortageError(sentence) from error
        raise


def full() -> str:
    """Return the sentence for a folder that hosts write to whose disk is full; empty if none is."""
    for called, folder, variable in _places():
        if is_full(folder):
            return unwritable(called, folder, None, variable)
    return ""


def found() -> str:
    """Return what there may be too little of now, as a sentence; empty if nothing is known to be short."""
    most = _most_files()
    if (sentence := full()) or most is None or most >= _FEW_FILES:
        return sentence
    return f"It may have only {most} files open, which may be why: raise that limit (`ulimit -n`)."


def check_room(folder: Path) -> None:
    """Raise ShortageError if the disk with this temporary folder is full: a guest's files may have been cut short."""
    if is_full(folder):
        raise ShortageError(unwritable("temporary", folder, None, "TMPDIR"))


def check_loopback() -> None:
    """Raise ShortageError if nobody can connect to this machine's own address, as in a new network namespace."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        try:
            socket.create_connection(server.getsockname(), _CONNECTING_S).close()
        except OSError as error:
            raise ShortageError(
                f"The loopback interface is down: nobody can connect to 127.0.0.1 ({error.strerror or error}). "
                "Bring it up (`ip link set lo up`), or choose runtimes that do not listen: engines on the command line."
            ) from error


def no_more_files() -> str:
    """Return the sentence for a process that has as many files open as it may."""
    return (
        f"This process may have {_most_files() or 'no more'} files open, and has: raise that limit (`ulimit -n`), or "
        "have fewer invocations under way at once."
    )


def _sentence(error: OSError) -> str:
    if error.errno in NO_FILES:
        return no_more_files()
    if error.errno not in UNWRITABLE:
        return ""
    places = _places()
    if error.errno in NO_ROOM:
        # The error of a write names no file: the disk with less room it is.
        called, folder, variable = min(places, key=lambda place: free_bytes(place[1]) or 0)
        return unwritable(called, folder, error, variable)
    for called, folder, variable in places:
        if error.filename and Path(str(error.filename)).is_relative_to(folder):
            return unwritable(called, folder, error, variable)
    return ""


def _places() -> list[tuple[str, Path, str]]:
    """Return the folders that hosts write to, with what each is called and the variable that moves it."""
    places = [("temporary", Path(tempfile.gettempdir()), "TMPDIR")]
    with suppress(ProvisionError):
        places.append(("cache", cache_root(), ENV_CACHE))
    return places


def _most_files() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
