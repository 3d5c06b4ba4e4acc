"""Counting a guest on the real engine: the same numbers every time, and those of the artifact itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pytest_wasmedge.artifacts.counting import starts_by_itself
from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.model import Artifact, Invocation, exited
from pytest_wasmedge.work.counting import CountedArtifact, compared
from tests import wat

#: Loops as often as a random byte says.
RANDOM = wat.command("""(local $i i32)
    (drop (call $random_get (i32.const 0) (i32.const 1)))
    (local.set $i (i32.add (i32.load8_u (i32.const 0)) (i32.const 1)))
    (loop $more (br_if $more (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))""").replace(
    "(memory",
    '(import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))\n  (memory',
    1,
)
NO_MEMORY = """(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (func (export "_start") (if (i32.const 0) (then (call $exit (i32.const 3))))))"""
STARTS_BY_ITSELF = wat.ECHO.replace(
    "(func $read", "(global $g (mut i32) (i32.const 0)) (func $read", 1
).replace(
    '(func (export "_start")',
    '(start $before) (func $before (global.set $g (i32.const 1)))\n  (func (export "_start")',
)


@pytest.fixture
def count(tmp_path: Path) -> Iterator[Callable[..., CountedArtifact]]:
    """A function that returns what counts a program."""
    made: list[CountedArtifact] = []

    def start(program: str) -> CountedArtifact:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(CountedArtifact(wat.artifact(folder, program)))
        return made[-1]

    yield start
    for each in made:
        each.close()


def own_fuel(artifact: Artifact, stdin: bytes) -> int:
    """Return the fuel of the artifact itself, as the engine counts it without our copy."""
    import wasmtime

    from pytest_wasmedge.runtimes.wasmtime import _set_stdin

    config = wasmtime.Config()
    config.consume_fuel = True
    engine = wasmtime.Engine(config)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    store = wasmtime.Store(engine)
    wasi = wasmtime.WasiConfig()
    wasi.argv = ["artifact.wasm", "one"]
    _set_stdin(wasi, stdin)
    store.set_wasi(wasi)
    store.set_fuel(10**9)
    start = linker.instantiate(store, wasmtime.Module.from_file(engine, str(artifact.path))).exports(store)[
        "_start"
    ]
    if not starts_by_itself(artifact.path.read_bytes()):
        # What fills memory and tables is not the guest's work.
        store.set_fuel(10**9)
    assert isinstance(start, wasmtime.Func)
    with suppress(wasmtime.ExitTrap, wasmtime.Trap):
        start(store)
    return 10**9 - store.get_fuel()


@pytest.mark.parametrize(
    "program",
    [wat.ECHO, wat.COUNT, wat.ARGUMENTS, wat.TRAP, wat.exits(7), wat.pours(1 << 20), STARTS_BY_ITSELF],
)
@pytest.mark.parametrize("stdin", [b"", b"x" * 200_000])
def test_fuel_is_that_of_the_artifact(
    count: Callable[..., CountedArtifact], program: str, stdin: bytes
) -> None:
    """What our counting costs is taken off again: the number is the one that the untouched artifact has."""
    counted = count(program)
    work = counted.of(stdin, args=["one"])

    assert work.fuel == own_fuel(counted.artifact, stdin)
    assert not work.varies


def test_everything_that_is_counted(count: Callable[..., CountedArtifact]) -> None:
    """Functions that were executed, the bytes of their code, calls of WASI by name, pages of memory."""
    echo = count(wat.ECHO)

    assert (echo.functions, echo.pages_grown) == (2, 0)
    assert echo.wasi == {"fd_read": 1}
    work = echo.of(b"x")
    assert work.functions == 3
    assert work.code_bytes == echo.file.code_bytes
    assert work.wasi == {"fd_read": 2, "fd_write": 1}
    # Where it says what to read, and what it has read.
    assert (echo.pages_changed, work.pages_changed) == (1, 2)
    assert echo.calls_of_start() == {"read": 1, "function 11": 1, "write": 0}
    grows = count(wat.GROWS)
    assert grows.pages_grown == (1 << 30) // 65536 - 64
    assert grows.start.ending == exited(7)


def test_ten_runs(count: Callable[..., CountedArtifact]) -> None:
    """Every run counts the same, whichever engine it is in."""
    runs = [count(wat.ECHO).of(b"x" * 100_000).runs for _ in range(5)]

    assert len({str(run) for both in runs for run in both}) == 1


def test_a_guest_that_varies(count: Callable[..., CountedArtifact]) -> None:
    """It is run three times, and told as a range."""
    work = count(RANDOM).start
    if not work.varies:  # two equal bytes, once in 256 times
        work = count(RANDOM).runs(Invocation(), 20)

    assert work.varies
    assert work.counts["fuel"].lowest < work.fuel
    assert len(work.runs) >= 3


def test_a_guest_that_never_ends(tmp_path: Path) -> None:
    """The limit of fuel stops it, and it is run once."""
    counted = CountedArtifact(wat.artifact(tmp_path, wat.SPIN), fuel_limit=1_000_000)
    work = counted.start
    counted.close()

    assert work.out_of_fuel
    assert len(work.runs) == 1
    assert work.fuel >= 999_990


def test_what_cannot_be_counted(count: Callable[..., CountedArtifact]) -> None:
    """Without a memory no call of WASI is seen; all else is counted."""
    counted = count(NO_MEMORY)

    assert counted.start.ending == exited(0)
    assert counted.fuel > 0
    assert counted.functions == 1
    with pytest.raises(UnsupportedError, match="WASI calls cannot be counted"):
        _ = counted.wasi


def test_a_start_function_counts(count: Callable[..., CountedArtifact]) -> None:
    """What a module does when it is instantiated is work; its calls of WASI are then not seen."""
    counted = count(STARTS_BY_ITSELF)

    assert counted.functions == 3
    assert "wasi_calls" not in counted.start.counts


def test_folders_are_not_changed(count: Callable[..., CountedArtifact], tmp_path: Path) -> None:
    """A guest that is counted gets a copy of its folders, each time."""
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "hello.txt").write_text("hello")
    work = count(wat.READS_A_FILE).of_invocation(Invocation(preopens={"/": tmp_path / "given"}))

    assert work.ending == exited(0)
    assert work.wasi["path_open"] == 1


def test_two_that_do_the_same_run_once(count: Callable[..., CountedArtifact]) -> None:
    """Equal counts are taken as they are; others are taken again, to know whether the guest varies."""
    one, other, more = count(wat.ECHO), count(wat.ECHO), count(wat.COUNT)

    assert [len(work.runs) for work in compared(one, other, Invocation(b"x"))] == [1, 1]
    assert [len(work.runs) for work in compared(one, more, Invocation(b"x"))] == [2, 2]


def test_guests_that_vary_alike(count: Callable[..., CountedArtifact]) -> None:
    """Ranges are widened until they overlap, or cannot lie apart by accident."""
    head, baseline = compared(count(RANDOM), count(RANDOM), Invocation())
    one, other = head.counts["fuel"], baseline.counts["fuel"]

    assert one.lowest <= other.highest
    assert other.lowest <= one.highest
