"""Faults in what an invocation may use, and in how long it may take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pytest_wasmedge.model import Artifact, Host, Invocation, Limits, Outcome, exited
from pytest_wasmedge.testing.fault import Fault, Invoke, Need, Plant, Start
from pytest_wasmedge.testing.planting import told

_TIME = ("time limit", "timed_out", "time_limit")
#: How long a time limit that is ignored can be overrun: without an end, nobody would hear of it.
_OVERRUN_S = 3.0


def limits(change: Callable[[Limits], Limits]) -> Callable[[Start], Start]:
    """Return a change of the start by which a host has other limits than those asked for."""

    def around(start: Start) -> Start:
        def started(artifact: Artifact, limits: Limits) -> Host:
            return start(artifact, change(limits))

        return started

    return around


def _limits(
    name: str, sentence: str, change: Callable[[Limits], Limits], *says: str, needs: Need | None = None
) -> Fault:
    return Fault(name, "limits", sentence, says=says, needs=needs, starting=limits(change))


def _time_limit(change: Callable[[float], float]) -> Plant:
    """Return a plant that changes the time limit of each invocation, that of the host too."""

    def plant(host: Host) -> Invoke:
        def invoke(invocation: Invocation) -> Outcome:
            asked_s = host.limits.timeout_s if invocation.timeout_s is None else invocation.timeout_s
            return host.invoke(replace(invocation, timeout_s=change(asked_s)))

        return invoke

    return plant


def _own_limit_only(host: Host) -> Invoke:
    return lambda invocation: host.invoke(replace(invocation, timeout_s=None))


def _memory(name: str, sentence: str, change: Callable[[int], int]) -> Fault:
    return _limits(
        name,
        sentence,
        lambda each: replace(each, memory_bytes=change(each.memory_bytes)),
        "memory",
        needs="memory_limit",
    )


def _output(name: str, sentence: str, change: Callable[[int], int]) -> Fault:
    return _limits(
        name, sentence, lambda each: replace(each, output_bytes=change(each.output_bytes)), "output"
    )


def _cut_in_silence(outcome: Outcome) -> Outcome:
    cut = outcome.ending.kind == "host_failed" and "output" in outcome.ending.detail
    return replace(outcome, ending=exited(0)) if cut else outcome


FAULTS = (
    _memory("ignores_memory_limit", "gives a guest all the memory that it asks for", lambda limit: 4 << 30),
    _memory(
        "doubles_memory_limit",
        "gives a guest twice as much memory as its limit",
        lambda limit: min(2 * limit, 4 << 30),
    ),
    _memory(
        "halves_memory_limit", "gives a guest half as much memory as its limit", lambda limit: limit // 2
    ),
    _output("ignores_output_limit", "lets a guest write without a limit", lambda limit: 1 << 40),
    _output("doubles_output_limit", "lets a guest write twice as much as its limit", lambda limit: 2 * limit),
    _output("halves_output_limit", "lets a guest write half as much as its limit", lambda limit: limit // 2),
    Fault(
        "cuts_output_in_silence",
        "limits",
        "tells a guest that reached its output limit as one that ended well",
        told(_cut_in_silence),
        ("output",),
    ),
    Fault(
        "halves_time_limit",
        "limits",
        "stops a guest at half its time limit",
        _time_limit(lambda limit_s: limit_s / 2),
        _TIME,
    ),
    Fault(
        "doubles_time_limit",
        "limits",
        "stops a guest at twice its time limit",
        _time_limit(lambda limit_s: limit_s * 2),
        _TIME,
    ),
    Fault(
        "time_limit_in_ms",
        "limits",
        "takes the seconds of a time limit for milliseconds",
        _time_limit(lambda limit_s: limit_s / 1000),
        _TIME,
    ),
    Fault(
        "whole_seconds_of_limit",
        "limits",
        "rounds a time limit up to a whole second",
        _time_limit(lambda limit_s: float(-(-limit_s // 1))),
        _TIME,
    ),
    Fault(
        "ignores_time_limit",
        "limits",
        "lets a guest run for three seconds after its time limit",
        _time_limit(lambda limit_s: limit_s + _OVERRUN_S),
        _TIME,
    ),
    Fault(
        "knows_its_own_limit_only",
        "limits",
        "stops a guest at its own time limit, whatever that of the invocation",
        _own_limit_only,
        _TIME,
    ),
    _limits(
        "ignores_own_time_limit",
        "stops a guest three seconds after its own time limit if the invocation has none",
        lambda each: replace(each, timeout_s=each.timeout_s + _OVERRUN_S),
        *_TIME,
    ),
)
