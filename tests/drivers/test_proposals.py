"""A runtime that lacks a proposal which the artifact needs is known before it starts with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.artifacts.proposals import PROPOSALS, example
from pytest_wasmedge.drivers.pool import HostPool
from pytest_wasmedge.errors import HostStartError, RuntimeUnavailableError
from pytest_wasmedge.model import Artifact, Host, Limits
from pytest_wasmedge.testing import FakeRuntime
from tests import wat

#: An artifact that needs two proposals.
NEEDS = '(module (memory (export "memory") i64 1) (func $f) (func (export "_start") return_call $f))'


class Choosy(FakeRuntime):
    """A fake that refuses some artifacts by the proposals that they need."""

    def __init__(self, lacks: str, *, broken: bool = False) -> None:
        super().__init__("choosy", lambda invocation: b"")
        self.lacks, self.broken = lacks, broken

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        if self.broken or self.lacks in artifact.proposals:
            raise HostStartError("unknown opcode")
        return super().start(artifact, limits)


def test_what_is_lacking_is_named(tmp_path: Path) -> None:
    """The proposal is named, and is the reason why the host is not started."""
    pool = HostPool(load_artifact(wat.write(tmp_path / "x.wasm", NEEDS)))
    runtime = Choosy("64-bit memory")

    assert pool.availability(runtime).lacks == ("64-bit memory",)
    with pytest.raises(RuntimeUnavailableError, match="choosy: NOT SUPPORTED: needs 64-bit memory"):
        pool.acquire(runtime)


@pytest.mark.parametrize("runtime", [Choosy("garbage collection"), Choosy("", broken=True)])
def test_what_is_not_lacking(tmp_path: Path, runtime: Choosy) -> None:
    """A runtime that has what is needed starts; one that starts with nothing at all lacks something else."""
    pool = HostPool(load_artifact(wat.write(tmp_path / "x.wasm", NEEDS)))

    assert pool.availability(runtime).available


def test_an_artifact_that_needs_nothing_new_costs_no_start(tmp_path: Path) -> None:
    """No runtime is tried for an artifact without proposals."""
    pool = HostPool(load_artifact(wat.write(tmp_path / "x.wasm", wat.ECHO)))

    assert pool.availability(Choosy("", broken=True)).available


def test_what_is_turned_on(tmp_path: Path) -> None:
    """The in-process wasmtime has every proposal that we know a command for."""
    from pytest_wasmedge.runtimes.wasmtime import Wasmtime

    for proposal in PROPOSALS:
        module = example(proposal.name)
        assert module
        pool = HostPool(load_artifact(wat.write(tmp_path / "x.wasm", module)))
        assert pool.availability(Wasmtime()).lacks == ()
