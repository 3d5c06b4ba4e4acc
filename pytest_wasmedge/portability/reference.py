"""What outcomes are compared with: golden files, or the outcomes of another runtime."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy

from pytest_wasmedge.drivers.pool import HostPool
from pytest_wasmedge.model import Host, Invocation, Outcome, Runtime
from pytest_wasmedge.portability.compare import key_of
from pytest_wasmedge.portability.corpus import Case

#: Outcomes of the reference runtime are kept, the latest ones, until they take this much.
_KEPT_BYTES = 64 << 20


class _Recent(dict[object, Outcome]):
    """The latest outcomes: the oldest ones are forgotten beyond what may be kept."""

    _bytes = 0

    def keep(self, key: object, outcome: Outcome) -> None:
        if key in self:
            self._bytes -= _size(self.pop(key))
        self[key] = outcome
        self._bytes += _size(outcome)
        while len(self) > 1 and self._bytes > _KEPT_BYTES:
            self._bytes -= _size(self.pop(next(iter(self))))


def _size(outcome: Outcome) -> int:
    return len(outcome.stdout) + len(outcome.stderr)


class Reference:
    """Gives the expected outcome: from golden files, or by running the reference runtime.

    ``golden``: the cases of the bundled suite have golden files for this artifact. ``chosen``: the user has named the
    runtime, so that no golden file counts.
    """

    def __init__(
        self, pool: HostPool, runtime: Runtime, *, golden: bool = False, chosen: bool = False
    ) -> None:
        self._pool = pool
        self.runtime = runtime
        self._golden = golden
        self._chosen = chosen
        self._hosts: dict[HostPool, Host] = {}
        self._outcomes = _Recent()
        #: The names of the cases that a test compared, "" for an invocation of its own, and whether with a golden file.
        self.asked: dict[str, bool] = {}

    def for_one_test(self) -> Reference:
        """Return a copy with the same host and outcomes, but with its own ``asked``."""
        reference = copy(self)
        reference.asked = {}
        return reference

    def __str__(self) -> str:
        return "golden files" if self._golden else f"{self.runtime.name}, run in the same session"

    def kind(self, asked: Mapping[str, bool], runtimes: Collection[str]) -> str:
        """Return what a test on these runtimes compared with: ``golden`` files, ``another`` runtime, ``itself``."""
        if any(asked.values()):
            return "golden"
        return "itself" if set(runtimes) <= {self.runtime.name} else "another"

    def of_case(self, case: Case) -> Outcome | None:
        """Return the expected outcome of a case of the bundled suite; None if it has no golden file yet."""
        self.asked[case.name] = self._golden
        return case.golden if self._golden else self._of_runtime(case.invocation())

    def of_given(self, case: Case, invocation: Invocation, pool: HostPool, *, late: bool) -> Outcome:
        """Return the expected outcome of a case of the user: of its golden file, else of the reference runtime.

        The ``pool`` holds the hosts with the case's own limits. ``late``: the outcome to compare was stopped at its
        time limit. If the reference alone was, it is asked once more: it may have had to wait for the processor,
        and every other runtime would be told to differ.
        """
        golden = None if self._chosen else case.golden
        self.asked[case.name] = golden is not None
        if golden:
            return golden
        expected = self._of_runtime(invocation, pool)
        if expected.ending.kind == "timed_out" and not late:
            expected = self._of_runtime(invocation, pool, anew=True)
        return expected

    def of_invocation(self, invocation: Invocation) -> Outcome:
        """Return the outcome of the reference runtime, also for golden files, which have cases only.

        Raises RuntimeUnavailableError or HostStartError if the reference runtime does not start.
        """
        self.asked[""] = False
        return self._of_runtime(invocation)

    def _of_runtime(
        self, invocation: Invocation, pool: HostPool | None = None, *, anew: bool = False
    ) -> Outcome:
        pool = pool or self._pool
        key = pool, key_of(invocation), tuple(invocation.preopens.items())
        if anew or key not in self._outcomes:
            if pool not in self._hosts:
                # Kept until the pool closes: the next case needs it again.
                self._hosts[pool] = pool.acquire(self.runtime)
            self._outcomes.keep(key, self._hosts[pool].invoke(invocation))
        return self._outcomes[key]
