"""What an outcome should have been: a golden file's, or another runtime's own."""

from __future__ import annotations

from pytest_wasmedge.drivers.pool import HostPool
from pytest_wasmedge.model import Host, Invocation, Outcome, Runtime
from pytest_wasmedge.portability.corpus import Case


class Reference:
    """Knows what an outcome should have been."""

    def __init__(self, pool: HostPool, runtime: Runtime, *, golden: bool = False) -> None:
        self._pool = pool
        self.runtime = runtime
        self._golden = golden
        self._host: Host | None = None
        self._outcomes: dict[object, Outcome] = {}
        #: The names of the cases that were asked for: whoever asks compares.
        self.asked: set[str] = set()

    def __str__(self) -> str:
        return "golden files" if self._golden else f"{self.runtime.name}, run in the same session"

    def of_case(self, case: Case) -> Outcome | None:
        """Return the outcome expected of a case; None if it has no golden file yet."""
        self.asked.add(case.name)
        if self._golden:
            return case.golden
        return self.of_invocation(Invocation(case.source, timeout_s=case.timeout_s))

    def of_invocation(self, invocation: Invocation) -> Outcome:
        """Return the reference runtime's own outcome (golden files know cases only).

        Raises RuntimeUnavailableError or HostStartError if the reference runtime cannot tell.
        """
        key = (invocation.stdin, invocation.args, tuple(sorted(invocation.env.items())))
        if key not in self._outcomes:
            if self._host is None:
                # Kept until the pool closes: the next case needs it again.
                self._host = self._pool.acquire(self.runtime)
            self._outcomes[key] = self._host.invoke(invocation)
        return self._outcomes[key]
