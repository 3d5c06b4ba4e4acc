"""Latencies are written with a unit, or as a multiple of the floor."""

from __future__ import annotations

import pytest

from pytest_wasmedge.errors import LatencyError
from pytest_wasmedge.latency.units import Duration, FloorMultiple, Limit, ms, parse_limit


@pytest.mark.parametrize(
    ("text", "limit", "again"),
    [
        ("25ms", Duration(25_000_000), "25ms"),
        (" 1.5 s ", Duration(1_500_000_000), "1.5s"),
        ("900us", Duration(900_000), "900us"),
        ("0.25ms", Duration(250_000), "250us"),
        ("3.5x floor", FloorMultiple(3.5), "3.5x floor"),
        ("2 × floor", FloorMultiple(2.0), "2x floor"),
    ],
)
def test_a_limit_is_read_and_written(text: str, limit: Limit, again: str) -> None:
    """What is written is read, and written again in its shortest form."""
    assert parse_limit(text) == limit
    assert str(limit) == again
    assert parse_limit(again) == limit


@pytest.mark.parametrize(
    "text", ["25", "25 Ms", "25 minutes", "-3ms", "x floor", "3.5x", "", "1e3ms", "9" * 400 + "ms"]
)
def test_anything_else_is_refused(text: str) -> None:
    """A number without a unit, or with one that is none, is one clear sentence."""
    with pytest.raises(LatencyError, match='write a number with us, ms or s, such as "25ms"'):
        parse_limit(text)


def test_ms() -> None:
    """`ms` takes fractions, and its results can be ordered."""
    assert ms(0.5) == Duration(500_000)
    assert ms(3) < ms(25)
