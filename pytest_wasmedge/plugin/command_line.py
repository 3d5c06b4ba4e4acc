"""Our command line, as it was given to one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT
from pytest_wasmedge.plugin.options import BUDGET_S, MARGIN

if TYPE_CHECKING:
    import argparse

#: What `--wasm-reference` calls the golden files.
GOLDEN = "golden"


@dataclass(frozen=True, slots=True)
class Options:
    """Our command line, as given."""

    runtimes: str = ""
    artifact: str = BUILTIN_ARTIFACT
    require: str = ""
    reference: str = ""
    update_golden: bool = False
    against: str = ""
    contract: str = ""
    update_contract: bool = False
    strict_latency: bool = False
    latency_budget_s: float = BUDGET_S
    margin: float = MARGIN
    seed: int | None = None
    samples: str = ""
    remote: tuple[str, ...] = ()
    remote_header: str = ""
    corpora: tuple[str, ...] = ()
    started_in: Path = field(default_factory=Path.cwd)


def read(option: argparse.Namespace, started_in: Path) -> Options:
    """Return what was given; relative paths are from the folder that pytest was started in."""
    return Options(
        option.runtimes,
        option.wasm_artifact,
        option.wasm_require,
        option.wasm_reference,
        option.wasm_update_golden,
        option.wasm_against,
        option.wasm_contract,
        option.wasm_update_contract,
        option.wasm_strict_latency,
        option.wasm_latency_budget,
        option.wasm_margin,
        option.wasm_seed,
        option.wasm_samples,
        tuple(option.wasm_remote),
        option.wasm_remote_header,
        tuple(option.wasm_corpus),
        started_in,
    )
