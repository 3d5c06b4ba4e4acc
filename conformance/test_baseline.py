"""What changed since the artifact of --wasm-against: how fast it starts, and what it answers."""

from __future__ import annotations

from collections.abc import Callable

from pytest_wasmedge.latency.measurement import Finding
from pytest_wasmedge.model import Host, Invocation
from pytest_wasmedge.plugin.session import WasmSession
from pytest_wasmedge.portability.compare import compare
from pytest_wasmedge.portability.corpus import Case


def test_starts_no_slower(wasm_slowdown: Finding, wasm_session: WasmSession) -> None:
    """Cold starts are no slower than the baseline's, beyond the margin."""
    good = ("pass",) if wasm_session.options.strict_latency else ("pass", "undecided")

    assert wasm_slowdown.verdict in good, wasm_slowdown.sentence


def test_same_as_baseline(
    wasm_case: Case, ruby: Host, wasm_baseline_host: Host, wasm_report_change: Callable[[str], None]
) -> None:
    """Each case is run with both artifacts; what changed is listed, since a change may be the purpose."""
    invocation = Invocation(wasm_case.source, timeout_s=wasm_case.timeout_s)
    for divergence in compare(ruby.invoke(invocation), wasm_baseline_host.invoke(invocation)):
        wasm_report_change(f"{wasm_case.name} ({divergence.field})")
