"""Compiled code on disk: made once, never half, never too much of it."""

from __future__ import annotations

import errno
import os
import string
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_wasmedge.drivers import shortage
from pytest_wasmedge.drivers.compiled import (
    announce_by,
    compiled,
    digest_of,
    discard,
    faults_of_all,
    is_ours,
    place_of,
    run_compiler,
)
from pytest_wasmedge.errors import HostStartError, ProvisionError
from pytest_wasmedge.model import Artifact
from tests.conftest import Mount

# Compiles an artifact in a process of its own; each compilation adds a line to the log. The first one waits
# until the other process is there too.
COMPILE = """
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from pytest_wasmedge.drivers.compiled import compiled
from pytest_wasmedge.model import Artifact
log = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
def compile_to(path):
    with log.open("a") as file:
        file.write("compiled\\n")
    path.write_bytes(b"code")
place = compiled(Artifact(Path("a.wasm"), "a" * 64, 1, "a"), "engine 1", "", compile_to)
assert place.read_bytes() == b"code"
print(place)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    place = tmp_path / "cache"
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(place))
    return place / "compiled"


def artifact(letter: str = "a") -> Artifact:
    """Return an artifact with a digest made of this letter."""
    return Artifact(Path("a.wasm"), letter * 64, 1, "a")


def test_compiles_once() -> None:
    """Code is compiled when it is first asked for, and then taken as it is."""
    made = []

    def compile_to(path: Path) -> None:
        made.append(path)
        path.write_bytes(b"code")

    expected = place_of(artifact(), "engine 1", "")
    assert not expected.exists()
    first = compiled(artifact(), "engine 1", "", compile_to)
    second = compiled(artifact(), "engine 1", "", compile_to)

    assert first == second == expected
    assert first.read_bytes() == b"code"
    assert len(made) == 1


def test_a_long_compilation_is_announced() -> None:
    """A large artifact is named before it is compiled, and not again once its code is kept; a small one never is."""
    said: list[str] = []
    announce_by(said.append)
    try:
        for size_bytes in (1 << 20, 1 << 20, (1 << 20) - 1):
            letter = "a" if size_bytes >> 20 else "b"
            one = Artifact(Path("a.wasm"), letter * 64, size_bytes, "guest")
            compiled(one, "engine 1.2 (abc), 77 bytes", "", lambda path: None)
    finally:
        announce_by(None)

    assert said == ["compiling guest (1.0 MB) for engine 1.2 (abc); the code is kept"]


def test_never_another_engine_s_code() -> None:
    """Another artifact, engine, version or setting gets code of its own."""
    keys = [("a", "engine 1", ""), ("b", "engine 1", ""), ("a", "engine 2", ""), ("a", "engine 1", "fuel")]
    places = {
        compiled(artifact(letter), engine, settings, lambda path: None) for letter, engine, settings in keys
    }

    assert len(places) == len(keys)


def test_two_processes_compile_once(tmp_path: Path) -> None:
    """Two processes that ask at once get the same code, compiled by one of them."""
    log = tmp_path / "log"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", COMPILE, str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    places = {process.communicate()[0] for process in processes}

    assert [process.returncode for process in processes] == [0, 0]
    assert len(places) == 1
    assert log.read_text() == "compiled\n"


def test_a_failed_compilation_leaves_no_litter(cache: Path) -> None:
    """A compiler that fails after half its work leaves nothing behind, and the next attempt starts anew."""

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise HostStartError("cannot compile")

    with pytest.raises(HostStartError, match="cannot compile"):
        compiled(artifact(), "engine 1", "", fail)
    assert [file.name for file in cache.iterdir() if not file.name.startswith(".lock")] == []
    assert compiled(artifact(), "engine 1", "", lambda path: None).exists()


def test_what_a_killed_compiler_left_goes(cache: Path) -> None:
    """A part that nobody finished, since its process was killed, is removed; one under way is not, however old."""
    left = cache / ".artifact-engine.cwasm.12345678.part"
    compiled(artifact("c"), "engine 2", "", lambda path: None)
    left.write_text("half")

    def compile_to(part: Path) -> None:
        os.utime(part, (1, 1))
        compiled(artifact("a"), "engine 1", "", lambda path: None)
        assert part.exists()

    compiled(artifact("b"), "engine 2", "", compile_to)

    assert not left.exists()


def test_code_that_is_made_with_the_clock_set_back(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was just compiled stays, though by their times all other files are younger."""
    monkeypatch.setattr("pytest_wasmedge.drivers.compiled.KEPT_BYTES", 150)

    def compile_to(path: Path) -> None:
        path.write_bytes(bytes(90))

    earlier = compiled(artifact("a"), "engine 1", "", compile_to)
    os.utime(digest_of(earlier), (1 << 33, 1 << 33))

    assert compiled(artifact("b"), "engine 1", "", compile_to).exists()
    assert not earlier.exists()


def test_engines_compile_side_by_side(cache: Path) -> None:
    """An engine does not wait for another one's compiler, which may take half a minute on one processor."""

    def compile_to(path: Path) -> None:
        other = threading.Thread(target=compiled, args=(artifact(), "engine 2", "", lambda path: None))
        other.start()
        other.join(10)
        assert not other.is_alive()

    compiled(artifact(), "engine 1", "", compile_to)

    assert len(list(cache.glob("*.cwasm"))) == 2


def test_the_oldest_go(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was used last is kept, as much as there is room for; using a file makes it young again."""
    monkeypatch.setattr("pytest_wasmedge.drivers.compiled.KEPT_BYTES", 1000)

    def make(letter: str, size_bytes: int) -> Path:
        def compile_to(path: Path) -> None:
            path.write_bytes(bytes(size_bytes))

        return compiled(artifact(letter), "engine 1", "", compile_to)

    for age, letter in enumerate(string.digits):
        os.utime(digest_of(make(letter, 90)), (age, age))
    make("0", 90)
    make("a", 300)
    assert {file.name[0] for file in cache.glob("*.cwasm")} == {"0", "a", *"456789"}
    # Small ones do not throw out a large one that was used after them, and what alone is too large stays.
    make("b", 90)
    assert {file.name[0] for file in cache.glob("*.cwasm")} == {"0", "a", "b", *"56789"}
    make("c", 2000)
    assert {file.name[0] for file in cache.glob("*.cwasm")} == {"c"}


def test_one_that_goes_meanwhile(cache: Path) -> None:
    """Code that another process removes while the oldest is looked for disturbs nobody."""
    compiled(artifact(), "engine 1", "", lambda path: None)
    # Listed, and not there when it is looked at.
    (cache / "gone.cwasm").symlink_to(cache / "nowhere")

    assert compiled(artifact("b"), "engine 1", "", lambda path: None).exists()


def test_only_the_user_can_read_or_write(cache: Path) -> None:
    """Compiled code is native code: folder and files are the user's alone."""
    place = compiled(artifact(), "engine 1", "", lambda path: None)

    assert cache.stat().st_mode & 0o777 == 0o700
    assert place.stat().st_mode & 0o077 == 0


def test_a_folder_that_can_only_be_read(disk: Mount) -> None:
    """Code that is there is used from a disk that can only be read; what is not there is told in one sentence."""
    place = compiled(artifact(), "engine 1", "", lambda path: None)
    disk("ro")

    assert compiled(artifact(), "engine 1", "", lambda path: None) == place
    with pytest.raises(
        ProvisionError, match=r"cannot be written: Read-only file system\. Make room or give rights"
    ):
        compiled(artifact("b"), "engine 1", "", lambda path: None)


def test_a_full_disk(disk: Mount) -> None:
    """Code that does not fit is told in one sentence, and no part of it stays."""

    def compile_to(path: Path) -> None:
        path.write_bytes(bytes(200_000))

    with pytest.raises(ProvisionError, match=r"cannot be written: No space left on device"):
        compiled(artifact(), "engine 1", "", compile_to)

    assert not list(place_of(artifact(), "", "").parent.glob("*.part"))


def swapped(code: Path) -> None:
    """Put other code of ours, with its digest, in the place of this one."""

    def compile_other(path: Path) -> None:
        path.write_bytes(b"other")

    other = compiled(artifact("b"), "engine 1", "", compile_other)
    code.write_bytes(other.read_bytes())
    digest_of(code).write_bytes(digest_of(other).read_bytes())


TAMPERING: dict[str, Callable[[Path], object]] = {
    "truncated": lambda code: code.write_bytes(b"cod"),
    "appended": lambda code: code.write_bytes(b"code."),
    "other bytes": lambda code: code.write_bytes(b"CODE"),
    "swapped": swapped,
    "linked": lambda code: code.symlink_to(code.rename(code.with_suffix(".elsewhere"))),
    "written by all": lambda code: code.chmod(0o666),
    "digest missing": lambda code: digest_of(code).unlink(),
    "digest of nothing": lambda code: digest_of(code).write_bytes(b"\xff"),
    "both missing": discard,
}


@pytest.mark.parametrize("how", TAMPERING)
def test_code_that_is_not_ours_is_compiled_anew(how: str) -> None:
    """Whatever is done to compiled code or its digest, what is loaded is what was compiled."""
    made = []

    def compile_to(path: Path) -> None:
        made.append(path)
        path.write_bytes(b"code")

    code = compiled(artifact(), "engine 1", "", compile_to)
    assert is_ours(code)
    TAMPERING[how](code)
    assert not is_ours(code)

    assert compiled(artifact(), "engine 1", "", compile_to) == code
    assert code.read_bytes() == b"code"
    assert not code.is_symlink()
    assert code.stat().st_mode & 0o077 == 0
    assert len(made) == 2
    assert is_ours(code)


@pytest.mark.parametrize("most", [100, 1000])
def test_a_compiler_that_refuses_where_few_files_may_be_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """It has refused the artifact, which is no shortage; a low limit is named beside its words."""
    monkeypatch.setattr(shortage, "_most_files", lambda: most)
    with pytest.raises(HostStartError) as caught:
        run_compiler(["/bin/sh", "-c", "echo refused >&2; exit 1"], {}, tmp_path, "it cannot compile a")

    assert str(caught.value).startswith("it cannot compile a: refused. ")
    assert ("only 100 files open" in str(caught.value)) == (most == 100)


@pytest.mark.parametrize("suffix", [".cwasm", ".sha256"])
@pytest.mark.usefixtures("cache")
def test_code_that_cannot_be_opened_for_want_of_descriptors(
    monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Where no more file can be opened, nothing is said of the code, and it stays."""
    code = compiled(artifact(), "engine 1", "", lambda path: None)
    # So that it is looked at once more.
    os.utime(code, ns=(0, 0))
    real = Path.open

    def no_more(self: Path, *given: Any, **more: Any) -> Any:
        if self.suffix == suffix:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(self, *given, **more)

    with monkeypatch.context() as short:
        short.setattr(Path, "open", no_more)
        with pytest.raises(OSError, match="Too many open files"):
            is_ours(code)
    assert is_ours(code)


def test_using_code_leaves_it_as_it_is() -> None:
    """That code was used is told by its digest's time, so that no process has to compute the digest again."""
    code = compiled(artifact(), "engine 1", "", lambda path: None)
    before = code.stat()
    os.utime(digest_of(code), (1, 1))
    compiled(artifact(), "engine 1", "", lambda path: None)

    assert code.stat() == before
    assert digest_of(code).stat().st_mtime > 1


def test_what_is_wrong_with_all_code() -> None:
    """All of it is looked at, and what is not ours is told with the reason."""
    codes = [compiled(artifact(letter), "engine 1", "", lambda path: None) for letter in "abc"]
    codes[1].write_bytes(b"more")
    digest_of(codes[2]).unlink()

    assert faults_of_all() == dict(
        zip(codes, ("", "has other bytes", "has no digest beside it"), strict=True)
    )
