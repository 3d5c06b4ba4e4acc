"""What a failure is told with in a record: each difference with an excerpt of both sides, of bounded length."""

from __future__ import annotations

from typing import Any

from pytest_wasmedge.errors import HostFailedError
from pytest_wasmedge.model import Divergence
from pytest_wasmedge.portability.compare import Comparison, DivergenceError, describe_invocation
from pytest_wasmedge.portability.excerpt import around, cut, visible

_SIDE_BYTES = 1500
_WORDS = 400


def told(error: BaseException | None) -> dict[str, Any]:
    """Return what was asked of the guest, and the differences of its outcome; empty for any other failure."""
    if isinstance(error, HostFailedError):
        first = cut(str(error).partition("\n")[0], _WORDS)
        return {"divergences": [{"field": "ending", "expected": "an outcome", "actual": first}]}
    if not isinstance(error, DivergenceError):
        return {}
    compared = error.compared
    found = [_divergence(each, compared) for each in error.divergences]
    for leak in error.leaks:
        actual = cut(f"{leak.detector} in {leak.field}: {leak.excerpt}", _WORDS)
        found.append({"field": "leak", "expected": "no internals of a host", "actual": actual})
    asked = describe_invocation(compared.invocation) if compared and compared.invocation else ""
    return {"divergences": found} | ({"asked": asked} if asked else {})


def _divergence(divergence: Divergence, compared: Comparison | None) -> dict[str, Any]:
    """Return one difference; the sides of a stream begin with the same byte."""
    entry: dict[str, Any] = {
        "field": divergence.field,
        "expected": cut(divergence.expected, _WORDS),
        "actual": cut(divergence.actual, _WORDS),
    }
    if divergence.offset is not None:
        entry |= {"offset": divergence.offset, "line": divergence.line}
    if divergence.offset is not None and compared and divergence.field in ("stdout", "stderr"):
        both = (getattr(each, divergence.field) for each in (compared.expected, compared.outcome))
        entry["sides"] = [excerpt(data, divergence.offset) for data in both]
    return entry


def excerpt(data: bytes, offset: int) -> str:
    r"""Return the bytes around an offset as text: line breaks stay, all else that is invisible is \r, \t or \xNN."""
    piece, before, after = around(data, 0, len(data), min(offset, len(data)), _SIDE_BYTES)
    lines = "\n".join(visible(line) for line in piece.split(b"\n"))
    return f"{'…' if before else ''}{lines}{'…' if after else ''}"
