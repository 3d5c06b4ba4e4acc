"""Bad input gives one clear message that says what to do, and never a look inside us."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import wat
from tests.conftest import Mount

TESTS = """
def test_echo(host):
    assert host.run(b"hello").stdout == b"hello"

def test_beside():
    pass
"""
COMPONENT = b"\0asm\x0d\0\x01\0"
#: What is in the file, and what the message says of it.
REFUSED: dict[str, tuple[bytes | str, str]] = {
    "empty": (b"", r"bad\.wasm is empty\. .*build it again"),
    "truncated": (wat.assemble(wat.ECHO)[:-20], r"bad\.wasm is truncated: .*Copy or build it again"),
    "truncated_in_its_header": (b"\0asm\x01", r"bad\.wasm is truncated: .*Copy or build it again"),
    "text": (b"hello, this is no module\n", r"bad\.wasm is not a WebAssembly file: .*Give the path"),
    "wat": (wat.ECHO.encode(), r"bad\.wasm is WebAssembly text .*Convert it"),
    "gzip": (b"\x1f\x8b\x08\0junk", r"bad\.wasm is compressed with gzip\. Unpack it first"),
    "component": (
        COMPONENT,
        r"bad\.wasm is a WebAssembly component, not a core module\. .*give the core module",
    ),
    "unknown_import": (
        '(module (import "env" "magic" (func)) (func (export "_start")))',
        r"bad\.wasm imports env\.magic: no host here provides it\. .*link",
    ),
    "hostile_import": (
        '(module (import "env" "\\1b[31mred\\07" (func)) (func (export "_start")))',
        r"bad\.wasm imports env\.\\x1b\[31mred\\x07: no host here provides it",
    ),
    "no_start": (
        "(module (memory 1))",
        r"bad\.wasm has no _start export.*Build it as a WASI preview 1 command",
    ),
    "reactor": ('(module (func (export "_initialize")))', r"bad\.wasm is a reactor: .*Build it as a command"),
}


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of this test's own."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path / "cache"))


def run(pytester: pytest.Pytester, artifact: str, *options: str) -> pytest.RunResult:
    """Run pytest with this artifact in a process of its own."""
    pytester.makepyfile(TESTS)
    return pytester.runpytest_subprocess("--runtimes=wasmtime", f"--wasm-artifact={artifact}", *options)


def shown(result: pytest.RunResult) -> str:
    """Return all that a run printed, having made sure that it shows nothing of our insides."""
    text = result.stdout.str() + result.stderr.str()
    for inside in ("Traceback", "pytest_wasmedge/", "INTERNALERROR", "wasmtime/_", "\x1b[31mred", "\x07"):
        assert inside not in text
    return text


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_any_test(pytester: pytest.Pytester, name: str) -> None:
    """A file that no host could run is a usage error of one sentence, before any test runs."""
    program, message = REFUSED[name]
    wat.write(pytester.path / "bad.wasm", program)
    result = run(pytester, "bad.wasm")
    lines = result.stderr.str().splitlines()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert re.search(message, shown(result))
    assert sum("bad.wasm" in line for line in lines) == 1
    assert "test session starts" not in result.stdout.str()


@pytest.mark.parametrize(
    ("artifact", "message"),
    [
        ("gone.wasm", r"there is no file .*gone\.wasm\. Build the artifact first, or correct the path\."),
        ("folder/gone", r"there is no file .*folder/gone\. Build the artifact first"),
        ("rubby-worker", r"no built-in artifact and no file 'rubby-worker'\. Give the path of a \.wasm file"),
        (".", r" is a folder, not an artifact\. Give the path of a \.wasm file\."),
    ],
)
def test_missing(pytester: pytest.Pytester, artifact: str, message: str) -> None:
    """A path or name that leads to no file is a usage error that says what to give."""
    result = run(pytester, artifact)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert re.search(message, shown(result))


@pytest.mark.parametrize(
    "option", ["runtimes", "wasm-artifact", "wasm-require", "wasm-against", "wasm-cases"]
)
def test_an_empty_value(pytester: pytest.Pytester, option: str) -> None:
    """A value that is empty, by an unset variable of CI, is a usage error: the gate that it asks for would be off."""
    result = run(pytester, "ruby-worker", f"--{option}=")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"argument --{option}: the value is empty. Give one, or leave the option out." in shown(result)


def test_path_counts_from_where_pytest_was_started(pytester: pytest.Pytester) -> None:
    """A relative path is one from the folder that pytest was started in, not from the project's root."""
    wat.write(pytester.mkdir("inner") / "echo.wasm", wat.ECHO)
    pytester.makeini("[pytest]\n")
    pytester.makepyfile(TESTS)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(pytester.path / "inner")
        result = pytester.runpytest_subprocess("--runtimes=wasmtime", "--wasm-artifact=echo.wasm", "..")

    result.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (
            '(module (memory (export "memory") 1) (func (export "_start") (drop (i32.eqz (i64.const 1)))))',
            "bad.wasm is not valid WebAssembly, whatever the host: type mismatch: expected i32, found i64",
        ),
        (
            '(module (import "wasi_snapshot_preview1" "fd_write" (func (param i64))) (func (export "_start")))',
            r"imports wasi_snapshot_preview1.fd_write as a function \(i64\) -> \(\); in preview 1 it is",
        ),
        (
            '(module (memory (export "memory") 1) (func (export "_start") (param i32)))',
            r"exports _start as a function \(i32\) -> \(\), which hosts cannot call",
        ),
    ],
)
def test_what_no_host_can_run(pytester: pytest.Pytester, module: str, said: str) -> None:
    """A module that is wrong whatever the host is one sentence before anything runs."""
    wat.write(pytester.path / "bad.wasm", module)
    result = run(pytester, "bad.wasm")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert re.search(said, shown(result))


def test_traps_at_start(pytester: pytest.Pytester) -> None:
    """An artifact that traps on any input is told as such by the suite; the tests beside it run."""
    wat.write(pytester.path / "bad.wasm", wat.TRAP)
    result = run(pytester, "bad.wasm", "--wasm-conformance", "-k", "empty_input or beside or same_outcome")
    text = shown(result)

    assert result.parseoutcomes() == {
        "failed": 1,
        "passed": 2,
        "deselected": result.parseoutcomes()["deselected"],
    }
    assert "bad does not survive empty input: it ended as trapped (wasmtime: unreachable)" in text
    assert "Run it by hand on this runtime; every other test depends on it." in text


def test_changed_in_mid_run(pytester: pytest.Pytester) -> None:
    """An artifact that is built anew between the load and the start of a host is refused, with both digests."""
    wat.write(pytester.path / "bad.wasm", wat.ECHO)
    pytester.makeconftest(
        "def pytest_collection_finish(session):\n"
        "    from pathlib import Path\n"
        "    from tests import wat\n"
        "    wat.write(Path('bad.wasm'), wat.COUNT)\n"
    )
    result = run(pytester, "bad.wasm")

    result.assert_outcomes(passed=1, errors=1)
    assert re.search(r"bad\.wasm changed during the run: it was \w{16}…, it is now \w{16}…", shown(result))


def test_a_cache_that_others_can_write(pytester: pytest.Pytester, tmp_path: Path) -> None:
    """A cache folder that others can write holds no code of ours: its tests fail with what to do."""
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    (tmp_path / "cache").mkdir(mode=0o777)
    (tmp_path / "cache").chmod(0o777)
    result = run(pytester, "echo.wasm")

    result.assert_outcomes(passed=1, errors=1)
    assert "can be written by other users (mode 777)" in shown(result)


def test_a_cache_that_can_only_be_read(pytester: pytest.Pytester, tmp_path: Path, disk: Mount) -> None:
    """What is compiled and installed is used from it; what has to be measured anew is told in one sentence."""
    pytester.makepyfile(
        "def test_first(cold_start):\n    cold_start.take(2)\ndef test_second(host):\n    assert host.run().ending.ok\n"
    )
    artifact = wat.artifact(tmp_path, wat.command(""))
    options = ("-p", "no:cacheprovider", "--runtimes=wasmtime", f"--wasm-artifact={artifact.path}")
    disk("size=5m")
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=2)
    disk("ro")

    result = pytester.runpytest_subprocess(*options)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*cannot be written: Read-only file system. Make room or give rights there*"]
    )
    result.stderr.fnmatch_lines(["*measurements and tests of other runs are not kept apart here*"])
    assert "INTERNALERROR" not in result.stdout.str()
    assert "Traceback" not in result.stdout.str()
