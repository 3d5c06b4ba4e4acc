"""Fixtures for the plugin's own tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.artifacts.recipe import Tools
from pytest_wasmedge.model import Artifact
from pytest_wasmedge.options import BUILTIN_ARTIFACT
from pytest_wasmedge.session import open_artifact

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def builtin_artifact() -> Artifact:
    """The built-in Ruby, unpacked."""
    return open_artifact(BUILTIN_ARTIFACT, Path.cwd())


@pytest.fixture(scope="session")
def build_tools() -> Tools:
    """The pinned tools of the recipe, installed."""
    from pytest_wasmedge import provision

    return Tools(**provision.build_tools())
