"""One WebAssembly artifact, every host runtime: the public names, and nothing else."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_wasmedge.artifacts.loading import load_artifact
    from pytest_wasmedge.errors import (
        ArtifactError,
        ContractError,
        HostStartError,
        LatencyError,
        RuntimeUnavailableError,
        UnsupportedError,
        WasmEdgeError,
    )
    from pytest_wasmedge.latency.units import ms
    from pytest_wasmedge.model import (
        Artifact,
        Availability,
        Divergence,
        Ending,
        Host,
        Invocation,
        Leak,
        Limits,
        Outcome,
        Runtime,
        Timings,
        exited,
        host_failed,
        out_of_memory,
        timed_out,
        trapped,
    )
    from pytest_wasmedge.portability.compare import assert_same, compare
    from pytest_wasmedge.portability.leaks import find_leaks

__version__ = "0.1.0"

# Where each public name lives. They are looked up when first used, because this package is imported at every
# pytest start of everybody who has it installed.
_HOMES = {
    "errors": (
        "ArtifactError", "ContractError", "HostStartError", "LatencyError", "RuntimeUnavailableError",
        "UnsupportedError", "WasmEdgeError",
    ),
    "latency.units": ("ms",),
    "model": (
        "Artifact", "Availability", "Divergence", "Ending", "Host", "Invocation", "Leak", "Limits", "Outcome",
        "Runtime", "Timings",
        "exited", "host_failed", "out_of_memory", "timed_out", "trapped",
    ),
    "portability.compare": ("assert_same", "compare"),
    "portability.leaks": ("find_leaks",),
    "artifacts.loading": ("load_artifact",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Artifact",
    "ArtifactError",
    "Availability",
    "ContractError",
    "Divergence",
    "Ending",
    "Host",
    "HostStartError",
    "Invocation",
    "LatencyError",
    "Leak",
    "Limits",
    "Outcome",
    "Runtime",
    "RuntimeUnavailableError",
    "Timings",
    "UnsupportedError",
    "WasmEdgeError",
    "assert_same",
    "compare",
    "exited",
    "find_leaks",
    "host_failed",
    "load_artifact",
    "ms",
    "out_of_memory",
    "timed_out",
    "trapped",
]  # fmt: skip


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
