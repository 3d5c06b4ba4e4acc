"""WebKit's display, Xvfb: what can go wrong with it, and that nothing of it stays."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil
import pytest

from pytest_wasmedge.errors import HostStartError, RuntimeUnavailableError
from pytest_wasmedge.model import Limits
from pytest_wasmedge.provision import systems
from pytest_wasmedge.runtimes.webkit import WebKit
from tests import wat
from tests.waiting import until, until_gone


def display_of(pid: int) -> psutil.Process:
    """Return the display that was started for this browser: in its folder, but none of its processes."""
    folder = psutil.Process(pid).cwd()
    return next(each for each in psutil.process_iter() if each.name() == "Xvfb" and each.cwd() == folder)


def files_of(display: psutil.Process) -> list[Path]:
    """Return the files by which a display is found."""
    ours = {str(each.laddr) for each in display.net_connections("unix")}
    return [path for path in Path("/tmp/.X11-unix").glob("X*") if str(path) in ours]


def test_nothing_of_the_display_stays(tmp_path: Path) -> None:
    """When the browser is stopped its display ends, which is none of its processes, and takes its files along."""
    with WebKit().start(wat.artifact(tmp_path, wat.ECHO), Limits()) as host:
        assert host.run(b"seen by nobody").stdout == b"seen by nobody"
        display = display_of(host.pids()[0])
        files = files_of(display)
        assert files

    until_gone([display.pid], files)


def test_a_display_that_dies(tmp_path: Path) -> None:
    """The browser ends with its display, and the next invocation has another one."""
    with WebKit().start(wat.artifact(tmp_path, wat.ECHO), Limits()) as host:
        (first,) = host.pids()
        display_of(first).kill()
        # It may answer once more before it sees that its display is gone.
        until(lambda: host.run(b"").ending.ok and host.pids() != (first,), "another browser serves")

        assert host.run(b"again").stdout == b"again"


def test_no_display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Xvfb the browser cannot run: that is said, with the command that installs it."""
    monkeypatch.setattr(systems, "system_ids", lambda: ("debian",))
    monkeypatch.setenv("PATH", str(tmp_path))

    found = WebKit().probe()
    assert (found.available, found.reason) == (False, "Xvfb, which it needs, is not on PATH")
    assert found.install == "apt install webkit2gtk-driver xvfb"
    with pytest.raises(
        RuntimeUnavailableError, match="webkit cannot start: Xvfb, which it needs, is not on PATH"
    ):
        WebKit().start(wat.artifact(tmp_path, wat.ECHO), Limits())


def test_a_display_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named as the cause, after what it said itself."""
    runtime = WebKit()
    artifact = wat.artifact(tmp_path, wat.ECHO)
    assert runtime.probe().available
    broken = tmp_path / "Xvfb"
    broken.write_text(f"#!{shutil.which('sh')}\necho 'no room for a screen' >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert WebKit().probe().reason.endswith("saying: Xvfb, its display, did not start")
    with pytest.raises(HostStartError, match="no room for a screen\nXvfb, its display, did not start\n"):
        runtime.start(artifact, Limits())
