"""Planted faults: a host with one of them fails the bundled suite, in the right subjects, for the right reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import wat

CONFTEST = """
from pytest_wasmedge.testing import FaultyRuntime

def pytest_wasmedge_runtimes(config, runtimes):
    return [FaultyRuntime(runtimes["wasmtime"], {fault!r})]
"""
CLEAN = """
from pytest_wasmedge.testing import FaultyRuntime

class Wrapped(FaultyRuntime):
    def start(self, artifact, limits):
        return self.inner.start(artifact, limits)

def pytest_wasmedge_runtimes(config, runtimes):
    return [Wrapped(runtimes["wasmtime"], "status_zero")]
"""
#: All of the suite but the corpus, which needs no proof of its own, and what takes long.
SELECTION = "not test_case and not test_latency and not test_limits"


@dataclass(frozen=True)
class Caught:
    """How a fault shows: in which subjects and in no other, by which test at least, with which words."""

    subjects: frozenset[str]
    test: str
    words: str


def caught(subjects: str, test: str, words: str) -> Caught:
    """Return how a fault shows; ``subjects`` are divided by blanks."""
    return Caught(frozenset(f"test_{subject}" for subject in subjects.split()), test, words)


CAUGHT: dict[str, Caught] = {
    "reports_terminal": caught("streams", "test_not_a_terminal", r"\[true, true, true\]"),
    "drops_final_newline": caught(
        "errors exit_status isolation sandbox stdout streams",
        "test_puts_ends_with_one_newline",
        r"assert b'15' == b'15\\n'",
    ),
    "replaces_invalid_utf8": caught("streams", "test_invalid_utf8_is_untouched", r"\\xef\\xbf\\xbd"),
    "merges_stderr": caught(
        "errors exit_status isolation sandbox streams syntax_errors",
        "test_abort_reports_and_fails",
        r"assert b'no more\\n' == b''",
    ),
    "status_zero": caught(
        "errors exit_status isolation syntax_errors", "test_status_arrives", r"status: 0 != 1"
    ),
    "truncates_stdout": caught(
        "streams", "test_five_megabytes_in_one_write", r"stdout first differs at byte 65536"
    ),
    "reuses_instance": caught(
        "exit_status isolation syntax_errors", "test_nothing_survives", r"assert b'1\\n' == b'nil\\n'"
    ),
    "leaks_environment": caught("sandbox", "test_no_environment", r"assert b'\{\"HOST_SECR"),
    "leaks_path": caught(
        "errors exit_status isolation sandbox streams syntax_errors",
        "test_nothing_internal_shows",
        r"stderr leaks host path: '/home/builder/engine/src/host\.rs",
    ),
    "adds_carriage_return": caught(
        "errors exit_status isolation sandbox stdout streams",
        "test_puts_ends_with_one_newline",
        r"assert b'15\\r\\n' == b'15\\n'",
    ),
}


@pytest.fixture(autouse=True)
def as_on_a_laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest shows more of a difference where CI is set; the words looked for here are those without."""
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run the bundled suite on wasmtime in a process of its own."""
    return pytester.runpytest_subprocess(
        "--runtimes=wasmtime", "--wasm-conformance", "-p", "no:cacheprovider", "-rf", *options
    )


def failed(result: pytest.RunResult) -> list[tuple[str, str]]:
    """Return subject and test of each failure."""
    found = (re.match(r"FAILED (?:\S*/)?(\w+)\.py::(\w+)", line) for line in result.outlines)
    return [(match[1], match[2]) for match in found if match]


@pytest.mark.parametrize("fault", CAUGHT)
def test_caught(pytester: pytest.Pytester, fault: str) -> None:
    """The suite fails on this fault: in exactly the subjects that are about it, and with words that name it."""
    pytester.makeconftest(CONFTEST.format(fault=fault))
    result = run(pytester, "-k", SELECTION)
    expected = CAUGHT[fault]

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert {subject for subject, _ in failed(result)} == expected.subjects
    assert expected.test in {test for _, test in failed(result)}
    assert re.search(expected.words, result.stdout.str())


def test_clean(pytester: pytest.Pytester) -> None:
    """Without a fault, the same wrapper and the same selection pass whole."""
    pytester.makeconftest(CLEAN)
    result = run(pytester, "-k", SELECTION)

    assert result.ret == 0
    assert set(result.parseoutcomes()) == {"passed", "deselected"}
    assert result.parseoutcomes()["passed"] > 60


def test_an_artifact_that_leaks(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An artifact whose SyntaxError shows a pointer and PhantomData fails that subject, and both are named."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path / "cache"))
    text = "main.rb:1: SyntaxError near Parser { marker: PhantomData<&mut State>, at: 0x55d0c0ffee10 }\n"
    wat.write(pytester.path / "leaky.wasm", wat.ruby_like(text))
    result = run(pytester, "--wasm-artifact=leaky.wasm", "-k", "test_syntax_errors and nothing_internal")
    leaky = result.parseoutcomes()["failed"]
    wat.write(pytester.path / "clean.wasm", wat.ruby_like("main.rb:1: SyntaxError: unexpected end\n"))
    clean = run(pytester, "--wasm-artifact=clean.wasm", "-k", "test_syntax_errors and nothing_internal")

    assert leaky >= 14
    assert set(failed(result)) == {("test_syntax_errors", "test_nothing_internal_shows")}
    assert "stderr leaks raw pointer: '0x55d0c0ffee10'" in result.stdout.str()
    assert "stderr leaks Rust PhantomData: 'PhantomData<&mut State>'" in result.stdout.str()
    assert clean.ret == 0
    assert clean.parseoutcomes()["passed"] == leaky
