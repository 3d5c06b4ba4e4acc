"""The tests of one shard: of `--wasm-shard=2/4` those that belong to the second of four."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest

from pytest_wasmedge.plugin.facts import name_of, params_of


def split(
    items: Sequence[pytest.Item], shard: tuple[int, int]
) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Return the tests of this shard, its number and how many there are, and all others.

    Each test is in one shard, whichever tests are selected beside it; all tests of a case on a runtime are in the same,
    since a known divergence is about them together.
    """
    number, count = shard
    parts: tuple[list[pytest.Item], list[pytest.Item]] = ([], [])
    for item in items:
        key = f"{name_of(item)} {params_of(item).get('wasm_runtime', '')}"
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        parts[int.from_bytes(digest[:8]) % count != number - 1].append(item)
    return parts
