"""What a contract answers: which ceiling, which known divergences, which runtimes are named where."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.contract.entries import Ceiling, Contract, Known, parse_runtime
from pytest_wasmedge.errors import ContractError
from pytest_wasmedge.latency.units import ms


def known(case: str, *runtimes: str, fields: tuple[str, ...] = ("stderr",)) -> Known:
    """Return a known divergence whose runtimes stand in line 2."""
    return Known(case, tuple(parse_runtime(each, 2) for each in runtimes), fields, "why", "https://x", 1, 6)


def test_a_runtimes_own_ceiling_wins() -> None:
    """The ceiling for all others is for those that have none of their own of that kind."""
    everybody = Ceiling("*", "warm/tiny", ms(10), 2)
    own = Ceiling("node", "warm/tiny", ms(20), 5)
    contract = Contract(Path("p.toml"), (everybody, own))

    assert contract.ceilings_of("node", "warm/tiny") == (own,)
    assert contract.ceilings_of("deno", "warm/tiny") == (everybody,)
    assert contract.ceilings_of("node", "warm/html") == ()


@pytest.mark.parametrize(
    ("runtime", "version", "expected"),
    [
        ("deno >=2.8,<3", "2.8", True),
        ("deno >=2.8,<3", "2.9.8", True),
        ("deno >=2.8,<3", "v2.9.8", True),
        ("deno >=2.8,<3", "2.9.8+3f1a2b", True),
        ("deno >=2.8,<3", "2.9.0rc1", True),
        ("deno >=2.8,<3", "2.7.14", False),
        ("deno >=2.8,<3", "3.0", False),
        ("deno>=2.8", "2.10.0", True),
        ("deno ==2.*", "2.10.0", True),
        ("deno >=2026-11-01,<2026-12-01", "2026-11-17", True),
        ("deno >=2026-11-01", "2026-9-30", False),
        ("deno >=2026-11-01", "2026-10-31", False),
        ("deno >=1.20261101", "1.20261117.1", True),
        ("deno >=2.8", "canary build", False),
        ("deno >=2.8", "", False),
        ("deno >=2.8", None, False),
        ("deno", "canary build", True),
        ("deno", None, True),
        ("*", None, True),
        ("node", "2.9.8", False),
        ("Deno", "2.9.8", False),
    ],
)
def test_version_ranges(runtime: str, version: str | None, expected: bool) -> None:
    """Ranges count versions and dates as numbers; a version that cannot be read is in no range."""
    assert parse_runtime(runtime).matches("deno", version) is expected


@pytest.mark.parametrize(
    ("glob", "case", "expected"),
    [
        ("errors/deep_*", "errors/deep_recursion", True),
        ("errors/*", "errors/deep/er", True),
        ("errors/deep", "errors/deep_recursion", False),
        ("Errors/*", "errors/deep", False),
        ("*", "errors/deep", True),
    ],
)
def test_cases_are_globs(glob: str, case: str, expected: bool) -> None:
    """A case is a glob over the whole name, with upper and lower case told apart."""
    assert known(glob, "*").matches(case, "deno", "2.9.8") is expected


def test_a_version_may_end_in_esr() -> None:
    """Firefox's version has letters at its end, and is in a range all the same."""
    assert known("a", "firefox >=140").matches("a", "firefox", "153.7.0esr")
    assert not known("a", "firefox <140").matches("a", "firefox", "153.7.0esr")


def test_only_the_named_fields_are_excused() -> None:
    """A known divergence excuses its own fields and no other."""
    entry = known("a", "*", fields=("stderr", "leak"))

    assert [name for name in ("stdout", "stderr", "ending", "leak") if entry.excuses(name)] == [
        "stderr",
        "leak",
    ]


def test_known_for_returns_all_that_match() -> None:
    """Several entries can be about one case; those about others are left out."""
    wide, narrow, other = known("a/*", "*"), known("a/b", "deno >=2"), known("a/b", "node")
    contract = Contract(Path("p.toml"), known=(wide, narrow, other))

    assert contract.known_for("a/b", "deno", "2.9.8") == [wide, narrow]
    assert contract.known_for("a/b", "deno", None) == [wide]


def test_runtimes_are_checked_everywhere() -> None:
    """Runtimes of ceilings, known divergences and drafts are all checked; the error has the first line of one."""
    contract = Contract(
        Path("p.toml"),
        (Ceiling("*", "warm/tiny", ms(1), 3), Ceiling("node", "warm/tiny", ms(1), 9)),
        known=(known("a", "deno >=2", "node", "*"),),
        drafts=(known("b", "bun"),),
    )

    contract.check_runtimes(["bun", "deno", "node"])
    for missing, first_line in (("bun", 2), ("deno", 2), ("node", 2)):
        with pytest.raises(ContractError, match=rf'^p\.toml:{first_line}: there is no runtime "{missing}"'):
            contract.check_runtimes({"bun", "deno", "node"} - {missing})


def test_an_unknown_runtime_is_named_with_its_line() -> None:
    """A runtime that nobody registered is an error that names the line and the nearest one."""
    contract = Contract(Path("p.toml"), (Ceiling("nod", "warm/tiny", ms(1), 9),))

    contract.check_runtimes(["nod"])
    with pytest.raises(ContractError) as caught:
        contract.check_runtimes(["deno", "node"])
    assert str(caught.value) == 'p.toml:9: there is no runtime "nod"; did you mean node?'
