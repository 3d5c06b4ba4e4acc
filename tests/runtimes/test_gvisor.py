"""gVisor: what its sandbox adds to the wasmtime command, and what stays of it after a kill."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psutil
import pytest

from pytest_wasmedge.drivers.command import CommandLaunch, Ended
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import Artifact, Invocation, Limits, exited, host_failed, timed_out
from pytest_wasmedge.provision import find
from pytest_wasmedge.runtimes.gvisor import Gvisor
from pytest_wasmedge.runtimes.wasmtime_cli import WasmtimeCli
from tests import wat
from tests.runtimes.conftest import Start
from tests.waiting import until


@pytest.fixture(autouse=True)
def _real_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox of the user's cache, also where a test has a cache of its own."""
    found = find("runsc")
    if found is None:
        pytest.fail("no runsc command found; run `make setup`", pytrace=False)
    monkeypatch.setenv("PYTEST_WASMEDGE_RUNSC", str(found.path))


@pytest.fixture
def launch(tmp_path: Path) -> CommandLaunch:
    """What an invocation is made of, without a host around it."""
    return CommandLaunch(
        Path("/wasmtime"), wat.artifact(tmp_path, wat.ECHO), Limits(), tmp_path, tmp_path / "one"
    )


def sandboxes(workspace: Path) -> list[str]:
    """Return the command lines of all processes whose environment names this workspace: the sandbox is several."""
    found = []
    for each in psutil.process_iter():
        try:
            if str(workspace) in each.environ().get("TMPDIR", "") or str(workspace) in " ".join(
                each.cmdline()
            ):
                found.append(" ".join(each.cmdline())[:80])
        except psutil.Error:
            continue
    return found


def test_nothing_stays_after_a_time_limit(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sandbox's processes have groups of their own; they end with the one that is killed, and leave no file."""
    place = tmp_path / "t"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    host = start("gvisor", wat.SPIN)

    assert host.run(timeout_s=2).ending == timed_out()
    until(lambda: not sandboxes(place), "the sandbox has ended")
    host.close()
    assert list(place.iterdir()) == []


def test_it_runs_under_another_kernel(launch: CommandLaunch) -> None:
    """What wasmtime runs on is gVisor's kernel, which has no network and cannot change a file of this machine."""
    runtime = Gvisor()
    command = list(runtime.argv(launch, Invocation()))
    inside = command[: command.index("/wasmtime")]
    file = launch.workspace / "file"
    script = f"dmesg 2>/dev/null | head -1; ls /sys/class/net 2>/dev/null; touch {file} && echo written"
    said = subprocess.run(
        [*inside, "/bin/sh", "-c", script],
        env={**runtime.environment(launch.workspace), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout.splitlines()

    assert "Starting gVisor" in said[0]
    assert said[1:] == ["written"]
    assert not file.exists()


def test_its_code_is_not_that_of_the_command(start: Start) -> None:
    """Code is compiled in the sandbox, for the processor that there is in there, and kept apart from the command's."""
    artifact: Artifact = start("gvisor", wat.ECHO).artifact
    kept, of_command = Gvisor().kept_code(artifact), WasmtimeCli().kept_code(artifact)

    assert kept != of_command
    assert kept is not None
    assert kept.exists()


def test_a_panic_of_the_sandbox_is_no_status(launch: CommandLaunch) -> None:
    """A guest may end with status 2; where the sandbox's own log says that it panicked, it was not the guest."""
    runtime = Gvisor()
    runtime.argv(launch, Invocation())
    ended = Ended(2, b"", b"")
    assert runtime.outcome(launch, ended)[2] == exited(2)
    (launch.folder / "panic.log").write_text("panic: running on goroutine 7\n\ngoroutine 35:\n")

    ending = runtime.outcome(launch, ended)[2]
    assert ending == host_failed()
    assert ending.detail == "runsc ended with status 2: panic: running on goroutine 7 goroutine 35:"


def test_a_sandbox_that_does_not_start_is_told(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sandbox says before wasmtime runs is its failure, not a status and a stderr of the guest."""
    host = start("gvisor", wat.ECHO)
    monkeypatch.setattr("pytest_wasmedge.runtimes.gvisor._OPTIONS", ("--platform=none-such",))
    outcome = host.run(b"x")

    assert outcome.ending == host_failed()
    assert "unknown platform: none-such" in outcome.ending.detail
    assert (outcome.stdout, outcome.stderr) == (b"", b"")


def test_a_compiler_s_sandbox_that_does_not_start_is_told(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is one that was to compile; no half of a file is kept."""
    monkeypatch.setattr("pytest_wasmedge.runtimes.gvisor._OPTIONS", ("--platform=none-such",))
    with pytest.raises(
        HostStartError, match=r"in gVisor cannot compile program: .*unknown platform: none-such"
    ):
        start("gvisor", wat.ECHO)


def test_the_version_is_the_sandbox_s() -> None:
    """Version and engine's version are those of the two programs."""
    found = Gvisor().probe()

    assert found.available
    assert int(found.version.partition(".")[0]) > 20220000
    assert found.engine_version == WasmtimeCli().probe().version
