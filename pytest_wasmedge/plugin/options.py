"""Our command line: its options, and what was given to one run. Imported at every pytest start, so kept light."""

from __future__ import annotations

import argparse
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT

CONTRACT = "portability.toml"
#: What `--wasm-reference` calls the golden files.
GOLDEN = "golden"


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError
    return seconds


def _percent(text: str) -> float:
    percent = float(text.removesuffix("%"))
    if not 0 <= percent <= 1000:
        raise ValueError
    return percent / 100


def _shard(text: str) -> tuple[int, int]:
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no shard. Give the number of this one and how many there are, such as 2/4."
        )
    return int(number), int(count)


def _filled(text: str) -> str:
    """Refuse an empty value, such as that of an unset variable in CI: a gate would be off, and nobody told."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the value is empty. Give one, or leave the option out.")
    return text


def _option(default: Any, *, tunes: bool = False, **settings: Any) -> Any:
    """Return a field of `Options`, with argparse's settings. An option that only ``tunes`` a run does not start one."""
    if settings.get("action") in (None, "append"):
        settings.setdefault("type", _filled)
    return field(default=default, metadata={"tunes": tunes, "settings": settings})


@dataclass(frozen=True, slots=True)
class Options:
    """Our command line, as given: `--wasm-artifact` fills ``artifact``, and so on, but `--runtimes` has no prefix."""

    runtimes: str = _option(
        "",
        metavar="GROUP|NAME[,NAME…]",
        help="runtimes to run the tests of `host` on (default: wasmtime, in this process): the installed one, or a "
        "version that is fetched, such as deno@2.7; `pytest-wasmedge doctor` lists them. Groups: all, fast, edge, "
        "browsers, engines, and those of [tool.pytest-wasmedge.groups]",
    )
    artifact: str = _option(
        "",
        metavar="PATH|NAME",
        help=f"the .wasm file under test (default: `artifact` of [tool.pytest-wasmedge], else {BUILTIN_ARTIFACT}, the "
        "built-in Ruby)",
    )
    require: str = _option(
        "", metavar="all|NAME[,NAME…]", help="runtimes that must run: one that cannot is an error, not a skip"
    )
    reference: str = _option(
        "",
        metavar="golden|NAME",
        help="what outcomes are compared with: the golden files (default with the built-in artifact) "
        "or a runtime (default with yours: the first one selected)",
    )
    conformance: str = _option(
        "", action="store_const", const="also", help="also collect the conformance suite of this plugin"
    )
    corpus: tuple[str, ...] = _option(
        (),
        action="append",
        metavar="KIND:PATH",
        help="also run what is in this folder: programs, each its own artifact (wasi-testsuite), or sources "
        "(bootstraptest, prism-errors, in-out); repeatable",
    )
    cases: tuple[str, ...] = _option(
        (),
        action="append",
        metavar="DIR",
        help="also run the cases of this folder: input files, with a NAME.toml for arguments, files and masks, and "
        "golden outcomes beside them; repeatable (default: `cases` of [tool.pytest-wasmedge])",
    )
    update_golden: str = _option(
        "",
        action="store_const",
        const="all",
        help="write the golden files that are new or changed, with what all selected runtimes agree on",
    )
    against: str = _option(
        "",
        metavar="PATH",
        help="baseline artifact, such as that of the main branch: cold starts are compared in pairs, and every "
        "case whose outcome changed is listed",
    )
    margin: float = _option(
        0.05,
        tunes=True,
        type=_percent,
        metavar="PERCENT",
        help="how much slower than the baseline a cold start may be (default: 5%%)",
    )
    work_margin: float = _option(
        0.01,
        tunes=True,
        type=_percent,
        metavar="PERCENT",
        help="how much more work than the baseline, in exact counts, is too much in a start or a case (default: 1%%)",
    )
    contract: str = _option(
        "",
        metavar="PATH",
        help="the contract file: ceilings, artifact limits, known divergences "
        f"(default: {CONTRACT} in the root folder, if it exists)",
    )
    report: str = _option(
        "",
        metavar="DIR",
        help="write what this run finds into this folder: record.json, while it runs as record.jsonl, and from it "
        "report.md and report.html",
    )
    shard: tuple[int, int] | None = _option(
        None,
        tunes=True,
        type=_shard,
        metavar="I/N",
        help="run only the I-th of N parts of the tests; `pytest-wasmedge merge` makes one verdict of all records",
    )
    update_contract: bool = _option(
        False,
        action="store_true",
        help="write the measured latencies into the contract as ceilings, with head-room, and new divergences as "
        "drafts; no ceiling is judged in this run",
    )
    strict_latency: bool = _option(
        False, action="store_true", help="fail a latency that stays undecided (default: pass, and list it)"
    )
    latency_budget: float = _option(
        120.0,
        tunes=True,
        type=_seconds,
        metavar="SECONDS",
        help="how long cold starts may be compared with the baseline, on all runtimes together; one ceiling on one "
        "runtime gets at most half of it (default: 120)",
    )
    seed: int | None = _option(
        None,
        tunes=True,
        type=int,
        metavar="N",
        help="seed for the random order of paired starts (default: a new one in each run)",
    )
    samples: str = _option(
        "",
        tunes=True,
        metavar="PATH",
        help="append raw samples to this file, as JSON lines (default: one file per run in pytest's cache folder)",
    )
    remote: tuple[str, ...] = _option(
        (),
        action="append",
        metavar="[NAME=]URL",
        help="a deployed edge that runs the artifact: request body to stdin, stdout to response body; repeatable",
    )
    remote_header: str = _option(
        "",
        tunes=True,
        metavar="NAME",
        help="the response header in which deployed edges count the invocations of an isolate",
    )
    started_in: Path = field(default_factory=Path.cwd)


_OPTIONS = [each for each in fields(Options) if each.metadata]


def _dest(name: str) -> str:
    return name if name == "runtimes" else f"wasm_{name}"


def add(group: Any) -> None:
    """Add all of our options to a group of pytest's (``pytest.OptionGroup``)."""
    for each in _OPTIONS:
        default: Any = each.default
        if default in ((), ""):
            # A list that grows; and argparse would apply the type to a default that is a text.
            default = [] if default == () else None
        flag = "--" + _dest(each.name).replace("_", "-")
        group.addoption(flag, default=default, **each.metadata["settings"])
    # argparse looks for an option's whole text first. An optional value would swallow a path that follows.
    group.addoption(
        "--wasm-conformance=only",
        action="store_const",
        dest="wasm_conformance",
        const="only",
        default="",
        help="collect the conformance suite, and nothing else",
    )
    modes = {
        "new": "only those that do not exist yet",
        "changed": "only those that exist",
        "all": "both, the default",
    }
    for mode, what in modes.items():
        group.addoption(
            f"--wasm-update-golden={mode}",
            action="store_const",
            dest="wasm_update_golden",
            const=mode,
            default="",
            help=f"write golden files: {what}",
        )


def read(option: argparse.Namespace, started_in: Path) -> Options:
    """Return what was given; relative paths start at the folder that pytest was started in."""
    values = {each.name: getattr(option, _dest(each.name)) for each in _OPTIONS}
    given = {name: value for name, value in values.items() if value is not None}
    for name in ("cases", "corpus", "remote"):
        given[name] = tuple(given[name])
    return Options(**given, started_in=started_in)


def given(option: argparse.Namespace) -> bool:
    """True if an option asks for a run on runtimes; those that only tune such a run do not."""
    return any(_differs(option, each) for each in _OPTIONS if not each.metadata["tunes"])


def mentioned(option: argparse.Namespace) -> bool:
    """True if any of our options is given."""
    return any(_differs(option, each) for each in _OPTIONS)


def takes_value(name: str) -> bool:
    """Return whether an option, named without ``--wasm-``, has a value."""
    action = {_dest(each.name): each.metadata["settings"].get("action") for each in _OPTIONS}
    return action.get(f"wasm_{name.replace('-', '_')}", "store_true") in (None, "append")


def _differs(option: argparse.Namespace, each: Field[Any]) -> bool:
    return getattr(option, _dest(each.name)) not in (each.default, [], None)


def runs_tests(option: argparse.Namespace) -> bool:
    """False if pytest was asked to show something instead of running tests."""
    instead = ("collectonly", "setuponly", "setupplan", "cacheshow", "showfixtures", "show_fixtures_per_test")
    return not any(getattr(option, name, None) for name in (*instead, "markers", "help", "version"))
