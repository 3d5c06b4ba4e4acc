"""The console script ``pytest-wasmedge``: its list of commands, and how each of them ends."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pytest_wasmedge import __version__
from pytest_wasmedge.commands import (
    bisect,
    build,
    compare,
    doctor,
    export,
    history,
    init,
    install,
    merge,
    pins,
    profile,
    report,
    selfcheck,
)
from pytest_wasmedge.commands.console import TERMINATED, complain
from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.provision.cache import ENV_CACHE

#: In the order of the help.
COMMANDS = (
    doctor,
    install,
    init,
    build,
    export,
    compare,
    profile,
    bisect,
    report,
    merge,
    history,
    selfcheck,
    pins,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 for our errors, 130 for Ctrl-C; a usage error exits with 2."""
    options = parser().parse_args(argv)
    action: Callable[[argparse.Namespace], int] = options.action
    with _terminable():
        try:
            return action(options)
        except WasmEdgeError as error:
            complain(str(error))
            return 1
        except KeyboardInterrupt:
            complain("interrupted; nothing half-done was kept.")
            return 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="pytest-wasmedge",
        description="Install the host runtimes that pytest-wasmedge runs artifacts on, and show which can run here.",
        epilog=f"Tools are installed into your cache folder; {ENV_CACHE}=DIR moves it.",
    )
    top.add_argument("--version", action="version", version=f"pytest-wasmedge {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(commands)
    return top


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind like Ctrl-C, so that child processes end and temporary folders are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
