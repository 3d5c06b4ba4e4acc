"""How pytest-xdist hands out tests: those of one runtime to one worker, so that its host starts once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from pytest_wasmedge.plugin.selection import runtime_in

if TYPE_CHECKING:
    from xdist.remote import Producer  # type: ignore[import-untyped]


class RuntimeScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Groups tests by the runtime that stands in their ids; the others go one by one.

    pytest-xdist's own `loadgroup` changes the ids of tests, which pytest 9.2 does not let it do any more: there
    it groups nothing (pytest-xdist issue 1386).
    """

    def __init__(self, config: Any, log: Producer, runtimes: Sequence[str]) -> None:
        super().__init__(config, log)
        self._runtimes = tuple(runtimes)

    def _split_scope(self, nodeid: str) -> str:
        """Return the runtime of a test; a test of none is a group of its own."""
        return runtime_in(nodeid, self._runtimes) or nodeid

    def remove_node(self, node: Any) -> str | None:
        """Return the test that a dead worker ran, if it ran one; the others of its runtime run elsewhere.

        pytest-xdist hands the test itself out again too, which kills one worker after the other.
        """
        for unit in self.assigned_work[node].values():
            for nodeid, completed in unit.items():
                if not completed:
                    del unit[nodeid]
                    super().remove_node(node)
                    return str(nodeid)
        found: str | None = super().remove_node(node)
        return found
