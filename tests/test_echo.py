"""An artifact that is no Ruby: what is not about Ruby runs and passes, the rest is skipped with the reason."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

from pytest_wasmedge.provision import find
from tests import wat


@pytest.fixture
def echo(pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with the echo artifact, and a cache of its own."""
    if command := find("wasmtime"):
        monkeypatch.setenv("PYTEST_WASMEDGE_WASMTIME", str(command.path))
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path / "cache"))
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    return pytester


def test_all_that_is_not_ruby_runs(echo: pytest.Pytester) -> None:
    """With `--runtimes=all` and an echo artifact, what asks any guest runs, and the witness; Ruby's cases skip."""
    result = echo.runpytest_subprocess(
        "--runtimes=all",
        "--wasm-artifact=echo.wasm",
        "--wasm-conformance",
        "-v",
        "-rs",
        "-k",
        "wasmtime and not winch and not pulley",
        "--wasm-latency-budget=2",
    )
    passed = {
        match[1]
        for line in result.outlines
        if (match := re.search(r"::(\w+)\[wasmtime[-\w/]*\] PASSED", line))
    }
    skipped = [line for line in result.outlines if line.startswith("SKIPPED")]
    outcomes = result.parseoutcomes()

    assert result.ret == 0
    assert passed >= {
        "test_arguments",
        "test_variables",
        "test_stdin_and_both_streams",
        "test_output_of_any_size",
        "test_time_of_day_of_any_guest",
        "test_random_bytes_of_any_guest",
        "test_any_guest_starts_anew",
        "test_nothing_but_streams_is_open",
        "test_a_granted_folder_is_the_one_asked_for",
        "test_memory_limit_of_any_guest",
        "test_empty_input_ends_by_itself",
        "test_any_input_has_one_outcome",
        "test_same_input_same_outcome",
        "test_any_guest_many_at_once",
        "test_cold_start",
        "test_cold_start_evicted",
        "test_floor",
        "test_warm_latency",
    }
    reason = "echo does not answer `puts 1+1` with 2: not a Ruby, cases for Ruby skip"
    cannot_run = re.compile(
        r"wasmtime-cli: .*get it with `pytest-wasmedge install wasmtime-cli`"
        "|wasmtime-serve cannot give folders to a guest"
        "|a fresh isolate starts only in a host that keeps isolates"
    )
    assert all(reason in line or cannot_run.search(line) for line in skipped)
    assert sum(reason in line for line in skipped) > 0
    assert outcomes["passed"] >= 120
    assert "test_status_arrives" not in passed
    assert "portability of echo, sha256 " in result.stdout.str()
    version = re.escape(importlib.metadata.version("wasmtime"))
    row = rf"wasmtime +{version} +Cranelift \S+ +\d+ +0 +\d+ +0 +\d+\.\d +\d+\.\d"
    assert re.search(row, result.stdout.str())


def test_a_broken_host_is_not_taken_for_another_language(echo: pytest.Pytester) -> None:
    """A Ruby whose host gives nonsense does not skip its cases: it is asked in process too, and they fail."""
    wat.write(echo.path / "ruby.wasm", wat.ruby_like("main.rb:1: error\n"))
    echo.makeconftest(
        """
        from pytest_wasmedge.testing import FakeRuntime

        def pytest_wasmedge_runtimes(config, runtimes):
            return [FakeRuntime("mute", lambda invocation: b"")]
        """
    )
    result = echo.runpytest_subprocess(
        "--runtimes=mute",
        "--wasm-artifact=ruby.wasm",
        "--wasm-conformance",
        "-k",
        "test_puts or test_status_arrives",
    )

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "skipped" not in result.parseoutcomes()
