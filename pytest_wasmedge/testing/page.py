"""Shows what a run under faults has found: as lines of a terminal, and as the page docs/faults.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from pytest_wasmedge.testing.fault import KINDS, Fault
from pytest_wasmedge.testing.matrix import Matrix, Result, Tests, function_of

_MOST_FUNCTIONS = 4
_ABOUT_ARTIFACTS = "is about the artifact, which no host changes"
_SHOWS = "shows a latency; only with a ceiling can it fail"
#: The tests of the suite that no fault of the catalogue is known to need, and why they stay.
KEPT = {
    "test_artifact.py::test_limits": _ABOUT_ARTIFACTS,
    "test_baseline.py::test_list_what_changed": _ABOUT_ARTIFACTS,
    "test_baseline.py::test_list_what_changed_in_a_case": _ABOUT_ARTIFACTS,
    "test_baseline.py::test_starts_no_slower": _ABOUT_ARTIFACTS,
    "test_cases.py::test_case": "is the user's own cases",
    "test_compiling.py::test_cold_start_compiling": _SHOWS,
    "test_contract.py::test_ceiling": "holds ceilings of the contract, and the catalogue's faults are below them",
    "test_exit_status.py::test_empty_input_ends_by_itself": "tells a guest that waits for input, before all else",
    "test_exit_status.py::test_exhausted_stack_is_told_as_a_trap": "is about an engine's stack",
    "test_latency.py::test_cold_start_evicted": _SHOWS,
    "test_latency.py::test_floor": _SHOWS,
    "test_latency.py::test_fresh_isolate": _SHOWS,
    "test_latency.py::test_one_more_guest": "shows how much memory one more guest takes",
    "test_latency.py::test_workload": _SHOWS,
    "test_stdout.py::test_case": "is about the engine's instructions, which no wrapper changes",
    "test_stdout.py::test_floats_print_the_shortest_text": "is about the engine's numbers, which no wrapper changes",
    "test_stdout.py::test_puts_ends_with_one_newline": "is the first example that people read and run",
    "test_stdout.py::test_unflushed_output_arrives": "is about a last write, to a wrapper like any other",
    "test_wasi_testsuite.py::test_program": "is the user's own programs",
}
_HEAD = """\
# Faults

A suite is worth what it catches. `pytest_wasmedge.testing` has a catalogue of faults that hosts, shims and proxies
have; `FaultyRuntime` plants each of them into a runtime that works, and `pytest-wasmedge selfcheck` runs the bundled
suite on it. This page is made by `make faults-table`: do not edit it.

"""


def lines(matrix: Matrix) -> Iterator[tuple[str, str]]:
    """Yield what was found, one line per fault, with the style of each."""
    yield from _clean_lines(matrix)
    width = max((len(fault.name) for fault in matrix.faults), default=0)
    for fault in matrix.faults:
        text, style = _verdict(matrix, fault)
        yield f"{fault.kind:<10}  {fault.name:<{width}}  {text}", style
    yield "", ""
    yield summary(matrix), "bold green" if matrix.ok else "bold red"


def summary(matrix: Matrix) -> str:
    """Return one sentence on all faults."""
    if not matrix.clean("passed"):
        return f"no test has passed on {matrix.runtime}: nothing was checked"
    count, caught = len(matrix.applicable), len(matrix.applicable) - len(matrix.missed)
    rest = [
        f"{len(matrix.missed)} missed" if matrix.missed else "",
        f"{len(matrix.unnamed)} caught by messages that do not name them" if matrix.unnamed else "",
        f"{len(matrix.not_on)} cannot show on {matrix.runtime}" if matrix.not_on else "",
    ]
    return "; ".join([f"{caught} of {count} faults caught", *filter(None, rest)])


def _clean_lines(matrix: Matrix) -> Iterator[tuple[str, str]]:
    counts = ", ".join(f"{len(matrix.clean(each))} {each}" for each in ("passed", "failed", "skipped"))
    style = "red" if matrix.clean("failed") or not matrix.clean("passed") else "green"
    yield f"without a fault, {matrix.runtime}: {counts}", style
    for each in matrix.clean("failed"):
        yield f"  {each.test}: {each.said}", "red"


def _verdict(matrix: Matrix, fault: Fault) -> tuple[str, str]:
    if fault.name in matrix.not_on:
        return f"cannot show: {matrix.not_on[fault.name]}", "dim"
    caught = matrix.catches(fault.name)
    if not caught:
        return f"MISSED{_why_missed(matrix, fault)}", "red"
    text = f"caught by {caught[0].test}"
    return (text, "") if caught[0].named else (f"{text}, unnamed: {caught[0].said}", "yellow")


def _why_missed(matrix: Matrix, fault: Fault) -> str:
    if matrix.ran(fault.name):
        return f": {len(matrix.ran(fault.name))} tests ran, and none that passes without it failed"
    if not fault.caught_by:
        return ": no test is known to catch it; --tests=each tries others"
    if any(each.fault == fault.name for each in matrix.results):
        return ": the tests that are known to catch it skip here; --tests=each tries others"
    return f": there is no test {' or '.join(fault.caught_by)} any more; --tests=each finds others"


def page(matrix: Matrix, tests: Tests) -> str:
    """Return the page on all faults: no times, no paths, and always in the same order.

    Which tests alone catch a fault, and which catch none, is told only if others than the known ones ran.
    """
    parts = [
        _HEAD,
        f"On {matrix.runtime}: {summary(matrix)}. The numbers in brackets are cases of one test.\n",
    ]
    for kind in KINDS:
        faults = sorted((fault for fault in matrix.faults if fault.kind == kind), key=lambda each: each.name)
        if faults:
            parts.append(
                f"\n## {kind.capitalize()}\n\n| fault | a host that … | is caught by |\n| --- | --- | --- |\n"
            )
            parts += [
                f"| `{each.name}` | {_cell(each.sentence)} | {_cell(_tests(matrix, each))} |\n"
                for each in faults
            ]
    parts.append(kept())
    if tests == "known":
        parts.append(
            "\nUnder each fault there ran up to four tests that are known to catch it. `make faults-table` also runs\n"
            "one case of every other test, and then lists here which alone catch a fault, and which catch none.\n"
        )
        return "".join(parts)
    only, others = sole_catchers(matrix), _others(matrix)
    parts.append("\n## Tests that alone catch a fault\n\n| test | faults |\n| --- | --- |\n")
    parts += [f"| `{test}` | {', '.join(f'`{name}`' for name in only[test])} |\n" for test in sorted(only)]
    parts.append("\n## Tests that catch what others catch too\n\n")
    parts += [f"* `{test}`\n" for test in others] or ["None.\n"]
    parts.append("\n## Tests that catch none of these faults\n\n")
    idle = sorted(_functions(matrix.clean("passed")) - only.keys() - set(others))
    parts += [f"* `{test}`\n" for test in idle] or ["None.\n"]
    return "".join(parts)


def kept() -> str:
    """Return the part of the page on tests that no fault is known to need."""
    head = "\n## Tests that no fault here is known to need, and why they stay\n\n"
    return head + "".join(f"* `{test}` {why}.\n" for test, why in sorted(KEPT.items()))


def sole_catchers(matrix: Matrix) -> dict[str, list[str]]:
    """Return the tests that alone catch some faults, with these faults."""
    found: dict[str, list[str]] = {}
    for fault in matrix.applicable:
        functions = _functions(matrix.catches(fault.name))
        if len(functions) == 1:
            found.setdefault(functions.pop(), []).append(fault.name)
    return {test: sorted(names) for test, names in found.items()}


def _others(matrix: Matrix) -> list[str]:
    """Return the tests that catch faults, each of which another test catches too."""
    caught = set().union(*(_functions(matrix.catches(fault.name)) for fault in matrix.applicable))
    return sorted(caught - sole_catchers(matrix).keys())


def _functions(results: Iterable[Result]) -> set[str]:
    return {function_of(each.test) for each in results}


def _tests(matrix: Matrix, fault: Fault) -> str:
    if fault.name in matrix.not_on:
        return f"cannot show on {matrix.runtime}"
    caught = matrix.catches(fault.name)
    if not caught:
        return "**nothing**"
    counts = Counter(function_of(each.test) for each in caught)
    # The most telling ones come first: those that fail in few cases.
    found = sorted(counts, key=lambda test: (counts[test], test))
    named = [
        f"`{test}`{f' ({counts[test]})' if counts[test] > 1 else ''}" for test in found[:_MOST_FUNCTIONS]
    ]
    more = f" and {len(found) - _MOST_FUNCTIONS} more" if len(found) > _MOST_FUNCTIONS else ""
    return f"{', '.join(named)}{more}{'' if caught[0].named else ', unnamed'}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
