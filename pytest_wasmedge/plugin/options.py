"""Our command line. Imported at every pytest start, so it imports nothing of weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT

if TYPE_CHECKING:
    import argparse

CONTRACT = "portability.toml"
BUDGET_S, MARGIN = 60.0, 0.05


def add(group: Any) -> None:
    """Add all of our options to a group of pytest's (``pytest.OptionGroup``)."""
    group.addoption(
        "--runtimes",
        default="",
        metavar="all|NAME[,NAME…]",
        help="runtimes that `host` stands for (default: wasmtime, in this process), as they are here or in a version "
        "that is fetched: deno@2.7; "
        "`pytest-wasmedge doctor` lists them",
    )
    group.addoption(
        "--wasm-artifact",
        default=BUILTIN_ARTIFACT,
        metavar="PATH|NAME",
        help="the .wasm file under test (default: ruby-worker, the built-in Ruby)",
    )
    group.addoption(
        "--wasm-require",
        default="",
        metavar="all|NAME[,NAME…]",
        help="runtimes that must run: one that cannot is an error, not a skip",
    )
    group.addoption(
        "--wasm-reference",
        default="",
        metavar="golden|NAME",
        help="what outcomes are held against: the golden files (default with the built-in artifact) "
        "or a runtime (default with yours: the first one selected)",
    )
    group.addoption(
        "--wasm-conformance",
        action="store_const",
        const="also",
        default="",
        help="also collect the conformance suite that comes with the plugin",
    )
    # argparse knows an option by its whole text first: a value that may be left out would take a path for itself.
    group.addoption(
        "--wasm-conformance=only",
        action="store_const",
        dest="wasm_conformance",
        const="only",
        default="",
        help="collect the conformance suite, and nothing else",
    )
    group.addoption(
        "--wasm-corpus",
        action="append",
        default=[],
        metavar="FORMAT:PATH",
        help="also run the programs of this folder, each its own artifact; the format is wasi-testsuite; repeatable",
    )
    group.addoption(
        "--wasm-update-golden",
        action="store_true",
        help="write the golden files anew from what the one selected runtime answers; for maintainers of cases",
    )
    group.addoption(
        "--wasm-against",
        default="",
        metavar="PATH",
        help="baseline artifact, such as that of the main branch: starts are compared in pairs, and every case "
        "whose outcome changed is listed",
    )
    group.addoption(
        "--wasm-margin",
        type=_percent,
        default=MARGIN,
        metavar="PERCENT",
        help="how much slower than the baseline a cold start may be (default: 5%%)",
    )
    group.addoption(
        "--wasm-contract",
        default="",
        metavar="PATH",
        help=f"the contract file: ceilings, artifact limits, known divergences (default: {CONTRACT} in the root "
        "folder, if it is there)",
    )
    group.addoption(
        "--wasm-update-contract",
        action="store_true",
        help="write the measured latencies into the contract as ceilings, with head-room, and new divergences as "
        "drafts; judges none of them",
    )
    group.addoption(
        "--wasm-strict-latency",
        action="store_true",
        help="a latency that stays undecided fails (default: it passes, and is listed)",
    )
    group.addoption(
        "--wasm-latency-budget",
        type=_seconds,
        default=BUDGET_S,
        metavar="SECONDS",
        help="how long one latency may be sampled on one runtime before it is undecided (default: 60)",
    )
    group.addoption(
        "--wasm-seed",
        type=int,
        metavar="N",
        help="what the order of starts in pairs is drawn from (default: another one in each run)",
    )
    group.addoption(
        "--wasm-samples",
        default="",
        metavar="PATH",
        help="append raw samples to this file, as JSON lines (default: one file per run in pytest's cache folder)",
    )
    group.addoption(
        "--wasm-remote",
        action="append",
        default=[],
        metavar="[NAME=]URL",
        help="a deployed edge that runs the artifact: request body to stdin, stdout to response body; repeatable",
    )
    group.addoption(
        "--wasm-remote-header",
        default="",
        metavar="NAME",
        help="the response header in which deployed edges count the invocations of an isolate",
    )


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


def given(option: argparse.Namespace) -> bool:
    """True if the command line asks for something of ours."""
    return bool(
        option.runtimes
        or option.wasm_conformance
        or option.wasm_corpus
        or option.wasm_require
        or option.wasm_reference
        or option.wasm_update_golden
        or option.wasm_against
        or option.wasm_contract
        or option.wasm_update_contract
        or option.wasm_strict_latency
        or option.wasm_remote
        or option.wasm_artifact != BUILTIN_ARTIFACT
    )


def mentioned(option: argparse.Namespace) -> bool:
    """True if one of our options is given at all, also one that only says how something of ours is done."""
    tuned = (option.wasm_latency_budget, option.wasm_margin, option.wasm_seed) != (BUDGET_S, MARGIN, None)
    return given(option) or tuned or bool(option.wasm_samples or option.wasm_remote_header)


def runs_tests(option: argparse.Namespace) -> bool:
    """False if pytest itself was asked to show something instead of running tests."""
    instead = (
        "collectonly",
        "setuponly",
        "setupplan",
        "cacheshow",
        "showfixtures",
        "show_fixtures_per_test",
        "markers",
        "help",
        "version",
    )
    return not any(getattr(option, name, None) for name in instead)
