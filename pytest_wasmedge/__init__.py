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

__all__ = [
    "Artifact", "ArtifactError", "Availability", "ContractError", "Divergence", "Ending", "Host", "HostStartError",
    "Invocation", "LatencyError", "Leak", "Limits", "Outcome", "Runtime", "RuntimeUnavailableError", "Timings",
    "UnsupportedError", "WasmEdgeError", "assert_same", "compare", "exited", "find_leaks", "host_failed",
    "load_artifact", "ms", "out_of_memory", "timed_out", "trapped",
]  # fmt: skip

# Where the public names are that are neither errors nor in model.py.
_HOME_OF = {
    "assert_same": "portability.compare",
    "compare": "portability.compare",
    "find_leaks": "portability.leaks",
    "load_artifact": "artifacts.loading",
    "ms": "latency.units",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: everybody who has us installed imports this package at each start."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOME_OF.get(name, "errors" if name.endswith("Error") else "model")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
