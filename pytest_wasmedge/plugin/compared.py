"""A host that also invokes the baseline, so that every outcome of a run is compared with it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from pytest_wasmedge.model import Host, Invocation, Outcome
from pytest_wasmedge.portability.compare import compare, key_of
from pytest_wasmedge.reports.record import CHANGED, COMPARED, VARYING, WORK

#: Takes the key and the value of a fact about the running test.
AddFact = Callable[[str, object], None]


class _Around(Host):
    """Answers by another host, ``head``, which belongs to its pool: closing this one does nothing."""

    def __init__(self, head: Host) -> None:
        self.head = head
        self.runtime, self.artifact, self.limits = head.runtime, head.artifact, head.limits

    def pids(self) -> tuple[int, ...]:
        return self.head.pids()

    def paused(self) -> AbstractContextManager[None]:
        return self.head.paused()

    def discard_isolates(self) -> None:
        self.head.discard_isolates()

    def close(self) -> None:
        """Do nothing."""


class ComparedHost(_Around):
    """Answers as ``head`` does; calls ``add_fact`` for each comparison, and for each field that changed.

    An invocation is compared once. If the outcomes differ, the head is invoked again: a guest whose answers vary from
    run to run has not changed. ``name`` returns the name of the running test, under which a change is listed.
    """

    def __init__(self, head: Host, baseline: Host, name: Callable[[], str], add_fact: AddFact) -> None:
        super().__init__(head)
        self.baseline = baseline
        self._name, self._add_fact = name, add_fact
        self._compared: set[object] = set()

    def invoke(self, invocation: Invocation) -> Outcome:
        if not invocation.preopens:
            key = key_of(invocation)
            if key in self._compared:
                return self.head.invoke(invocation)
            self._compared.add(key)
        with _with_copies(invocation) as for_baseline, _with_copies(invocation) as again:
            outcome = self.head.invoke(invocation)
            before = self.baseline.invoke(for_baseline)
            changes = compare(outcome, before, self.runtime.unchecked)
            if changes and outcome != self.head.invoke(again):
                self._add_fact(VARYING, [self.runtime.name, self._name()])
                return outcome
        self._add_fact(COMPARED, [self.runtime.name, self._name()])
        for change in changes:
            self._add_fact(CHANGED, [self.runtime.name, f"{self._name()} ({change.field})"])
        return outcome


class CountedHost(_Around):
    """Answers as ``head`` does, and adds what ``count`` returns of each invocation that ended by itself as a fact.

    ``count`` is given the name of the running test, and returns None for what is not to be counted.
    """

    def __init__(
        self,
        head: Host,
        count: Callable[[str, Invocation], list[object] | None],
        name: Callable[[], str],
        add_fact: AddFact,
    ) -> None:
        super().__init__(head)
        self._count, self._name, self._add_fact = count, name, add_fact

    def invoke(self, invocation: Invocation) -> Outcome:
        outcome = self.head.invoke(invocation)
        # A guest that was stopped would run to the limit of its count, too.
        if outcome.ending.kind in ("exited", "trapped"):
            name = self._name()
            counted = self._count(name, invocation)
            if counted is not None:
                self._add_fact(WORK, [self.runtime.name, name, *counted])
        return outcome


def head_of(host: Host) -> Host:
    """Return the host of the artifact under test alone, for measurements."""
    while isinstance(host, _Around):
        host = host.head
    return host


@contextmanager
def _with_copies(invocation: Invocation) -> Iterator[Invocation]:
    """Yield the same invocation with copies of its folders, made before a guest changes them."""
    if not invocation.preopens:
        yield invocation
        return
    with tempfile.TemporaryDirectory(prefix="pytest-wasmedge-") as scratch:
        copies = {
            guest: Path(shutil.copytree(folder, Path(scratch) / str(index), symlinks=True))
            for index, (guest, folder) in enumerate(invocation.preopens.items())
        }
        yield replace(invocation, preopens=copies)
