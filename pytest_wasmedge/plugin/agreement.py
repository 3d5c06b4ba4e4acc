"""What all runtimes of a run say together: which of them disagree, and the golden files that they agree on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pytest_wasmedge.plugin.session import WasmSession
from pytest_wasmedge.portability.compare import compare, describe
from pytest_wasmedge.portability.corpus import Case, find_orphans, write_golden
from pytest_wasmedge.portability.excerpt import counted
from pytest_wasmedge.portability.golden import parse_golden
from pytest_wasmedge.portability.leaks import find_leaks
from pytest_wasmedge.reports.agreeing import disagreements, groups_of, sides_of
from pytest_wasmedge.reports.record import RunRecord

#: More lines of one kind are counted, not shown: a changed artifact can change thousands of golden files.
_SHOWN = 20
_DIFF_LINES = 12


def list_disagreements(record: RunRecord) -> None:
    """Say for each case on which runtimes and its golden file do not all agree, who stands alone."""
    known = {place for place, verdict in record.cases.items() if verdict == "known"}
    lines = disagreements(record.answers, known)
    _add(record, lines, f"{counted(len(lines), 'case')} without agreement", "bad")
    if record.undeclared:
        what = f"{counted(len(record.undeclared), 'case')} with another stdout than declared, on a runtime"
        record.closing.append((f"{what}: a question to the artifact, not to its hosts", "warn"))


def write_goldens(session: WasmSession, record: RunRecord) -> None:
    """Write the golden files of the cases that ran, each with what all selected runtimes agree on.

    A case on which they do not agree, or that one of them has not answered, is left alone, and breaks the run.
    """
    cases = {case.name: case for case in (*session.cases, *session.given_cases)}
    written = 0
    changes: list[list[str]] = []
    suspects: list[str] = []
    for name, answers in sorted(record.goldens.items()):
        case = cases[name]
        text = _agreed(session, record, case, answers)
        if text is None:
            continue
        outcome = parse_golden(text, case.golden_path)
        old = case.golden
        if old == outcome and case.golden_path.read_text("utf-8") == text:
            continue
        if old is not None:
            changes.append(list(_change(case, describe(compare(outcome, old)))))
        suspects += [f"{name}: {leak}" for leak in find_leaks(outcome, case.stdin)]
        write_golden(case, outcome)
        written += 1
    mood = "warn" if written else "plain"
    record.closing.append((f"golden files written: {written}", mood))
    record.closing += [(line, "plain") for change in changes[:_SHOWN] for line in change]
    if len(changes) > _SHOWN:
        record.closing.append((f"… {len(changes) - _SHOWN} more changed", "plain"))
    _add(record, suspects, "golden files hold what looks like a leak: read them", "warn")
    known = list(session.given_cases)
    for root in session.given_roots:
        for path in find_orphans(root, known):
            record.closing.append((f"{path} belongs to no case any more: delete or rename it", "warn"))


def _agreed(session: WasmSession, record: RunRecord, case: Case, answers: Mapping[str, str]) -> str | None:
    """Return the text that the runtimes agree on; None, and why in the record, if they do not."""
    contract = session.held.contract
    told: dict[str, str] = {}
    for runtime in session.available:
        version = record.runtimes[runtime.name].availability.version
        # What does not tell everything can neither support nor contradict the others; nor can what cannot run the case.
        if runtime.unchecked or case.reason_not_for(runtime.name) or answers.get(runtime.name) == "":
            continue
        if contract and contract.known_for(case.name, runtime.name, version):
            continue
        if runtime.name not in answers:
            failed = record.cases.get((case.name, runtime.name)) == "failed"
            why = f"it {'failed' if failed else 'was not run'} on {runtime.name}"
            record.broken.append(f"{case.name}: golden file not written: {why}")
            return None
        told[runtime.name] = answers[runtime.name]
    groups = groups_of(told)
    if len(groups) == 1:
        return next(iter(told.values()))
    if groups:
        (first, *_), (second, *_) = groups[0], groups[1]
        got, wanted = (parse_golden(told[name], case.golden_path) for name in (second, first))
        diff = "\n".join(describe(compare(got, wanted)).splitlines()[:_DIFF_LINES])
        record.broken.append(f"{case.name}: golden file not written: {sides_of(groups)}")
        record.broken += [f"  {line}" for line in diff.splitlines()]
    return None


def _change(case: Case, diff: str) -> Iterator[str]:
    lines = diff.splitlines()
    yield f"{case.golden_path} changed:"
    yield from (f"  {line}" for line in lines[:_DIFF_LINES])
    if len(lines) > _DIFF_LINES:
        yield f"  … {len(lines) - _DIFF_LINES} more lines"


def _add(record: RunRecord, lines: Iterable[str], title: str, mood: str) -> None:
    found = list(lines)
    if found:
        record.closing.append((f"{title}:", mood))
        record.closing += [(f"  {line}", mood) for line in found[:_SHOWN]]
        if len(found) > _SHOWN:
            record.closing.append((f"  … {len(found) - _SHOWN} more", mood))
