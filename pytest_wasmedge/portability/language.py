"""The language that a guest runs: how to recognise it, and the programs that are run in it.

Ruby is the only one that we have cases for. Apart from this module and the cases, only the built-in artifact, the
leak detectors and the native Ruby know about it; add another language here.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_wasmedge.model import Host, Invocation


@dataclass(frozen=True, slots=True)
class Language:
    """A language of guests; its programs are sources that a guest reads on stdin.

    The program ``smallest`` prints ``answer``; ``alive`` runs for most of a second. ``suffix`` is that of source files.
    """

    suffix: str
    smallest: bytes
    answer: bytes
    alive: bytes

    def is_spoken_by(self, host: Host) -> bool:
        """Return whether the guest gives the right answer to the smallest program."""
        outcome = host.invoke(Invocation(self.smallest))
        return outcome.ending.ok and outcome.stdout.split() == self.answer.split()


RUBY = Language(".rb", smallest=b"puts 1+1\n", answer=b"2\n", alive=b"sleep 0.8\n")
