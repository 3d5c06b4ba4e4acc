"""What changed since the artifact of --wasm-against: how fast it starts, and what it answers.

A host compares with the baseline whatever it is invoked with; the closing table lists what changed. The tests here
see to it that there is something to compare.
"""

from __future__ import annotations

import pytest

from pytest_wasmedge.latency.measurement import Finding
from pytest_wasmedge.model import Host, Invocation
from pytest_wasmedge.plugin.session import WasmSession
from pytest_wasmedge.portability.corpus import Case

#: What a guest of any kind can be asked.
INVOCATIONS = {
    "nothing": Invocation(),
    "a_line": Invocation(b"1\n"),
    "bytes": Invocation(bytes(range(256))),
    "help": Invocation(args=("--help",)),
    "arguments": Invocation(args=("one", "two three", "")),
    "environment": Invocation(env={"WASM_TEST": "one=two"}),
}


def test_starts_no_slower(wasm_slowdown: Finding, wasm_session: WasmSession) -> None:
    """Cold starts are no slower than the baseline's, beyond the margin."""
    good = ("pass",) if wasm_session.options.strict_latency else ("pass", "undecided")

    assert wasm_slowdown.verdict in good, wasm_slowdown.sentence


@pytest.mark.parametrize("asked", INVOCATIONS)
def test_list_what_changed(wasm_host: Host, wasm_baseline_host: Host, asked: str) -> None:
    """What a guest of any kind can be asked is asked; a change is listed and not judged, since it may be meant."""
    assert wasm_baseline_host.runtime == wasm_host.runtime
    invocation = INVOCATIONS[asked]
    if wasm_host.runtime.unchecked and (invocation.args or invocation.env):
        pytest.skip(f"{wasm_host.runtime.name} passes on stdin alone")
    wasm_host.invoke(invocation)


@pytest.mark.wasm_cases(given=False)
def test_list_what_changed_in_a_case(wasm_case: Case, ruby: Host, wasm_baseline_host: Host) -> None:
    """Each case is run with both artifacts; a change is listed and not judged, since it may be meant."""
    assert wasm_baseline_host.runtime == ruby.runtime
    ruby.invoke(wasm_case.invocation())
