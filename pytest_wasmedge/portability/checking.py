"""Runs a case on a host, and holds what it sees against what is expected, as the case asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from pytest_wasmedge.model import Host, Invocation, Outcome
from pytest_wasmedge.portability.compare import (
    Comparison,
    DivergenceError,
    assert_same,
    compare,
    describe_invocation,
)
from pytest_wasmedge.portability.corpus import Case
from pytest_wasmedge.portability.leaks import find_leaks
from pytest_wasmedge.portability.masks import hidden, masked

#: Why a guest may answer otherwise from run to run, and what to do.
_VARIES = (
    "the guest reads a clock, random numbers or addresses, or the order of its output is not fixed. "
    "Mask what varies (masks, sorted_lines in the case's .toml), or leave it out of compare."
)
_LATE = (
    "one of the two was stopped at the time limit. On a machine with this much other work the case needs a longer one "
    "(timeout in its .toml)."
)


class WrongCaseError(DivergenceError):
    """A case does not give what is expected; the text says all, so no traceback is shown."""

    whole = True


class NondeterministicError(AssertionError):
    """A guest answers otherwise from run to run on one host, so that runtimes cannot be compared by it."""

    whole = True

    @property
    def headline(self) -> str:
        """One line for a list of failures."""
        return str(self).partition("\n")[0]


def seen(case: Case, outcome: Outcome) -> Outcome:
    """Return what of an outcome is compared: masked, in order where the case says so, other fields empty.

    Of a guest that was stopped at its time limit that is the ending alone: it could have written more or less.
    """
    if outcome.ending.kind == "timed_out":
        return replace(outcome, stdout=b"", stderr=b"", files={})
    outcome = masked(outcome, case.masks, sorted(case.sorted_lines))
    left_out = {name: b"" for name in ("stdout", "stderr") if name not in case.compared}
    return replace(outcome, **left_out, files=outcome.files if "files" in case.compared else {})  # type: ignore[arg-type]


def digest_of(case: Case, shown: Outcome) -> str:
    """Return a digest that two outcomes, as `seen` shows them, share if nothing that the case compares differs."""
    pieces = [str(shown.ending).encode() if "ending" in case.compared else b"", shown.stdout, shown.stderr]
    pieces += [repr(item).encode() for item in sorted(shown.files.items())]
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(b"%d:" % len(piece))
        digest.update(piece)
    return digest.hexdigest()[:16]


def check(case: Case, host: Host, outcome: Outcome, expected: Outcome, invocation: Invocation) -> None:
    """Raise WrongCaseError if the outcome of this invocation is not what is expected.

    A case that diverges is run once more: if its guest answers otherwise now, that is a NondeterministicError instead.
    Raises HostFailedError if one of the two hosts failed. What stands in the expected outcome too is no leak.
    """
    __tracebackhide__ = True
    unchecked = host.runtime.unchecked | case.unchecked
    got, wanted = seen(case, outcome), seen(case, expected)
    divergences = compare(got, wanted, unchecked)
    if not divergences:
        return
    if "host_failed" in (got.ending.kind, wanted.ending.kind):
        assert_same(got, wanted, unchecked, invocation=invocation)
    notes = list(_notes(case, outcome))
    again = seen(case, host.invoke(invocation))
    if varying := compare(again, got, unchecked):
        lines = [
            f"{host.runtime.name}: nondeterministic guest: {case.name}, run twice, gave two outcomes",
            *map(str, varying),
            f"asked: {describe_invocation(invocation)}",
            *notes,
            f"meaning: {_LATE if 'timed_out' in (again.ending.kind, got.ending.kind) else _VARIES}",
        ]
        raise NondeterministicError("\n".join(lines))
    approved = {"stdout": wanted.stdout, "stderr": wanted.stderr}
    leaks = [
        leak
        for leak in find_leaks(got, invocation.stdin)
        if leak.field in case.compared and leak.text.encode() not in approved[leak.field]
    ]
    raise WrongCaseError(divergences, leaks, Comparison(got, wanted, invocation, unchecked), notes=notes)


def suspicious(case: Case, shown: Outcome) -> list[str]:
    """Return what looks like a leak in an outcome that no golden file has approved; bytes are the guest's own."""
    found = find_leaks(shown, case.stdin)
    return [str(each) for each in found if each.detector != "bytes that are not UTF-8"]


def _notes(case: Case, outcome: Outcome) -> Iterator[str]:
    if case.summary:
        yield f"case: {case.summary}"
    yield from hidden(outcome, case.masks)
    if case.sorted_lines:
        yield f"lines of {' and '.join(sorted(case.sorted_lines))} are compared in order of their bytes"
