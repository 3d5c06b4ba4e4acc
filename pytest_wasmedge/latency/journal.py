"""Raw samples as JSON lines, each written as it is taken: what was measured outlives whoever measured it."""

from __future__ import annotations

import json
import os
import platform
import time
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pytest_wasmedge.errors import LatencyError
from pytest_wasmedge.latency.sampling import Sample
from pytest_wasmedge.provision.cache import keep_newest

#: A folder of journals keeps those of the latest runs.
KEPT_RUNS = 20


class Journal:
    """Appends to one file; several processes may, since each line is written at once.

    ``run`` names the run in each line. Its first line there tells the machine.
    """

    def __init__(self, path: Path, run: str, seed: int) -> None:
        self.path = path
        self._run = run
        self._seed = seed
        self._began = False

    def add(self, sample: Sample, *, runtime_version: str = "", **facts: object) -> None:
        """Write a sample down. Raises LatencyError if that cannot be done."""
        if not self._began:
            self._began = True
            self._append({"run": self._run, "machine": machine(), "fingerprint": fingerprint()})
        line = {
            "run": self._run,
            "fingerprint": fingerprint(),
            "seed": self._seed,
            "taken_at_s": round(time.time(), 3),
            "runtime": sample.runtime,
            "runtime_version": runtime_version,
            "artifact_sha256": sample.artifact_sha256,
            "kind": sample.kind,
            "elapsed_ns": sample.elapsed_ns,
            "phases_ns": dict(sample.phases_ns),
            "invocation": sample.invocation,
            "cpu_ns": sample.cpu_ns,
            "peak_memory_bytes": sample.peak_memory_bytes,
            **facts,
        }
        self._append({key: value for key, value in line.items() if value not in (None, "", {})})

    def _append(self, line: Mapping[str, object]) -> None:
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(handle, data)
            finally:
                os.close(handle)
        except OSError as error:
            raise LatencyError(
                f"the sample could not be written to {self.path}: {error.strerror}. "
                "Give another file with --wasm-samples."
            ) from error


def in_folder(folder: Path, run: str, seed: int) -> Journal:
    """Return this run's journal in a folder of journals, which keeps the latest."""
    keep_newest(folder.glob("samples-*.jsonl"), KEPT_RUNS - 1)
    return Journal(folder / f"samples-{run}.jsonl", run, seed)


@cache
def machine() -> dict[str, object]:
    """Return what makes samples of one machine differ from those of another; nothing that names it."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def fingerprint() -> str:
    """Return eight hexadecimal digits that stand for the machine."""
    return f"{zlib.crc32(json.dumps(machine(), sort_keys=True).encode()):08x}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
