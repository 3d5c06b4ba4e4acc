"""Asks a guest, and holds its whole outcome against what is expected: stdout, stderr, ending, and no leaks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pytest_wasmedge.model import Ending, Files, Host, Invocation, Outcome, exited
from pytest_wasmedge.portability.compare import assert_same, describe_invocation
from pytest_wasmedge.portability.excerpt import visible

OK = exited(0)


@dataclass(frozen=True, slots=True)
class Holding:
    """A stream that holds these pieces, in this order, and anything else."""

    pieces: tuple[bytes, ...]

    def filled(self, data: bytes) -> bytes:
        """Return the stream itself if it holds the pieces, else the pieces alone."""
        at = 0
        for piece in self.pieces:
            at = data.find(piece, at)
            if at < 0:
                return b"...".join(self.pieces)
            at += len(piece)
        return data


def holding(*pieces: bytes) -> Holding:
    """A stream that holds these pieces, in this order, and anything else."""
    return Holding(pieces)


ANYTHING = Holding(())
Stream = bytes | Holding


class WrongAnswerError(AssertionError):
    """A host does something else than it should; the text begins with the runtime and what is wrong."""

    @property
    def headline(self) -> str:
        """One line for a list of failures."""
        return str(self).partition("\n")[0]


class Asking:
    """Runs the guest of one host, and fails unless everything about the outcome is as expected.

    ``timeout_s`` is the time limit where a call has none; by default it is the host's.
    """

    def __init__(self, host: Host, timeout_s: float | None = None) -> None:
        self.host, self.timeout_s = host, timeout_s

    def __call__(
        self,
        stdin: str | bytes,
        stdout: Stream = b"",
        stderr: Stream = b"",
        ending: Ending = OK,
        *,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        preopens: Mapping[str, Path] | None = None,
        timeout_s: float | None = None,
        files: Files | None = None,
        meaning: str = "",
        data: bool = False,
    ) -> Outcome:
        """Run the guest once and return its outcome.

        ``meaning`` is what a difference usually means; ``files`` may be anything unless they are given. The streams
        are searched for leaks unless they are ``data``.
        """
        __tracebackhide__ = True
        source = stdin.encode() if isinstance(stdin, str) else stdin
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        invocation = Invocation(source, tuple(args), dict(env or {}), dict(preopens or {}), limit_s)
        outcome = self.host.invoke(invocation)
        expected = Outcome(
            _filled(stdout, outcome.stdout),
            _filled(stderr, outcome.stderr),
            ending,
            files=outcome.files if files is None else files,
        )
        if outcome == expected and isinstance(stdout, bytes) and isinstance(stderr, bytes):
            return outcome  # It holds what the test says, and so no leak.
        assert_same(
            outcome,
            expected,
            self.host.runtime.unchecked,
            invocation=invocation,
            meaning=meaning,
            leaks=not data,
        )
        return outcome

    def once_started_s(self) -> float:
        """Return a short time limit, in seconds, by which a program of Ruby has run its first lines.

        An interpreter takes longer for that than others for a program.
        """
        began_s = time.monotonic()
        self("puts 'started'\n", b"started\n")
        return max(0.25, 2 * (time.monotonic() - began_s))

    def numbers(self, request: bytes, **more: object) -> list[list[int]]:
        """Ask the witness, whose answer is numbers, and return those of each line."""
        __tracebackhide__ = True
        outcome = self(request, ANYTHING, **more)  # type: ignore[arg-type]
        try:
            return [[int(word) for word in line.split()] for line in outcome.stdout_text.splitlines()]
        except ValueError:
            self.fail("the witness answers with numbers, and these are none", outcome, request)

    def fail(self, what: str, outcome: Outcome | None = None, stdin: bytes | None = None) -> NoReturn:
        """Fail the test: what is wrong, what was asked, and the whole outcome."""
        __tracebackhide__ = True
        lines = [f"{self.host.runtime.name}: {what}"]
        if stdin is not None:
            lines.append(f"asked: {describe_invocation(Invocation(stdin))}")
        if outcome is not None:
            told = f"{outcome.ending}; stdout {_told(outcome.stdout)}; stderr {_told(outcome.stderr)}"
            lines.append(f"outcome: {told}")
        raise WrongAnswerError("\n".join(lines))


def refused(host: Host, outcome: Outcome, expected: Ending) -> bool:
    """Return whether the host has refused the exit status that is expected, as it says that it does."""
    ending = outcome.ending
    beyond = expected.status is not None and expected.status > host.runtime.highest_status
    return beyond and ending.kind == "host_failed" and "status" in ending.detail


def _filled(stream: Stream, data: bytes) -> bytes:
    return stream.filled(data) if isinstance(stream, Holding) else stream


def _told(data: bytes) -> str:
    return f'{len(data)} bytes "{visible(data[:200])}{"…" if len(data) > 200 else ""}"'
