"""Set-up elsewhere than as root on Debian: it ends with 0, and says what is left out and how that system gets it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_wasmedge.commands import cli
from pytest_wasmedge.commands import install as install_command
from pytest_wasmedge.provision import pins, systems
from pytest_wasmedge.runtimes import builtin_runtimes

SCRIPT = Path(__file__).parents[1] / "scripts" / "system-packages"
#: Commands of the script that every system has.
PLAIN = ("sh", "grep", "tail")

Machine = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Run the script on a system that calls itself so, for this user, with these commands beside the plain ones."""

    def run(system: str, uid: int, ci: str = "", **commands: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "bin"
        path.mkdir()
        for name in PLAIN:
            (path / name).symlink_to(shutil.which(name) or f"/bin/{name}")
        for name, script in {"id": f"echo {uid}", **commands}.items():
            command = path / name.replace("_", "-")
            command.write_text(f"#!/bin/sh\n{script}\n")
            command.chmod(0o755)
        release = tmp_path / "os-release"
        release.write_text(f"ID={system}\n")
        env = {"PATH": str(path), "OS_RELEASE": str(release), "LOG": str(tmp_path / "log"), "CI": ci}
        return subprocess.run([path / "sh", SCRIPT], env=env, capture_output=True, text=True, check=False)

    return run


RECORDS = 'echo "$@" >>"$LOG"'
#: As Debian's mirrors answer on a bad day.
FAILS = 'echo "E: Failed to fetch something" >&2; exit 100'


@pytest.mark.parametrize(
    ("system", "uid", "apt"),
    [("debian", 1000, True), ("ubuntu", 0, True), ("fedora", 0, False), ("debian", 0, False)],
)
def test_the_system_is_left_alone(machine: Machine, tmp_path: Path, system: str, uid: int, apt: bool) -> None:
    """Without root, without apt, or elsewhere than on Debian, nothing is installed, and that is no failure."""
    done = machine(system, uid, **({"apt_get": RECORDS} if apt else {}))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "log").exists()


def test_as_root_on_debian(machine: Machine, tmp_path: Path) -> None:
    """What is missing is installed, and nothing that is there."""
    done = machine("debian", 0, apt_get=RECORDS, ruby="", gpg="", chromium="", Xvfb="", cc="")

    assert done.returncode == 0
    update, install = (tmp_path / "log").read_text().splitlines()
    assert update.endswith("update -qq")
    missing = "chromium-headless-shell firefox-esr webkit2gtk-driver tcc apt-utils"
    assert install.endswith(f" {missing}")
    assert done.stdout == f"installed from Debian: {missing}\n"


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("1", 1)])
def test_a_mirror_that_is_down(machine: Machine, ci: str, status: int) -> None:
    """The set-up goes on without the system's packages and says which; in CI that is an error."""
    done = machine("debian", 0, ci, apt_get=FAILS, ruby="", gpg="", apt_ftparchive="")

    assert done.returncode == status
    assert done.stderr.splitlines()[0] == "E: Failed to fetch something"
    assert done.stderr.splitlines()[1].startswith(
        "Not installed: chromium chromium-headless-shell firefox-esr webkit2gtk-driver xvfb gcc libc6-dev tcc"
    )


WAYS = {
    ("ubuntu", "debian"): ("snap install chromium", "snap install firefox", "apt install wasmedge"),
    ("linuxmint", "ubuntu", "debian"): (
        "snap install chromium",
        "snap install firefox",
        "apt install wasmedge",
    ),
    ("fedora",): ("dnf install chromium", "dnf install firefox", "dnf install wasmedge"),
    ("macos",): ("brew install --cask chromium", "brew install --cask firefox", "brew install wasmedge"),
    ("nixos",): (
        "chromium-browser is not on PATH\n",
        "firefox is not on PATH\n",
        "no wasmedge command found\n",
    ),
}


@pytest.mark.parametrize("system", WAYS, ids=lambda system: system[0])
def test_every_system_has_its_own_way(
    system: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`install` ends with 0 there, gets what it can, and tells of the rest how this system's people get it."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CHROMIUM", "FIREFOX", "WASMEDGE"):
        monkeypatch.delenv(f"PYTEST_WASMEDGE_{name}", raising=False)
    monkeypatch.setattr(systems, "system_ids", lambda: system)
    # No pin of wasmedge is for this platform; all others are said to be installed.
    monkeypatch.setattr(pins, "this_platform", lambda: "macos-arm64")
    monkeypatch.setattr(install_command, "install", lambda name, progress: tmp_path)

    assert cli.main(["install"]) == 0

    told = capsys.readouterr().out
    for way in WAYS[system]:
        assert way in told
    # Nor of what else Debian alone has.
    assert "runs leave out: gvisor, lambda, wasmedge" in told


def test_a_program_of_the_system_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system that we fetch nothing for, what its people installed on PATH is what runs, under any of its names."""
    monkeypatch.setattr(pins, "this_platform", lambda: "linux-riscv64")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PYTEST_WASMEDGE_WASMEDGE", raising=False)
    for name in ("wasmedge", "google-chrome", "firefox"):
        command = tmp_path / name
        command.write_text(f"#!{shutil.which('sh', path=os.defpath)}\necho '/{name} version 0.16.0'\n")
        command.chmod(0o755)

    found = {
        runtime.name: runtime.probe()
        for runtime in builtin_runtimes()
        if runtime.name in ("wasmedge", "chromium", "firefox")
    }

    assert found["wasmedge"].available
    assert found["wasmedge"].path == f"{tmp_path / 'wasmedge'} (PATH)"
    for name in ("chromium", "firefox"):
        # It is found and asked; this one is no browser, and says so.
        assert "is not on PATH" not in found[name].reason
