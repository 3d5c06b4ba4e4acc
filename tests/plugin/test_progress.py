"""What takes long is told while it goes on, on stderr, and by no run that is to be quiet."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests import wat


@pytest.mark.runtime
@pytest.mark.parametrize("options", [(), ("-n1",), ("-q",)], ids=["plain", "xdist", "quiet"])
def test_a_long_compilation(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """A compilation of a large artifact is told once, when it begins."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path / "cache"))
    guest = wat.write(pytester.path / "guest.wasm", wat.ECHO)
    # A custom section of a megabyte, named "x".
    guest.write_bytes(guest.read_bytes() + b"\x00\x82\x80\x40\x01x" + bytes(1 << 20))
    pytester.makepyfile("def test_it(host):\n    assert host.run(b'x').stdout == b'x'\n")
    result = pytester.runpytest_subprocess("--runtimes=wasmtime", "--wasm-artifact=guest.wasm", *options)

    result.assert_outcomes(passed=1)
    told = [line for line in result.errlines if "compiling" in line]
    assert len(told) == (0 if "-q" in options else 1)
    for line in told:
        assert line.startswith("pytest-wasmedge: compiling guest (1.0 MB) for wasmtime-py ")
        assert line.endswith("; the code is kept")


#: A project whose measurements all count as long, or none.
LONG = "import pytest_wasmedge.plugin.progress as progress\nprogress.LONG_S = float(%r)\n"
MEASURES = "def test_it(cold_start):\n    assert cold_start.median < '1000x floor'\n"


@pytest.fixture
def project(pytester: pytest.Pytester) -> Path:
    """Write a project that measures one runtime, for long."""
    wat.write(pytester.path / "guest.wasm", wat.ECHO)
    pytester.makeconftest(LONG % "0")
    pytester.makepyfile(MEASURES)
    return pytester.path


@pytest.mark.runtime
@pytest.mark.parametrize(
    ("options", "count"), [((), 1), (("-n1",), 1), (("-q",), 0)], ids=["plain", "xdist", "quiet"]
)
def test_a_long_measurement(
    project: Path, pytester: pytest.Pytester, options: tuple[str, ...], count: int
) -> None:
    """A measurement that takes long is told in one line: of what, how far, and how long it may take yet."""
    result = pytester.runpytest_subprocess("--runtimes=wasmtime", "--wasm-artifact=guest.wasm", *options)

    result.assert_outcomes(passed=1)
    told = [line for line in result.errlines if "measuring" in line]
    assert len(told) == count
    for line in told:
        assert line.startswith(
            "pytest-wasmedge: measuring cold/code-cache of wasmtime: 1 of 12 samples, at most "
        )
        assert line.endswith(" s more")


@pytest.mark.runtime
def test_a_short_measurement(project: Path, pytester: pytest.Pytester) -> None:
    """One that is over soon is not told."""
    pytester.makeconftest(LONG % "inf")
    result = pytester.runpytest_subprocess("--runtimes=wasmtime", "--wasm-artifact=guest.wasm")

    result.assert_outcomes(passed=1)
    assert "measuring" not in result.stderr.str()


@pytest.mark.runtime
def test_a_comparison_with_the_baseline(project: Path, pytester: pytest.Pytester) -> None:
    """Of a comparison on all runtimes at once it is told how many have their verdict."""
    pytester.makepyfile("def test_it(slowdown):\n    assert slowdown.verdict\n")
    result = pytester.runpytest_subprocess(
        *("--runtimes=wasmtime", "--wasm-artifact=guest.wasm", "--wasm-against=guest.wasm"),
        "--wasm-latency-budget=1",
    )

    told = [line for line in result.errlines if "measuring" in line]
    assert told == [
        "pytest-wasmedge: measuring cold starts beside the baseline's: 0 of 1 runtimes decided, at most 1 s more"
    ]


@pytest.mark.runtime
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_on_a_terminal(project: Path, term: str) -> None:
    """There is a bar, which is gone afterwards; where a terminal cannot have one, a line. Nothing is on stdout."""
    controller, terminal = pty.openpty()
    argv = [sys.executable, "-m", "pytest", "--runtimes=wasmtime", "--wasm-artifact=guest.wasm"]
    environment = os.environ | {"TERM": term, "COLUMNS": "120"}
    process = subprocess.Popen(argv, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    written = b""
    # The end of a terminal is told as an error.
    with suppress(OSError):
        while heard := os.read(controller, 1 << 16):
            written += heard
    os.close(controller)
    stdout, _ = process.communicate(timeout=60)

    plain = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", written)
    assert (process.returncode, b"measuring" in stdout) == (0, False)
    assert b"measuring cold/code-cache of wasmtime" in plain
    assert (b"11/12 samples, at most " in plain, b": 1 of 12 samples" in plain) == (
        term != "dumb",
        term == "dumb",
    )
    # The last that a bar does is to clear its line.
    assert written.endswith(b"\x1b[2K") == (term != "dumb")
