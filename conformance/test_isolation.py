"""Each invocation is the first of its guest: nothing of another one is there, before or beside it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from conformance.asking import ANYTHING, Asking, holding
from pytest_wasmedge.model import Host, exited, timed_out, trapped
from pytest_wasmedge.portability.compare import assert_same

AT_ONCE, ANY_GUESTS_AT_ONCE, WITNESSES_AT_ONCE = 48, 16, 64
#: For each of them: beside the others, an interpreter takes as long as all of them. It only ends what hangs.
AT_ONCE_S = 300.0
#: A host has served so many invocations before its isolation is checked once more.
MANY = 110
LEFT = "something that an earlier invocation did is left in this one: the host keeps its instance"

# What one invocation leaves, and what the next one must not find.
LEFTOVERS = {
    "global": ("$left = 1", "p $left", b"nil\n"),
    "constant": ("LEFT = 1", "p defined?(LEFT)", b"nil\n"),
    "method": ("def left = 1", "p respond_to?(:left, true)", b"false\n"),
    "monkey_patch": ("class Integer; def +(other) = 42; end", "p 1 + 1", b"2\n"),
    "refined_core": ("class String; def upcase = 'patched'; end", "puts 'a'.upcase", b"A\n"),
    "environment": ("ENV['LEFT'] = '1'", "p ENV['LEFT']", b"nil\n"),
    "seed": ("srand(42)", "p Random.seed == 42", b"false\n"),
    "at_exit": ("at_exit { $stderr }", "puts 'clean'", b"clean\n"),
    "stdout": ("$stdout = $stderr", "puts 'here'", b"here\n"),
}
LEAVE_ALL = "".join(f"{leave}\n" for leave, _, _ in LEFTOVERS.values() if "class" not in leave)
LOOK_FOR_ALL = (
    "p [$left, defined?(LEFT), respond_to?(:left, true), ENV['LEFT'], Random.seed == 42]\nputs 'here'\n"
)
NONE_LEFT = b"[nil, nil, false, nil, false]\nhere\n"


@pytest.mark.parametrize("name", LEFTOVERS)
def test_nothing_survives(run: Asking, name: str) -> None:
    """What one invocation defines, the next one does not see."""
    leave, look, clean = LEFTOVERS[name]
    run(leave)
    run(look, clean, meaning=LEFT)


@pytest.mark.parametrize(
    ("then", "stderr", "ending"),
    [
        pytest.param("raise 'boom'", holding(b"boom (RuntimeError)"), exited(1), id="an_exception"),
        pytest.param("exit! 3", b"", exited(3), id="an_exit"),
        pytest.param("def f(n) = [1].map { f(n + 1) }\nf(0)", ANYTHING, None, id="a_trap"),
        pytest.param("loop {}", b"", timed_out(), id="a_time_out"),
    ],
)
def test_a_failed_invocation_leaves_nothing(run: Asking, then: str, stderr: bytes, ending: object) -> None:
    """After an uncaught exception, an exit, a trap and a time-out, the next invocation is the first of its guest."""
    source = f"{LEAVE_ALL}{then}\n"
    if ending is None:
        # How the artifact ends here is its own affair: an exception, or a trap.
        run.host.run(source)
    else:
        timeout_s = run.once_started_s() if ending == timed_out() else None
        run(source, b"", stderr, ending, timeout_s=timeout_s)  # type: ignore[arg-type]
    run(LOOK_FOR_ALL, NONE_LEFT, meaning=LEFT)


@pytest.mark.parametrize(
    ("request_", "ending"),
    [
        pytest.param(b"echo\n", exited(0), id="an_exit"),
        pytest.param(b"quit 3\n", exited(3), id="a_failure"),
        pytest.param(b"trap\n", trapped(), id="a_trap"),
        pytest.param(b"loop\n", timed_out(), id="a_time_out"),
    ],
)
def test_any_guest_starts_anew(ask: Asking, request_: bytes, ending: object) -> None:
    """A guest of any kind finds its memory, its globals and its size as they were made, however the last one ended."""
    ask(request_, ending=ending, timeout_s=0.4 if ending == timed_out() else None)  # type: ignore[arg-type]
    ask(b"memory\n", b"0 0 3 \n", meaning=LEFT)


def test_any_guest_starts_anew_after_many(ask: Asking) -> None:
    """So does the one after the hundredth; each of them answers with what it was given."""
    for _ in range(MANY):
        if ask(b"echo\nx", b"x", b"x").invocation >= MANY:
            break
    ask(b"memory\n", b"0 0 3 \n", meaning=LEFT)
    ask(b"memory\n", b"0 0 3 \n", meaning=LEFT)


def test_nothing_survives_many(run: Asking) -> None:
    """After a hundred invocations of the artifact, one still leaves nothing to the next."""
    for _ in range(MANY):
        if run(b"").invocation >= MANY:
            break
    run(LEAVE_ALL)
    run(LOOK_FOR_ALL, NONE_LEFT, meaning=LEFT)


def test_same_input_same_outcome(wasm_host: Host) -> None:
    """Any guest, given the same bytes twice, gives the same outcome, and the host counts on."""
    first, second = wasm_host.run(b"same\n"), wasm_host.run(b"same\n")

    assert_same(
        second, first, meaning="the guest or the host keeps something from one invocation to the next"
    )
    if second.invocation != first.invocation + 1:
        Asking(wasm_host).fail(
            f"after invocation {first.invocation} came {second.invocation}: the number counts how many invocations "
            "the isolate has served, and latencies are told apart by it"
        )


def test_equal_requests_are_not_answered_from_a_cache(ask: Asking) -> None:
    """Two requests that are equal but for an argument or a variable get their own answers; equal ones run again."""
    stale = "the host answers from a cache, which leaves out a part of the request"
    for value in ("one", "two"):
        ask(b"args\n", b"2 \nartifact.wasm\0%b\0" % value.encode(), args=(value,), meaning=stale)
        ask(b"variables\n", b"1 \nNAME=%b\0" % value.encode(), env={"NAME": value}, meaning=stale)
    request = b"random 16\n"
    first, second = (ask(request, ANYTHING, data=True) for _ in range(2))
    if first.stdout == second.stdout:
        ask.fail("two equal requests got the same 16 random bytes: it answers from a cache", second, request)


def test_many_at_once_keep_apart(run: Asking) -> None:
    """48 invocations at once never mix their streams or their state."""
    together = threading.Barrier(AT_ONCE)

    def invoke(number: int) -> int:
        together.wait()
        return run(
            # Long enough that the last one begins before the first one ends.
            f"$mine = {number}\n5_000.times {{ |i| i * i }}\n"
            '50.times { $stdout.puts "out #{$mine}"; $stderr.puts "err #{$mine}"; $stdout.flush }\n'
            "exit $mine\n",
            b"out %d\n" % number * 50,
            b"err %d\n" % number * 50,
            exited(number),
            timeout_s=AT_ONCE_S,
            meaning="invocations at once are mixed up",
        ).invocation

    with ThreadPoolExecutor(AT_ONCE) as threads:
        numbers = list(threads.map(invoke, range(AT_ONCE)))

    _check_numbers(run.host, numbers)


def test_any_guest_many_at_once(wasm_host: Host) -> None:
    """Any guest answers 16 inputs at once, four different ones, as it answers them one by one."""
    alone = {stdin: wasm_host.run(stdin) for stdin in (b"input %d\n" % number for number in range(4))}
    inputs = list(alone) * (ANY_GUESTS_AT_ONCE // len(alone))

    with ThreadPoolExecutor(ANY_GUESTS_AT_ONCE) as threads:
        together = list(threads.map(functools.partial(wasm_host.run, timeout_s=AT_ONCE_S), inputs))

    for stdin, outcome in zip(inputs, together, strict=True):
        assert_same(outcome, alone[stdin], meaning="invocations at once are mixed up")


def test_witnesses_at_once_keep_apart(ask: Asking) -> None:
    """64 guests at once get their own stdin, and end with their own status."""
    together = threading.Barrier(WITNESSES_AT_ONCE)

    def invoke(number: int) -> int:
        together.wait()
        said = b"%d" % number * 3000
        return ask(
            b"quit %d\n" % number + said,
            said,
            said,
            exited(number),
            timeout_s=AT_ONCE_S,
            meaning="invocations at once are mixed up",
        ).invocation

    with ThreadPoolExecutor(WITNESSES_AT_ONCE) as threads:
        numbers = list(threads.map(invoke, range(WITNESSES_AT_ONCE)))

    _check_numbers(ask.host, numbers)


def _check_numbers(host: Host, numbers: list[int]) -> None:
    # Each isolate counts its own, and guests at once are in several.
    if "isolates" not in host.runtime.capabilities and len(set(numbers)) != len(numbers):
        Asking(host).fail(
            f"{len(numbers)} invocations at once share {len(set(numbers))} numbers: {sorted(numbers)}"
        )


def test_hash_seed(ruby: Host, wasm_report_hazard: Callable[[str], None]) -> None:
    """`"x".hash` should differ from run to run; where an artifact froze its seed, that is a known hazard."""
    run = Asking(ruby)
    outcomes = [run("p 'x'.hash", ANYTHING) for _ in range(3)]
    for outcome in outcomes:
        if not outcome.stdout.strip(b"-\n").isdigit():
            run.fail("a hash is a number, and this is none", outcome, b"p 'x'.hash")
    if len({outcome.stdout for outcome in outcomes}) == 1:
        wasm_report_hazard(
            'the seed of "x".hash is frozen: whoever knows the artifact can make colliding keys (HashDoS)'
        )
