"""Fixtures for the tests of provision: a cache of their own, and a tool that needs no registry."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pytest_wasmedge.provision import moving as moving_module
from pytest_wasmedge.provision import pins as pins_module
from pytest_wasmedge.provision import registry as registry_module
from pytest_wasmedge.provision import standing as standing_module
from pytest_wasmedge.provision.pins import Pin, Smoke
from tests.provision.registries import Checkout, Registries

#: The modules that `provision` hides behind functions of the same name.
install_module: ModuleType = importlib.import_module("pytest_wasmedge.provision.install")
find_module: ModuleType = importlib.import_module("pytest_wasmedge.provision.find")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of this test."""
    root = tmp_path / "cache"
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(root))
    return root


@pytest.fixture(scope="session")
def real_deno() -> Path:
    """The folder of the deno that `make setup` has installed."""
    place = install_module.installed("deno")
    assert isinstance(place, Path), "run `make setup`"
    return place


class FakeTool:
    """A pinned tool whose package is one shell script; ``fetches`` counts how often it was fetched."""

    def __init__(self, script: str = "echo 42") -> None:
        self.pin = Pin(
            name="tool",
            source="pypi",
            package="tool",
            version="1.0",
            digest="sha256:" + "0" * 64,
            entry="bin/tool",
            executable=True,
            smoke=Smoke(("--prove",), "42"),
        )
        self.script = script
        self.fetches = 0

    def fetch(self, _: Pin, work: Path) -> Path:
        """Do what `fetch_pypi` does, without a registry."""
        self.fetches += 1
        program = work / "package" / "bin" / "tool"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{self.script}\n")
        return work / "package"


@pytest.fixture
def tool(cache: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTool:
    """A tool that `install` knows and gets without a registry."""
    fake = FakeTool()
    monkeypatch.setattr(install_module, "pin", lambda _: fake.pin)
    monkeypatch.setattr(install_module, "fetch_pypi", fake.fetch)
    return fake


def leftovers(cache: Path) -> list[str]:
    """Return what is in the tools folder except lock files."""
    return sorted(path.name for path in (cache / "tools").iterdir() if path.suffix != ".install-lock")


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registries]:
    """Registries on loopback, which the clients ask instead of those that this machine is set up for."""
    made = Registries()
    for name, value in {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{made.url}/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "NPM_CONFIG_REGISTRY": made.url,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


@pytest.fixture
def checkout(
    real_deno: Path, registries: Registries, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Checkout]:
    """A checkout of ours with pins of what the registries have."""
    made = Checkout(tmp_path / "checkout", registries)
    made.fill()
    monkeypatch.setattr(pins_module, "PINS", made.pins)
    monkeypatch.setattr(pins_module, "LOCKS", made.locks)
    for module in (standing_module, moving_module):
        monkeypatch.setattr(module, "install_client", lambda pin, progress: None)
    monkeypatch.setattr(registry_module, "executable", lambda name: real_deno / "bin" / "deno")
    made.read_anew()
    yield made
    monkeypatch.undo()
    made.read_anew()
