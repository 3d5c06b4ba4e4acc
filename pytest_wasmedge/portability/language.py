"""The language that a guest speaks: how to find out, and the programs that are run in it.

Ruby is the one that we have cases for. Outside of this module and the cases, nothing but the built-in artifact, the
leak detectors and the native Ruby knows it: another language would stand beside it here.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_wasmedge.model import Host, Invocation


@dataclass(frozen=True, slots=True)
class Language:
    """A language of guests; the programs are sources that a guest reads on stdin.

    ``smallest`` is the least that can be asked, ``answer`` what it then prints. ``alive`` keeps a guest alive for a
    second or two. ``suffix`` is that of its source files.
    """

    name: str
    suffix: str
    smallest: bytes
    answer: bytes
    alive: bytes

    def is_spoken_by(self, host: Host) -> bool:
        """True if the guest gives the right answer to the smallest program."""
        outcome = host.invoke(Invocation(self.smallest))
        return outcome.ending.ok and outcome.stdout.split() == self.answer.split()


RUBY = Language("Ruby", ".rb", smallest=b"puts 1+1\n", answer=b"2\n", alive=b"sleep 1.5\n")
