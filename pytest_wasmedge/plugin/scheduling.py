"""Hands the tests of one runtime to one worker of pytest-xdist, so that its host starts once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from pytest_wasmedge.plugin.selection import runtime_in

if TYPE_CHECKING:
    from xdist.remote import Producer  # type: ignore[import-untyped]


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
