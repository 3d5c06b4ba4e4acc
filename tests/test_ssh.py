"""Two workers behind a real sshd, each a user of its own with runtimes of its own: the same outcomes as here."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

import pytest_wasmedge
from pytest_wasmedge.provision.cache import cache_root
from tests import wat
from tests.waiting import until

#: What each user has, beside the runtime that comes with us.
HAS = ("wasmtime-cli", "bun")
RUNTIMES = "wasmtime,wasmtime-cli,bun"
SSHD = """
ListenAddress 127.0.0.1
Port {port}
HostKey {base}/host
AuthorizedKeysFile {base}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
"""
SSH = """
Host 127.0.0.1
  Port {port}
  IdentityFile {base}/key
  IdentitiesOnly yes
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  LogLevel ERROR
"""
#: Ends a worker while its guest's host runs.
DIES = """
import os

def test_dies(host):
    assert host.run(b"x").stdout == b"x"
    if host.runtime.name == "bun":
        os.kill(os.getpid(), 9)
"""


#: Stays in a test while its guest's host runs, and says so by a file.
STAYS = """
import time
from pathlib import Path

def test_stays(host):
    assert host.run(b"x").stdout == b"x"
    Path("stays").touch()
    time.sleep(600)
"""


@dataclass
class Remote:
    """A sshd with two users that may log in; ``base`` can be read by everybody."""

    base: Path
    users: tuple[str, ...]
    python: str = ""

    def project(self, user: str) -> Path:
        """Return the folder that a user's worker runs in."""
        return Path(f"~{user}").expanduser() / "project"

    def ssh(self, user: str, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a user."""
        argv = ["ssh", "-F", str(self.base / "ssh_config"), f"{user}@127.0.0.1", command]
        return subprocess.run(argv, capture_output=True, text=True)

    def workers(self) -> list[str]:
        """Return the options that start a worker for each user."""
        python = f"env PYTHONPATH={self.base / 'site'} {self.python}"
        place = f"ssh_config={self.base / 'ssh_config'}//python={python}//chdir="
        there = [f"--tx=ssh={user}@127.0.0.1//{place}{self.project(user)}" for user in self.users]
        return ["--dist=load", *there]

    def processes(self) -> list[str]:
        """Return what still runs of these users."""
        found = psutil.process_iter(["username", "cmdline"])
        return [str(each.info) for each in found if each.info["username"] in self.users]


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    """Two users with homes, caches and an sshd, all removed afterwards."""
    needed = ("sshd", "ssh", "ssh-keygen", "useradd", "userdel")
    where = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    programs = {name: shutil.which(name, path=where) or "" for name in needed}
    if missing := [name for name, path in programs.items() if not path]:
        pytest.skip(f"no {', '.join(missing)} here")
    if os.geteuid() != 0:
        pytest.skip("only root can make users")
    base = Path(tempfile.mkdtemp(prefix="pytest-wasmedge-ssh-", dir=_open_to_all()))
    base.chmod(0o755)
    users = tuple(f"pw{secrets.token_hex(3)}" for _ in HAS)
    server = None
    try:
        for user in users:
            # The star is no password, and does not lock the account.
            subprocess.run([programs["useradd"], "-m", "-p", "*", user], check=True)
        for key in ("host", "key"):
            subprocess.run(
                [programs["ssh-keygen"], "-q", "-t", "ed25519", "-N", "", "-f", str(base / key)], check=True
            )
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        for name, text in (("sshd_config", SSHD), ("ssh_config", SSH)):
            (base / name).write_text(text.format(port=port, base=base))
        Path("/run/sshd").mkdir(exist_ok=True)
        server = subprocess.Popen([programs["sshd"], "-D", "-f", str(base / "sshd_config")])
        found = Remote(base, users)
        until(lambda: found.ssh(users[0], "true").returncode == 0, "sshd lets a user in")
        _copy_environment(base / "site")
        found.python = _python(found)
        for user, runtime in zip(users, HAS, strict=True):
            _give_tool(found, user, runtime.removesuffix("-cli"))
        yield found
    finally:
        if server is not None:
            server.terminate()
            server.wait()
        for user in users:
            subprocess.run([programs["userdel"], "-r", user], capture_output=True)
        shutil.rmtree(base)


def _open_to_all() -> Path:
    """Return a folder for temporary files that other users can enter, too."""
    for place in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        if all(each.stat().st_mode & stat.S_IXOTH for each in (place, *place.parents)):
            return place
    pytest.skip("no folder for temporary files that other users can enter")


def _python(remote: Remote) -> str:
    """Return an interpreter of our version that other users can start."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for each in (
        os.path.realpath(sys.executable),
        f"/usr/bin/python{version}",
        f"/usr/local/bin/python{version}",
    ):
        told = remote.ssh(remote.users[0], f"{each} -c 'import sys; print(*sys.version_info[:2], sep=\".\")'")
        if told.stdout.strip() == version:
            return each
    pytest.skip(f"no python{version} here that other users can start")


def _copy_environment(site: Path) -> None:
    """Copy us, and all that we need, to where everybody can read it."""
    site.mkdir()
    names, seen = ["pytest-wasmedge"], set()
    while names:
        found = re.match(r"[\w.-]+", names.pop())
        if found is None or found[0].lower() in seen:
            continue
        seen.add(found[0].lower())
        try:
            one = importlib.metadata.distribution(found[0])
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system
        names += [each for each in one.requires or () if "extra ==" not in each]
        for top in {file.parts[0] for file in one.files or ()} - {"..", "__pycache__", "pytest_wasmedge"}:
            _copy(Path(str(one.locate_file(top))), site / top)
    package = Path(pytest_wasmedge.__file__).parent
    for place in (package, package.parent / "conformance", package.parent / "fixtures"):
        _copy(place, site / place.name)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    elif source.suffix in (".py", ".so"):
        shutil.copy2(source, target)


def _give_tool(remote: Remote, user: str, tool: str) -> None:
    """Put an installed tool into a user's cache."""
    cache = remote.project(user).parent / ".cache" / "pytest-wasmedge"
    remote.project(user).mkdir()
    for name in (tool, "shim"):
        for each in (cache_root() / "tools").glob(f"{name}-*"):
            shutil.copytree(each, cache / "tools" / each.name, symlinks=True)
    for place in (cache, cache / "tools"):
        place.chmod(0o700)
    subprocess.run(["chown", "-R", f"{user}:", str(cache.parent), str(remote.project(user))], check=True)


@pytest.fixture
def project(pytester: pytest.Pytester, remote: Remote) -> pytest.Pytester:
    """A project of which the users have all but the artifact."""
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    for place in (pytester.path, *map(remote.project, remote.users)):
        shutil.rmtree(place / "cases", ignore_errors=True)
        (place / "cases").mkdir()
        for number in range(5):
            (place / "cases" / f"case_{number}.txt").write_text(f"{number}\n")
        (place / "test_stays.py").unlink(missing_ok=True)
        (place / "test_dies.py").write_text(DIES)
    return pytester


def run(project: pytest.Pytester, *options: str) -> tuple[pytest.RunResult, dict[str, Any]]:
    """Run pytest here; return its result and its record."""
    common = (
        f"--runtimes={RUNTIMES}",
        "--wasm-artifact=echo.wasm",
        "--wasm-cases=cases",
        "--wasm-report=report",
    )
    result = project.runpytest_subprocess(*common, *options)
    return result, json.loads((project.path / "report" / "record.json").read_text())


def verdicts(record: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Return what each test said on each runtime."""
    return {(each["test"], each["runtime"], each["verdict"]) for each in record["tests"]}


def test_the_same_outcomes(project: pytest.Pytester, remote: Remote) -> None:
    """Runtimes are where they are, the artifact comes by itself, and the record is that of a run here."""
    _, here = run(project, "-k", "test_case")
    result, there = run(project, "-k", "test_case", *remote.workers())

    result.assert_outcomes(passed=15)
    assert verdicts(here) == verdicts(there)
    assert here["answers"] == there["answers"] != {}
    for user, runtime in zip(remote.users, HAS, strict=True):
        result.stdout.fnmatch_lines([f"{user}@*, 1 worker: wasmtime, {runtime}"])
        [arrived] = (remote.project(user).parent / ".cache/pytest-wasmedge/artifacts").glob("*/echo.wasm")
        assert arrived.read_bytes() == (project.path / "echo.wasm").read_bytes()
        assert arrived.owner() == user


def test_a_worker_is_killed(project: pytest.Pytester, remote: Remote) -> None:
    """Its test has failed, all others have a verdict, and nothing of it runs on."""
    result, record = run(project, *remote.workers())

    result.assert_outcomes(passed=17, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    failed = [each for each in verdicts(record) if each[2] == "failed"]
    assert failed == [("test_dies.py::test_dies", "bun", "failed")]
    assert len(record["tests"]) == 18
    until(lambda: not remote.processes(), "all processes of both users have ended")


def test_the_controller_is_killed(project: pytest.Pytester, remote: Remote) -> None:
    """Workers and hosts on other machines end with it."""
    places = [remote.project(user) for user in remote.users]
    for place in (project.path, *places):
        (place / "test_dies.py").unlink()
        (place / "test_stays.py").write_text(STAYS)
    (places[1] / "stays").unlink(missing_ok=True)
    argv = [sys.executable, "-m", "pytest", "--runtimes=bun", "--wasm-artifact=echo.wasm", *remote.workers()]
    with (project.path / "log").open("w") as log:
        controller = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        until((places[1] / "stays").exists, "a test runs at the second user's")
    finally:
        controller.kill()
        controller.wait()

    until(lambda: not remote.processes(), "all processes of both users have ended")
