"""Takes one kind of difference out of a stream, so that everything else in it can still be compared."""

from __future__ import annotations

import re
from collections.abc import Callable

# Colours alone: what moves the cursor or names a window is something else, and stays.
_PART = re.compile(rb"[^\n\0]*[\n\0]|[^\n\0]+")
_COLOUR = re.compile(rb"\x1b\[[0-9;:]*m")

#: What a contract may say that streams differ by, with the function that takes it out.
NORMALISATIONS: dict[str, Callable[[bytes], bytes]] = {
    "ANSI colours": lambda data: _COLOUR.sub(b"", data),
    "line ends": lambda data: data.replace(b"\r\n", b"\n"),
    "order": lambda data: b"".join(sorted(_PART.findall(data))),
}
