"""Measures the peak memory of a program with a small process between us and the program."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

# On Linux the peak memory of a process is at least that of the process that started it: for our own child, that of
# all of pytest. So a small process starts the program, and reports its own size, too. Then it ends as the program did.
# Python ignores SIGPIPE; the program would inherit that.
_MEASURE = """
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


def measured(argv: Sequence[str], report: Path) -> list[str]:
    """Return a command line that runs this one and writes the report. Linux only."""
    return [sys.executable, "-I", "-S", "-c", _MEASURE, str(report), *argv]


def read_peak(report: Path) -> int | None:
    """Return the peak in bytes; None if the program was no larger than our own process, or was killed."""
    try:
        own_kib, peak_kib = map(int, report.read_text().split())
    except (OSError, ValueError):
        return None
    return peak_kib << 10 if peak_kib > own_kib else None
