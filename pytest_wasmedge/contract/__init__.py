"""The contract, ``portability.toml``: ceilings, artifact limits, known divergences.

`pytest_wasmedge.contract.update` writes it, and is imported where that is asked for.
"""

from __future__ import annotations

from pytest_wasmedge.contract.entries import FIELDS, KINDS, Ceiling, Contract, Known, RuntimeRange
from pytest_wasmedge.contract.limits import (
    ArtifactLimit,
    ArtifactLimits,
    ImportRule,
    Violation,
    check_artifact,
)
from pytest_wasmedge.contract.presets import Preset, presets
from pytest_wasmedge.contract.read import load_contract

__all__ = [
    "FIELDS",
    "KINDS",
    "ArtifactLimit",
    "ArtifactLimits",
    "Ceiling",
    "Contract",
    "ImportRule",
    "Known",
    "Preset",
    "RuntimeRange",
    "Violation",
    "check_artifact",
    "load_contract",
    "presets",
]
