"""Learns the peak memory of a program, by a small process between us and it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# On Linux a program's peak memory, as told at its end, is at least the peak of the process that started it: for
# a child of ours, that of all of pytest. So this one starts it, which is small and says how small; then it ends
# as the program did. Python ignores SIGPIPE, which programs would inherit.
_SCALE = """
import os, re, signal, sys
pid = os.fork()
if not pid:
    try:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execv(sys.argv[2], sys.argv[2:])
    except OSError as error:
        os.write(2, f"cannot run {sys.argv[2]}: {error}".encode())
    finally:
        os._exit(127)
_, status, usage = os.wait4(pid, 0)
with open("/proc/self/status") as file:
    own_kib = int(re.search(r"VmHWM:\\s*(\\d+)", file.read())[1])
with open(sys.argv[1], "w") as file:
    file.write(f"{own_kib} {usage.ru_maxrss}")
if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
    os.kill(os.getpid(), signal.SIGKILL)
os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
"""


class Scale:
    """Wraps one command line so that its peak memory is known when it has ended. Linux only."""

    def __init__(self, folder: Path) -> None:
        handle, name = tempfile.mkstemp(dir=folder, prefix="scale-")
        os.close(handle)
        self._said = Path(name)

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs this one on the scale."""
        return [sys.executable, "-I", "-S", "-c", _SCALE, str(self._said), *argv]

    def read(self) -> int | None:
        """Return the peak in bytes; None if the program was no larger than the scale, or never ended by itself."""
        try:
            own_kib, peak_kib = map(int, self._said.read_text().split())
        except (OSError, ValueError):
            return None
        return peak_kib << 10 if peak_kib > own_kib else None

    def close(self) -> None:
        """Remove what it wrote."""
        with contextlib.suppress(OSError):
            self._said.unlink()
