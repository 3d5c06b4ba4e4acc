"""A pytest plugin that makes one runtime's host slower for one artifact: it waits in the start (`benchmarks.against`).

``BENCH_SLOWER_HOST`` is ``RUNTIME FRACTION SHA256``: that runtime's starts of that artifact take so much longer, of
what its starts of any other take until their first answer.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_wasmedge.model import Artifact, Host, Invocation, Limits, Outcome, Runtime

ENV = "BENCH_SLOWER_HOST"


def pytest_wasmedge_runtimes(config: object, runtimes: Mapping[str, Runtime]) -> Sequence[Runtime]:
    """Make the runtime slower."""
    name, fraction, sha256 = os.environ[ENV].split()
    runtime = runtimes[name]
    runtime.__class__ = _slower(type(runtime), float(fraction), sha256)
    return [runtime]


def _slower(kind: Any, fraction: float, sha256: str) -> Any:
    others_s: list[float] = []

    class Slower(kind):  # type: ignore[misc]
        def start(self, artifact: Artifact, limits: Limits) -> Host:
            if artifact.sha256 == sha256:
                # Beforehand: an engine that is running would use the time, to compile beside. The first start of all
                # comes before there is anything to compare with, and is in no pair.
                time.sleep(fraction * statistics.median(others_s) if others_s else 0)
                started: Host = super().start(artifact, limits)
                return started
            began_s = time.perf_counter()
            host: Host = super().start(artifact, limits)
            invoke = host.invoke

            def first(invocation: Invocation) -> Outcome:
                outcome = invoke(invocation)
                others_s.append(time.perf_counter() - began_s)
                host.invoke = invoke  # type: ignore[method-assign]
                return outcome

            host.invoke = first  # type: ignore[method-assign]
            return host

    Slower.__name__ = kind.__name__
    return Slower
