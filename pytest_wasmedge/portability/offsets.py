"""Where two streams differ first."""

from __future__ import annotations


def first_difference(left: bytes, right: bytes) -> int:
    """Return the offset of the first byte that differs; the shorter length if one begins with the other."""
    low, high = 0, min(len(left), len(right))
    if left[:high] == right[:high]:
        return high
    # Halving with slices lets memcmp do the work: about 2 x the bytes are touched, none of them in Python.
    while high - low > 1:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low
