"""Faults in how an invocation is said to have ended."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from pytest_wasmedge.model import (
    Ending,
    EndingKind,
    Host,
    Invocation,
    Outcome,
    exited,
    host_failed,
    out_of_memory,
    timed_out,
    trapped,
)
from pytest_wasmedge.testing.fault import Fault, Invoke, Need, Plant
from pytest_wasmedge.testing.planting import told

#: The last line of a first paragraph on an uncaught exception: "main.rb:1:in 'f': boom (RuntimeError)".
UNCAUGHT = re.compile(rb"^.*\((?:[A-Z]\w*::)*[A-Z]\w*\)$", re.MULTILINE)

_DETAIL = "planted by a fault"


def _fault(name: str, sentence: str, plant: Plant, *says: str, needs: Need | None = None) -> Fault:
    return Fault(name, "endings", sentence, plant, says or ("status", "exited"), needs)


def _status(change: Callable[[int], int]) -> Plant:
    """Return a plant that changes the exit status."""

    def spoil(outcome: Outcome) -> Outcome:
        status = outcome.ending.status
        return outcome if status is None else replace(outcome, ending=exited(change(status)))

    return told(spoil)


def _told_as(kind: EndingKind, other: Ending) -> Plant:
    """Return a plant that tells every ending of one kind as another one."""
    return told(lambda each: replace(each, ending=other) if each.ending.kind == kind else each)


def _uncaught_is_success(outcome: Outcome) -> Outcome:
    raised = outcome.ending == exited(1) and UNCAUGHT.search(outcome.stderr)
    return replace(outcome, ending=exited(0)) if raised else outcome


def _silent_failure_is_success(outcome: Outcome) -> Outcome:
    silent = outcome.ending.kind == "exited" and not outcome.stderr
    return replace(outcome, ending=exited(0)) if silent else outcome


def _noisy_success_is_failure(outcome: Outcome) -> Outcome:
    return replace(outcome, ending=exited(1)) if outcome.ending.ok and outcome.stderr else outcome


def _previous_status(host: Host) -> Invoke:
    previous: Ending | None = None

    def invoke(invocation: Invocation) -> Outcome:
        nonlocal previous
        outcome = host.invoke(invocation)
        if outcome.ending.kind != "exited":
            return outcome
        told, previous = previous or outcome.ending, outcome.ending
        return replace(outcome, ending=told)

    return invoke


def _keeps_failure(host: Host) -> Invoke:
    failed: Ending | None = None

    def invoke(invocation: Invocation) -> Outcome:
        nonlocal failed
        outcome = host.invoke(invocation)
        if outcome.ending.kind == "exited" and not outcome.ending.ok:
            failed = outcome.ending
        return replace(outcome, ending=failed) if failed and outcome.ending.ok else outcome

    return invoke


FAULTS = (
    _fault("status_zero", "tells every exit status as 0", _status(lambda status: 0)),
    _fault("status_one", "tells every exit status but 0 as 1", _status(lambda status: min(status, 1))),
    _fault(
        "status_negated", "tells status 0 as 1, and every other as 0", _status(lambda status: int(not status))
    ),
    _fault(
        "status_above_two_is_one",
        "tells every exit status above 2 as 1",
        _status(lambda s: 1 if s > 2 else s),
    ),
    _fault("status_in_six_bits", "keeps the six low bits of the exit status", _status(lambda s: s & 0x3F)),
    _fault(
        "status_125_is_1", "tells status 125 as 1", _status(lambda status: 1 if status == 125 else status)
    ),
    _fault(
        "status_in_seven_bits",
        "keeps the seven low bits of the exit status",
        _status(lambda status: status & 0x7F),
        needs="high_statuses",
    ),
    _fault(
        "status_above_127_is_1",
        "tells every exit status above 127 as 1",
        _status(lambda status: 1 if status > 127 else status),
        needs="high_statuses",
    ),
    _fault(
        "status_above_125_traps",
        "tells every exit status above 125 as a trap",
        told(
            lambda each: replace(each, ending=trapped(_DETAIL)) if (each.ending.status or 0) > 125 else each
        ),
        needs="high_statuses",
    ),
    _fault(
        "status_above_127_is_signed",
        "takes exit statuses above 127 for negative numbers",
        _status(lambda status: status - 256 if 127 < status < 256 else status),
        needs="high_statuses",
    ),
    _fault("trap_is_exit_134", "tells a trap as exit status 134", _told_as("trapped", exited(134)), "trap"),
    _fault("trap_is_exit_1", "tells a trap as exit status 1", _told_as("trapped", exited(1)), "trap"),
    _fault("trap_is_exit_0", "tells a trap as exit status 0", _told_as("trapped", exited(0)), "trap"),
    _fault(
        "trap_is_time_limit", "tells a trap as a time limit", _told_as("trapped", timed_out(_DETAIL)), "trap"
    ),
    _fault(
        "trap_is_host_failure",
        "tells a trap as its own failure",
        _told_as("trapped", host_failed(_DETAIL)),
        "trap",
    ),
    _fault(
        "trap_is_out_of_memory",
        "tells a trap as a lack of memory",
        _told_as("trapped", out_of_memory(_DETAIL)),
        "trap",
    ),
    _fault(
        "time_limit_is_trap",
        "tells a reached time limit as a trap",
        _told_as("timed_out", trapped(_DETAIL)),
        "timed_out",
        "time limit",
    ),
    _fault(
        "time_limit_is_exit_124",
        "tells a reached time limit as exit status 124",
        _told_as("timed_out", exited(124)),
        "timed_out",
        "time limit",
    ),
    _fault(
        "time_limit_is_exit_0",
        "tells a reached time limit as exit status 0",
        _told_as("timed_out", exited(0)),
        "timed_out",
        "time limit",
    ),
    _fault(
        "time_limit_is_host_failure",
        "tells a reached time limit as its own failure",
        _told_as("timed_out", host_failed(_DETAIL)),
        "timed_out",
        "time limit",
    ),
    _fault(
        "failure_is_host_failure",
        "tells status 1 as its own failure",
        told(lambda each: replace(each, ending=host_failed(_DETAIL)) if each.ending == exited(1) else each),
        "status",
        "host_failed",
    ),
    _fault(
        "failure_is_trap",
        "tells status 1 as a trap",
        told(lambda each: replace(each, ending=trapped(_DETAIL)) if each.ending == exited(1) else each),
        "status",
        "trapped",
    ),
    _fault("uncaught_is_success", "tells an uncaught exception as status 0", told(_uncaught_is_success)),
    _fault(
        "silent_failure_is_success",
        "tells a failure without stderr as status 0",
        told(_silent_failure_is_success),
    ),
    _fault(
        "noisy_success_is_failure",
        "tells status 0 as 1 if there is something on stderr",
        told(_noisy_success_is_failure),
    ),
    _fault("previous_status", "tells the exit status of the previous invocation", _previous_status),
    _fault("keeps_failure", "tells the last failure's exit status for ever after", _keeps_failure),
)
