"""The binary format: what is written is read as itself, and nothing is read beyond its end."""

from __future__ import annotations

import pytest

from pytest_wasmedge.artifacts.binary import Reader, encode_name, encode_number, sections, with_section
from pytest_wasmedge.artifacts.wasi import SIGNATURES
from pytest_wasmedge.errors import ArtifactError
from tests import wat


def reader(data: bytes) -> Reader:
    """Read these bytes, behind one that is somebody else's and before another."""
    return Reader(b"x" + data + b"\xff", 1, 1 + len(data), "import", "it")


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 17_400_000, (1 << 32) - 1])
def test_numbers_come_back(number: int) -> None:
    """What is written as LEB128 is read as itself, and ends where it should."""
    written = encode_number(number)
    read = reader(written)

    assert read.number() == number
    assert read.at == 1 + len(written)


def test_names_come_back() -> None:
    """A name is written with its length in bytes."""
    assert reader(encode_name("né")).name() == "né"


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x80"])
def test_nothing_is_read_beyond_the_end(data: bytes) -> None:
    """A number that goes on behind its section is damage, whatever stands there."""
    with pytest.raises(ArtifactError, match="it is damaged: its import section ends in the middle"):
        reader(data).number()


def test_one_section_is_exchanged() -> None:
    """Other content in one section leaves all others as they are; a section that is not there stays away."""
    module = wat.assemble('(module (memory (export "memory") 1) (func (export "_start")))')
    numbers = [number for number, _, _ in sections(module, "it")]
    exported = encode_number(0)

    changed = with_section(module, 7, exported)

    assert [number for number, _, _ in sections(changed, "it")] == numbers
    kept = {number: module[start:end] for number, start, end in sections(module, "it")}
    for number, start, end in sections(changed, "it"):
        assert changed[start:end] == (exported if number == 7 else kept[number])
    assert with_section(module, 2, b"\0") == module


def test_preview_1_is_whole() -> None:
    """The table has the 46 functions of preview 1, with parameters of two types."""
    assert len(SIGNATURES) == 46
    assert {letter for params in SIGNATURES.values() for letter in params} == {"i", "I"}
