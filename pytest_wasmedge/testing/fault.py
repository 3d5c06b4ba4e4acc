"""What a fault is: a name, one sentence on what such a host does wrong, and how it is planted."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from pytest_wasmedge.model import Artifact, Host, Invocation, Limits, Outcome, Runtime

Kind = Literal[
    "delivery",
    "streams",
    "endings",
    "isolation",
    "files",
    "clocks",
    "randomness",
    "limits",
    "latency",
    "leaks",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: What an invocation becomes, as `Host.invoke` does it.
Invoke: TypeAlias = Callable[[Invocation], Outcome]
#: Gets a started host that works, and returns how the faulty one invokes. Called once for each host that is started, so
#: that what it remembers over invocations is the host's own.
Plant: TypeAlias = Callable[[Host], Invoke]
#: Starts a host, as `Runtime.start` does it.
Start: TypeAlias = Callable[[Artifact, Limits], Host]
#: What a runtime must have so that a fault can show: a capability, or exit statuses above 125 that arrive.
Need = Literal["memory_limit", "preopens", "high_statuses"]


#: Written by `pytest-wasmedge selfcheck`.
CAUGHT_BY = Path(__file__).with_name("caught_by.json")


@functools.cache
def caught() -> dict[str, list[str]]:
    """Return the tests that catch each fault, as the last run of all tests under all faults has found them."""
    found: dict[str, list[str]] = json.loads(CAUGHT_BY.read_text("utf-8"))
    return found


def _as_it_is(host: Host) -> Invoke:
    return host.invoke


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that a host does wrong, and how it is planted into one that works.

    - ``sentence`` says what such a host does, after "a host that …".
    - ``plant`` spoils invocations and outcomes; ``starting`` the start and its limits. Nothing else changes.
    - ``says``: words in lower case, one of which a good message about this fault has in it.
    - ``needs``: what a runtime must have so that the fault can show.
    """

    name: str
    kind: Kind
    sentence: str
    plant: Plant = _as_it_is
    says: tuple[str, ...] = ()
    needs: Need | None = None
    starting: Callable[[Start], Start] | None = None

    def not_on(self, runtime: Runtime) -> str:
        """Return why this fault cannot show on this runtime; empty if it can."""
        if self.needs == "high_statuses":
            return f"{runtime.name}: {runtime.statuses}" if runtime.highest_status < 255 else ""
        if self.needs and self.needs not in runtime.capabilities:
            return f"{runtime.name} lacks the capability {self.needs}"
        return ""

    def __str__(self) -> str:
        return self.name

    @property
    def caught_by(self) -> tuple[str, ...]:
        """Tests of the bundled suite that catch it: ``test_stdout.py::test_case[core/*]``, a star is any text.

        Taken from the last run of all tests under all faults (`make faults-table`).
        """
        return tuple(caught().get(self.name, ()))

    @property
    def slows(self) -> bool:
        """True if it makes a host slow, which only a ceiling shows."""
        return self.kind == "latency" and "ceiling" in self.says

    @property
    def starts_its_own(self) -> bool:
        """True if a host with this fault has to be started for it; others can share a host that works."""
        return self.starting is not None
