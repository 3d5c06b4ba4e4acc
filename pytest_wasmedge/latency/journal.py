"""Raw samples as JSON lines, each written as soon as it is taken, so that a crash loses none."""

from __future__ import annotations

import json
import os
import platform
import re
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from functools import cache
from pathlib import Path

from pytest_wasmedge.errors import LatencyError
from pytest_wasmedge.latency.sampling import Sample
from pytest_wasmedge.provision.cache import keep_newest
from pytest_wasmedge.provision.files import append
from pytest_wasmedge.provision.room import reason

#: A folder of journals keeps those of this many latest runs.
KEPT_RUNS = 20


class Journal:
    """Appends to one file; several processes may, since each line is one write.

    ``run`` names the run in each line. The first line of a run describes the machine.
    """

    def __init__(self, path: Path, run: str, seed: int) -> None:
        self.path = path
        self._run = run
        self._seed = seed
        self._began = False

    def add(self, sample: Sample, *, runtime_version: str = "", **facts: object) -> None:
        """Write a sample to the file. Raises LatencyError if the file cannot be written."""
        if not self._began:
            self._began = True
            self._append({"run": self._run, "machine": machine(), "fingerprint": fingerprint()})
        line = {
            "run": self._run,
            "fingerprint": fingerprint(),
            "seed": self._seed,
            "taken_at_s": round(time.time(), 3),
            "runtime_version": runtime_version,
            **{each.name: getattr(sample, each.name) for each in fields(sample)},
            "phases_ns": dict(sample.phases_ns),
            **facts,
        }
        self._append({key: value for key, value in line.items() if value not in (None, "", {})})

    def _append(self, line: Mapping[str, object]) -> None:
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            append(self.path, data)
        except OSError as error:
            raise LatencyError(
                f"the sample could not be written to {self.path}: {reason(error, self.path.parent)}. "
                "Give another file with --wasm-samples."
            ) from error


def in_folder(folder: Path, run: str, seed: int) -> Journal:
    """Return this run's journal in a folder of journals; the oldest of the others are deleted."""
    journal = Journal(folder / f"samples-{run}.jsonl", run, seed)
    # Not its own, which another worker may have begun: whoever sets the clock back would make that the oldest.
    keep_newest(set(folder.glob("samples-*.jsonl")) - {journal.path}, KEPT_RUNS - 1)
    return journal


@cache
def machine() -> dict[str, object]:
    """Return the facts that make samples of two machines differ; none of them names the machine."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def fingerprint(of: Mapping[str, object] | None = None) -> str:
    """Return eight hexadecimal digits that identify this kind of machine, or the one with these facts."""
    return f"{zlib.crc32(json.dumps(of or machine(), sort_keys=True).encode()):08x}"


def describe_machine() -> str:
    """Return this kind of machine in a few words, without its name: ``2 cores of Intel Xeon, Linux x86_64``."""
    told = machine()
    cores = f"{told['cores']} core{'' if told['cores'] == 1 else 's'}"
    return (
        f"{cores} of {told['processor'] or 'an unknown processor'}, {platform.system()} {platform.machine()}"
    )


def _processor() -> str:
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        if found := re.search(r"^model name\s*: *(.*)$", text, re.MULTILINE):
            return found[1].strip()
    return platform.processor()
