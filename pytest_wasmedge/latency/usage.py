"""What a host uses besides time: CPU, peak memory, and the memory of one more live instance."""

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

import psutil

from pytest_wasmedge.drivers.command import CommandHost
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import Ending, Host, Invocation, Outcome

_LOOKING_S = 0.02


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time (user and system) and peak memory of a host's processes; None if the system does not report them."""

    cpu_ns: int | None = None
    peak_memory_bytes: int | None = None


class Meter:
    """Measures what a host uses; make one before the host starts.

    A process that began later counts as a whole; one that was running at `begin`, and always our own, by the
    difference. Peak memory is that of a host's whole life. For a host in this process it is the most that the process
    gained since the meter was made, which resets the peak that Linux keeps.
    """

    def __init__(self) -> None:
        self._own = psutil.Process()
        self._own_bytes = _reset_own_peak()
        self._before = {self._own: time.process_time_ns()}

    def begin(self, host: Host) -> None:
        """Count what an already started host uses from now on."""
        for process in _processes(host):
            with suppress(psutil.Error, OSError):
                self._before[process] = _cpu_ns_of(process)

    def read(self, host: Host, outcome: Outcome | None = None) -> Usage:
        """Return what was used until now; an outcome's own figures, from a process for it alone, come first."""
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
    """Return the peak memory in bytes of this invocation on a host that starts a process for each; else None."""
    return host.weigh(invocation).timings.peak_memory_bytes if isinstance(host, CommandHost) else None


def density(host: Host, invocation: Invocation, *, live: int = 4) -> int | None:
    """Return the memory that one more live instance costs a freshly started host, in bytes.

    The invocation must stay alive for most of a second, such as a Ruby that sleeps; nobody else may use the host
    meanwhile. Keeps one alive, then ``live`` at once, and takes the median of the memory while, by the run times that
    the host reports, all of them ran. None for a host that cannot run several, does not report run times, or was too
    slow to have all of them alive at once. Raises HostStartError if a guest does not exit by itself.
    """
    if "concurrent" not in host.runtime.capabilities:
        return None
    one, several = (_memory_while_alive(host, invocation, count) for count in (1, live))
    if one is None or several is None or several <= one:
        return None
    return round((several - one) / (live - 1))


def _stay(host: Host, invocation: Invocation) -> tuple[Ending, tuple[int, int]]:
    """Run one guest; return its ending, and from when until when it certainly ran (``perf_counter_ns``)."""
    began_ns = time.perf_counter_ns()
    outcome = host.invoke(invocation)
    ended_ns = time.perf_counter_ns()
    # It ran for this long, between the two times: at the latest until the end, at the earliest from the beginning.
    run_ns = outcome.timings.phases_ns.get("run", 0)
    return outcome.ending, (ended_ns - run_ns, began_ns + run_ns)


def _memory_while_alive(host: Host, invocation: Invocation, count: int) -> int | None:
    """Return the host's memory in bytes while ``count`` guests were alive; None if they never certainly were."""
    if "isolates" in host.runtime.capabilities:
        # What earlier guests left in them would count as memory of these.
        host.discard_isolates()
    seen: list[tuple[int, int, int]] = []
    with ThreadPoolExecutor(count) as threads:
        futures = [threads.submit(_stay, host, invocation) for _ in range(count)]
        while not any(future.done() for future in futures):
            began_ns = time.perf_counter_ns()
            if (memory_bytes := _own_bytes(host)) is not None:
                seen.append((began_ns, time.perf_counter_ns(), memory_bytes))
            time.sleep(_LOOKING_S)
        stays = [future.result() for future in futures]
    for ending, _ in stays:
        if ending.kind != "exited":
            raise HostStartError(
                f"{host.runtime.name}: a guest kept alive for its memory ended as {ending}: {ending.detail}. "
                "It was not measured."
            )
    return _while_alive([times for _, times in stays], seen)


def _while_alive(stays: Sequence[tuple[int, int]], seen: Sequence[tuple[int, int, int]]) -> int | None:
    """Return the median of the memory seen (from, until, bytes) while all certainly ran; None without any."""
    from_ns, until_ns = max(began for began, _ in stays), min(ended for _, ended in stays)
    while_alive = [each for began, ended, each in seen if from_ns <= began and ended <= until_ns]
    # Not the maximum: memory for compiling the artifact is given back only while the first guest runs.
    return statistics.median_low(while_alive) if while_alive else None


def _processes(host: Host) -> list[psutil.Process]:
    """Return the host's processes with their descendants; our own process without them: they are not the host's."""
    found = []
    for pid in host.pids():
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            found.append(process)
            if pid != os.getpid():
                found += process.children(recursive=True)
    return found


def _cpu_ns(processes: Iterable[psutil.Process], before: dict[psutil.Process, int]) -> int | None:
    """Return the CPU time of these processes, without what each had used before; None if all are gone."""
    taken = []
    for process in processes:
        with suppress(psutil.Error, OSError):
            taken.append(max(0, _cpu_ns_of(process) - before.get(process, 0)))
    return sum(taken) if taken else None


def _cpu_ns_of(process: psutil.Process) -> int:
    """Return the CPU time of a process and the children it waited for. Raises psutil.Error, OSError."""
    if process.pid == os.getpid():
        return time.process_time_ns()
    times = process.cpu_times()
    waited_for_s = times.children_user + times.children_system
    if sys.platform == "linux":
        # The process's own clock (clock_getcpuclockid) counts nanoseconds; psutil reads steps of 10 ms.
        return time.clock_gettime_ns(~process.pid << 3 | 2) + round(waited_for_s * 1e9)
    return round((times.user + times.system + waited_for_s) * 1e9)


def _peak_bytes(processes: list[psutil.Process]) -> int | None:
    """Return the peak of a single process; several peaked at different times, and their sum means nothing."""
    if len(processes) != 1 or processes[0].pid == os.getpid():
        return None
    return _status_bytes("VmHWM", str(processes[0].pid))


def _status_bytes(field: str, pid: str = "self") -> int | None:
    """Return a field of a process's status on Linux; None elsewhere, or when the process is gone."""
    try:
        found = re.search(rf"^{field}:\s*(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) << 10 if found else None


def _reset_own_peak() -> int | None:
    """Reset the peak of this process and return its present memory; None if that is impossible."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return _status_bytes("VmRSS")
    return None


def _own_bytes(host: Host) -> int | None:
    """Return the unshared memory of the host's processes; None if it is unknown."""
    processes = _processes(host)
    try:
        return sum(_own_bytes_of(process) for process in processes) if processes else None
    except (psutil.Error, OSError):
        return None


def _own_bytes_of(process: psutil.Process) -> int:
    """Return a process's anonymous memory on Linux, else its unshared memory (USS). Raises psutil.Error, OSError.

    USS also counts the code of the program, unless another process runs the same program: it fell by 35 MB while
    another bun ran.
    """
    if sys.platform == "linux":
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        return sum(
            int(kib) << 10 for kib in re.findall(r"^(?:Anonymous|Swap):\s*(\d+) kB$", text, re.MULTILINE)
        )
    return int(process.memory_full_info().uss)
