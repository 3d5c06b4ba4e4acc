"""The wasmtime command: telling its words from the guest's, and a command that is missing or broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_wasmedge.errors import RuntimeUnavailableError
from pytest_wasmedge.model import Limits, exited, trapped
from pytest_wasmedge.runtimes.wasmtime_cli import WasmtimeCli
from tests import wat
from tests.runtimes.conftest import Start

#: What the engine itself would print, as far as a guest can know it.
IMITATION = """Error: failed to run main module `/tmp/pytest-wasmedge-abc/artifact.cwasm`

Caused by:
    0: failed to invoke command default
    1: error while executing at wasm backtrace:
    2: wasm trap: wasm `unreachable` instruction executed
"""


def test_imitated_report_is_the_guest_s_text(start: Start) -> None:
    """A guest that prints what the engine prints at a trap, and exits with 1, has exited with 1."""
    outcome = start("wasmtime-cli", wat.reports(IMITATION, 1)).run()

    assert outcome.ending == exited(1)
    assert outcome.stderr == IMITATION.encode()


def test_real_report_after_an_imitated_one(start: Start) -> None:
    """Where a guest imitates a report and then traps, its text is its own and the trap the engine's."""
    outcome = start("wasmtime-cli", wat.reports_and_traps(IMITATION)).run()

    assert outcome.ending == trapped()
    assert "unreachable" in outcome.ending.detail
    assert outcome.stderr == IMITATION.encode()


def test_report_right_behind_the_guest_s_text(start: Start) -> None:
    """Text of the guest without a final newline is kept whole before the engine's report."""
    outcome = start("wasmtime-cli", wat.reports_and_traps("no newline")).run()

    assert outcome.ending == trapped()
    assert outcome.stderr == b"no newline"


@pytest.mark.parametrize(
    "text",
    [
        "Error: failed to parse `/tmp/pytest-wasmedge-abc/artifact.cwasm`: input bytes aren't valid utf-8\n",
        "Error: failed deserialization for: artifact.cwasm\n",
    ],
)
def test_imitated_refusal_is_the_guest_s_text(start: Start, text: str) -> None:
    """A guest that prints what the engine prints of code that it refuses, and exits with 1, has exited with 1."""
    outcome = start("wasmtime-cli", wat.reports(text, 1)).run()

    assert outcome.ending == exited(1)
    assert outcome.stderr == text.encode()
    assert outcome.invocation == 1


def test_missing_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a wasmtime command the probe gives the command that installs one, and a start says the same."""
    monkeypatch.setattr("pytest_wasmedge.drivers.program.find", lambda name, version: None)
    availability = WasmtimeCli().probe()

    assert not availability.available
    assert availability.reason == "no wasmtime command found"
    assert availability.install == "pytest-wasmedge install wasmtime-cli"
    with pytest.raises(RuntimeUnavailableError, match="get it with `pytest-wasmedge install wasmtime-cli`"):
        WasmtimeCli().start(wat.artifact(tmp_path, wat.ECHO), Limits())


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("#!/bin/sh\nexit 3\n", "does not tell its version: it ended with status 3, saying: nothing"),
        ("#!/bin/sh\necho wasmtime\n", r"names no version: it printed 'wasmtime\\n'"),
        (
            "#!/bin/sh\necho 'warning: wasmtime 1.2.3 is deprecated'\n",
            r"names no version: it printed 'warning: wasmtime 1.2.3 is deprecated\\n'",
        ),
        ("not a program", "does not tell its version: .*Exec format error"),
    ],
)
def test_broken_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, reason: str) -> None:
    """A command that cannot tell its version is not available, and the reason names it."""
    command = tmp_path / "wasmtime"
    command.write_text(script)
    command.chmod(0o755)
    monkeypatch.setenv("PYTEST_WASMEDGE_WASMTIME", str(command))
    availability = WasmtimeCli().probe()

    assert not availability.available
    assert re.match(re.escape(f"`{command} --version` ") + reason, availability.reason)


def test_warnings_before_the_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a program says before its version is not taken for the version."""
    command = tmp_path / "wasmtime"
    command.write_text(
        "#!/bin/sh\necho 'warning: something is deprecated'\necho 'wasmtime 49.0.3 (f96eabaa1 2026-10-14)'\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PYTEST_WASMEDGE_WASMTIME", str(command))
    availability = WasmtimeCli().probe()

    assert availability.available
    assert (availability.version, availability.engine_version) == ("49.0.3", "49.0.3")


@pytest.mark.parametrize("said", ["wasmtime 23.0.2 (dc8a1ba25 2024-08-01)", "wasmtime-cli 13.0.0"])
def test_a_command_that_is_too_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str) -> None:
    """A program without the options that it is given is not available, which says what is needed."""
    command = tmp_path / "wasmtime"
    command.write_text(f"#!/bin/sh\necho '{said}'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PYTEST_WASMEDGE_WASMTIME", str(command))
    availability = WasmtimeCli().probe()

    assert not availability.available
    assert availability.version == said.split()[1]
    assert availability.reason == f"{command} is wasmtime {said.split()[1]}, at least 24 is needed"
    assert availability.install == "pytest-wasmedge install wasmtime-cli"


def test_variable_that_names_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable that names no program is the reason, not an exception."""
    monkeypatch.setenv("PYTEST_WASMEDGE_WASMTIME", str(tmp_path / "gone"))
    availability = WasmtimeCli().probe()

    assert not availability.available
    assert "PYTEST_WASMEDGE_WASMTIME" in availability.reason


def test_no_folder_is_left(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A closed host leaves no folder, and one that could not start neither."""
    places = tmp_path / "tmp"
    places.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(places))
    host = start("wasmtime-cli", wat.ECHO)
    assert list(places.iterdir())
    host.close()
    assert not list(places.iterdir())

    monkeypatch.setattr("pytest_wasmedge.drivers.program.find", lambda name, version: None)
    with pytest.raises(RuntimeUnavailableError):
        WasmtimeCli().start(host.artifact, Limits())
    assert not list(places.iterdir())


def test_what_makes_the_code(start: Start) -> None:
    """The same program is compiled by each compiler, and Pulley's code is for no processor that there is."""
    codes = []
    for name in ("wasmtime-cli", "wasmtime-winch", "wasmtime-pulley"):
        host = start(name, wat.ECHO)
        assert host.run(b"same").stdout == b"same"
        kept = host.runtime.kept_code(host.artifact)
        assert kept
        codes.append(kept.read_bytes())

    assert len(set(codes)) == 3
    optimised, baseline, portable = (code[18:20] for code in codes)  # the machine in the ELF header
    assert optimised == baseline != portable
