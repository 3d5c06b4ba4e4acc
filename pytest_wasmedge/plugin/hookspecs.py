"""The hooks that a conftest.py or another package implements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_wasmedge.model import Runtime


@pytest.hookspec
def pytest_wasmedge_runtimes(
    config: pytest.Config, runtimes: Mapping[str, Runtime]
) -> Sequence[Runtime] | None:
    """Return runtimes to add; one with the name of a known runtime takes its place.

    ``runtimes`` are the built-in ones by name, so that an implementation can wrap one. Called once, after the
    initial conftest files are loaded.
    """


@pytest.hookspec
def pytest_wasmedge_corpora(config: pytest.Config) -> Sequence[Path] | None:
    """Return folders of further cases (docs/cases.md); they run on the artifact under test as those of --wasm-cases."""
