"""A measurement has the machine for itself, and keeps it for the measurement that follows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import ReadWriteLock, Timeout

from pytest_wasmedge.latency.quiet import ENV_HELD, Quiet


@pytest.fixture(autouse=True)
def nobody_around_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks are taken, though somebody around this test may hold one already."""
    monkeypatch.delenv(ENV_HELD, raising=False)


def is_free(folder: Path) -> bool:
    """True if somebody else could begin a test now."""
    lock = ReadWriteLock(str(folder / "quiet.db"), is_singleton=False)
    try:
        with lock.read_lock(timeout=0):
            return True
    except Timeout:
        return False
    finally:
        lock.close()


def test_a_measurement_that_goes_on_keeps_the_machine(tmp_path: Path) -> None:
    """Between two measurements nobody else gets a turn; after the last one everybody does."""
    quiet = Quiet(tmp_path)
    with quiet.measuring(goes_on=True):
        assert not is_free(tmp_path)
    assert not is_free(tmp_path)
    with quiet.measuring():
        assert not is_free(tmp_path)
    assert is_free(tmp_path)


@pytest.mark.parametrize("instead", ["test", "end"])
def test_a_measurement_that_does_not_come(tmp_path: Path, instead: str) -> None:
    """If the run goes on with a test, or ends, the machine is given back."""
    quiet = Quiet(tmp_path)
    with quiet.measuring(goes_on=True):
        pass
    if instead == "end":
        quiet.release()
    else:
        with quiet.testing():
            assert is_free(tmp_path)  # for other tests
    assert is_free(tmp_path)


def test_a_failed_measurement_lets_go(tmp_path: Path) -> None:
    """An error in the last measurement gives the machine back."""
    quiet = Quiet(tmp_path)
    with pytest.raises(ZeroDivisionError), quiet.measuring():
        raise ZeroDivisionError
    assert is_free(tmp_path)


def test_what_happens_while_it_waits(tmp_path: Path) -> None:
    """Whoever waits keeps its own hosts still, from when it has to wait until its turn."""
    waiting, waits = threading.Event(), 0

    @contextmanager
    def still() -> Iterator[None]:
        nonlocal waits
        waits += 1
        waiting.set()
        yield
        waiting.clear()

    lock = ReadWriteLock(str(tmp_path / "quiet.db"), is_singleton=False)

    def measure() -> None:
        with lock.write_lock():
            begun.set()
            waiting.wait(60)

    begun = threading.Event()
    somebody = threading.Thread(target=measure)
    somebody.start()
    assert begun.wait(60)
    quiet = Quiet(tmp_path, while_waiting=still)
    with quiet.testing():
        assert not waiting.is_set()
    somebody.join()
    with quiet.testing():
        pass
    lock.close()

    assert waits == 1


def test_the_plugin_knows_what_comes_next(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that measure say whether the next one does too."""
    turns: list[str] = []

    @contextmanager
    def measuring(_: Quiet, *, goes_on: bool = False) -> Iterator[None]:
        turns.append("goes on" if goes_on else "ends")
        yield

    @contextmanager
    def testing(_: Quiet) -> Iterator[None]:
        turns.append("test")
        yield

    monkeypatch.setattr(Quiet, "measuring", measuring)
    monkeypatch.setattr(Quiet, "testing", testing)
    pytester.makepyfile(
        "import pytest\n"
        "def test_first(host):\n    pass\n"
        "@pytest.mark.cache_state('evicted')\ndef test_second(host):\n    pass\n"
        "@pytest.mark.cold_start_ceiling('60s')\ndef test_third(host):\n    pytest.skip('seen')\n"
        "def test_fourth(host):\n    pass\n"
        "def test_unrelated():\n    pass\n"
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=4, skipped=1)

    assert turns == ["test", "goes on", "ends", "test"]


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    """What a crash or a full disk left of the lock's file keeps nobody from running."""
    (tmp_path / "quiet.db").write_bytes(bytes(range(256)) * 20)
    quiet = Quiet(tmp_path)

    with quiet.testing():
        pass
    with quiet.measuring():
        assert (tmp_path / "quiet.measuring").read_text().startswith("process ")
    assert not (tmp_path / "quiet.measuring").exists()


@pytest.mark.parametrize(
    ("run", "told"),
    [(0, ["a pytest on this machine that measures, process"]), (7, []), (8, ["a pytest on this machine"])],
)
def test_a_long_wait_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: int, told: list[str]
) -> None:
    """Once, and with the process that measures, unless that is of the same run."""
    monkeypatch.setattr("pytest_wasmedge.latency.quiet._LONG_WAIT_S", -1.0)
    said: list[str] = []
    tries = iter([Timeout("x"), Timeout("x"), Timeout("x"), None])

    def acquire(timeout: float) -> None:
        if found := next(tries):
            raise found

    with Quiet(tmp_path, run=7).measuring():
        Quiet(tmp_path, said.append, run=run)._wait_for(acquire)

    assert [each.startswith(wanted) for each, wanted in zip(said, told, strict=True)] == [True] * len(told)


@pytest.mark.parametrize(("run", "long_s", "told"), [(0, 60.0, 1), (7, 60.0, 0), (7, -1.0, 1)])
def test_a_long_wait_for_tests_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: int, long_s: float, told: int
) -> None:
    """They may be of the same run, so that one only tells of a wait that is longer than a test takes."""
    monkeypatch.setattr("pytest_wasmedge.latency.quiet._LONG_WAIT_S", -1.0)
    monkeypatch.setattr("pytest_wasmedge.latency.quiet._LONG_WAIT_IN_RUN_S", long_s)
    said: list[str] = []
    tries = iter([Timeout("x"), Timeout("x"), None])

    def acquire(timeout: float) -> None:
        if found := next(tries):
            raise found

    Quiet(tmp_path, said.append, run=run)._wait_for(acquire)

    assert said == ["the tests of another pytest on this machine, before something is measured"] * told
