"""All faults by name, in the order of their kinds."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pytest_wasmedge.errors import WasmEdgeError, did_you_mean
from pytest_wasmedge.testing import (
    clocks,
    delivery,
    endings,
    files,
    isolation,
    latency,
    leaks,
    limits,
    randomness,
    streams,
)
from pytest_wasmedge.testing.fault import Fault

_ALL = (
    *delivery.FAULTS,
    *streams.FAULTS,
    *endings.FAULTS,
    *isolation.FAULTS,
    *files.FAULTS,
    *clocks.FAULTS,
    *randomness.FAULTS,
    *limits.FAULTS,
    *latency.FAULTS,
    *leaks.FAULTS,
)
#: What real hosts, shims and proxies have been seen to do wrong, or could: each can be planted by `FaultyRuntime`.
FAULTS: Mapping[str, Fault] = MappingProxyType({fault.name: fault for fault in _ALL})
assert len(FAULTS) == len(_ALL), "two faults have one name"


def find_fault(name: str) -> Fault:
    """Return the fault of this name. Raises WasmEdgeError with the nearest one."""
    if name not in FAULTS:
        hint = did_you_mean(name, FAULTS)
        raise WasmEdgeError(
            f"unknown fault {name!r}.{hint} `pytest-wasmedge selfcheck --list` shows all {len(FAULTS)} of them."
        )
    return FAULTS[name]
