"""How sizes are written: ``20000000``, ``"20 MB"``, ``"5 MiB"``."""

from __future__ import annotations

import re
from decimal import Decimal

_BYTES_OF = {"kB": 1000, "MB": 1000**2, "KiB": 1024, "MiB": 1024**2}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", re.ASCII)
_EXAMPLE = 'write bytes as an integer, or a string such as "20 MB" with kB, MB, KiB or MiB.'


def parse_size(value: object) -> int:
    """Return a size in bytes, rounded down. Raises ValueError: ``what is wrong; what to do``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is no size; {_EXAMPLE}")
    number, unit = found.groups()
    if unit in _BYTES_OF:
        return int(Decimal(number) * _BYTES_OF[unit])
    meant = [each for each in _BYTES_OF if each.lower() == unit.lower()]
    if meant:
        raise ValueError(f'{value!r}: "{unit}" is no unit of size; did you mean "{number} {meant[0]}"?')
    raise ValueError(f"{value!r} has {f'the unknown unit {unit}' if unit else 'no unit'}; {_EXAMPLE}")
