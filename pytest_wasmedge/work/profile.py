"""Where the work is: the calls of each function, and what runs at even distances of fuel, the same in every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pytest_wasmedge.artifacts.counting import Function
from pytest_wasmedge.model import Invocation
from pytest_wasmedge.work.counting import CountingHost
from pytest_wasmedge.work.counts import CountedRun

#: Each look runs the guest up to it: this is the fuel that all of them may take together.
_MOST_FUEL = 20_000_000_000
_LEAST_LOOKS = 10
#: The engine tells so many functions of a stack, the innermost ones.
STACK = 20
#: Stands for the functions that it does not tell.
DEEPER = "…"


@dataclass(frozen=True, slots=True)
class Row:
    """One function: how often it was called, in how many looks it ran itself, and in how many it was on the stack."""

    name: str
    code_bytes: int
    calls: int
    itself: int
    within: int


@dataclass(frozen=True, slots=True)
class Profile:
    """One run in detail: every function that was executed, and the stacks that were seen, outermost first."""

    run: CountedRun
    rows: tuple[Row, ...]
    stacks: Counter[tuple[str, ...]]
    looks: int

    def collapsed(self) -> list[str]:
        """Return the stacks as tools for flame graphs read them: names with semicolons, and the looks."""
        return [f"{';'.join(map(_plain, names))} {count}" for names, count in sorted(self.stacks.items())]

    def most(self, by: str, number: int) -> list[Row]:
        """Return the rows with the most "fuel" or "calls"."""
        keys: dict[str, Callable[[Row], tuple[int, ...]]] = {
            "fuel": lambda row: (row.itself, row.within, row.calls),
            "calls": lambda row: (row.calls, row.itself),
        }
        return sorted(self.rows, key=keys[by], reverse=True)[:number]


def profile(host: CountingHost, invocation: Invocation, looks: int = 200) -> Profile:
    """Run a guest once for its counts, and once for each look; a guest that works for long gets fewer of these."""
    run = host.count(invocation)
    spent = max(host.spent, 1)
    looks = max(min(looks, 2 * _MOST_FUEL // spent, spent), min(_LEAST_LOOKS, spent))
    seen = [host.stack_at(invocation, (2 * number + 1) * spent // (2 * looks)) for number in range(looks)]
    seen = [stack for stack in seen if stack]
    itself = Counter(stack[0] for stack in seen)
    within = Counter(function for stack in seen for function in set(stack))
    rows = tuple(
        Row(each.name, each.code_bytes, calls, itself[each], within[each])
        for each, calls in zip(host.functions, run.calls, strict=True)
        if calls
    )
    return Profile(run, rows, Counter(map(_from_outside, seen)), len(seen))


def _from_outside(stack: list[Function]) -> tuple[str, ...]:
    names = tuple(each.name for each in reversed(stack))
    return (DEEPER, *names) if len(names) >= STACK else names


def _plain(name: str) -> str:
    """Return a name without what the format means otherwise."""
    return "".join(
        ":" if character == ";" else character if character.isprintable() else "?" for character in name
    )
