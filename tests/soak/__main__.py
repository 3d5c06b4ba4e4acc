"""python -m tests.soak: many invocations on all runtimes whose hosts last, with faults injected by a seed."""

from __future__ import annotations

import argparse
import faulthandler
import secrets
import sys
import time

from pytest_wasmedge.drivers.command import CommandRuntime
from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.model import Runtime
from pytest_wasmedge.runtimes import builtin_runtimes, select
from tests.soak.driving import soak
from tests.soak.plan import plan

_PROGRESS_S = 15.0
#: No host takes this long, however often it is replaced: one that does hangs, which ends us, and shows where.
_HANGS_S = 1800.0


def tell(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def lasting() -> list[Runtime]:
    """Return the runtimes that can start here, and whose host lasts longer than an invocation."""
    found = [each for each in builtin_runtimes() if not (each.yardstick or isinstance(each, CommandRuntime))]
    there = []
    for runtime in found:
        if (availability := runtime.probe()).available:
            there.append(runtime)
        else:
            tell(f"{runtime.name} is left out: {availability.reason}")
    return there


def main() -> int:
    """Return the exit status: 1 if something was wrong, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument(
        "--invocations", type=int, default=20_000, help="on all runtimes together (default: 20000)"
    )
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(10**6), help="decides all that is run and injected"
    )
    parser.add_argument("--runtimes", default="", help="their names (default: all whose hosts last)")
    given = parser.parse_args()
    if given.invocations < 1:
        parser.error(f"--invocations is {given.invocations}: give a number from 1 on")
    try:
        known = {each.name: each for each in builtin_runtimes()}
        runtimes = select(given.runtimes, known) if given.runtimes else lasting()
    except WasmEdgeError as error:
        parser.error(str(error))
    names = ",".join(each.name for each in runtimes)
    tell(f"--invocations {given.invocations} --seed {given.seed} --runtimes {names}")

    heard_s = time.monotonic()

    def say(text: str) -> None:
        nonlocal heard_s
        faulthandler.dump_traceback_later(_HANGS_S, exit=True, file=2)
        if time.monotonic() - heard_s > _PROGRESS_S:
            heard_s = time.monotonic()
            tell(text)

    report = soak(given.seed, plan(given.seed, runtimes, given.invocations), say, tell)
    faulthandler.cancel_dump_traceback_later()
    tell(report.table())
    tell(
        f"seed {given.seed}: {report.total('asked')} invocations, {len(report.wrong)} wrong, {len(report.left)} left, "
        f"{'not flat: ' + '; '.join(report.growth()) if report.growth() else 'memory is flat'}"
    )
    return 1 if report.problems() else 0


if __name__ == "__main__":
    sys.exit(main())
