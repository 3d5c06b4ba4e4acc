"""How faults show in what the witness answers, which is no Ruby: `artifacts/witness.wat` tells what it can be asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from pytest_wasmedge.model import Host, Invocation, Outcome
from pytest_wasmedge.testing.fault import Plant

#: The name of its artifact.
WITNESS = "witness"
#: What a clock says in the place of ``now``, in nanoseconds; ``first`` is what it said at first.
Tell = Callable[[int, int], int]

#: Yields line and column of each time that a clock has in an answer of lines of numbers.
Places = Callable[[Sequence[Sequence[int]]], Iterator[tuple[int, int]]]

#: The first letters of the requests that leave something, and the byte order mark that stands for one.
_LEAVING = (b"m", b"e", b"q", b"t", b"b", b"l", b"\xef")
_U64 = 1 << 64


def is_witness(host: Host) -> bool:
    """True if this host holds the witness."""
    return host.artifact.name == WITNESS


def answers(changes: Mapping[str, Callable[[bytes], bytes]]) -> Plant:
    """Return a plant that changes the witness's answers to some requests, given by their first letters."""

    def spoil(invocation: Invocation, outcome: Outcome) -> Outcome:
        change = changes.get(invocation.stdin[:1].decode("latin-1"))
        return replace(outcome, stdout=change(outcome.stdout)) if change and outcome.ending.ok else outcome

    return lambda host: lambda invocation: spoil(invocation, host.invoke(invocation))


def clock(number: Literal[0, 1], tell: Tell) -> Plant:
    """Return a plant that changes what this clock says."""

    def change(places: Places, stdout: bytes) -> bytes:
        lines = [[int(word) for word in line.split()] for line in stdout.splitlines()]
        first = None
        for line, column in places(lines):
            first = lines[line][column] if first is None else first
            lines[line][column] = tell(lines[line][column], first) % _U64
        return b"".join(b"%s\n" % b"".join(b"%d " % value for value in line) for line in lines)

    def in_clocks(lines: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
        yield number, 1
        if number:
            yield from ((2, column) for column in range(len(lines[2])))

    def in_sleep(lines: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
        yield from ((0, number), (2, number))

    return answers({"c": partial(change, in_clocks), "s": partial(change, in_sleep)})


def sleep(factor: float) -> Plant:
    """Return a plant by which `sleep` takes another time."""

    def change(stdin: bytes) -> bytes:
        line, newline, rest = stdin.partition(b"\n")
        word, _, milliseconds = line.partition(b" ")
        if not word.startswith(b"s") or not milliseconds.strip().isdigit():
            return stdin
        return b"%s %d%s%s" % (word, int(milliseconds) * factor, newline, rest)

    return lambda host: lambda each: host.invoke(replace(each, stdin=change(each.stdin)))


def terminal(*descriptors: int) -> Plant:
    """Return a plant by which these descriptors have the type of a terminal: a character device."""

    def change(stdout: bytes) -> bytes:
        return b"".join(_as_terminal(line, descriptors) for line in stdout.splitlines(keepends=True))

    return answers({"d": change})


def _as_terminal(line: bytes, descriptors: Collection[int]) -> bytes:
    words = line.split(b" ")
    if len(words) > 2 and words[0].isdigit() and int(words[0]) in descriptors:
        words[1] = b"2"
    return b" ".join(words)


def leaves(invocation: Invocation) -> bool:
    """True if this request leaves something in the instance."""
    return invocation.stdin.startswith(_LEAVING)


def in_used_instance(invocation: Invocation, outcome: Outcome) -> Outcome:
    """Return the answer to `memory` of an instance that has been used; other answers are the same there."""
    numbers = outcome.stdout.split()
    if not invocation.stdin.startswith(b"m") or len(numbers) != 3:
        return outcome
    return replace(outcome, stdout=b"1 1 %d \n" % (int(numbers[2]) + 1))
