"""Hostile artifacts on every runtime: each ends as it may, in bounded time and memory, and the next guest works.

Not part of `make test`, since it takes long: `make hostile`, or `pytest tests/hostile -k NAME`.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.drivers.process import Workspace
from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.model import Artifact, Host, Limits, Runtime, exited
from pytest_wasmedge.runtimes import builtin_runtimes
from tests import wat
from tests.hostile.programs import Hostile, programs
from tests.waiting import until

PROGRAMS = programs()
RUNTIMES = [runtime.name for runtime in builtin_runtimes() if not runtime.yardstick]
LIMITS = Limits(memory_bytes=64 << 20, output_bytes=16 << 20)
#: Bounds that a machine keeps which is busy with ten other things: of an invocation after its limit, of a start.
AFTER_S, START_S = 60.0, 300.0
#: What our process may grow by: twice the limit of output, and what an engine or a compiler in it takes for a guest.
GROWTH_BYTES = 2 * LIMITS.output_bytes + (320 << 20)
LONGEST_WORDS = 4000


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """Each runtime that can start here; one that cannot is a failure."""
    found = next(each for each in builtin_runtimes() if each.name == request.param)
    if not (availability := found.probe()).available:
        pytest.fail(f"{found.name}: {availability.reason}; run `make setup`", pytrace=False)
    return found


@pytest.fixture(scope="module", autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is left in the folder for temporary files is ours, whoever else works on this machine."""
    # The process that clears up after us starts with the first workspace, and stays.
    with Workspace(), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("t")))
        yield


@pytest.fixture(scope="module")
def neighbour(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host of the same runtime whose guest is none of the hostile ones."""
    place = tmp_path_factory.mktemp("echo")
    with runtime.start(wat.artifact(place, wat.ECHO), Limits()) as host:
        yield host
    _forget(runtime, place)


@pytest.mark.parametrize("name", PROGRAMS)
def test_hostile(runtime: Runtime, neighbour: Host, name: str, tmp_path: Path) -> None:
    """It is refused in one sentence or ends as it may, twice; its neighbour goes on, and nothing of it stays."""
    hostile = PROGRAMS[name]
    path = wat.write(tmp_path / "hostile.wasm", hostile.program)
    before = _there()
    peak_before = _peak_bytes()
    began_s = time.monotonic()
    try:
        with runtime.start(load_artifact(path), LIMITS) as host:
            assert time.monotonic() - began_s < START_S
            _check_endings(host, hostile)
    except WasmEdgeError as error:
        _check_refusal(hostile, error)
    finally:
        _forget(runtime, tmp_path)

    assert neighbour.run(b"still here").stdout == b"still here"
    assert _peak_bytes() - peak_before < GROWTH_BYTES
    until(lambda: _there() <= before | _there_of(neighbour), "nothing of it is left")


def test_the_next_host_starts(runtime: Runtime, tmp_path: Path) -> None:
    """After all of them a runtime starts and answers as ever."""
    with runtime.start(wat.artifact(tmp_path, wat.ECHO), Limits()) as host:
        outcome = host.run(b"\0 next")
    _forget(runtime, tmp_path)

    assert (outcome.stdout, outcome.ending) == (b"\0 next", exited(0))


def _check_endings(host: Host, hostile: Hostile) -> None:
    kinds = []
    for _ in range(2):
        began_s = time.monotonic()
        outcome = host.run(b"hello", timeout_s=hostile.limit_s)
        assert time.monotonic() - began_s < hostile.limit_s + AFTER_S
        assert outcome.ending.kind in hostile.endings, outcome.ending
        assert len(outcome.stdout) + len(outcome.stderr) <= LIMITS.output_bytes
        assert "Traceback" not in outcome.ending.detail
        kinds.append(outcome.ending.kind)
    assert kinds[0] == kinds[1]


def _check_refusal(hostile: Hostile, error: WasmEdgeError) -> None:
    words = str(error)
    assert hostile.refused, words
    assert words
    assert len(words) < LONGEST_WORDS
    assert "Traceback" not in words


def _there() -> set[object]:
    """Return our descendants, and what of ours is in the folder for temporary files."""
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    return children | set(Path(tempfile.gettempdir()).glob("pytest-wasmedge-*"))


def _there_of(neighbour: Host) -> set[object]:
    """Return the processes that serve the neighbour now: it may have had to start again."""
    found: set[object] = set()
    for pid in neighbour.pids():
        if pid != psutil.Process().pid:
            process = psutil.Process(pid)
            found |= {pid, *(child.pid for child in process.children(recursive=True))}
    return found


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _forget(runtime: Runtime, place: Path) -> None:
    """Remove the compiled code of these programs: it is not to push a Ruby's out of the cache."""
    for path in place.glob("*.wasm"):
        artifact: Artifact = wat.unchecked(path)
        if kept := runtime.kept_code(artifact):
            kept.unlink(missing_ok=True)
            kept.with_suffix(".sha256").unlink(missing_ok=True)
