"""The lines in which things stand, which no TOML parser tells."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import pytest

from pytest_wasmedge.portability.lines import Lines, Span, Where

NASTY = '''# a comment with [table] and key = "value"
top = 1
dotted."quoted key".'literal' = true

[ceilings.wasmtime] # [not.this]
"warm/tiny" = "10ms" # "warm/html" = "1ms"
"a # b" = "]"
escaped = "say \\"[x]\\" # no comment"

[ "spaced" . 'names' ]
multi = """
[no.table]
key = "no key"
quotes "" and \\""" and five at the end"""""
literal = \'\'\'
[[known]]
\'\'
\'\'\'
when = 2026-11-21 07:32:00
numbers = [1, [2, 3], [
  "]", # ]
  { deep = [ "}" ], b.c = 1 },
]]
empty = []
nothing = {}

[[known]]
case = "one"
runtimes = [
  "deno",  # why
  # "bun",
  "node",
]

[[known]]
case = "two"
[known.inner]
x = 1
[[known.list]]
y = 1
[[known.list]]
y = 2
'''


def places(value: object, where: Where = ()) -> Iterator[Where]:
    """Yield the way to everything in a parsed document."""
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        yield (*where, key)
        yield from places(inner, (*where, key))


def line_of(text: str, beginning: str, occurrence: int = 1) -> int:
    """Return the number of the line that begins so."""
    found = [number for number, line in enumerate(text.split("\n"), 1) if line.strip().startswith(beginning)]
    return found[occurrence - 1]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_everything_is_found(newline: str) -> None:
    """All that the parser sees has a line, and nothing that it does not see: strings and comments are no keys."""
    text = NASTY.replace("\n", newline)

    assert set(Lines(text).spans) == set(places(tomllib.loads(text)))


@pytest.mark.parametrize(
    ("where", "first", "last"),
    [
        (("top",), "top", "top"),
        (("dotted", "quoted key", "literal"), "dotted", "dotted"),
        (("ceilings", "wasmtime", "warm/tiny"), '"warm/tiny"', '"warm/tiny"'),
        (("ceilings", "wasmtime"), "[ceilings.wasmtime]", "escaped"),
        (("spaced", "names", "multi"), "multi", 'quotes ""'),
        (("spaced", "names", "when"), "when", "when"),
        (("spaced", "names", "numbers"), "numbers", "]]"),
        (("spaced", "names", "numbers", 2, 1, "b", "c"), "{ deep", "{ deep"),
        (("known", 0), "[[known]]", "]"),
        (("known", 0, "runtimes"), "runtimes", "]"),
        (("known", 0, "runtimes", 1), '"node"', '"node"'),
    ],
)
def test_spans(where: Where, first: str, last: str) -> None:
    """A value spans its key to its end, over several lines if it has them; a table its header to its last key."""
    after = NASTY.split("[[known]]\ncase")[0].count("\n") if where[0] == "known" else 0
    lines = NASTY.split("\n")
    expected_first = next(
        n for n, line in enumerate(lines, 1) if n > after and line.strip().startswith(first)
    )
    expected_last = next(
        n for n, line in enumerate(lines, 1) if n >= expected_first and line.strip().startswith(last)
    )

    assert Lines(NASTY).span(where) == Span(expected_first, expected_last)


def test_tables_in_arrays_are_counted() -> None:
    """Each [[table]] is an element of its own, and what is below it belongs to the last one."""
    lines = Lines(NASTY)

    assert lines.span(("known", 1)).first == line_of(NASTY, 'case = "two"') - 1
    assert lines.span(("known", 1, "inner", "x")).first == line_of(NASTY, "x = 1")
    assert lines.span(("known", 1, "list", 1)) == Span(line_of(NASTY, "y = 2") - 1, line_of(NASTY, "y = 2"))


def test_what_is_missing_is_where_its_table_is() -> None:
    """A key that stands nowhere is looked for in its table; a table that stands nowhere at the top."""
    lines = Lines("\n[a]\nx = 1\n[[b]]\ny = [\n1]\n")

    assert lines.span(("a", "missing")) == Span(2, 3)
    assert lines.span(("b", 0, "y", 5)) == Span(5, 6)
    assert lines.span(("c",)) == Span(1, 1)


def test_headers() -> None:
    """Tables with a line of their own are told from those made by dots or braces."""
    lines = Lines("a.b = 1\nc = {d = 1}\n[e.f]\n[[g]]\n")

    assert lines.headers == {("e", "f"), ("g", 0)}
