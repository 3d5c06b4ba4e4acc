"""How latencies are written: ``ms(25)``, ``"25ms"``, ``"3.5x floor"``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_wasmedge.errors import LatencyError

#: What warm latency is measured with: the smallest program that a guest can run, the same in a fresh isolate, and then
#: those in fixtures/latency.
WORKLOADS = ("tiny", "isolate", "hello", "smoke", "html", "heavy")

_NS_OF = {"us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
# Few enough digits that no number is infinite as a float.
_NUMBER = r"(\d{1,15}(?:\.\d+)?)"
_DURATION = re.compile(rf"{_NUMBER}\s*([a-zµ]+)", re.IGNORECASE)
_MULTIPLE = re.compile(rf"{_NUMBER}\s*[x×]\s*floor")


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time in whole nanoseconds."""

    ns: int

    def __str__(self) -> str:
        for unit, size_ns in reversed(_NS_OF.items()):
            if self.ns >= size_ns:
                return f"{round(self.ns / size_ns, 3):g}{unit}"
        return f"{self.ns / 1000:g}us"


@dataclass(frozen=True, slots=True)
class FloorMultiple:
    """A limit for every machine: a multiple of what the runtime takes with an artifact that does nothing."""

    factor: float

    def __str__(self) -> str:
        return f"{self.factor:g}x floor"


Limit = Duration | FloorMultiple


def ms(milliseconds: float) -> Duration:
    """Return this many milliseconds as a limit: ``assert cold_start.median < ms(25)``."""
    return Duration(round(milliseconds * 1e6))


def parse_limit(text: str) -> Limit:
    """Read ``"25ms"``, ``"1.5s"``, ``"900us"`` or ``"3.5x floor"``. Raises LatencyError."""
    if found := _MULTIPLE.fullmatch(text.strip()):
        return FloorMultiple(float(found[1]))
    found = _DURATION.fullmatch(text.strip())
    if found and found[2] in _NS_OF:
        return Duration(round(float(found[1]) * _NS_OF[found[2]]))
    what = f"{found[2]!r} is no unit" if found else f"{text!r} is no latency"
    raise LatencyError(
        f'{what}: write a number with us, ms or s, such as "25ms", or a multiple, "3.5x floor".'
    )
