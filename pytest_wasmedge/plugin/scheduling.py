"""Hands the tests of one runtime to one worker of pytest-xdist, so that its host starts once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from pytest_wasmedge.plugin.selection import runtime_in

if TYPE_CHECKING:
    from xdist.remote import Producer  # type: ignore[import-untyped]

    from pytest_wasmedge.plugin.machines import Machines

#: Where our suite is installed, in the ids of its tests; it differs from machine to machine.
_INSTALLED = re.compile(r"^.*\bpytest_wasmedge/bundled/conformance/")
#: What a test needs beside its runtime: the machine where latency is taken, or all runtimes of one machine.
_MEASURES, _TOGETHER = " measures", " together"
#: A worker is given so many tests at once.
_MOST = 200


class RuntimeScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Groups tests by the runtime in their ids; the others go one by one.

    pytest-xdist's own `loadgroup` changes the ids of tests. pytest 9.2 no longer allows that, so it groups nothing
    there (pytest-xdist issue 1386).
    """

    def __init__(self, config: Any, log: Producer, runtimes: Sequence[str]) -> None:
        super().__init__(config, log)
        self._runtimes = tuple(runtimes)

    def _split_scope(self, nodeid: str) -> str:
        """Return the runtime of a test; a test without one is a group of its own."""
        return runtime_in(nodeid, self._runtimes) or nodeid

    def remove_node(self, node: Any) -> str | None:
        """Return the test that a dead worker was running, if any; the others of its runtime run elsewhere.

        pytest-xdist would hand out that test again too, and it would kill one worker after the other.
        """
        for unit in self.assigned_work[node].values():
            for nodeid, completed in unit.items():
                if not completed:
                    del unit[nodeid]
                    super().remove_node(node)
                    return str(nodeid)
        found: str | None = super().remove_node(node)
        return found

    def left(self, told: Collection[str]) -> Mapping[str, int]:
        """Return how many tests have not been run, by their runtime; empty for those without.

        ``told`` are those whose outcome has come, of which a worker may not have said yet that it is done with them.
        """
        told = {*told, *(_INSTALLED.sub("", nodeid) for nodeid in told)}
        units = [
            *self.workqueue.values(),
            *(each for work in self.assigned_work.values() for each in work.values()),
        ]
        waiting = [
            nodeid
            for unit in units
            for nodeid, completed in unit.items()
            if not completed and nodeid not in told
        ]
        return Counter(runtime_in(nodeid, self._runtimes) for nodeid in waiting)


class MachineScheduling(RuntimeScheduling):
    """Gives each worker tests of the runtimes that its machine has.

    A runtime that no machine has is skipped wherever it comes. What measures runs on one machine alone. ``errors``
    makes our errors such that end the run.
    """

    def __init__(
        self,
        config: Any,
        log: Producer,
        runtimes: Sequence[str],
        machines: Machines,
        errors: Callable[[], AbstractContextManager[None]],
    ) -> None:
        super().__init__(config, log, runtimes)
        self._machines, self._errors = machines, errors
        self._scopes: dict[str, str] = {}
        #: What each worker was given last.
        self._at: dict[Any, str] = {}
        self.collection: list[str] | None = None

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        """Take what a worker has collected, without the place where our suite is installed there."""
        if self.collection is not None:
            # It replaces one that died.
            with self._errors():
                self._machines.check(node)
        super().add_node_collection(node, [_INSTALLED.sub("", nodeid) for nodeid in collection])

    def schedule(self) -> None:
        """Hand out the tests, once all workers have collected the same ones."""
        if self.collection is None:
            with self._errors():
                self._machines.settle(self.nodes)
            if not self._check_nodes_have_same_collection():
                return
            self.collection = list(next(iter(self.registered_collections.values())))
            self._plan(self.collection)
        for node in self._machines.in_order(self.nodes):
            self._reschedule(node)

    def _plan(self, collection: Sequence[str]) -> None:
        """Put all tests into the queue, in units of one runtime."""
        told = next((found for node in self.nodes if (found := self._machines.of(node))), None)
        measuring, together = (told.measuring, told.together) if told else (frozenset(), frozenset())
        groups: dict[str, list[str]] = {}
        for at, nodeid in enumerate(collection):
            group = runtime_in(nodeid, self._runtimes)
            group += _MEASURES if at in measuring else _TOGETHER if at in together else ""
            groups.setdefault(group, []).append(nodeid)
        for group, tests in groups.items():
            most = _MOST if group else 1
            for at in range(0, len(tests), most):
                scope = f"{group}/{at}"
                self.workqueue[scope] = dict.fromkeys(tests[at : at + most], False)
                self._scopes |= dict.fromkeys(tests[at : at + most], scope)
        # First what few can run.
        able = {group: sum(self._takes(node, group) for node in self.nodes) for group in groups}
        for scope in sorted(self.workqueue, key=lambda each: able[_group(each)]):
            self.workqueue.move_to_end(scope)

    def _split_scope(self, nodeid: str) -> str:
        return self._scopes[nodeid]

    def _takes(self, node: Any, group: str) -> bool:
        """Return whether a worker may run a group of tests."""
        if group.endswith(_MEASURES):
            return self._machines.measures(node)
        if group.endswith(_TOGETHER):
            return self._machines.richness(node) == self._machines.most
        return not group or self._machines.takes(node, group)

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        """Forget a test that has been run: what is kept is gone through after each."""
        nodeid = self.registered_collections[node][item_index]
        scope, work = self._scopes[nodeid], self.assigned_work[node]
        del work[scope][nodeid]
        if not work[scope]:
            del work[scope]
        self._reschedule(node)

    def _reschedule(self, node: Any) -> None:
        """Give a worker more to do, if it has not enough; end it if nothing is left for it."""
        while not node.shutting_down and self._pending_of(self.assigned_work[node]) <= 2:
            scope = self._next(node)
            if scope is None:
                node.shutdown()
                return
            self._at[node] = _group(scope)
            self.workqueue.move_to_end(scope, last=False)
            self._assign_work_unit(node)

    def _next(self, node: Any) -> str | None:
        """Return the next unit for a worker: of the runtime that it has started, else of one that no other has."""
        others = {group for each, group in self._at.items() if each in self.assigned_work}
        best: str | None = None
        scope: str
        for scope in self.workqueue:
            group = _group(scope)
            if group == self._at.get(node):
                return scope
            fresh = group not in others
            if (best is None or (fresh and _group(best) in others)) and self._takes(node, group):
                best = scope
        return best


def _group(scope: str) -> str:
    """Return what the tests of a unit have in common: the runtime, and what they need beside it."""
    return scope.rpartition("/")[0]
