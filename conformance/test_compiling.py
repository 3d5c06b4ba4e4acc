"""How long a start takes that has to compile first: measured only where the contract has a ceiling, for it is long."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_wasmedge.latency.units import Limit
from pytest_wasmedge.runtimes.base import Host


@pytest.mark.cache_state("no-cache")
def test_cold_start_compiling(
    host: Host, ceiling: Callable[[str], Limit | None], request: pytest.FixtureRequest
) -> None:
    """A cold start with no compiled code at hand is within its ceiling."""
    limit = ceiling("cold/no-cache")
    if limit is None or host.runtime.cache_state == "no-cache":
        pytest.skip(f"{host.runtime.name} has no such ceiling, or keeps no code and so was measured already")

    assert request.getfixturevalue("cold_start").median < limit
