"""What takes long is told while it goes on, on stderr, and by no run that is to be quiet."""

from __future__ import annotations

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
