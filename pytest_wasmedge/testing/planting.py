"""How faults are planted: changed invocations, changed outcomes, a line of Ruby before the program."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pytest_wasmedge.model import Host, Invocation, Outcome
from pytest_wasmedge.testing.fault import Invoke, Plant
from pytest_wasmedge.testing.witness import is_witness

#: Changes one stream.
Change = Callable[[bytes], bytes]


def asked(change: Callable[[Invocation], Invocation]) -> Plant:
    """Return a plant that changes each invocation before the host gets it."""
    return lambda host: lambda invocation: host.invoke(change(invocation))


def answered(change: Callable[[Invocation, Outcome], Outcome]) -> Plant:
    """Return a plant that changes each outcome, with a look at its invocation."""
    return lambda host: lambda invocation: change(invocation, host.invoke(invocation))


def told(change: Callable[[Outcome], Outcome]) -> Plant:
    """Return a plant that changes each outcome."""
    return answered(lambda _, outcome: change(outcome))


def stdin(change: Change) -> Plant:
    """Return a plant that changes stdin."""
    return asked(lambda each: replace(each, stdin=change(each.stdin)))


def args(change: Callable[[tuple[str, ...]], Sequence[str]]) -> Plant:
    """Return a plant that changes the arguments."""
    return asked(lambda each: replace(each, args=tuple(change(each.args))))


def each_arg(change: Callable[[str], str]) -> Plant:
    """Return a plant that changes each argument by itself."""
    return args(lambda values: [change(value) for value in values])


def env(change: Callable[[Mapping[str, str]], Mapping[str, str]]) -> Plant:
    """Return a plant that changes the environment."""
    return asked(lambda each: replace(each, env=change(each.env)))


def each_value(change: Callable[[str], str]) -> Plant:
    """Return a plant that changes the value of each variable."""
    return env(lambda variables: {name: change(value) for name, value in variables.items()})


def stdout(change: Change) -> Plant:
    """Return a plant that changes stdout."""
    return told(lambda each: replace(each, stdout=change(each.stdout)))


def stderr(change: Change) -> Plant:
    """Return a plant that changes stderr."""
    return told(lambda each: replace(each, stderr=change(each.stderr)))


def both(change: Change) -> Plant:
    """Return a plant that changes stdout and stderr."""
    return told(lambda each: replace(each, stdout=change(each.stdout), stderr=change(each.stderr)))


def ruby(line: str | Callable[[], str], witness: Plant) -> Plant:
    """Return a plant that runs a line of Ruby before the program; a function returns another one each time.

    The witness is no Ruby, and has a plant of its own.
    """

    def plant(host: Host) -> Invoke:
        if is_witness(host):
            return witness(host)
        asides = Asides(host)
        return lambda invocation: before(asides, invocation, line if isinstance(line, str) else line())

    return plant


class Asides:
    """A host that can be invoked aside: nobody else hears of it, and it counts as no invocation."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._asides = 0
        self._lock = threading.Lock()

    def invoke(self, invocation: Invocation) -> Outcome:
        """Invoke the host."""
        return self.counted(self._host.invoke(invocation))

    def aside(self, invocation: Invocation) -> Outcome:
        """Invoke the host, and do not count it."""
        outcome = self.uncounted(invocation)
        self.leave_out()
        return outcome

    def uncounted(self, invocation: Invocation) -> Outcome:
        """Invoke the host; `counted` or `leave_out` comes next."""
        return self._host.invoke(invocation)

    def counted(self, outcome: Outcome) -> Outcome:
        """Return an outcome with the number that it has without those aside."""
        with self._lock:
            if outcome.invocation <= self._asides:
                # The host has been replaced by one that counts from 1.
                self._asides = 0
            return replace(outcome, invocation=outcome.invocation - self._asides)

    def leave_out(self) -> None:
        """Do not count an invocation."""
        with self._lock:
            self._asides += 1


def before(host: Asides, invocation: Invocation, line: str) -> Outcome:
    """Run a line of Ruby before a program, where nothing shows of it but what it does.

    A SyntaxError shows its line of the source, so a program that has one is run as it is.
    """
    outcome = host.uncounted(replace(invocation, stdin=_with_line(invocation.stdin, line.encode())))
    if _SYNTAX_ERROR in outcome.stderr + outcome.stdout:
        host.leave_out()
        return host.invoke(invocation)
    return host.counted(outcome)


_SYNTAX_ERROR = b"SyntaxError"
# A byte order mark, and the comments at the start of a program, some of which are for Ruby: they must stay first.
_COMMENTS = re.compile(rb"\A(?:\xef\xbb\xbf)?(?:[ \t]*(?:#[^\n]*)?\n)*(?:[ \t]*#[^\n]*\Z)?")
# Lines that are something else unless they begin in the first column.
_IN_FIRST_COLUMN = (b"=begin", b"__END__", b"=end")


def _with_line(source: bytes, line: bytes) -> bytes:
    """Put the line before the first one that is no comment: line numbers stay, and so do comments meant for Ruby."""
    comments = _COMMENTS.match(source)
    at = comments.end() if comments else 0
    if source.startswith(_IN_FIRST_COLUMN, at) or (at and not source[:at].endswith(b"\n")):
        return source
    return source[:at] + line + b"; " + source[at:]


class Counter:
    """Counts invocations, from several threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._count = 0

    def next(self) -> int:
        """Return the number of this invocation, from 1."""
        with self.lock:
            self._count += 1
            return self._count
