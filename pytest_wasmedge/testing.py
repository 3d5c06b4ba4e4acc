"""Public test doubles: FakeRuntime answers from a Python function, FaultyRuntime adds a fault to a real runtime."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from pytest_wasmedge.model import (
    Artifact,
    Availability,
    Host,
    Invocation,
    Limits,
    Outcome,
    Runtime,
    Timings,
    exited,
)

Fault = Literal[
    "reports_terminal",
    "drops_final_newline",
    "replaces_invalid_utf8",
    "merges_stderr",
    "status_zero",
    "truncates_stdout",
    "reuses_instance",
    "leaks_environment",
    "leaks_path",
    "adds_carriage_return",
]
FAULTS: tuple[Fault, ...] = get_args(Fault)

#: The variable that the fault ``leaks_environment`` shows to guests, and the path that ``leaks_path`` prints.
LEAKED_NAME = "HOST_SECRET_TOKEN"
LEAKED_PATH = "/home/builder/engine/src/host.rs"
AVAILABLE = Availability(True, "1.0", "1.0")


class FakeRuntime(Runtime):
    """A runtime without an engine: ``answer`` maps an invocation to stdout, or to a whole outcome."""

    engine = "none"

    def __init__(
        self,
        name: str = "fake",
        answer: Callable[[Invocation], bytes | Outcome] = lambda invocation: invocation.stdin,
        availability: Availability = AVAILABLE,
    ) -> None:
        self.name = name
        self.answer = answer
        self.availability = availability

    def probe(self) -> Availability:
        return self.availability

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return _FakeHost(self, artifact, limits)


class _FakeHost(Host):
    def __init__(self, runtime: FakeRuntime, artifact: Artifact, limits: Limits) -> None:
        self.runtime: FakeRuntime = runtime
        self.artifact, self.limits = artifact, limits
        self._numbers = itertools.count(1)

    def invoke(self, invocation: Invocation) -> Outcome:
        answer = self.runtime.answer(invocation)
        number = next(self._numbers)
        if isinstance(answer, Outcome):
            return replace(answer, invocation=number, runtime=self.runtime.name)
        return Outcome(answer, b"", exited(0), number, Timings(1), self.runtime.name, self.artifact.sha256)

    def close(self) -> None:
        pass


class FaultyRuntime(Runtime):
    """A real runtime with one planted fault, to prove that a suite catches it; the rest is unchanged."""

    def __init__(self, inner: Runtime, fault: Fault) -> None:
        self.inner = inner
        self.fault = fault
        for attribute in Runtime.__annotations__:
            setattr(self, attribute, getattr(inner, attribute))

    def at(self, version: str) -> Runtime:
        return type(self)(self.inner.at(version), self.fault)

    def probe(self) -> Availability:
        return self.inner.probe()

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return _FaultyHost(self, self.inner.start(artifact, limits))

    def kept_code(self, artifact: Artifact) -> Path | None:
        return self.inner.kept_code(artifact)


class _FaultyHost(Host):
    def __init__(self, runtime: FaultyRuntime, inner: Host) -> None:
        self.runtime: FaultyRuntime = runtime
        self._inner = inner
        self.artifact, self.limits = inner.artifact, inner.limits
        self.start_phases_ns = inner.start_phases_ns
        self._previous = b""

    def pids(self) -> tuple[int, ...]:
        return self._inner.pids()

    def paused(self) -> AbstractContextManager[None]:
        return self._inner.paused()

    def invoke(self, invocation: Invocation) -> Outcome:
        match self.runtime.fault:
            case "reports_terminal":
                return self._inner.invoke(_with_prelude(invocation, _TERMINAL))
            case "leaks_environment":
                env = {**invocation.env, LEAKED_NAME: "hunter2"}
                return self._inner.invoke(replace(invocation, env=env))
            case "reuses_instance":
                # Runs in the state that the last invocation left, like a host that keeps its instance.
                previous, self._previous = self._previous, invocation.stdin
                return self._inner.invoke(_with_prelude(invocation, _REPLAY % previous.hex().encode()))
            case fault:
                return _SPOIL[fault](self._inner.invoke(invocation))

    def close(self) -> None:
        self._inner.close()


# Each is on one line, so that the program's own line numbers do not change.
_TERMINAL = b"[STDIN, STDOUT, STDERR].each { |io| def io.tty? = true; def io.isatty = true }; "
_REPLAY = (
    b"begin; out, err = $stdout, $stderr; sink = Object.new; def sink.write(*) = 0; "
    b"$stdout = $stderr = sink; eval(['%s'].pack('H*').force_encoding('UTF-8'), TOPLEVEL_BINDING, 'main.rb'); "
    b"rescue Exception; ensure; $stdout, $stderr = out, err; end; "
)
_TRACE = f"  at {LEAKED_PATH}:42\n".encode()


def _with_prelude(invocation: Invocation, prelude: bytes) -> Invocation:
    return replace(invocation, stdin=prelude + invocation.stdin)


def _stdout(change: Callable[[bytes], bytes]) -> Callable[[Outcome], Outcome]:
    return lambda outcome: replace(outcome, stdout=change(outcome.stdout))


_SPOIL: dict[Fault, Callable[[Outcome], Outcome]] = {
    "drops_final_newline": _stdout(lambda stdout: stdout.removesuffix(b"\n")),
    "replaces_invalid_utf8": _stdout(lambda stdout: stdout.decode("utf-8", "replace").encode()),
    "truncates_stdout": _stdout(lambda stdout: stdout[: 64 << 10]),
    "adds_carriage_return": _stdout(lambda stdout: stdout.replace(b"\n", b"\r\n")),
    "merges_stderr": lambda each: replace(each, stdout=each.stdout + each.stderr, stderr=b""),
    "status_zero": lambda each: replace(each, ending=exited(0)) if each.ending.kind == "exited" else each,
    "leaks_path": lambda each: replace(each, stderr=each.stderr + _TRACE) if each.stderr else each,
}
