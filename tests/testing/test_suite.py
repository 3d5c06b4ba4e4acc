"""The bundled suite passes on a wrapper without a fault, and fails on an artifact that leaks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_wasmedge.testing import FAULTS
from pytest_wasmedge.testing.matrix import function_of
from pytest_wasmedge.testing.page import KEPT, kept
from tests import wat

ROOT = Path(__file__).parents[2]

CLEAN = """
from pytest_wasmedge.testing import FaultyRuntime

def pytest_wasmedge_runtimes(config, runtimes):
    return [FaultyRuntime(runtimes["wasmtime"], None)]
"""
#: All of the suite but the corpus, which needs no proof of its own, and what takes long.
SELECTION = "not test_case and not test_latency and not test_limits"


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run the bundled suite on wasmtime in a process of its own."""
    return pytester.runpytest_subprocess(
        "--runtimes=wasmtime", "--wasm-conformance", "-p", "no:cacheprovider", "-rf", *options
    )


def failed(result: pytest.RunResult) -> list[tuple[str, str]]:
    """Return subject and test of each failure."""
    found = (re.match(r"FAILED (?:\S*/)?(\w+)\.py::(\w+)", line) for line in result.outlines)
    return [(match[1], match[2]) for match in found if match]


def test_every_test_catches_a_fault_or_says_why_it_stays() -> None:
    """No test of the suite is there for nothing, and the page has the reasons."""
    suite = {
        f"{path.name}::{name}"
        for path in sorted((ROOT / "conformance").glob("test_*.py"))
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    catching = {function_of(test) for fault in FAULTS.values() for test in fault.caught_by}

    assert suite - catching == KEPT.keys()
    assert kept() in (ROOT / "docs" / "faults.md").read_text()


def test_clean(pytester: pytest.Pytester) -> None:
    """Without a fault, the same wrapper and the same selection pass whole."""
    pytester.makeconftest(CLEAN)
    result = run(pytester, "-k", SELECTION)

    assert result.ret == 0
    assert set(result.parseoutcomes()) <= {"passed", "deselected", "xfailed"}
    assert result.parseoutcomes()["passed"] > 60


def test_an_artifact_that_leaks(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An artifact whose SyntaxError shows a pointer and PhantomData fails that subject, and both are named."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path / "cache"))
    text = "main.rb:1: SyntaxError near Parser { marker: PhantomData<&mut State>, at: 0x55d0c0ffee10 }\n"
    wat.write(pytester.path / "leaky.wasm", wat.ruby_like(text))
    result = run(pytester, "--wasm-artifact=leaky.wasm", "-k", "test_syntax_errors and test_case")
    leaky = result.parseoutcomes()["failed"]
    wat.write(pytester.path / "clean.wasm", wat.ruby_like("main.rb:1: SyntaxError: unexpected end\n"))
    clean = run(pytester, "--wasm-artifact=clean.wasm", "-k", "test_syntax_errors and test_case")

    assert leaky >= 14
    assert set(failed(result)) == {("test_syntax_errors", "test_case")}
    assert "stderr leaks raw pointer: '0x55d0c0ffee10'" in result.stdout.str()
    assert "stderr leaks Rust PhantomData: 'PhantomData<&mut State>'" in result.stdout.str()
    assert clean.ret == 0
    assert clean.parseoutcomes()["passed"] == leaky
