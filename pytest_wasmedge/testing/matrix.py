"""What a run of a suite under faults has found: which test failed under which fault, and what that says."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pytest_wasmedge.testing.fault import Fault

#: Which tests run under a fault: those known to catch it, these and one case of each other test, or all.
Tests: TypeAlias = Literal["known", "each", "all"]
#: The most tests that `catching` names for one fault.
_MOST_TESTS = 4


@dataclass(frozen=True, slots=True)
class Result:
    """A test that ran under a fault, or under none, which is ``""``.

    ``said`` is the first line of a failure, and ``named`` whether all of it says what kind of fault it is; ``slow``
    that it took longer than most.
    """

    fault: str
    test: str
    outcome: Literal["passed", "failed", "skipped"]
    said: str = ""
    named: bool = False
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Matrix:
    """All results of one run. ``not_on`` are the reasons why faults do not apply to its runtime."""

    runtime: str
    faults: tuple[Fault, ...]
    not_on: Mapping[str, str]
    results: tuple[Result, ...] = field(default=())

    def clean(self, outcome: str) -> list[Result]:
        """Return the results without a fault that ended so."""
        return [each for each in self.results if not each.fault and each.outcome == outcome]

    def ran(self, fault: str) -> list[Result]:
        """Return the results under a fault of tests that did not skip."""
        return [each for each in self.results if each.fault == fault and each.outcome != "skipped"]

    def catches(self, fault: str) -> list[Result]:
        """Return the failures of tests that pass without a fault, those that name it first."""
        passed = {each.test for each in self.clean("passed")}
        found = [each for each in self.ran(fault) if each.outcome == "failed" and each.test in passed]
        return sorted(found, key=lambda each: (not each.named, each.test))

    @property
    def applicable(self) -> list[Fault]:
        """The faults that can show on this runtime."""
        return [fault for fault in self.faults if fault.name not in self.not_on]

    @property
    def missed(self) -> list[Fault]:
        """The faults that can show, and that no test has caught."""
        return [fault for fault in self.applicable if not self.catches(fault.name)]

    @property
    def unnamed(self) -> list[Fault]:
        """The faults that were caught by messages that do not say what is wrong."""
        caught = [(fault, self.catches(fault.name)) for fault in self.applicable]
        return [fault for fault, found in caught if found and not found[0].named]

    @property
    def ok(self) -> bool:
        """True if tests passed without a fault, none failed, and every fault that can show was caught."""
        return bool(self.clean("passed") and not self.clean("failed") and self.applicable and not self.missed)


def function_of(test: str) -> str:
    """Return a test's name without its parameters."""
    return test.partition("[")[0]


def catching(matrix: Matrix) -> dict[str, list[str]]:
    """Return some tests that catch each fault: such that name it, if there are any, are quick, and catch few others."""
    found = {fault.name: matrix.catches(fault.name) for fault in matrix.applicable}
    total: dict[str, int] = {}
    for results in found.values():
        for each in results:
            total[each.test] = total.get(each.test, 0) + 1
    chosen = {}
    for name, results in found.items():
        best = [each for each in results if each.named] or results
        best.sort(key=lambda each: (each.slow, total[each.test], each.test))
        # One case of each: a fault that comes over several invocations may fail a case by what ran before it.
        cases: dict[str, str] = {}
        for each in best:
            cases.setdefault(function_of(each.test), each.test)
        chosen[name] = sorted([*cases.values()][:_MOST_TESTS])
    return chosen


def matches(test: str, patterns: Iterable[str]) -> bool:
    """True if one of these patterns fits a test's name, in which a star stands for any text."""
    return any(
        re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), test, re.DOTALL) for pattern in patterns
    )


def read(path: Path, faults: Collection[Fault]) -> Matrix | None:
    """Return what a run has written to this file so far; None if it has not come to its tests."""
    runtime, not_on = "", {}
    results = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        entry = json.loads(line)
        if "runtime" in entry:
            runtime, not_on = entry["runtime"], entry["not_on"]
        else:
            results.append(Result(**entry))
    return Matrix(runtime, tuple(faults), not_on, tuple(results)) if runtime else None


def first_line(runtime: str, not_on: Mapping[str, str]) -> str:
    """Return the line that a file of results begins with."""
    return json.dumps({"runtime": runtime, "not_on": not_on}) + "\n"


def line_of(result: Result) -> str:
    """Return the line of a result."""
    return json.dumps(asdict(result)) + "\n"


def names_kind(text: str, words: Sequence[str]) -> bool:
    """True if a failure's text has one of these words in it."""
    lowered = text.lower()
    return any(word in lowered for word in words)
