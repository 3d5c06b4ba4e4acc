"""Which proposals a module needs: found by a validator, one by one."""

from __future__ import annotations

import pytest

from pytest_wasmedge.artifacts.proposals import PROPOSALS, example, needed
from pytest_wasmedge.errors import ArtifactError
from tests import wat

NAMES = [each.name for each in PROPOSALS]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_found_alone(name: str) -> None:
    """The command that needs one proposal needs no other."""
    module = example(name)

    assert module is not None
    assert needed(module, "it") == (name,)


def test_what_was_there_before_the_standard() -> None:
    """Exceptions as compilers wrote them for years are a proposal of their own, which browsers have."""
    module = example("legacy exception handling")

    assert module is not None
    assert needed(module, "it") == ("legacy exception handling",)


def test_several() -> None:
    """All that a module needs are named, in the order of the table."""
    module = wat.assemble(
        '(module (memory (export "memory") i64 1) (func $f) (func (export "_start") return_call $f))'
    )

    assert needed(module, "it") == ("tail calls", "64-bit memory")


def test_what_every_host_has_is_not_named() -> None:
    """SIMD, bulk memory and several values are no news."""
    module = wat.assemble(
        """(module (memory (export "memory") 1) (func $two (result i32 i32) (i32.const 1) (i32.const 2))
        (func (export "_start") call $two drop drop (drop (v128.const i64x2 0 0))
        (memory.fill (i32.const 0) (i32.const 0) (i32.const 1))))"""
    )

    assert needed(module, "it") == ()


def test_what_is_not_valid() -> None:
    """A module that no proposal makes valid is refused, with what the validator has against it."""
    with pytest.raises(ArtifactError, match="it is not valid WebAssembly, whatever the host: type mismatch"):
        needed(wat.assemble("(module (func (result i32)))"), "it")


def test_what_the_validator_does_not_know() -> None:
    """An instruction that it has never heard of may be one that a host knows."""
    # A function that is the single instruction 0x27.
    module = bytes.fromhex("0061736d 01000000 0104 01600000 0302 0100 0a05 0103 00270b")

    assert needed(module, "it")[0].startswith("what no validator here knows (illegal opcode")
    assert example(needed(module, "it")[0]) is None
