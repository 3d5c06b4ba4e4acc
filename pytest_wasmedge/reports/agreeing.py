"""Which runtimes give the same answers, and which stand alone. Pure functions over what a record holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pytest_wasmedge.reports.record import GOLDEN_FILE, VARIES

Answers = Mapping[str, Mapping[str, str]]


def disagreements(answers: Answers, known: Collection[tuple[str, str]]) -> list[str]:
    """Return a line for each case on which runtimes and its golden file do not all agree.

    ``answers`` are digests by case and runtime. What the contract knows to differ, (case, runtime), is no vote.
    """
    lines = []
    for case, told in sorted(answers.items()):
        voting = {name: each for name, each in told.items() if (case, name) not in known}
        groups = groups_of(voting)
        # One runtime that differs from its golden file has been told already.
        if len(groups) > 1 and VARIES not in told.values() and set(voting) - {GOLDEN_FILE} != set(groups[-1]):
            changed = groups[1:] == [[GOLDEN_FILE]]
            hint = ": the guest has changed; --wasm-update-golden accepts that" if changed else ""
            lines.append(f"{case}: {sides_of(groups)}{hint}")
    return lines


def groups_of(answers: Mapping[str, str]) -> list[list[str]]:
    """Return the runtimes that agree, the largest group first."""
    by_answer: dict[str, list[str]] = {}
    for name, answer in answers.items():
        by_answer.setdefault(answer, []).append(name)
    return sorted(by_answer.values(), key=len, reverse=True)


def sides_of(groups: list[list[str]]) -> str:
    """Return who stands alone against a majority, or all groups."""
    largest, *others = groups
    if len(largest) > sum(map(len, others)):
        return f"{' and '.join(', '.join(each) for each in others)} against {', '.join(largest)}, which agree"
    return f"no majority: {' | '.join(', '.join(each) for each in groups)}"
