"""Raw cold starts of the built-in artifact, kept in the repository: what verdicts are replayed on."""

from __future__ import annotations

import json
import lzma
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pytest_wasmedge.errors import LatencyError
from pytest_wasmedge.latency.journal import machine
from pytest_wasmedge.latency.quiet import Quiet
from pytest_wasmedge.latency.sampling import Sample, cold_once
from pytest_wasmedge.model import Artifact, Invocation, Limits, Runtime
from pytest_wasmedge.provision.cache import folder

Condition = Literal["idle", "busy"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)

#: The least that the built-in Ruby can be asked.
SMALLEST = Invocation(b"puts 1+1\n")
LIMITS = Limits()
#: After so many rounds, what was recorded is written: a killed recording loses no more.
_ROUNDS_KEPT = 10

# Spins until its stdin ends: even if we are killed, no core stays busy.
_BUSY = (
    "import os, sys, threading\n"
    "threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()\n"
    "while True: pass\n"
)


@dataclass(slots=True)
class Series:
    """The cold starts of one runtime under one condition, in the order they were taken, in microseconds.

    ``wall_us`` is what each took in all, with what is not timed: preparing, closing the host. ``cpu_us`` is the CPU
    time of the host's processes in each.
    """

    runtime: str
    condition: Condition
    kind: str
    version: str
    artifact_sha256: str
    machine: dict[str, Any]
    seed: int
    began: str
    elapsed_us: list[int] = field(default_factory=list)
    wall_us: list[int] = field(default_factory=list)
    cpu_us: list[int] = field(default_factory=list)

    @property
    def overhead_s(self) -> float:
        """What one sample takes beyond its own time, in seconds."""
        return (sum(self.wall_us) - sum(self.elapsed_us)) / len(self.wall_us) / 1e6


def load(path: Path) -> list[Series]:
    """Return what is recorded; nothing if there is no file."""
    if not path.exists():
        return []
    return [Series(**entry) for entry in json.loads(lzma.decompress(path.read_bytes()))["series"]]


def store(path: Path, series: Sequence[Series]) -> None:
    """Write everything anew, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = "Cold starts of the built-in artifact, microseconds; made by: python -m benchmarks.gate record"
    text = json.dumps({"about": about, "series": [asdict(each) for each in series]}, separators=(",", ":"))
    part = path.with_suffix(".part")
    part.write_bytes(lzma.compress(text.encode(), preset=9))
    part.replace(path)


def record(
    runtimes: Sequence[Runtime],
    artifact: Artifact,
    condition: Condition,
    count: int,
    path: Path,
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Record cold starts, runtime by turns in an order shuffled each round, until each has so many.

    What an earlier recording left is kept and added to. Raises LatencyError if that was of another artifact,
    version or machine.
    """
    everything = load(path)
    wanted = [_series(everything, runtime, artifact, condition, seed) for runtime in runtimes]
    places = dict(zip(runtimes, wanted, strict=True))
    lot = random.Random(f"{seed}/{condition}/{sum(len(series.elapsed_us) for series in wanted)}")
    try:
        with condition_of(condition):
            for runtime in runtimes:
                # Not kept: the first start of all compiles, and reads what no later one has to read.
                cold_once(runtime, artifact, LIMITS, SMALLEST)
            rounds = 0
            while lacking := [each for each in runtimes if len(places[each].elapsed_us) < count]:
                with alone():
                    for runtime in lot.sample(lacking, len(lacking)):
                        began_ns = time.perf_counter_ns()
                        sample = cold_once(runtime, artifact, LIMITS, SMALLEST)
                        _add(places[runtime], sample, time.perf_counter_ns() - began_ns)
                rounds += 1
                if rounds % _ROUNDS_KEPT == 0:
                    store(path, everything)
                    say(_progress(wanted, count))
    finally:
        store(path, everything)


def _series(
    everything: list[Series], runtime: Runtime, artifact: Artifact, condition: Condition, seed: int
) -> Series:
    """Return the series to add to, which is among everything recorded."""
    version, kind = runtime.probe().version, f"cold/{runtime.cache_state}"
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    new = Series(runtime.name, condition, kind, version, artifact.sha256, machine(), seed, now)
    for old in everything:
        if (old.runtime, old.condition) == (new.runtime, new.condition):
            for name in ("kind", "version", "artifact_sha256", "machine"):
                if getattr(old, name) != getattr(new, name):
                    raise LatencyError(
                        f"{runtime.name}, {condition}: recorded with {name} {getattr(old, name)}, "
                        f"which is now {getattr(new, name)}. They do not mix: --anew drops the old."
                    )
            return old
    everything.append(new)
    return new


def _add(series: Series, sample: Sample, wall_ns: int) -> None:
    series.elapsed_us.append(round(sample.elapsed_ns / 1000))
    series.wall_us.append(round(wall_ns / 1000))
    series.cpu_us.append(round((sample.cpu_ns or 0) / 1000))


def drop(path: Path, names: AbstractSet[str], condition: Condition) -> None:
    """Forget what is recorded of these runtimes under this condition."""
    kept = [each for each in load(path) if each.runtime not in names or each.condition != condition]
    store(path, kept)


def _progress(series: Sequence[Series], count: int) -> str:
    return ", ".join(f"{each.runtime} {len(each.elapsed_us)}" for each in series) + f" of {count}"


def alone() -> AbstractContextManager[None]:
    """Wait until no pytest of ours runs a test or measures; none begins to as long as this is entered."""
    return Quiet(folder("locks")).measuring()


def condition_of(condition: Condition) -> AbstractContextManager[object]:
    """Return what makes the machine idle (nothing) or busy (one core) as long as it is entered."""
    return busy_core() if condition == "busy" else nullcontext()


@contextmanager
def busy_core() -> Iterator[subprocess.Popen[bytes]]:
    """Keep one core busy with a process that spins."""
    spinning = subprocess.Popen([sys.executable, "-c", _BUSY], stdin=subprocess.PIPE)
    try:
        yield spinning
    finally:
        spinning.kill()
        spinning.wait()
        if spinning.stdin:
            spinning.stdin.close()
