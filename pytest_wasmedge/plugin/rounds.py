"""Compares with the baseline on all runtimes of a run at once: the first test that needs it measures for all others."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_wasmedge.errors import LatencyError, WasmEdgeError
from pytest_wasmedge.latency.measurement import Finding
from pytest_wasmedge.model import Artifact, Runtime
from pytest_wasmedge.plugin.measuring import Measuring
from pytest_wasmedge.plugin.selection import runtime_in
from pytest_wasmedge.plugin.session import WasmSession
from pytest_wasmedge.provision.cache import folder
from pytest_wasmedge.provision.files import whole

#: A file that is older belongs to a run that was killed.
_OLD_S = 86_400.0


class Rounds:
    """Findings by runtime. Workers of one run, on one machine, share them by a file: only one measures at a time."""

    def __init__(self, session: WasmSession, measuring: Measuring, run: str, file: Path | None) -> None:
        self._session, self._measuring, self._run, self._file = session, measuring, run, file
        self._known: dict[str, tuple[Finding, bool]] = {}
        self._broken: dict[str, str] = {}
        self._spent_s = 0.0

    def finding(self, runtime: Runtime, asking: Sequence[str], baseline: Artifact) -> tuple[Finding, bool]:
        """Return how this runtime's cold starts compare with the baseline's, and whether the answers are the same.

        Measures it together with all other runtimes of the tests that are ``asking``, by id, if that was not done yet.
        Raises UnsupportedError, LatencyError and HostStartError.
        """
        self._read()
        if runtime.name not in self._known and runtime.name not in self._broken:
            others = [each for each in self._asked_for(asking) if each.name != runtime.name]
            budget_s = self._session.options.latency_budget
            # One that could not start with the others has its share, whatever they left.
            left_s = max(budget_s - self._spent_s, budget_s / len(self._session.selection.selected))
            compared = self._measuring.against([runtime, *others], baseline, left_s)
            self._spent_s += sum(each.gate.elapsed_s for each in compared.values())
            for name, each in compared.items():
                try:
                    self._known[name] = each.finding(), each.same()
                except WasmEdgeError as error:
                    self._broken[name] = str(error)
            self._write()
        if runtime.name in self._broken:
            raise LatencyError(self._broken[runtime.name])
        return self._known[runtime.name]

    def _asked_for(self, asking: Sequence[str]) -> Iterator[Runtime]:
        """Yield the runtimes of tests that need a finding and have none, if they can run here."""
        selected = {each.name: each for each in self._session.selection.selected}
        asked = {runtime_in(nodeid, tuple(selected)) for nodeid in asking}
        for name, runtime in selected.items():
            able = not runtime.deployed and self._session.pool.availability(runtime).available
            if name in asked and name not in {*self._known, *self._broken} and able:
                yield runtime

    def _read(self) -> None:
        with suppress(OSError, ValueError, LookupError, TypeError):
            kept: dict[str, Any] = json.loads(self._file.read_bytes()) if self._file else {}
            if kept and kept["run"] == self._run:
                found = {
                    name: (Finding(**each), bool(same)) for name, (each, same) in kept["findings"].items()
                }
                self._known, self._broken, self._spent_s = found, kept["broken"], float(kept["spent_s"])

    def _write(self) -> None:
        if self._file is None:
            return
        findings = {name: (asdict(finding), same) for name, (finding, same) in self._known.items()}
        kept = {"run": self._run, "spent_s": self._spent_s, "findings": findings, "broken": self._broken}
        # Where the cache is read-only, each worker measures for itself.
        with suppress(OSError), whole(self._file, 0o600) as part:
            part.write_text(json.dumps(kept), encoding="utf-8")


def shared_file(controller: int) -> Path | None:
    """Return where the workers of a controller, given by its process, share findings; old files are removed."""
    with suppress(OSError, WasmEdgeError):
        place = folder("locks")
        for each in place.glob("against-*.json"):
            if time.time() - each.stat().st_mtime > _OLD_S:
                each.unlink(missing_ok=True)
        return place / f"against-{controller}.json"
    return None


def forget(controller: int) -> None:
    """Remove what the workers of this controller shared; it has ended."""
    file = shared_file(controller)
    if file:
        with suppress(OSError):
            file.unlink(missing_ok=True)
