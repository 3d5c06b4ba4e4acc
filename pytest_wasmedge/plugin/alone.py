"""How to run a failed test alone: on its runtimes only, with what the run was told of its artifact."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pytest_wasmedge.plugin import options

_SHOWN = 5
#: What is about a whole run.
_OF_THE_RUN = ("conformance", "report", "require", "samples", "shard", "update-contract", "update-golden")


def commands(config: pytest.Config, failed: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Return a line for each of the first failed tests, given by its id and its runtimes, and one for the others."""
    kept = list(_kept(config.invocation_params.args))
    lines = []
    for nodeid, runtimes in failed[:_SHOWN]:
        path, colons, name = nodeid.partition("::")
        here = os.path.relpath(config.rootpath / path, config.invocation_params.dir)
        # The suite that comes with us may be far away.
        place = min(here, str(Path(config.rootpath / path).resolve()), key=len)
        command = ["pytest", f"--runtimes={','.join(runtimes)}", *kept, f"{place}{colons}{name}"]
        lines.append(f"alone: {shlex.join(command)}")
    if rest := len(failed) - _SHOWN:
        lines += [f"{rest} more failed: add --lf to the command of this run"] if rest > 0 else []
    return lines


def _kept(args: Sequence[str]) -> Iterator[str]:
    """Yield those of the arguments that say what is tested, with their values."""
    rest = iter(args)
    for arg in rest:
        name, equals, _ = arg.removeprefix("--wasm-").partition("=")
        if not arg.startswith("--wasm-"):
            continue
        value = "" if equals or not options.takes_value(name) else next(rest, "")
        if name not in _OF_THE_RUN:
            yield arg
            if value:
                yield value
