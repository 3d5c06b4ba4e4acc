"""What outcomes are compared with: golden files, or the outcomes of another runtime."""

from __future__ import annotations

from collections.abc import Collection
from copy import copy

from pytest_wasmedge.drivers.pool import HostPool
from pytest_wasmedge.model import Host, Invocation, Outcome, Runtime
from pytest_wasmedge.portability.corpus import Case


class Reference:
    """Gives the expected outcome: from golden files, or by running the reference runtime."""

    def __init__(self, pool: HostPool, runtime: Runtime, *, golden: bool = False) -> None:
        self._pool = pool
        self.runtime = runtime
        self._golden = golden
        self._hosts: list[Host] = []
        self._outcomes: dict[object, Outcome] = {}
        #: The names of the cases that a test compared with, "" for an invocation of its own.
        self.asked: set[str] = set()

    def for_one_test(self) -> Reference:
        """Return a copy with the same host and outcomes, but with its own ``asked``."""
        reference = copy(self)
        reference.asked = set()
        return reference

    def __str__(self) -> str:
        return "golden files" if self._golden else f"{self.runtime.name}, run in the same session"

    def kind(self, asked: Collection[str], runtimes: Collection[str]) -> str:
        """Return what a test on these runtimes compared with: ``golden`` files, ``another`` runtime, ``itself``."""
        if self._golden and any(asked):
            return "golden"
        return "itself" if set(runtimes) <= {self.runtime.name} else "another"

    def of_case(self, case: Case) -> Outcome | None:
        """Return the expected outcome of a case; None if it has no golden file yet."""
        self.asked.add(case.name)
        if self._golden:
            return case.golden
        return self.of_invocation(Invocation(case.source, timeout_s=case.timeout_s))

    def of_invocation(self, invocation: Invocation) -> Outcome:
        """Return the outcome of the reference runtime, also for golden files, which have cases only.

        Raises RuntimeUnavailableError or HostStartError if the reference runtime does not start.
        """
        self.asked.add("")
        key = (invocation.stdin, invocation.args, tuple(sorted(invocation.env.items())))
        if key not in self._outcomes:
            if not self._hosts:
                # Kept until the pool closes: the next case needs it again.
                self._hosts.append(self._pool.acquire(self.runtime))
            self._outcomes[key] = self._hosts[0].invoke(invocation)
        return self._outcomes[key]
