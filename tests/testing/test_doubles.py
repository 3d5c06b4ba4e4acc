"""FaultyRuntime and what it is made of: the wrapper, lines of Ruby, invocations aside, hosts that are shared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_wasmedge.errors import HostStartError, WasmEdgeError
from pytest_wasmedge.model import Artifact, Host, Invocation, Limits, Outcome, exited, timed_out
from pytest_wasmedge.runtimes import builtin_runtimes
from pytest_wasmedge.testing import FAULTS, FakeRuntime, Fault, FaultyRuntime
from pytest_wasmedge.testing.planting import ruby
from pytest_wasmedge.testing.shared import SharedRuntime

ARTIFACT = Artifact(Path("/srv/artifact.wasm"), "0" * 64, 8, "artifact")


def test_what_a_wrapper_has(tmp_path: Path) -> None:
    """A faulty runtime has the attributes of the inner one, and its name unless it is given another."""

    class Inner(FakeRuntime):
        engine = "an engine"
        statuses = "odd ones"
        capabilities = frozenset({"preopens"})

        def kept_code(self, artifact: Artifact) -> Path:
            return tmp_path

    inner = Inner("inner")
    named = FaultyRuntime(inner, FAULTS["status_zero"], name="inner+status_zero")

    assert FaultyRuntime(inner, "status_zero").name == "inner"
    assert named.name == "inner+status_zero"
    assert (named.engine, named.statuses, named.capabilities) == (
        "an engine",
        "odd ones",
        frozenset({"preopens"}),
    )
    assert named.probe() == inner.probe()
    assert named.kept_code(ARTIFACT) == tmp_path
    with named.start(ARTIFACT, Limits(memory_bytes=7)) as host:
        assert host.runtime is named
        assert host.limits == Limits(memory_bytes=7)
        assert host.run(b"x").runtime == "inner+status_zero"


def test_a_fault_of_ones_own() -> None:
    """A project plants a fault that the catalogue does not have."""
    lost = Fault(
        "lost", "streams", "loses all", lambda host: lambda each: replace(host.invoke(each), stdout=b"")
    )

    assert FaultyRuntime(FakeRuntime(), lost).start(ARTIFACT, Limits()).run(b"x").stdout == b""
    assert lost.caught_by == ()


def test_unknown_fault() -> None:
    """A name that is no fault's is an error with the nearest one."""
    with pytest.raises(WasmEdgeError, match=r"unknown fault 'status_zer0'. Did you mean status_zero\?"):
        FaultyRuntime(FakeRuntime(), "status_zer0")


def test_limits_of_the_host_are_those_asked_for() -> None:
    """A host that has other limits does not say so."""
    asked: list[Limits] = []

    class Inner(FakeRuntime):
        def start(self, artifact: Artifact, limits: Limits) -> Host:
            asked.append(limits)
            return super().start(artifact, limits)

    host = FaultyRuntime(Inner(), "doubles_memory_limit").start(ARTIFACT, Limits(memory_bytes=1 << 20))

    assert host.limits.memory_bytes == 1 << 20
    assert asked == [Limits(memory_bytes=1 << 21)]


def test_where_a_fault_cannot_show() -> None:
    """Faults of files need folders, those of high statuses a runtime that has them: others are told with the reason."""
    by_name = {runtime.name: runtime for runtime in builtin_runtimes()}

    def not_on(fault: str, runtime: str) -> str:
        return FAULTS[fault].not_on(by_name[runtime])

    assert not_on("grants_root", "wasmtime") == ""
    assert not_on("grants_root", "wasmer") == "wasmer lacks the capability preopens"
    assert "above 125" in not_on("status_in_seven_bits", "wasmtime")
    assert not_on("status_in_seven_bits", "node") == not_on("status_in_seven_bits", "wasmer") == ""


@pytest.mark.parametrize(
    ("source", "planted"),
    [
        (b"", b"LINE; "),
        (b"p 1\n", b"LINE; p 1\n"),
        (b"# a\n\n# encoding: x\np 1", b"# a\n\n# encoding: x\nLINE; p 1"),
        (b"\xef\xbb\xbf# a\np 1", b"\xef\xbb\xbf# a\nLINE; p 1"),
        (b"# a\n", b"# a\nLINE; "),
        (b"# all of it", b"# all of it"),
        (b"=begin\n=end\n", b"=begin\n=end\n"),
        (b"# a\n__END__\n", b"# a\n__END__\n"),
    ],
)
def test_where_a_line_is_planted(source: bytes, planted: bytes) -> None:
    """A line of Ruby stands after the comments that are for Ruby, and shifts no line."""
    plant = ruby("LINE", lambda host: host.invoke)
    host = plant(FakeRuntime().start(ARTIFACT, Limits()))

    assert host(Invocation(source)).stdout == planted


def test_a_program_with_a_syntax_error_is_left_alone() -> None:
    """Its line would show in the message; it is run as it is, and that counts as one invocation."""

    def answer(invocation: Invocation) -> Outcome:
        return Outcome(b"", b"main.rb:1: SyntaxError: " + invocation.stdin, exited(1))

    host = FaultyRuntime(FakeRuntime(answer=answer), "clock_frozen").start(ARTIFACT, Limits())

    assert [host.run(b"(").stderr for _ in range(2)] == [b"main.rb:1: SyntaxError: ("] * 2
    assert [host.run(b"(").invocation for _ in range(2)] == [3, 4]


def test_what_a_stopped_guest_has_left() -> None:
    """The instance of a guest that was stopped holds what the beginning of its program has left."""
    asked = []

    def answer(invocation: Invocation) -> Outcome:
        asked.append(invocation.stdin)
        return Outcome(b"", b"", timed_out() if b"loop" in invocation.stdin else exited(0))

    host = FaultyRuntime(FakeRuntime(answer=answer), "reuses_after_time_limit").start(ARTIFACT, Limits())
    numbers = [host.run(source).invocation for source in (b"$left = 1\nloop {}\n", b"p $left\n", b"p 2\n")]

    assert numbers == [1, 2, 3]
    assert asked[:2] == [b"$left = 1\nloop {}\n", b"$left = 1\n"]
    assert b"$left = 1\n".hex().encode() in asked[2]
    assert asked[3] == b"p 2\n"


def test_shared_hosts() -> None:
    """One host serves all who ask for the same artifact and limits, and each sees its invocations counted from 1."""
    started, closed = [], []

    class Counted(FakeRuntime):
        def start(self, artifact: Artifact, limits: Limits) -> Host:
            started.append(limits)
            host = super().start(artifact, limits)
            host.close = lambda: closed.append(limits)  # type: ignore[method-assign]
            return host

    shared = SharedRuntime(Counted())
    first, other = shared.start(ARTIFACT, Limits()), shared.start(ARTIFACT, Limits(timeout_s=1))
    numbers = [first.run(b"").invocation for _ in range(3)]
    first.close()
    second = shared.start(ARTIFACT, Limits())
    numbers += [second.run(b"").invocation, other.run(b"").invocation]

    assert numbers == [1, 2, 3, 1, 1]
    assert len(started) == 2
    assert not closed
    with pytest.raises(HostStartError, match="closed"):
        first.run(b"")
    shared.close()
    assert len(closed) == 2
