"""What the tests of single runtimes share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytest_wasmedge.model import Host, Limits
from pytest_wasmedge.provision import find
from pytest_wasmedge.runtimes import builtin_runtimes
from tests import wat

Start = Callable[..., Host]


@pytest.fixture
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, so that small programs do not push out the compiled Ruby."""
    if command := find("wasmtime"):
        monkeypatch.setenv("PYTEST_WASMEDGE_WASMTIME", str(command.path))
    cache = tmp_path / "cache"
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(cache))
    return cache


@pytest.fixture
def start(private_cache: Path, tmp_path: Path) -> Iterator[Start]:
    """Start a host of the named runtime with this program; it is closed when the test ends."""
    known = {runtime.name: runtime for runtime in builtin_runtimes()}
    with ExitStack() as hosts:

        def start(name: str, program: str | bytes, **limits: float) -> Host:
            availability = known[name].probe()
            if not availability.available:
                pytest.fail(f"{name}: {availability.reason}; run `make setup`", pytrace=False)
            folder = tmp_path / f"artifact-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            return hosts.enter_context(known[name].start(wat.artifact(folder, program), Limits(**limits)))  # type: ignore[arg-type]

        yield start
