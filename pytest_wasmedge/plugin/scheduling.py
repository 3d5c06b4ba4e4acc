"""How pytest-xdist hands out tests: those of one runtime to one worker, so that its host starts once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from xdist.remote import Producer  # type: ignore[import-untyped]


class RuntimeScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Groups tests by the runtime that stands in their ids; the others go one by one.

    pytest-xdist's own `loadgroup` changes the ids of tests, which pytest 9.2 does not let it do any more: there
    it groups nothing (pytest-xdist issue 1386).
    """

    def __init__(self, config: Any, log: Producer, runtimes: Sequence[str]) -> None:
        super().__init__(config, log)
        names = "|".join(re.escape(name) for name in sorted(runtimes, key=len, reverse=True))
        self._runtime = re.compile(rf"\[(?:[^\]]*?-)??({names})(?=[-\]])")

    def _split_scope(self, nodeid: str) -> str:
        """Return the runtime of a test; a test of none is a group of its own."""
        found = self._runtime.search(nodeid)
        return found[1] if found else nodeid
