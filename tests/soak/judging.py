"""Whether an invocation came to its known outcome, or its host's failure was told as that."""

from __future__ import annotations

from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import Host, Outcome
from tests.soak.plan import Case

#: What a judgement may be; anything else says what is wrong.
KNOWN, TOLD = "", "told"


def judge(case: Case, got: Outcome | BaseException, host: Host, *, touched: bool) -> str:
    """Return KNOWN for the known outcome, TOLD for a failure of a host that was touched, else what is wrong."""
    if isinstance(got, BaseException):
        if touched and isinstance(got, HostStartError) and "Traceback" not in str(got):
            return TOLD
        return f"raised {type(got).__name__}: {got}"
    if (got.runtime, got.artifact_sha256) != (host.runtime.name, host.artifact.sha256):
        return f"is said to be of {got.runtime} and {got.artifact_sha256[:16]}"
    ended = got.ending == case.ending and case.ending.detail in got.ending.detail
    for name, there, known in (("stdout", got.stdout, case.stdout), ("stderr", got.stderr, case.stderr)):
        # What was written before the end is the guest's own, however it ended.
        broken_off = case.cut or not ended
        if known is not None and not (known.startswith(there) if broken_off else known == there):
            return f"{name}: expected {_shown(known)}, got {_shown(there)}; ended {got.ending}"
    if ended:
        return KNOWN
    if touched and got.ending.kind in ("host_failed", "timed_out"):
        return TOLD
    return f"ended {got.ending}, not {case.ending}: {' '.join(got.ending.detail.split())[:600]}"


def _shown(stream: bytes) -> str:
    return f"{len(stream)} bytes, {stream[:60]!r}"
