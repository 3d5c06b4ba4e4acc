"""Our command line. Imported at every pytest start, so it imports nothing of weight."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

BUILTIN_ARTIFACT = "ruby-worker"
GOLDEN = "golden"


@dataclass(frozen=True, slots=True)
class Options:
    """Our command line, as given."""

    runtimes: str = ""
    artifact: str = BUILTIN_ARTIFACT
    require: str = ""
    reference: str = ""
    update_golden: bool = False
    started_in: Path = field(default_factory=Path.cwd)


def add(group: Any) -> None:
    """Add all of our options to a group of pytest's (``pytest.OptionGroup``)."""
    group.addoption(
        "--runtimes",
        default="",
        metavar="all|NAME[,NAME…]",
        help="runtimes that `host` stands for (default: wasmtime, in this process); "
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
        action="store_true",
        help="also collect the conformance suite that comes with the plugin",
    )
    group.addoption(
        "--wasm-update-golden",
        action="store_true",
        help="write the golden files anew from what the one selected runtime answers; for maintainers of cases",
    )


def given(option: argparse.Namespace) -> bool:
    """True if the command line asks for something of ours."""
    return bool(
        option.runtimes
        or option.wasm_conformance
        or option.wasm_require
        or option.wasm_reference
        or option.wasm_update_golden
        or option.wasm_artifact != BUILTIN_ARTIFACT
    )


def read(option: argparse.Namespace, started_in: Path) -> Options:
    """Return what was given; relative paths are from the folder that pytest was started in."""
    return Options(
        option.runtimes,
        option.wasm_artifact,
        option.wasm_require,
        option.wasm_reference,
        option.wasm_update_golden,
        started_in,
    )
