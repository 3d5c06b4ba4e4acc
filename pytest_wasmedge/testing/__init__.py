"""Public test doubles: a runtime without an engine, a real one with a planted fault, and the catalogue of faults."""

from pytest_wasmedge.testing.catalogue import FAULTS
from pytest_wasmedge.testing.doubles import FakeRuntime, FaultyRuntime
from pytest_wasmedge.testing.fault import KINDS, Fault, Kind

__all__ = ["FAULTS", "KINDS", "FakeRuntime", "Fault", "FaultyRuntime", "Kind"]
