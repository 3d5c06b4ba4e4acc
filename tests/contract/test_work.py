"""The table [work] of a contract: read strictly, held against counts, written back."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.contract.read import load_contract, parse_contract
from pytest_wasmedge.contract.update import update_contract
from pytest_wasmedge.contract.work import WorkCeiling, WorkTable, judge, round_up, values
from pytest_wasmedge.errors import ContractError
from pytest_wasmedge.work.counts import Count

PATH = Path("portability.toml")
TEXT = """# what it may do
[work]
unit = "engine 1.0"
"start" = 2_000_000
"start.functions" = 900  # what V8 compiles
"load/hash_4k" = 12_000_000
"""
UNIT = "engine 1.0"


def table(text: str = TEXT) -> WorkTable:
    """Return the table [work] of a contract."""
    found = parse_contract(text, PATH).work
    assert found is not None
    return found


def counts(fuel: int, functions: int = 1) -> dict[str, Count]:
    """Return counts that do not vary."""
    return {"fuel": Count(fuel, fuel), "functions": Count(functions, functions)}


def test_it_is_read() -> None:
    """Each key is a start or a case; a known count may follow a dot."""
    assert table() == WorkTable(
        UNIT,
        (
            WorkCeiling("start", "fuel", 2_000_000, 4),
            WorkCeiling("start", "functions", 900, 5),
            WorkCeiling("load/hash_4k", "fuel", 12_000_000, 6),
        ),
    )
    assert table().cases == {"load/hash_4k"}
    assert table('[work]\n"a.b" = 1\n').ceilings == (WorkCeiling("a.b", "fuel", 1, 2),)
    assert parse_contract("", PATH).work is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("work = 3", r"portability.toml:1: work is an integer; write a table \[work\]"),
        ("[work]\nunit = 3", "portability.toml:2: unit is an integer; write the engine and its version"),
        (
            '[work]\n"start" = "2 MB"',
            'portability.toml:2: start is a string; write the most that is allowed: "start"',
        ),
        ('[work]\n"start" = -1', "portability.toml:2: nothing has fuel of -1; write the most"),
        ("[work]\nfuel = 1", 'portability.toml:2: "fuel" names no case; write "start"'),
        ('[work]\n"" = 1', 'portability.toml:2: "" names no case'),
    ],
)
def test_what_is_wrong(text: str, message: str) -> None:
    """A mistake is one line with its place and what to do."""
    with pytest.raises(ContractError, match=message):
        parse_contract(text, PATH)


def test_within_its_ceilings() -> None:
    """Nothing is said."""
    judged = judge(table(), {"start": counts(2_000_000, 900), "load/hash_4k": counts(1)}, UNIT, PATH)

    assert (judged.broken, judged.notes) == ((), ())


def test_over_its_ceilings() -> None:
    """One line each, with the line of the contract."""
    judged = judge(table(), {"start": counts(2_000_001, 901), "load/hash_4k": counts(1)}, UNIT, PATH)

    assert [each.partition(": make")[0] for each in judged.broken] == [
        "portability.toml:4: fuel of start: 2,000,001, more than 2,000,000",
        "portability.toml:5: functions executed of start: 901, more than 900",
    ]


def test_another_version_of_the_engine() -> None:
    """Fuel is not judged, and the run says to write it anew; functions are the same in every version."""
    judged = judge(table(), {"start": counts(9_000_000, 901), "load/hash_4k": counts(1)}, "engine 2.0", PATH)

    assert len(judged.broken) == 1
    assert "901" in judged.broken[0]
    assert judged.notes == (
        "portability.toml: the fuel in [work] is that of engine 1.0, and here is engine 2.0, which counts otherwise: "
        "write it anew with --wasm-update-contract. Not judged: start, load/hash_4k",
    )


def test_what_was_not_counted() -> None:
    """It is listed."""
    judged = judge(table(), {"start": {"fuel": Count(1, 1)}}, UNIT, PATH)

    assert judged.broken == ()
    assert judged.notes == (
        "portability.toml, [work] not judged, since it was not counted in this run: start.functions, load/hash_4k",
    )


def test_a_guest_that_varies() -> None:
    """It is over its ceiling if every run is, and undecided if some are."""
    some = {"start": {"fuel": Count(1, 3_000_000)}}
    every = {"start": {"fuel": Count(2_000_001, 3_000_000)}}
    text = '[work]\n"start" = 2_000_000\n'

    assert judge(table(text), some, UNIT, PATH).notes == (
        "portability.toml, [work] undecided, since the guest varies from run to run: start (1 to 3,000,000)",
    )
    assert len(judge(table(text), every, UNIT, PATH).broken) == 1


@pytest.mark.parametrize(
    ("number", "rounded"), [(1_928_690, 2_000_000), (0, 0), (7, 7), (99, 99), (101, 110)]
)
def test_rounding(number: int, rounded: int) -> None:
    """Up, to two digits: room for what does not matter."""
    assert round_up(number) == rounded


def test_what_is_written() -> None:
    """The unit, what is known of a start, and what the table has already; what was not counted stays."""
    counted = {"start": counts(1_928_690, 745), "other": counts(5)}

    assert values(table(), counted, UNIT) == {"unit": UNIT, "start": 2_000_000, "start.functions": 750}


def test_a_unit_is_not_changed_for_a_part() -> None:
    """Fuel that was not counted anew would be read in the new unit: then nothing is written."""
    assert values(table(), {"start": counts(1)}, "engine 2.0") == {}
    assert values(table('[work]\nunit = "engine 1.0"\n"start" = 1\n'), {"start": counts(1)}, "engine 2.0")


def test_writing_changes_values_alone(tmp_path: Path) -> None:
    """Comments, order and other lines stay; new keys go to the end of the table."""
    path = tmp_path / "portability.toml"
    path.write_text(TEXT + "\n# limits\n[artifact]\nbytes = 10\n")
    update_contract(
        path, [], work={"unit": "engine 2.0", "start.functions": 1_200, "start.code_bytes": 99_000}
    )

    assert path.read_text() == (
        TEXT.replace("1.0", "2.0").replace("900 ", "1_200 ")
        + '"start.code_bytes" = 99_000\n\n# limits\n[artifact]\nbytes = 10\n'
    )
    assert update_contract(path, [], work={"unit": "engine 2.0"}) == ""


def test_writing_into_an_empty_table(tmp_path: Path) -> None:
    """An empty table is how one asks for counts."""
    path = tmp_path / "portability.toml"
    path.write_text("[work]\n")
    update_contract(path, [], work={"unit": UNIT, "start": 2_000_000})

    assert load_contract(path).work == WorkTable(UNIT, (WorkCeiling("start", "fuel", 2_000_000, 3),))
