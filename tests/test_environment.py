"""The environment comes from a lock: what stands in it, what make does with it, and what the tests run in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hatchling.build import get_requires_for_build_editable
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import NEEDS_RUNTIMES

ROOT = Path(__file__).parents[1]
DEV, LOWEST = ROOT / "requirements" / "dev.txt", ROOT / "requirements" / "lowest.txt"
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN_TIME = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
DEVELOPMENT = [Requirement(line) for line in PYPROJECT["project"]["optional-dependencies"]["dev"]]
BUILD = [Requirement(line) for line in PYPROJECT["build-system"]["requires"]]
STAMP = ".venv/.installed"


class Locked(NamedTuple):
    """One package of a lock."""

    name: str
    version: Version
    requirement: Requirement
    hashes: list[str]

    def holds(self, python: str, system: str) -> bool:
        """Whether it is installed by CPython of this version (``3.12``) on this system."""
        environment = {
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "python_full_version": f"{python}.1",
            "python_version": python,
            "sys_platform": system,
        }
        return self.requirement.marker is None or self.requirement.marker.evaluate(environment)


def read_lock(path: Path) -> list[Locked]:
    """Return the packages of a lock, each with its hashes."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    packages = []
    for line in text.replace("\\\n", " ").splitlines():
        stated, *hashes = re.split(r"\s+--hash=", line)
        requirement = Requirement(stated)
        (pin,) = requirement.specifier
        assert pin.operator == "==", line
        packages.append(
            Locked(canonicalize_name(requirement.name), Version(pin.version), requirement, hashes)
        )
    return packages


@pytest.mark.parametrize("system", ["linux", "darwin"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_every_dependency_is_locked(python: str, system: str) -> None:
    """On each Python and system the lock has one version of each dependency, within the range that we state."""
    for stated in RUN_TIME + DEVELOPMENT + BUILD:
        versions = [
            package.version
            for package in read_lock(DEV)
            if package.name == canonicalize_name(stated.name) and package.holds(python, system)
        ]
        assert len(versions) == 1, f"{stated}: {versions}; make lock writes the lock anew"
        assert versions[0] in stated.specifier, f"{stated}: {versions[0]}"


@pytest.mark.parametrize("lock", [DEV, LOWEST], ids=lambda path: path.name)
def test_every_package_has_a_hash(lock: Path) -> None:
    """Nothing is installed that is not the file which was locked."""
    packages = read_lock(lock)

    assert len(packages) > 20
    for package in packages:
        assert package.hashes, package.name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in package.hashes), package.name


@pytest.mark.parametrize("lock", [DEV, LOWEST], ids=lambda path: path.name)
def test_a_lock_tells_nothing_of_a_machine(lock: Path) -> None:
    """Where packages come from is the reader's own setting: a lock names no host, no option and no path."""
    text = lock.read_text(encoding="utf-8")

    assert text.splitlines()[1] == "#    make lock"
    for word in ("://", "@", "/tmp", "/work", "/home", "/root", "/opt"):
        assert word not in text
    assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", text)) == {"--hash"}


def test_what_the_checkout_is_built_with_is_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installing the checkout fetches nothing: what hatchling asks for then is in the lock."""
    monkeypatch.chdir(ROOT)
    asked = [Requirement(line) for line in get_requires_for_build_editable()]
    locked = {package.name: package.version for package in read_lock(DEV)}

    assert {each.name for each in asked} == {"editables"}
    for each in BUILD + asked:
        assert locked[canonicalize_name(each.name)] in each.specifier


def test_ranges_are_open() -> None:
    """What the wheel needs, and what we develop with, is bounded from below alone: only the lock says which."""
    for stated in RUN_TIME + DEVELOPMENT:
        assert [each.operator for each in stated.specifier] == [">="], stated


def test_lower_bounds_are_those_that_are_tested() -> None:
    """`make test-lowest` runs on the very versions that pyproject.toml states, and on nothing of ours besides."""
    lowest = {package.name: package.version for package in read_lock(LOWEST)}

    for stated in RUN_TIME:
        (bound,) = stated.specifier
        assert lowest[canonicalize_name(stated.name)] == Version(bound.version), f"{stated}: make lock"
    assert not lowest.keys() & {"hatchling", "mypy", "ruff", "scipy", "uv"}


def test_these_tests_run_in_the_locked_environment() -> None:
    """All that the lock names is installed, to the version; what somebody added beside it is their own."""
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve() or not (ROOT / STAMP).exists():
        pytest.skip(f"not the locked environment: this is {sys.prefix}, or set up with LATEST=1")
    here = default_environment()["python_version"]
    locked = {
        package.name: package.version for package in read_lock(DEV) if package.holds(here, sys.platform)
    }
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    installed = {
        canonicalize_name(each.name): Version(each.version) for each in distributions(path=list(folders))
    }

    assert {name: version for name, version in installed.items() if name in locked} == locked


# ---- What make does. A Python that only notes how it was called stands in for the real one.

STAND_IN = """\
#!/bin/sh
echo "$*" >> calls
case "$*" in
  "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python;;
  *"${FAILS_AT:-never}"*) exit 1;;
esac
"""
Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Run make in a copy of what a set-up reads; ``python`` stands in for Python unless another is told."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    python = tmp_path / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    # The make that these tests may run in passes its own variables on, LATEST among them.
    env = {name: text for name, text in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "LATEST")}

    def run(*words: str, python: str | Path = python, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", f"PYTHON={python}", *words, STAMP],
            cwd=tmp_path,
            env=env | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def calls(folder: Path) -> list[str]:
    """Return how Python was called since the last look, without the questions that it is asked first."""
    noted = folder / "calls"
    lines = noted.read_text().splitlines() if noted.exists() else []
    noted.unlink(missing_ok=True)
    return [line for line in lines if line.startswith("-m ")]


QUIETLY = "-m pip --quiet --disable-pip-version-check install"
FROM_THE_LOCK = [
    "-m venv --clear .venv",
    f"{QUIETLY} --require-hashes -r requirements/dev.txt",
    f"{QUIETLY} --no-deps --no-build-isolation --editable .",
]
NEWEST = ["-m venv .venv", f"{QUIETLY} --upgrade --upgrade-strategy eager --editable .[dev]"]


def test_set_up_once(make: Make, tmp_path: Path) -> None:
    """The first set-up installs the lock and then the checkout; the second calls nothing, LATEST=0 or empty too."""
    assert make().returncode == 0
    assert calls(tmp_path) == FROM_THE_LOCK

    for words in ((), ("LATEST=0",), ("LATEST=",)):
        assert make(*words).returncode == 0
        assert make("-q", *words).returncode == 0, "up to date"
    assert calls(tmp_path) == []


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements/dev.txt"])
def test_set_up_again_from_nothing(make: Make, tmp_path: Path, name: str) -> None:
    """When the lock or pyproject.toml is another, the environment is made anew, and keeps nothing."""
    make()
    calls(tmp_path)
    stamped_ns = (tmp_path / STAMP).stat().st_mtime_ns
    os.utime(tmp_path / name, ns=(stamped_ns + 1, stamped_ns + 1))

    assert make("-q").returncode == 1, "not up to date"
    assert make().returncode == 0
    assert calls(tmp_path) == FROM_THE_LOCK


@pytest.mark.parametrize("step", ["--require-hashes", "--no-deps"])
def test_a_set_up_that_failed_is_done_again(make: Make, tmp_path: Path, step: str) -> None:
    """Only what ended well counts as set up: after a failure the next make begins from nothing."""
    assert make(FAILS_AT=step).returncode == 2
    calls(tmp_path)

    assert make().returncode == 0
    assert calls(tmp_path) == FROM_THE_LOCK


def test_the_newest_and_back(make: Make, tmp_path: Path) -> None:
    """LATEST=1 takes the newest each time it is said; the next make without it puts the lock back."""
    make()
    calls(tmp_path)
    for _ in range(2):
        assert make("LATEST=1").returncode == 0
        assert calls(tmp_path) == NEWEST

    assert make().returncode == 0
    assert calls(tmp_path) == FROM_THE_LOCK


@pytest.mark.parametrize(
    ("lack", "told"),
    [
        ("sys.version_info = (3, 10)", "Python 3.11 or newer is needed: make PYTHON=python3.12"),
        (
            "sys.modules['ensurepip'] = None",
            "lacks venv or ensurepip, which make environments. On Debian: apt",
        ),
        ("sys.modules['venv'] = None", "lacks venv or ensurepip, which make environments. On Debian: apt"),
    ],
    ids=["old", "no_ensurepip", "no_venv"],
)
@pytest.mark.parametrize("words", [(), ("LATEST=1",)], ids=["locked", "newest"])
def test_a_python_that_does_not_do(
    make: Make, tmp_path: Path, lack: str, told: str, words: tuple[str, ...]
) -> None:
    """A Python that is too old or cannot make environments is told in one line, before anything is made."""
    python = tmp_path / "lacking"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; {lack}; exec(sys.argv[1])" "$2"\n')
    python.chmod(0o755)
    ended = make(*words, python=python)

    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / ".venv").exists()


def test_what_is_listed_as_no_unit_test_is_there() -> None:
    """Each entry of the list is a folder, a file or a test: one that was renamed would lose its mark unseen."""
    for entry in NEEDS_RUNTIMES:
        file, _, test = entry.partition("::")
        assert (ROOT / "tests" / file).exists(), entry
        assert not test or f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), entry
