"""The badge says how many runtimes ran without a failure."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from pytest_wasmedge.reports.badge import render
from tests.reports.sample import begin, diverging, document, end, row_of

GREEN, RED = "#1f7a33", "#b3202f"


@pytest.mark.parametrize(
    ("events", "label", "colour"),
    [
        ((row_of("a", "one"), row_of("a", "two", "known"), end()), "portable: 2/2", GREEN),
        ((row_of("a", "one"), diverging("a", "two"), end(1)), "portable: 1/2", RED),
        ((row_of("a", "one"), end(1)), "portable: 1/2", RED),
        ((row_of("a", "one"), row_of("a", "two")), "portable: incomplete", RED),
    ],
)
def test_badge(events: tuple[dict[str, object], ...], label: str, colour: str) -> None:
    """A run that was cut off counts nothing; red is whatever is not PORTABLE."""
    text = render(document(begin("one", "two"), *events))
    picture = ET.fromstring(text)

    assert picture.get("aria-label") == label
    assert {RED, GREEN} & {each.get("fill") for each in picture.iter()} == {colour}
