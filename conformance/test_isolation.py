"""Each invocation is the first of its guest: nothing of another one is there, before or beside it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_wasmedge.model import Host, Outcome, exited
from pytest_wasmedge.portability.compare import assert_same

AT_ONCE = 32
#: For each of them: beside the others, an interpreter takes as long as 32 of them. It only ends what hangs.
AT_ONCE_S = 300.0

# What one invocation leaves, and what the next one must not find.
LEFTOVERS = {
    "global": ("$left = 1", "p $left", b"nil\n"),
    "constant": ("LEFT = 1", "p defined?(LEFT)", b"nil\n"),
    "method": ("def left = 1", "p respond_to?(:left, true)", b"false\n"),
    "monkey_patch": ("class Integer; def +(other) = 42; end", "p 1 + 1", b"2\n"),
    "refined_core": ("class String; def upcase = 'patched'; end", "puts 'a'.upcase", b"A\n"),
    "environment": ("ENV['LEFT'] = '1'", "p ENV['LEFT']", b"nil\n"),
    "file": (
        "begin; File.write('left.txt', '1'); rescue SystemCallError; end",
        "p((File.exist?('left.txt') rescue false))",
        b"false\n",
    ),
    "seed": ("srand(42)", "p Random.seed == 42", b"false\n"),
    "at_exit": ("at_exit { puts 'left' }", "puts 'clean'", b"clean\n"),
    "stdout": ("$stdout = $stderr", "puts 'here'", b"here\n"),
}


@pytest.mark.parametrize("name", LEFTOVERS)
def test_nothing_survives(ruby: Host, name: str) -> None:
    """What one invocation defines, the next one does not see."""
    leave, look, clean = LEFTOVERS[name]
    ruby.run(leave)
    outcome = ruby.run(look)

    assert outcome.stdout == clean
    assert outcome.ending == exited(0)


def test_a_failed_invocation_leaves_nothing(ruby: Host) -> None:
    """After an uncaught exception and after a trap, the next invocation works as ever."""
    ruby.run("$left = 1\nraise 'boom'\n")
    ruby.run("def f(n) = [1].map { f(n + 1) }\nf(0)\n")
    outcome = ruby.run("p $left\n")

    assert outcome.stdout == b"nil\n"
    assert outcome.ending == exited(0)


@pytest.mark.parametrize("expression", ["rand(1 << 60)", "Random.new_seed", "Random.urandom(8).unpack1('Q')"])
def test_randomness_is_fresh(ruby: Host, expression: str) -> None:
    """Random numbers differ from invocation to invocation, also in a pre-initialised artifact."""
    numbers = {ruby.run(f"p {expression}").stdout for _ in range(3)}

    assert len(numbers) == 3


def test_hash_seed(ruby: Host, wasm_report_hazard: Callable[[str], None]) -> None:
    """`"x".hash` should differ too; where an artifact froze its seed, that is reported as a known hazard."""
    hashes = {ruby.run("p 'x'.hash").stdout for _ in range(3)}

    assert all(value.strip(b"-\n").isdigit() for value in hashes)
    if len(hashes) == 1:
        wasm_report_hazard(
            'the seed of "x".hash is frozen: whoever knows the artifact can make colliding keys (HashDoS)'
        )


def test_same_input_same_outcome(wasm_host: Host) -> None:
    """Any guest, given the same bytes twice, gives the same outcome, and the host counts on."""
    first, second = wasm_host.run(b"same\n"), wasm_host.run(b"same\n")

    assert_same(second, first)
    assert second.invocation == first.invocation + 1


def test_many_at_once_keep_apart(ruby: Host) -> None:
    """32 invocations at once never mix their streams or their state."""

    def invoke(number: int) -> Outcome:
        return ruby.run(
            f"$mine = {number}\n"
            '50.times { $stdout.puts "out #{$mine}"; $stderr.puts "err #{$mine}"; $stdout.flush }\n'
            "exit $mine\n",
            timeout_s=AT_ONCE_S,
        )

    with ThreadPoolExecutor(AT_ONCE) as threads:
        outcomes = list(threads.map(invoke, range(AT_ONCE)))

    for number, outcome in enumerate(outcomes):
        assert outcome.stdout == b"out %d\n" % number * 50
        assert outcome.stderr == b"err %d\n" % number * 50
        assert outcome.ending == exited(number)
    assert len({outcome.invocation for outcome in outcomes}) == AT_ONCE


def test_any_guest_many_at_once(wasm_host: Host) -> None:
    """Any guest answers 32 inputs at once, eight different ones, as it answers them one by one."""
    alone = {stdin: wasm_host.run(stdin) for stdin in (b"input %d\n" % number for number in range(8))}
    inputs = list(alone) * (AT_ONCE // len(alone))

    with ThreadPoolExecutor(AT_ONCE) as threads:
        together = list(threads.map(functools.partial(wasm_host.run, timeout_s=AT_ONCE_S), inputs))

    for stdin, outcome in zip(inputs, together, strict=True):
        assert_same(outcome, alone[stdin])
