"""Faults by which an invocation finds something of another one."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace

from pytest_wasmedge.model import Ending, Host, Invocation, Outcome
from pytest_wasmedge.testing.fault import Fault, Invoke, Plant
from pytest_wasmedge.testing.planting import Asides, Counter, before, told
from pytest_wasmedge.testing.witness import in_used_instance, is_witness, leaves

# Runs in the state that the last invocation left, like a host that keeps its instance. Nothing else shows of it.
_REPLAY = (
    "->(source) { begin; out, err = $stdout, $stderr; sink = Object.new; def sink.write(*) = 0; "
    "$stdout = $stderr = sink; eval(source, TOPLEVEL_BINDING, 'main.rb'); "
    "rescue Exception; ensure; $stdout, $stderr = out, err; end }.call(['%s'].pack('H*').force_encoding('UTF-8'))"
)
#: Where a program can be cut, so that what is before is one too, and how often that is tried.
_CUTS, _MOST_CUTS = re.compile(rb"(?<=[\n;])"), 12


def _fault(name: str, sentence: str, plant: Plant, *says: str) -> Fault:
    return Fault(
        name, "isolation", sentence, plant, says or ("previous", "earlier", "another", "survive", "left")
    )


def _left_by(host: Asides, invocation: Invocation, outcome: Outcome) -> bytes:
    """Return a program that leaves what this invocation has left: its own, or its beginning if that does not end."""
    if outcome.ending.kind == "exited":
        return invocation.stdin
    parts = [part for part in _CUTS.split(invocation.stdin) if part][:-1]
    for end in range(len(parts), max(0, len(parts) - _MOST_CUTS), -1):
        beginning = replace(invocation, stdin=b"".join(parts[:end]))
        if host.aside(beginning).ending.ok:
            return beginning.stdin
    return b""


def _reusing(reused: Callable[[int, Ending], bool]) -> Plant:
    """Return a plant that keeps an instance where ``reused`` says so of the invocation before: number and ending."""

    def plant(host: Host) -> Invoke:
        counter, asides = Counter(), Asides(host)
        left: bytes | bool = b""

        def invoke(invocation: Invocation) -> Outcome:
            nonlocal left
            found, number = left, counter.next()
            if is_witness(host):
                outcome = host.invoke(invocation)
                outcome = in_used_instance(invocation, outcome) if found else outcome
                left = leaves(invocation) and reused(number, outcome.ending)
                return outcome
            line = _REPLAY % bytes(found).hex()
            outcome = before(asides, invocation, line) if found else asides.invoke(invocation)
            left = _left_by(asides, invocation, outcome) if reused(number, outcome.ending) else b""
            return outcome

        return invoke

    return plant


def _remembering(key: Callable[[Invocation], object]) -> Plant:
    """Return a plant that gives the first answer again to what has the same key."""

    def plant(host: Host) -> Invoke:
        answers: dict[object, Outcome] = {}

        def invoke(invocation: Invocation) -> Outcome:
            outcome = host.invoke(invocation)
            first = answers.setdefault(key(invocation), outcome)
            return replace(outcome, stdout=first.stdout, stderr=first.stderr, ending=first.ending)

        return invoke

    return plant


def _whole(invocation: Invocation) -> tuple[object, ...]:
    return invocation.stdin, invocation.args, tuple(invocation.env.items()), tuple(invocation.preopens)


def _at_once(most: int, mix: Callable[[Outcome, Outcome], Outcome]) -> Plant:
    """Return a plant that mixes outcomes with the one that ended before while more than ``most`` are under way."""

    def plant(host: Host) -> Invoke:
        lock = threading.Lock()
        under_way, crowded = 0, False
        last: Outcome | None = None

        def invoke(invocation: Invocation) -> Outcome:
            nonlocal under_way, crowded, last
            with lock:
                under_way += 1
                crowded = crowded or under_way > most
            try:
                outcome = host.invoke(invocation)
            finally:
                with lock:
                    under_way -= 1
            with lock:
                told = mix(outcome, last) if crowded and last else outcome
                last = outcome
                if not under_way:
                    crowded, last = False, None
            return told

        return invoke

    return plant


def _other(outcome: Outcome, last: Outcome) -> Outcome:
    return replace(outcome, stdout=last.stdout, stderr=last.stderr, ending=last.ending)


def _other_status(outcome: Outcome, last: Outcome) -> Outcome:
    return replace(outcome, ending=last.ending)


def _mixed(outcome: Outcome, last: Outcome) -> Outcome:
    return replace(outcome, stdout=outcome.stdout + last.stdout[-32:])


def _other_stderr(outcome: Outcome, last: Outcome) -> Outcome:
    return replace(outcome, stderr=last.stderr)


def _error_again(host: Host) -> Invoke:
    said = b""

    def invoke(invocation: Invocation) -> Outcome:
        nonlocal said
        outcome = host.invoke(invocation)
        again, said = said, b"" if outcome.ending.ok else outcome.stderr
        return replace(outcome, stderr=outcome.stderr + again)

    return invoke


def _stdout_again(host: Host) -> Invoke:
    unread = b""

    def invoke(invocation: Invocation) -> Outcome:
        nonlocal unread
        outcome = host.invoke(invocation)
        rest, unread = unread, b"" if outcome.stdout.endswith(b"\n") else outcome.stdout[-16:]
        return replace(outcome, stdout=rest + outcome.stdout)

    return invoke


def _every(number: int, spoil: Callable[[Outcome], Outcome]) -> Plant:
    """Return a plant that spoils one outcome of so many."""

    def plant(host: Host) -> Invoke:
        counter = Counter()

        def invoke(invocation: Invocation) -> Outcome:
            outcome = host.invoke(invocation)
            return outcome if counter.next() % number else spoil(outcome)

        return invoke

    return plant


def _from(number: int, spoil: Callable[[Outcome], Outcome]) -> Plant:
    """Return a plant that spoils all outcomes from this invocation on."""

    def plant(host: Host) -> Invoke:
        counter = Counter()

        def invoke(invocation: Invocation) -> Outcome:
            outcome = host.invoke(invocation)
            return outcome if counter.next() < number else spoil(outcome)

        return invoke

    return plant


def _less_a_byte(outcome: Outcome) -> Outcome:
    return replace(outcome, stdout=outcome.stdout[:-1])


_COUNT = ("invocation", "count", "number")
FAULTS = (
    _fault(
        "reuses_instance", "keeps one instance for all invocations", _reusing(lambda number, ending: True)
    ),
    _fault(
        "reuses_from_100",
        "keeps its instance from the 100th invocation on",
        _reusing(lambda number, _: number >= 100),
    ),
    _fault(
        "reuses_every_other",
        "uses each instance for two invocations",
        _reusing(lambda number, _: number % 2 == 1),
    ),
    _fault(
        "reuses_after_trap",
        "keeps the instance of a guest that trapped",
        _reusing(lambda _, ending: ending.kind == "trapped"),
    ),
    _fault(
        "reuses_after_time_limit",
        "keeps the instance of a guest that reached its time limit",
        _reusing(lambda _, ending: ending.kind == "timed_out"),
    ),
    _fault(
        "reuses_after_failure",
        "keeps the instance of a guest that ended with another status than 0",
        _reusing(lambda _, ending: ending.kind == "exited" and not ending.ok),
    ),
    _fault(
        "caches_by_stdin",
        "answers an equal stdin from a cache, whatever arguments and environment",
        _remembering(lambda each: each.stdin),
        "argument",
        "argv",
        "environment",
        "variable",
    ),
    _fault(
        "caches_by_arguments",
        "answers equal stdin and arguments from a cache, whatever the environment",
        _remembering(lambda each: (each.stdin, each.args)),
        "environment",
        "variable",
    ),
    _fault(
        "caches_by_environment",
        "answers equal stdin and environment from a cache, whatever the arguments",
        _remembering(lambda each: (each.stdin, tuple(sorted(each.env.items())))),
        "argument",
        "argv",
    ),
    _fault(
        "caches_by_length",
        "answers a stdin of the same length from a cache",
        _remembering(lambda each: (len(each.stdin), *_whole(each)[1:])),
        "stdin",
        "input",
        "another",
    ),
    _fault(
        "caches_by_start",
        "answers a stdin that begins with the same 64 KiB from a cache",
        _remembering(lambda each: (each.stdin[: 64 << 10], *_whole(each)[1:])),
        "stdin",
        "input",
    ),
    _fault(
        "caches_requests",
        "answers an equal request from a cache",
        _remembering(_whole),
        "fresh",
        "random",
        "clock",
        "cache",
        "time",
    ),
    _fault(
        "swaps_outcomes_of_many",
        "swaps outcomes when more than 40 guests run at once",
        _at_once(40, _other),
        "at once",
    ),
    _fault("swaps_outcomes", "swaps outcomes of guests that run at once", _at_once(1, _other), "at once"),
    _fault(
        "swaps_statuses",
        "swaps the endings of guests that run at once",
        _at_once(1, _other_status),
        "at once",
    ),
    _fault(
        "swaps_stderr", "swaps the stderr of guests that run at once", _at_once(1, _other_stderr), "at once"
    ),
    _fault("mixes_streams", "mixes the streams of guests that run at once", _at_once(1, _mixed), "at once"),
    _fault(
        "mixes_streams_of_many",
        "mixes the streams of guests when more than 16 run at once",
        _at_once(16, _mixed),
        "at once",
    ),
    _fault(
        "repeats_error",
        "shows the error of a failed invocation again in the next one",
        _error_again,
        "stderr",
        "previous",
    ),
    _fault(
        "repeats_unfinished_line",
        "puts what an invocation left without a line break before the output of the next one",
        _stdout_again,
        "stdout",
        "previous",
    ),
    _fault(
        "every_10th_loses_a_byte",
        "loses the last byte of stdout in every 10th invocation",
        _every(10, _less_a_byte),
        "invocation",
        "stdout",
    ),
    _fault(
        "every_50th_loses_a_byte",
        "loses the last byte of stdout in every 50th invocation",
        _every(50, _less_a_byte),
        "invocation",
        "stdout",
    ),
    _fault(
        "loses_stdout_from_100",
        "loses stdout from the 100th invocation on",
        _from(100, lambda each: replace(each, stdout=b"")),
        "invocation",
        "stdout",
    ),
    _fault(
        "number_stays",
        "gives each invocation the number 1",
        told(lambda each: replace(each, invocation=1)),
        *_COUNT,
    ),
    _fault(
        "number_from_zero",
        "counts invocations from 0",
        told(lambda each: replace(each, invocation=each.invocation - 1)),
        *_COUNT,
    ),
    _fault(
        "number_by_two",
        "counts each invocation twice",
        told(lambda each: replace(each, invocation=2 * each.invocation)),
        *_COUNT,
    ),
)
