"""Takes raw samples of cold starts and warm invocations, one at a time, measured in this process."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pytest_wasmedge.drivers.compiled import digest_of, is_ours
from pytest_wasmedge.errors import LatencyError
from pytest_wasmedge.latency.usage import Meter, peak_memory_of
from pytest_wasmedge.model import Artifact, CacheState, Host, Invocation, Limits, Outcome, Runtime
from pytest_wasmedge.portability.excerpt import cut, visible
from pytest_wasmedge.provision.cache import writing

#: The cache states of a measured start; evicted: the kept code is on disk, but not in the page cache.
StartState = CacheState | Literal["evicted"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One latency, in nanoseconds from before the start (cold) or the call (warm) to the last byte.

    ``kind`` is for example ``cold/code-cache``, ``floor/code-cache`` or ``warm/tiny``. ``phases_ns`` has the phases
    that the host reports: spawn, load, compile, instantiate, run, transfer. ``invocation`` counts from 1 in each
    isolate; 0 if unknown. ``cpu_ns`` and ``peak_memory_bytes`` are the host's; None if unknown.
    """

    runtime: str
    kind: str
    elapsed_ns: int
    phases_ns: Mapping[str, int] = field(default_factory=dict)
    invocation: int = 0
    cpu_ns: int | None = None
    peak_memory_bytes: int | None = None
    artifact_sha256: str = ""


@dataclass(slots=True)
class Answer:
    """The answer of a guest that works: every timed outcome must have it.

    Without ``stdout``, the first outcome's is taken; a guest that ``varies`` only has to exit with status 0.
    """

    stdout: bytes | None = None
    varies: bool = False

    def check(self, outcome: Outcome, called: str) -> None:
        """Raise LatencyError if the outcome is not this answer: the time of a failure is no latency."""
        ending = outcome.ending
        if not ending.ok:
            said = ending.detail or visible(outcome.stderr[:200]) or "it said nothing on stderr"
            raise LatencyError(f"{called} ended as {ending}, not as exited(0): {said}. It was not measured.")
        if self.stdout is None:
            self.stdout = outcome.stdout
        if outcome.stdout != self.stdout and not self.varies:
            wanted, got = (f'"{cut(visible(each[:200]), 60)}"' for each in (self.stdout, outcome.stdout))
            raise LatencyError(
                f"{called} answered {got}, where the others answered {wanted}. It was not measured."
            )


def median_phases(samples: Sequence[Sample]) -> dict[str, int]:
    """Return the median of each phase that every sample has, in nanoseconds."""
    measured = [sample.phases_ns for sample in samples]
    names = [name for name in (measured[0] if measured else ()) if all(name in phases for phases in measured)]
    return {name: round(statistics.median(phases[name] for phases in measured)) for name in names}


def cold_once(
    runtime: Runtime,
    artifact: Artifact,
    limits: Limits,
    invocation: Invocation,
    state: StartState | None = None,
    *,
    name: str = "cold",
    weigh: bool = False,
    answer: Answer | None = None,
) -> Sample:
    """Start a host, time it from before the start to its first full response, and close it.

    ``state`` is the cache state of the start, by default the runtime's own. With ``weigh``, a host whose peak memory
    is unknown runs the invocation once more after it was timed. Raises LatencyError if the response is not the
    ``answer`` (by default any with status 0), and LatencyError for a state that the runtime does not have.
    """
    state = state or runtime.cache_state
    with _in_state(runtime, artifact, state):
        meter = Meter()
        began_ns = time.perf_counter_ns()
        with runtime.start(artifact, limits) as host:
            outcome = host.invoke(invocation)
            elapsed_ns = time.perf_counter_ns() - began_ns
            usage = meter.read(host, outcome)
            start_phases_ns = dict(host.start_phases_ns)
            if weigh and usage.peak_memory_bytes is None:
                usage = replace(usage, peak_memory_bytes=peak_memory_of(host, invocation))
    (answer or Answer()).check(outcome, f"{runtime.name}: a cold start")
    phases_ns = start_phases_ns | dict(outcome.timings.phases_ns)
    kind, cpu_ns, memory_bytes = f"{name}/{state}", usage.cpu_ns, usage.peak_memory_bytes
    return Sample(
        runtime.name, kind, elapsed_ns, phases_ns, outcome.invocation, cpu_ns, memory_bytes, artifact.sha256
    )


def warm_once(
    host: Host, invocation: Invocation, kind: str = "warm/tiny", answer: Answer | None = None
) -> Sample:
    """Time one invocation of a host that already served one. Raises LatencyError as `cold_once` does."""
    meter = Meter()
    meter.begin(host)
    began_ns = time.perf_counter_ns()
    outcome = host.invoke(invocation)
    elapsed_ns = time.perf_counter_ns() - began_ns
    usage = meter.read(host, outcome)
    (answer or Answer()).check(outcome, f"{host.runtime.name}: a warm invocation")
    name, phases_ns, digest = host.runtime.name, outcome.timings.phases_ns, host.artifact.sha256
    cpu_ns, memory_bytes = usage.cpu_ns, usage.peak_memory_bytes
    return Sample(name, kind, elapsed_ns, phases_ns, outcome.invocation, cpu_ns, memory_bytes, digest)


def refresh_code(runtime: Runtime, artifact: Artifact) -> None:
    """Write the compiled code that a runtime keeps once more, with the same bytes.

    Starts differ by up to a fifth between code that was just written and code that was read back from disk: refresh
    all code before comparing. Raises ProvisionError if the cache folder is read-only.
    """
    kept = runtime.kept_code(artifact)
    if kept and kept.exists():
        # If we are killed, the cache removes it with its oldest files, like the one in `_in_state`.
        fresh = kept.with_suffix(f".fresh{kept.suffix}")
        with writing():
            shutil.copy2(kept, fresh)
            fresh.replace(kept)
        # Another file, so its digest is computed once more: now, not within a start that is measured.
        is_ours(kept)


@contextmanager
def _in_state(runtime: Runtime, artifact: Artifact, state: StartState) -> Iterator[None]:
    """Bring the files that a start reads into this state, and put them back afterwards."""
    kept = runtime.kept_code(artifact)
    if state == runtime.cache_state:
        yield
    elif state == "evicted":
        # Pages that another host has mapped stay in memory; a copy is mapped by none.
        refresh_code(runtime, artifact)
        for path in (artifact.path, kept):
            if path and path.exists():
                _evict(path)
        try:
            yield
        finally:
            refresh_code(runtime, artifact)
    elif state == "no-cache" and kept:
        aside = kept.with_suffix(f".aside{kept.suffix}")
        pairs = (kept, aside), (digest_of(kept), digest_of(aside))
        for there, away in pairs:
            with suppress(FileNotFoundError), writing():
                there.replace(away)
        try:
            yield
        finally:
            for there, away in pairs:
                with suppress(FileNotFoundError):
                    away.replace(there)
            is_ours(kept)
    else:
        raise LatencyError(f"{runtime.name} has no {state} start: it keeps no compiled code between starts.")


def _evict(path: Path) -> None:
    """Drop a file from the page cache (posix_fadvise), so that the next start reads it from disk."""
    if not hasattr(os, "posix_fadvise"):
        raise LatencyError("this system cannot drop files from its page cache: no start here can be evicted.")
    with path.open("rb") as file:
        # Pages not yet written cannot be dropped.
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
