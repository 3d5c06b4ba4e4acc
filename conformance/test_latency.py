"""How long the artifact takes to answer, first and afterwards: measured and shown in the closing table."""

from __future__ import annotations

from pytest_wasmedge.latency.sampling import Samples


def test_cold_start(cold_start: Samples) -> None:
    """A cold start ends, every time, with a full response."""
    assert all(elapsed_ns > 0 for elapsed_ns in cold_start.elapsed_ns)


def test_warm_latency(warm_latency: Samples) -> None:
    """A warm invocation ends, every time, with a full response."""
    assert all(elapsed_ns > 0 for elapsed_ns in warm_latency.elapsed_ns)
