"""Masks: what varies from run to run is replaced by its name before outcomes are compared, on both sides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_wasmedge.model import Content, Outcome
from pytest_wasmedge.portability.excerpt import visible

_SHOWN = 3
_SHOWN_BYTES = 40


@dataclass(frozen=True, slots=True)
class Mask:
    """Replaces each match of a pattern by ``<name>``."""

    name: str
    pattern: re.Pattern[bytes]

    def hide(self, data: bytes) -> bytes:
        """Return the data with all matches replaced."""
        return self.pattern.sub(lambda _: b"<%b>" % self.name.encode(), data)


def parse_mask(name: str, pattern: str) -> Mask:
    """Return a mask. Raises ValueError for what is no regular expression, or matches nothing at all."""
    try:
        compiled = re.compile(pattern.encode(), re.MULTILINE)
    except re.error as error:
        raise ValueError(f"mask {name} is no regular expression: {error}") from None
    if compiled.match(b""):
        raise ValueError(f"mask {name}, {pattern!r}, matches the empty text, which is everywhere")
    return Mask(name, compiled)


# Micro is written with either of two letters.
_UNITS = r"ns|us|\xc2\xb5s|\xce\xbcs|ms|s|secs?|seconds?|milliseconds?"

#: The masks that come with the plugin.
MASKS: Mapping[str, Mask] = {
    name: parse_mask(name, pattern)
    for name, pattern in {
        "elapsed": rf"(?<![\w.])\d+(?:[.,]\d+)?(?:e-?\d+)?\s?(?:{_UNITS})\b",
        "address": r"\b0x[0-9a-fA-F]{3,16}\b",
        "uuid": r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b",
        "temp path": r"(?:/private)?/(?:tmp|var/tmp|var/folders|dev/shm)/[^\s:;,\"'`<>()\[\]]+",
    }.items()
}


def masked(outcome: Outcome, masks: Sequence[Mask], sorted_lines: Sequence[str] = ()) -> Outcome:
    """Return the outcome with streams and files masked, and the lines of these streams in order of their bytes."""
    if not masks and not sorted_lines:
        return outcome
    streams = {}
    for name in ("stdout", "stderr"):
        data = _hidden(getattr(outcome, name), masks)
        streams[name] = _in_order(data) if name in sorted_lines else data
    files: dict[str, Content] = {
        path: _hidden(content, masks) if isinstance(content, bytes) else content
        for path, content in outcome.files.items()
    }
    return replace(outcome, **streams, files=files)  # type: ignore[arg-type]


def hidden(outcome: Outcome, masks: Sequence[Mask]) -> Iterator[str]:
    """Yield one line for each mask that replaced something: where, how often and what."""
    for mask in masks:
        for name in ("stdout", "stderr"):
            found = list(mask.pattern.finditer(getattr(outcome, name)))
            if found:
                shown = ", ".join(
                    f'"{visible(each[0][:_SHOWN_BYTES])}" at byte {each.start()}' for each in found[:_SHOWN]
                )
                more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
                yield f"masked as <{mask.name}> in {name}: {shown}{more}"


def _hidden(data: bytes, masks: Sequence[Mask]) -> bytes:
    for mask in masks:
        data = mask.hide(data)
    return data


def _in_order(data: bytes) -> bytes:
    end = b"\n" if data.endswith(b"\n") else b""
    return b"\n".join(sorted(data.removesuffix(b"\n").split(b"\n"))) + end
