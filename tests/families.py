"""The processes of a host: those that serve it, those that they started, and those that nobody holds any more."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psutil

from pytest_wasmedge.drivers.process import Workspace
from pytest_wasmedge.model import Host


def descendants(pid: int) -> set[int]:
    """Return the processes that this one has started, and theirs."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return {each.pid for each in psutil.Process(pid).children(recursive=True)}
    return set()


def roots_of(host: Host) -> set[int]:
    """Return the processes that serve a host, without us."""
    return {pid for pid in host.pids() if pid != os.getpid()}


def family_of(host: Host) -> set[int]:
    """Return the processes that serve a host and those that they started."""
    roots = roots_of(host)
    return roots.union(*map(descendants, roots))


@contextlib.contextmanager
def adoption() -> Iterator[Callable[[], set[int]]]:
    """Have processes whose parents end become ours, where the system can; yields what tells all new children.

    Some programs detach what they start; so none of it escapes us.
    """
    # Whoever needs a folder first starts the reaper, which stays: it is none of the children to wait for.
    Workspace().close()
    before = {each.pid for each in psutil.Process().children()}

    def adopted() -> set[int]:
        return {each.pid for each in psutil.Process().children()} - before

    with ExitStack() as undo:
        if sys.platform == "linux":
            subreaper, prctl = 36, ctypes.CDLL(None, use_errno=True).prctl
            assert prctl(subreaper, 1, 0, 0, 0) == 0
            undo.callback(prctl, subreaper, 0, 0, 0, 0)
        try:
            yield adopted
        finally:
            # Nobody else waits for them. One that is still ending would be seen as a child of ours by later tests.
            while left := adopted():
                for pid in left:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                        os.waitpid(pid, 0)


def collect(pids: set[int]) -> None:
    """Take note of the end of those of these children of ours that have ended, so that they go."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
