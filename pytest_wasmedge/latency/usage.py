"""What a host takes beside time: CPU, peak memory, and the memory of one more live instance."""

from __future__ import annotations

import os
import re
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from pytest_wasmedge.drivers.command import CommandHost
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import Host, Invocation, Outcome

_LOOKING_S = 0.02


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time (user and system) and peak memory of a host's processes; None where the system does not tell."""

    cpu_ns: int | None = None
    peak_memory_bytes: int | None = None


class Meter:
    """Tells what a host took from a moment on; a context manager, entered before the host starts.

    A process that began since then counts whole; one that was there at `begin`, and always our own, by the
    difference. Peak memory is that of a host's whole life. For a host in this process it is what the process
    gained at most since the meter was entered, for which entering it resets the peak that Linux keeps.
    """

    def __enter__(self) -> Self:
        self._own = psutil.Process()
        self._own_bytes = _reset_own_peak()
        self._before = {self._own: time.process_time_ns()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def begin(self, host: Host) -> None:
        """Count from here on what an already started host takes."""
        for process in _processes(host):
            with suppress(psutil.Error, OSError):
                self._before[process] = _cpu_ns_of(process)

    def read(self, host: Host, outcome: Outcome | None = None) -> Usage:
        """Return what was taken until now; what the outcome tells of a process of its own is that."""
        own_cpu_ns = time.process_time_ns() - self._before[self._own]
        if outcome is not None and outcome.timings.cpu_ns is not None:
            return Usage(outcome.timings.cpu_ns, outcome.timings.peak_memory_bytes)
        processes = _processes(host)
        if processes != [self._own]:
            return Usage(_cpu_ns(processes, self._before), _peak_bytes(processes))
        peak_bytes = _status_bytes("VmHWM")
        if peak_bytes is None or self._own_bytes is None:
            return Usage(own_cpu_ns)
        return Usage(own_cpu_ns, max(0, peak_bytes - self._own_bytes))


def peak_memory_of(host: Host, invocation: Invocation) -> int | None:
    """Return the peak memory in bytes of a host that starts a process per invocation, by running this one.

    None for every other host: a `Meter` tells it, where it can be told.
    """
    return host.weigh(invocation).timings.peak_memory_bytes if isinstance(host, CommandHost) else None


def density(host: Host, invocation: Invocation, *, live: int = 4) -> int | None:
    """Return what one more live instance costs a freshly started host, in bytes of memory of its own.

    The invocation is one that stays alive for a second or two, such as a Ruby that sleeps; nobody else may use
    the host meanwhile. One is kept alive and then ``live`` of them; each time the median counts of what was seen
    while, by the run times that the host tells, all of them surely ran. None for a host that cannot hold
    several, does not tell run times, or was too slow to have all of them alive at once. Raises HostStartError
    if a guest does not end by itself.
    """
    if "concurrent" not in host.runtime.capabilities:
        return None
    one, several = (_memory_while_alive(host, invocation, count) for count in (1, live))
    if one is None or several is None or several <= one:
        return None
    return round((several - one) / (live - 1))


@dataclass(frozen=True, slots=True)
class _Stay:
    """One guest, and when it surely ran: nanoseconds of ``perf_counter_ns``."""

    outcome: Outcome
    from_ns: int
    until_ns: int


def _stay(host: Host, invocation: Invocation) -> _Stay:
    began_ns = time.perf_counter_ns()
    outcome = host.invoke(invocation)
    ended_ns = time.perf_counter_ns()
    # It ran for so long somewhere in between: at the latest until the end, at the earliest from the beginning.
    run_ns = outcome.timings.phases_ns.get("run", 0)
    return _Stay(outcome, ended_ns - run_ns, began_ns + run_ns)


def _memory_while_alive(host: Host, invocation: Invocation, count: int) -> int | None:
    """Return the host's memory while so many guests were alive, in bytes; None if they never surely were."""
    seen: list[tuple[int, int, int]] = []
    with ThreadPoolExecutor(count) as threads:
        futures = [threads.submit(_stay, host, invocation) for _ in range(count)]
        while not any(future.done() for future in futures):
            began_ns = time.perf_counter_ns()
            memory_bytes = _own_bytes(host)
            if memory_bytes is not None:
                seen.append((began_ns, time.perf_counter_ns(), memory_bytes))
            time.sleep(_LOOKING_S)
        stays = [future.result() for future in futures]
    for stay in stays:
        if stay.outcome.ending.kind != "exited":
            ending = stay.outcome.ending
            raise HostStartError(
                f"{host.runtime.name}: a guest kept alive for its memory ended as {ending}: {ending.detail}. "
                "It was not measured."
            )
    return _while_alive(stays, seen)


def _while_alive(stays: Sequence[_Stay], seen: Sequence[tuple[int, int, int]]) -> int | None:
    """Return the median of the memory seen (from, until, bytes) while all surely ran; None if there is none."""
    from_ns, until_ns = max(stay.from_ns for stay in stays), min(stay.until_ns for stay in stays)
    while_alive = [each for began, ended, each in seen if from_ns <= began and ended <= until_ns]
    # Not the most: what compiling the artifact took is given back only while the first guest runs.
    return statistics.median_low(while_alive) if while_alive else None


def _processes(host: Host) -> list[psutil.Process]:
    """Return the host's processes with all that they started; of our own, what it started is not the host's."""
    found = []
    for pid in host.pids():
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            found.append(process)
            if pid != os.getpid():
                found += process.children(recursive=True)
    return found


def _cpu_ns(processes: Iterable[psutil.Process], before: dict[psutil.Process, int]) -> int | None:
    """Return the CPU time of these processes, less what each had taken before; None if all are gone."""
    taken = []
    for process in processes:
        with suppress(psutil.Error, OSError):
            taken.append(max(0, _cpu_ns_of(process) - before.get(process, 0)))
    return sum(taken) if taken else None


def _cpu_ns_of(process: psutil.Process) -> int:
    """Return the CPU time of a process and of the children that it has waited for. Raises psutil.Error, OSError."""
    if process.pid == os.getpid():
        return time.process_time_ns()
    times = process.cpu_times()
    waited_for_s = times.children_user + times.children_system
    if sys.platform == "linux":
        # The process's own clock (clock_getcpuclockid), to the nanosecond; what psutil reads goes by 10 ms.
        return time.clock_gettime_ns(~process.pid << 3 | 2) + round(waited_for_s * 1e9)
    return round((times.user + times.system + waited_for_s) * 1e9)


def _peak_bytes(processes: list[psutil.Process]) -> int | None:
    """Return the peak of a single process; those of several were at different times and make no sum."""
    if len(processes) != 1 or processes[0].pid == os.getpid():
        return None
    return _status_bytes("VmHWM", str(processes[0].pid))


def _status_bytes(field: str, pid: str = "self") -> int | None:
    """Return a field of the status that Linux keeps of a process; None elsewhere, or when it is gone."""
    try:
        found = re.search(rf"^{field}:\s*(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) << 10 if found else None


def _reset_own_peak() -> int | None:
    """Let the peak of this process begin anew, and return the memory it has now; None if that cannot be done."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return _status_bytes("VmRSS")
    return None


def _own_bytes(host: Host) -> int | None:
    """Return the memory of the host's processes that is theirs alone; None if that cannot be told."""
    processes = _processes(host)
    try:
        return sum(_own_bytes_of(process) for process in processes) if processes else None
    except (psutil.Error, OSError):
        return None


def _own_bytes_of(process: psutil.Process) -> int:
    """Return a process's anonymous memory where the system tells it, else its unshared memory (USS).

    USS also counts the code of the program itself, unless somebody else happens to run the same program: it was
    seen to fall by 35 MB while another bun came and went. Raises psutil.Error, OSError.
    """
    if sys.platform == "linux":
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        return sum(
            int(kib) << 10 for kib in re.findall(r"^(?:Anonymous|Swap):\s*(\d+) kB$", text, re.MULTILINE)
        )
    return int(process.memory_full_info().uss)
