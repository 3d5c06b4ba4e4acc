"""Sampling takes one sample at a time, from a fresh host or a warm one, and never the time of a failure."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_wasmedge.drivers.command import CommandLaunch, CommandRuntime, Ended
from pytest_wasmedge.drivers.compiled import compiled, place_of
from pytest_wasmedge.errors import LatencyError
from pytest_wasmedge.latency.sampling import (
    Answer,
    Sample,
    StartState,
    cold_once,
    median_phases,
    refresh_code,
    warm_once,
)
from pytest_wasmedge.model import (
    Artifact,
    Availability,
    Ending,
    Host,
    Invocation,
    Limits,
    Outcome,
    exited,
    host_failed,
    out_of_memory,
    timed_out,
    trapped,
)
from pytest_wasmedge.provision import digests
from pytest_wasmedge.provision.digests import sha256_of
from pytest_wasmedge.testing import FakeRuntime

ARTIFACT = Artifact(Path("none.wasm"), "0" * 64, 0, "none")


class Journal(FakeRuntime):
    """A fake that writes down what happens to it."""

    def __init__(self) -> None:
        super().__init__("journal", lambda invocation: self.happened.append("invoke") or b"")  # type: ignore[func-returns-value]
        self.happened: list[str] = []

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        self.happened.append("start")
        host = super().start(artifact, limits)
        host.close = lambda: self.happened.append("close")  # type: ignore[method-assign]
        return host


class Compiling(FakeRuntime):
    """A fake that keeps compiled code in a file, and notes whether it was there at each start."""

    cache_state = "code-cache"

    def __init__(self, code: Path) -> None:
        super().__init__("compiling")
        self.code = code
        self.was_there: list[bool] = []

    def kept_code(self, artifact: Artifact) -> Path | None:
        return self.code

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        self.was_there.append(self.code.exists())
        self.code.write_bytes(b"compiled")
        return super().start(artifact, limits)


def test_a_cold_start_has_a_host_of_its_own() -> None:
    """Each is started, asked once, and closed; its kind names the cache state."""
    runtime = Journal()
    samples = [cold_once(runtime, ARTIFACT, Limits(), Invocation()) for _ in range(3)]

    assert runtime.happened == ["start", "invoke", "close"] * 3
    assert {(each.runtime, each.kind, each.invocation) for each in samples} == {
        ("journal", "cold/no-cache", 1)
    }
    assert all(each.artifact_sha256 == ARTIFACT.sha256 for each in samples)


class Heavy(CommandRuntime):
    """A program of 64 MiB that writes down who started it."""

    name = "heavy"
    engine = "none"

    def __init__(self, parents: Path) -> None:
        self._parents = parents

    def probe(self) -> Availability:
        return Availability(True)

    def executable(self) -> Path:
        return Path(sys.executable)

    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        program = (
            "import os, sys; bytearray(b'x') * (64 << 20); print(os.getppid(), file=open(sys.argv[1], 'a'))"
        )
        return [str(launch.executable), "-I", "-c", program, str(self._parents)]

    def outcome(self, launch: CommandLaunch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        return ended.stdout, ended.stderr, exited(ended.status)


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are told by Linux alone")
def test_weighing_is_not_timed(tmp_path: Path) -> None:
    """A host that starts a process per invocation is weighed on demand, by one more that is not timed."""
    runtime = Heavy(tmp_path / "parents")
    plain = cold_once(runtime, ARTIFACT, Limits(), Invocation())
    weighed = cold_once(runtime, ARTIFACT, Limits(), Invocation(), weigh=True)
    by_us = [int(pid) == os.getpid() for pid in (tmp_path / "parents").read_text().split()]

    assert by_us == [True, True, False]
    assert plain.peak_memory_bytes is None
    assert weighed.peak_memory_bytes is not None
    assert 64 << 20 <= weighed.peak_memory_bytes < 128 << 20
    assert weighed.cpu_ns is not None


def test_who_has_no_process_per_invocation_is_not_weighed() -> None:
    """A host of any other kind that cannot tell its peak is not asked once more."""
    runtime = Journal()
    cold_once(runtime, ARTIFACT, Limits(), Invocation(), weigh=True)

    assert runtime.happened == ["start", "invoke", "close"]


def test_warm_invocations_share_a_host() -> None:
    """A warm sample is one more invocation, and tells which one it was."""
    runtime = Journal()
    host = runtime.start(ARTIFACT, Limits())
    host.invoke(Invocation())
    samples = [warm_once(host, Invocation()) for _ in range(3)]

    assert runtime.happened == ["start"] + ["invoke"] * 4
    assert [(each.kind, each.invocation) for each in samples] == [
        ("warm/tiny", 2),
        ("warm/tiny", 3),
        ("warm/tiny", 4),
    ]


@pytest.mark.parametrize("ending", [host_failed("crashed"), out_of_memory("crashed"), timed_out("crashed")])
def test_a_host_that_fails_is_no_sample(ending: object) -> None:
    """A start or a warm invocation whose answer is not the guest's own is an error, never a time."""
    runtime = FakeRuntime("ill", lambda invocation: Outcome(b"", b"", ending))  # type: ignore[arg-type]

    with pytest.raises(LatencyError, match=r"ill: a cold start ended as .*: crashed"):
        cold_once(runtime, ARTIFACT, Limits(), Invocation())
    with pytest.raises(LatencyError, match=r"ill: a warm invocation ended as .*: crashed"):
        warm_once(runtime.start(ARTIFACT, Limits()), Invocation())


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        (exited(1), "ended as exited(1), not as exited(0): no more"),
        (trapped("unreachable"), "ended as trapped"),
    ],
)
def test_a_guest_that_fails_is_not_timed(ending: Ending, said: str) -> None:
    """A guest that traps, or exits with another status than 0, has not done what is measured."""
    runtime = FakeRuntime("well", lambda invocation: Outcome(b"", b"no more", ending))

    with pytest.raises(LatencyError, match=re.escape(f"well: a cold start {said}")):
        cold_once(runtime, ARTIFACT, Limits(), Invocation())
    with runtime.start(ARTIFACT, Limits()) as host, pytest.raises(LatencyError, match="a warm invocation"):
        warm_once(host, Invocation())


def test_every_start_gives_the_same_answer() -> None:
    """A start that answers otherwise than its siblings is no sample; a guest that varies may."""
    answers = iter([b"one", b"two", b"three"])
    runtime = FakeRuntime("fickle", lambda invocation: next(answers))
    answer = Answer()
    cold_once(runtime, ARTIFACT, Limits(), Invocation(), answer=answer)
    with pytest.raises(LatencyError, match='answered "two", where the others answered "one"'):
        cold_once(runtime, ARTIFACT, Limits(), Invocation(), answer=answer)

    assert cold_once(runtime, ARTIFACT, Limits(), Invocation(), answer=Answer(varies=True)).elapsed_ns > 0


def test_a_start_without_compiled_code(tmp_path: Path) -> None:
    """no-cache takes the compiled code away for one start, and puts it back as it was."""
    runtime = Compiling(tmp_path / "code")
    runtime.code.write_bytes(b"kept")

    assert cold_once(runtime, ARTIFACT, Limits(), Invocation(), "no-cache").kind == "cold/no-cache"
    assert runtime.code.read_bytes() == b"kept"
    assert cold_once(runtime, ARTIFACT, Limits(), Invocation()).kind == "cold/code-cache"
    assert runtime.was_there == [False, True]
    assert [path.name for path in tmp_path.iterdir()] == ["code"]


def test_whoever_is_killed_leaves_names_that_the_cache_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies beside the compiled code for a moment ends as that does, by which the cache finds what is old."""
    runtime = Compiling(tmp_path / "code.cwasm")
    runtime.code.write_bytes(b"kept")
    start, copy = runtime.start, shutil.copy2
    seen: set[str] = set()

    def look_and_start(artifact: Artifact, limits: Limits) -> Host:
        seen.update(path.name for path in tmp_path.iterdir())
        return start(artifact, limits)

    def copy_and_look(source: Path, target: Path) -> None:
        copy(source, target)
        seen.update(path.name for path in tmp_path.iterdir())

    runtime.start = look_and_start  # type: ignore[method-assign]
    monkeypatch.setattr(shutil, "copy2", copy_and_look)
    cold_once(runtime, ARTIFACT, Limits(), Invocation(), "no-cache")
    refresh_code(runtime, ARTIFACT)

    assert len(seen) == 3
    assert all(name.endswith(".cwasm") for name in seen)


@pytest.mark.parametrize("state", ["no-cache", "evicted"])
def test_no_digest_is_computed_in_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: StartState
) -> None:
    """Code comes back with its digest, and that is computed before a start that is measured, not in it."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path))
    computed: list[Path] = []

    def compute(path: Path) -> str:
        computed.append(path)
        return sha256_of(path)

    def compile_to(path: Path) -> None:
        path.write_bytes(os.urandom(9))

    # The compiler's own file is read once more by whoever compiles: that is not counted here.
    monkeypatch.setattr(digests, "sha256_of", compute)

    class Keeping(FakeRuntime):
        cache_state = "code-cache"
        seen = 0

        def kept_code(self, artifact: Artifact) -> Path:
            return place_of(artifact, "keeping 1", "")

        def start(self, artifact: Artifact, limits: Limits) -> Host:
            before = len(computed)
            compiled(artifact, "keeping 1", "", compile_to)
            self.seen += len(computed) - before
            return super().start(artifact, limits)

    (tmp_path / "a.wasm").write_bytes(b"")
    artifact = Artifact(tmp_path / "a.wasm", "0" * 64, 0, "a")
    runtime = Keeping("keeping")
    runtime.start(artifact, Limits()).close()
    code = runtime.kept_code(artifact).read_bytes()
    runtime.start(artifact, Limits()).close()
    runtime.seen = 0

    for _ in range(2):
        cold_once(runtime, artifact, Limits(), Invocation(), state)
        cold_once(runtime, artifact, Limits(), Invocation())
    assert runtime.seen == 0
    assert runtime.kept_code(artifact).read_bytes() == code


def test_compiled_code_comes_back_after_a_failure(tmp_path: Path) -> None:
    """A start that fails leaves the compiled code where it was."""
    runtime = Compiling(tmp_path / "code")
    runtime.code.write_bytes(b"kept")
    runtime.answer = lambda invocation: Outcome(b"", b"", host_failed("crashed"))

    with pytest.raises(LatencyError):
        cold_once(runtime, ARTIFACT, Limits(), Invocation(), "no-cache")
    assert runtime.code.read_bytes() == b"kept"


def test_a_start_after_an_eviction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """evicted drops the artifact and the compiled code from the page cache, and nothing else."""
    dropped = []
    monkeypatch.setattr(
        os,
        "posix_fadvise",
        lambda handle, *_: dropped.append(str(Path(f"/proc/self/fd/{handle}").readlink())),
    )
    runtime = Compiling(tmp_path / "code")
    runtime.code.write_bytes(b"kept")
    (tmp_path / "a.wasm").write_bytes(b"")
    artifact = Artifact(tmp_path / "a.wasm", "0" * 64, 0, "a")

    assert cold_once(runtime, artifact, Limits(), Invocation(), "evicted").kind == "cold/evicted"
    assert dropped == [str(tmp_path / "a.wasm"), str(tmp_path / "code")]
    assert runtime.was_there == [True]


def test_a_state_that_a_runtime_does_not_have() -> None:
    """A runtime that keeps no code has no start with it: that is said, not measured as something else."""
    with pytest.raises(LatencyError, match="fake has no code-cache start: it keeps no compiled code"):
        cold_once(FakeRuntime(), ARTIFACT, Limits(), Invocation(), "code-cache")


def test_phases_are_medians_of_what_all_tell() -> None:
    """A phase that one sample does not tell is absent, never 0."""
    samples = [
        Sample("one", "warm/tiny", 9, {"load": 5, "run": 1}),
        Sample("one", "warm/tiny", 9, {"load": 7, "run": 2}),
        Sample("one", "warm/tiny", 9, {"load": 6}),
    ]

    assert median_phases(samples) == {"load": 6}
    assert median_phases([]) == {}
