"""Writing measured ceilings and new divergences back: what changes, and that nothing else does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from pytest_wasmedge.contract.differing import Golden, Normalised
from pytest_wasmedge.contract.read import load_contract
from pytest_wasmedge.contract.update import KnownDraft, MeasuredCeiling, round_up, update_contract
from pytest_wasmedge.errors import ContractError
from pytest_wasmedge.latency.units import ms

TODAY = date(2026, 11, 21)
MS = 1_000_000

COMMENTED = """# What we promise to those who deploy us.

[ceilings.wasmtime]  # in-process
  'warm/tiny'   =   '10ms'   # half of it is Ruby
"cold/code-cache" = "0.025s"

# Node compiles lazily.
[ceilings.node]
"cold/no-cache" = "3.5x floor" # travels
\t
# What the platforms allow.
[artifact]
bytes = 20_000_000   # underscores stay
presets = [
  "fastly-compute",  # the tightest
]

[[known]]
case = 'errors/deep_*'
runtimes = ["deno >=2.8,<3", "node"]
field = "stderr"
reason = \"""
two
lines\"""
issue = "https://example.org/1"
# the end"""


def update(
    folder: Path,
    text: str | None,
    *measured: MeasuredCeiling,
    drafts: Sequence[KnownDraft] = (),
    headroom: float = 1.5,
    machine: str = "",
) -> tuple[str, str]:
    """Return the updated text and the diff."""
    path = folder / "portability.toml"
    if text is not None:
        path.write_bytes(text.encode())
    diff = update_contract(path, measured, drafts, headroom, TODAY, machine)
    return path.read_bytes().decode() if path.exists() else "", diff


def changed(diff: str) -> list[str]:
    """Return the lines of a diff that were taken out and put in, blank ones aside."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    return [line for line in lines if line[:1] in "+-" and len(line) > 1]


def test_only_the_measured_values_change(tmp_path: Path) -> None:
    """A replaced value keeps its indent and comment; every other byte of the file stays."""
    text, diff = update(tmp_path, COMMENTED, MeasuredCeiling("wasmtime", "warm/tiny", 4_700_000))

    assert changed(diff) == [
        "-  'warm/tiny'   =   '10ms'   # half of it is Ruby",
        "+  'warm/tiny'   =   \"7.1ms\"   # half of it is Ruby",
    ]
    assert text == COMMENTED.replace("'10ms'", '"7.1ms"')


def test_new_ceilings_stand_in_their_table(tmp_path: Path) -> None:
    """A new kind comes right behind its table's last key, before the comment of the next table."""
    text, _ = update(tmp_path, COMMENTED, MeasuredCeiling("wasmtime", "warm/html", 20 * MS))

    assert text == COMMENTED.replace('"0.025s"\n', '"0.025s"\n"warm/html" = "30ms"\n')


def test_new_runtimes_stand_behind_the_other_ceilings(tmp_path: Path) -> None:
    """A runtime without ceilings gets a table of its own, behind those of the others."""
    text, _ = update(
        tmp_path,
        COMMENTED,
        MeasuredCeiling("deno", "warm/tiny", 20 * MS),
        MeasuredCeiling("deno", "warm/html", 30 * MS),
    )

    new = '\n[ceilings.deno]\n"warm/tiny" = "30ms"\n"warm/html" = "45ms"\n'
    assert text == COMMENTED.replace("# travels\n", f"# travels\n{new}")


def test_the_same_again_changes_nothing(tmp_path: Path) -> None:
    """A value that is already there, even if written in another unit, is left alone, and the file untouched."""
    text, _ = update(tmp_path, COMMENTED)
    before = (tmp_path / "portability.toml").stat()
    text, diff = update(tmp_path, None, MeasuredCeiling("wasmtime", "cold/code-cache", 25 * MS), headroom=1)

    assert (text, diff) == (COMMENTED, "")
    assert (tmp_path / "portability.toml").stat() == before


def test_a_missing_file_is_made(tmp_path: Path) -> None:
    """Without a contract, one is made of the measured ceilings; it can be read."""
    text, _ = update(
        tmp_path,
        None,
        MeasuredCeiling("wasmtime", "warm/tiny", 4 * MS),
        MeasuredCeiling("my.own", "warm/tiny", 4 * MS),
    )

    assert text == '[ceilings.wasmtime]\n"warm/tiny" = "6ms"\n\n[ceilings."my.own"]\n"warm/tiny" = "6ms"\n'
    assert [each.limit for each in load_contract(tmp_path / "portability.toml").ceilings] == [ms(6), ms(6)]


def test_nothing_measured_makes_no_file(tmp_path: Path) -> None:
    """With nothing to write there is nothing to read afterwards either."""
    assert update(tmp_path, None) == ("", "")
    assert not (tmp_path / "portability.toml").exists()


def test_a_multiple_of_the_floor_stays_one(tmp_path: Path) -> None:
    """Where the floor was measured, a ceiling in floors is updated in floors, and is never under one and a half."""
    text, _ = update(
        tmp_path, COMMENTED, MeasuredCeiling("node", "cold/no-cache", 100 * MS, floor_ns=40 * MS)
    )
    assert text == COMMENTED.replace("3.5x floor", "3.8x floor")

    text, _ = update(tmp_path, COMMENTED, MeasuredCeiling("node", "cold/no-cache", 20 * MS, floor_ns=40 * MS))
    assert text == COMMENTED.replace("3.5x floor", "1.5x floor")


def test_a_multiple_without_its_floor_is_left_alone(tmp_path: Path) -> None:
    """Milliseconds do not replace a multiple of the floor; the summary says why it stayed."""
    text, diff = update(tmp_path, COMMENTED, MeasuredCeiling("node", "cold/no-cache", 100 * MS))

    assert text == COMMENTED
    assert diff == (
        f'left alone: {tmp_path / "portability.toml"}:9 "cold/no-cache" = "3.5x floor" for node: '
        "its floor was not measured\n"
    )


def test_a_new_ceiling_is_all_that_was_measured(tmp_path: Path) -> None:
    """With a floor it is a duration and a multiple, so that a slower host is seen too; both are updated."""
    text, _ = update(tmp_path, None, MeasuredCeiling("bun", "cold/no-cache", 16 * MS, floor_ns=8 * MS))
    assert text == '[ceilings.bun]\n"cold/no-cache" = ["24ms", "3x floor"]\n'

    text, _ = update(tmp_path, None, MeasuredCeiling("bun", "cold/no-cache", 24 * MS, floor_ns=8 * MS))
    assert text == '[ceilings.bun]\n"cold/no-cache" = ["36ms", "4.5x floor"]\n'

    text, diff = update(tmp_path, None, MeasuredCeiling("bun", "cold/no-cache", 16 * MS))
    assert text == '[ceilings.bun]\n"cold/no-cache" = ["24ms", "4.5x floor"]\n'
    assert diff.endswith('"cold/no-cache" = "4.5x floor" for bun: its floor was not measured\n')


def test_comments_in_an_array_stay(tmp_path: Path) -> None:
    """The limits of an array are replaced one by one, in their order."""
    start = '[ceilings.bun]\n"cold/no-cache" = [\n  "3x floor", # travels\n  \'24ms\',  # ours\n]\n'
    text, _ = update(tmp_path, start, MeasuredCeiling("bun", "cold/no-cache", 24 * MS, floor_ns=8 * MS))

    assert text == start.replace("3x", "4.5x").replace("'24ms'", '"36ms"')


def test_a_duration_says_where_it_was_measured(tmp_path: Path) -> None:
    """A comment of ours stands at the line's end, is replaced by the next one, and touches no other comment."""
    ours = "  # measured by --wasm-update-contract on "
    first = (
        MeasuredCeiling("wasmtime", "warm/tiny", 4_700_000),
        MeasuredCeiling("node", "cold/no-cache", 100 * MS, floor_ns=40 * MS),
        MeasuredCeiling("bun", "cold/no-cache", 16 * MS, floor_ns=8 * MS),
    )
    text, _ = update(tmp_path, COMMENTED, *first, machine="2 cores of A")
    bun = f'\n[ceilings.bun]\n"cold/no-cache" = ["24ms", "3x floor"]{ours}2 cores of A\n'
    expected = COMMENTED.replace(
        "'10ms'   # half of it is Ruby", f'"7.1ms"   # half of it is Ruby{ours}2 cores of A'
    )
    assert text == expected.replace("3.5x floor", "3.8x floor").replace("# travels\n", f"# travels\n{bun}")
    assert update(tmp_path, None, *first, machine="2 cores of B") == (text, "")

    second = (
        MeasuredCeiling("wasmtime", "warm/tiny", 5 * MS),
        MeasuredCeiling("bun", "cold/no-cache", 20 * MS),
    )
    again, _ = update(tmp_path, None, *second, machine="4 cores of B")
    assert again == text.replace("7.1ms", "7.5ms").replace("24ms", "30ms").replace(
        "2 cores of A", "4 cores of B"
    )


def test_a_line_of_several_values_gets_no_comment(tmp_path: Path) -> None:
    """A comment at its end would not say which value was measured there; other line ends are kept."""
    start = 'ceilings = {node = {"warm/tiny" = "1ms", "warm/html" = "1ms"}}\n'
    text, _ = update(tmp_path, start, MeasuredCeiling("node", "warm/tiny", 4 * MS), machine="2 cores of A")
    assert text == start.replace('"1ms",', '"6ms",')

    start = '[ceilings.bun]\r\n"warm/tiny" = "1ms" # x\r\n'
    text, _ = update(tmp_path, start, MeasuredCeiling("bun", "warm/tiny", 4 * MS), machine="2 cores of A")
    assert text == start.replace("1ms", "6ms").replace(
        "# x", "# x  # measured by --wasm-update-contract on 2 cores of A"
    )


def test_caches_that_do_not_help_get_one_ceiling(tmp_path: Path) -> None:
    """If noise makes the start with a code cache the slower one, both get its ceiling: the file stays readable."""
    text, _ = update(
        tmp_path,
        None,
        MeasuredCeiling("bun", "cold/no-cache", 20 * MS),
        MeasuredCeiling("bun", "cold/code-cache", 22 * MS),
    )

    assert text == '[ceilings.bun]\n"cold/no-cache" = "33ms"\n"cold/code-cache" = "33ms"\n'


def test_half_of_the_caches_measured_cannot_contradict(tmp_path: Path) -> None:
    """A code-cache ceiling above one that was not measured is refused, with that one's line."""
    start = '[ceilings.bun]\n"cold/no-cache" = "30ms"\n'
    with pytest.raises(ContractError) as caught:
        update(tmp_path, start, MeasuredCeiling("bun", "cold/code-cache", 22 * MS))

    assert str(caught.value) == (
        f"{tmp_path / 'portability.toml'}:2: cold/code-cache of bun now needs 33ms, above its cold/no-cache of "
        "30ms; measure cold/no-cache as well, or raise it by hand."
    )
    assert (tmp_path / "portability.toml").read_text() == start


def test_the_larger_of_two_measurements_counts(tmp_path: Path) -> None:
    """The same place measured twice gets the larger value."""
    text, _ = update(
        tmp_path,
        None,
        MeasuredCeiling("bun", "warm/tiny", 4 * MS),
        MeasuredCeiling("bun", "warm/tiny", 2 * MS),
    )

    assert text == '[ceilings.bun]\n"warm/tiny" = "6ms"\n'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("24.9", "25"),
        ("25", "25"),
        ("0.1234", "0.13"),
        ("1201", "1300"),
        ("99.1", "100"),
        ("7.01", "7.1"),
        ("0", "0"),
    ],
)
def test_rounding_up(value: str, expected: str) -> None:
    """Two digits are kept, and a ceiling is never under what it is made of."""
    assert round_up(Decimal(value)) == Decimal(expected)


def test_long_times_are_written_without_exponent(tmp_path: Path) -> None:
    """Milliseconds are plain digits, however many."""
    text, _ = update(tmp_path, None, MeasuredCeiling("bun", "warm/heavy", 123_456 * MS))

    assert text == '[ceilings.bun]\n"warm/heavy" = "190000ms"\n'


DRAFT = KnownDraft('strings/"quoted"', ("deno >=2.9,<3", "node"), ("stderr", "leak"))
DRAFT_TEXT = """[[known]]
draft = true  # recorded on 2026-11-21; give reason and issue, then delete this line: until then it excuses nothing
case = "strings/\\"quoted\\""
runtimes = ["deno >=2.9,<3", "node"]
field = ["stderr", "leak"]
reason = ""
issue = ""
"""


def test_new_divergences_are_drafts(tmp_path: Path) -> None:
    """A new divergence is appended as a draft that can be read but excuses nothing."""
    text, _ = update(tmp_path, COMMENTED, drafts=[DRAFT])

    assert text == COMMENTED.replace("# the end", f"\n{DRAFT_TEXT}\n# the end")
    contract = load_contract(tmp_path / "portability.toml")
    assert [each.case for each in contract.drafts] == ['strings/"quoted"']
    assert contract.known_for('strings/"quoted"', "node", None) == []


def test_a_draft_says_what_differs(tmp_path: Path) -> None:
    """A normalisation, or an outcome whatever its characters are, is read back as it was."""
    hostile = "é\u2028\x85\x1b[1m\"'\\\\\r\n\t# ]]\n"
    drafts = [
        KnownDraft("a", ("node",), ("stderr",), differs="ANSI colours"),
        KnownDraft(
            "b", ("node",), ("stdout", "ending"), outcome=(("ending", "trapped"), ("stdout", hostile))
        ),
    ]
    text, _ = update(tmp_path, COMMENTED, drafts=drafts)
    first, second = load_contract(tmp_path / "portability.toml").drafts

    assert first.differs == Normalised("ANSI colours")
    assert second.differs == Golden((("ending", "trapped"), ("stdout", hostile)))
    assert update(tmp_path, None, drafts=drafts) == (text, "")


def test_a_draft_needs_reason_and_issue_to_count(tmp_path: Path) -> None:
    """Deleting only the line `draft = true` gives the message which line is still to be filled in."""
    path = tmp_path / "portability.toml"
    update(tmp_path, None, drafts=[DRAFT])
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("draft")))

    with pytest.raises(ContractError, match=r"portability\.toml:5: reason is empty; write reason = "):
        load_contract(path)


def test_noted_divergences_are_not_noted_again(tmp_path: Path) -> None:
    """What is known, or a draft already, is left out, runtime by runtime and field by field."""
    known = KnownDraft("errors/deep_*", ("deno >=2.8,<3", "node", "bun"), ("stderr", "ending"))
    text, _ = update(tmp_path, COMMENTED, drafts=[known, known])

    drafts = load_contract(tmp_path / "portability.toml").drafts
    added = [(str(runtime), each.fields) for each in drafts for runtime in each.runtimes]
    assert added == [("deno <3,>=2.8", ("ending",)), ("node", ("ending",)), ("bun", ("stderr", "ending"))]
    assert update(tmp_path, None, drafts=[known]) == (text, "")


def test_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    """A file with CRLF gets CRLF in its new lines too, and a byte order mark stays."""
    start = "\ufeff" + COMMENTED.replace("\n", "\r\n")
    text, _ = update(
        tmp_path,
        start,
        MeasuredCeiling("wasmtime", "warm/html", MS),
        MeasuredCeiling("deno", "warm/tiny", MS),
        drafts=[DRAFT],
    )

    assert text.count("\n") == text.count("\r\n")
    assert text.startswith("\ufeff# What")
    assert [line for line in text.splitlines() if line in COMMENTED.splitlines()][-1] == "# the end"


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (
            'ceilings.bun."warm/tiny" = "1ms" # c\n[artifact]\n',
            'ceilings.bun."warm/tiny" = "3ms" # c\nceilings.bun."warm/html" = "3ms"\n[artifact]\n',
        ),
        (
            '[ceilings]\nbun = {"warm/tiny" = "1ms"} # c\n',
            '[ceilings]\nbun = {"warm/tiny" = "3ms","warm/html" = "3ms"} # c\n',
        ),
        (
            '[ceilings.bun]\n"warm/tiny" = "1ms"\n[artifact]\nbytes = 1\n[ceilings.node]\n"warm/tiny" = "1ms"\n',
            '[ceilings.bun]\n"warm/tiny" = "3ms"\n"warm/html" = "3ms"\n[artifact]\nbytes = 1\n[ceilings.node]\n'
            '"warm/tiny" = "1ms"\n',
        ),
    ],
)
def test_other_ways_to_write_tables(tmp_path: Path, start: str, expected: str) -> None:
    """Dotted keys, inline tables and tables out of order are updated in the way they are written."""
    text, _ = update(
        tmp_path,
        start,
        MeasuredCeiling("bun", "warm/tiny", 2 * MS),
        MeasuredCeiling("bun", "warm/html", 2 * MS),
    )

    assert text == expected


@pytest.mark.parametrize(
    ("start", "measured", "drafts", "message"),
    [
        (
            'ceilings = {node = {"warm/tiny" = "1ms"}}\n',
            "bun",
            [],
            "write its content as tables, [ceilings.R",
        ),
        ("known = []\n", "", [DRAFT], ":1: known is an array; write its entries as [[known]] tables."),
        ("[artifact]\nbites = 1\n", "bun", [], ':2: [artifact] has no "bites"; did you mean bytes?'),
    ],
)
def test_what_cannot_be_updated_stays(
    tmp_path: Path, start: str, measured: str, drafts: list[KnownDraft], message: str
) -> None:
    """A contract that is wrong, or written in a way that cannot be added to, is refused and not touched."""
    values = [MeasuredCeiling(measured, "warm/tiny", MS)] if measured else []
    with pytest.raises(ContractError) as caught:
        update(tmp_path, start, *values, drafts=drafts)

    assert message in str(caught.value)
    assert (tmp_path / "portability.toml").read_text() == start


@pytest.mark.parametrize(
    ("kind", "headroom", "message"),
    [
        ("warm/tinny", 1.5, "did you mean warm/tiny?"),
        ("warm/tiny", 0.9, "a head-room of 0.9 puts ceilings below"),
    ],
)
def test_wrong_measurements_are_refused(tmp_path: Path, kind: str, headroom: float, message: str) -> None:
    """An unknown kind, or a head-room under one, is an error before anything is written."""
    with pytest.raises(ContractError) as caught:
        update(tmp_path, None, MeasuredCeiling("bun", kind, MS), headroom=headroom)

    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new text is complete in a file beside it before it takes its name; if that fails, the old one stays."""
    seen = []

    def refuse(self: Path, target: Path) -> Path:
        seen.append((self.parent == target.parent, "7.1ms" in self.read_text()))
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ContractError, match=r"cannot be written \(Permission denied\); make its folder"):
        update(tmp_path, COMMENTED, MeasuredCeiling("wasmtime", "warm/tiny", 4_700_000))

    assert seen == [(True, True)]
    assert [each.name for each in tmp_path.iterdir()] == ["portability.toml"]
    assert (tmp_path / "portability.toml").read_text() == COMMENTED


def test_mode_and_links_stay(tmp_path: Path) -> None:
    """The mode of the file stays, and a link to it stays a link."""
    real = tmp_path / "real.toml"
    real.write_text("")
    real.chmod(0o640)
    (tmp_path / "portability.toml").symlink_to(real)
    update(tmp_path, None, MeasuredCeiling("node", "cold/no-cache", 4 * MS))

    assert (tmp_path / "portability.toml").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert load_contract(real).ceilings[0].limit == ms(6)
