"""Install pinned tools into the cache: fetched, checked, proven to run, then moved into place in one step."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision.cache import folder, locked, writing
from pytest_wasmedge.provision.clients import deno_env, fetch_locked, fetch_npm, fetch_pypi, last_words
from pytest_wasmedge.provision.debian import fetch_debian, no_debian
from pytest_wasmedge.provision.pins import RECORD, DebianPin, Package, Pin, pin, pinned_here

Progress = Callable[[str], None]

SMOKE_TIMEOUT_S = 60.0


def installed(name: str) -> Path | None:
    """Return the folder of this tool if its present pin is installed. Raises ProvisionError."""
    if not pinned_here(name):
        return None
    place = folder("tools") / pin(name).folder_name
    return place if place.is_dir() else None


def executable(name: str) -> Path:
    """Return what we use of an installed tool: its program, script or module. Raises ProvisionError."""
    place = installed(name)
    if place is None:
        raise ProvisionError(f"{name} is not installed. Get it: pytest-wasmedge install {name}")
    return place / pin(name).entry


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an installed tool came from: the registry, or the suite of Debian, and each package that was fetched."""

    tool: str
    version: str
    source: str
    packages: tuple[Package, ...]


def provenance(name: str) -> Provenance | None:
    """Return where the installed tool came from; None if it is not installed. Raises ProvisionError."""
    place = installed(name)
    if place is None:
        return None
    wanted = pin(name)
    if not isinstance(wanted, DebianPin):
        package = Package(wanted.package, wanted.version, wanted.digest)
        return Provenance(name, wanted.version, wanted.source, (package,))
    path = place / RECORD
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        packages = tuple(Package(**each) for each in told["packages"])
        return Provenance(name, packages[0].version, f"debian {told['suite']}", packages)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ProvisionError(
            f"The record {path} cannot be used: {error}. Delete {place}, and {name} is fetched anew."
        ) from error


def provenances(names: Iterable[str]) -> tuple[Provenance, ...]:
    """Return where those of these tools came from that are installed; a damaged record is passed over."""
    found: list[Provenance] = []
    for name in names:
        # Whoever uses the tool, or installs it again, is told what is wrong with it.
        with suppress(ProvisionError):
            found += [came for came in [provenance(name)] if came]
    return tuple(found)


def no_source(name: str) -> str:
    """Say why this tool cannot be had on this system, and what to do; empty if it can. Asks no network."""
    try:
        wanted = pin(name)
    except ProvisionError as error:
        return str(error)
    return no_debian(wanted) if isinstance(wanted, DebianPin) else ""


def install(name: str, progress: Progress = lambda _: None) -> Path:
    """Install this tool unless it is there, what it needs first, and return its folder.

    ``progress`` is told what is going on. Safe to call from several processes at once. Raises
    ProvisionError; whatever goes wrong, nothing half-installed stays.
    """
    return install_pin(pin(name), progress)


def install_pin(wanted: Pin, progress: Progress = lambda _: None) -> Path:
    """Install exactly this, as `install` does."""
    name = wanted.name
    place = folder("tools") / wanted.folder_name
    # Without the lock: what is there needs none, and the cache may be one that can only be read.
    if place.is_dir():
        return place
    for need in wanted.needs:
        install(need, progress)
    with working_folder(name, progress) as work:
        if not place.is_dir():
            progress(f"fetching {wanted.package} {wanted.version} from {wanted.source}")
            package = _fetch(wanted, work)
            progress(f"checking that {name} {wanted.version} runs")
            _prove(wanted, package, work)
            _move(package, place)
    return place


def _fetch(wanted: Pin, work: Path) -> Path:
    if isinstance(wanted, DebianPin):
        return fetch_debian(wanted, work)
    if wanted.source == "pypi":
        return fetch_pypi(wanted, work)
    if wanted.lock:
        return fetch_locked(wanted, wanted.lock, work, executable("deno"))
    return fetch_npm(wanted, work, executable("deno"))


def _move(package: Path, place: Path) -> None:
    try:
        package.rename(place)
    except OSError:
        # Another machine that shares this folder may have been first, with the same.
        if not place.is_dir():
            raise


@contextmanager
def working_folder(name: str, progress: Progress) -> Iterator[Path]:
    """Hold the lock of this tool, and yield an empty folder beside the tools that is gone afterwards.

    Raises ProvisionError for what the disk does not let us do, there or within.
    """
    tools = folder("tools")

    def waiting() -> None:
        progress(f"waiting for another installation of {name}")

    with writing(), locked(tools / f"{name}.install-lock", waiting):
        # We hold the lock, so these were left by a process that was killed.
        for litter in tools.glob(f".{name}.*"):
            shutil.rmtree(litter, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=tools))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _prove(wanted: Pin, package: Path, work: Path) -> None:
    """Run the smoke test of the pin on the package. Raises ProvisionError unless it says what it should."""
    entry = package / wanted.entry
    if not entry.is_file():
        raise ProvisionError(
            f"{wanted.package} {wanted.version} holds no {wanted.entry}, so it was not installed. {wanted.if_odd}"
        )
    if wanted.executable:
        entry.chmod(entry.stat().st_mode | 0o700)
    smoke = wanted.smoke
    file = work / "smoke"
    file.write_text(smoke.file, encoding="utf-8")
    runner = entry if smoke.runner == "self" else executable(smoke.runner)
    argv = [
        str(runner),
        *(part.format(entry=entry, file=file) if "{" in part else part for part in smoke.argv),
    ]
    try:
        done = subprocess.run(
            argv,
            cwd=work,
            env=os.environ | deno_env(work),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SMOKE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProvisionError(f"{_fault(wanted, argv)}: {error}. {_remedy(wanted)}") from error
    stdout = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode != 0 or not re.fullmatch(smoke.stdout, stdout):
        said = last_words(done.stderr.decode("utf-8", "replace"))
        raise ProvisionError(
            f"{_fault(wanted, argv)}: expected status 0 and stdout like {smoke.stdout!r}, got status "
            f"{done.returncode}, stdout {stdout[:80]!r}, stderr: {said}. {_remedy(wanted)}"
        )


def _fault(wanted: Pin, argv: list[str]) -> str:
    return (
        f"{wanted.name} {wanted.version} came as it is {wanted.known_from}, but it does not run here: "
        f"`{shlex.join(argv)}`"
    )


def _remedy(wanted: Pin) -> str:
    return (
        "It was not installed. This machine may lack what it needs (processor, system libraries). "
        f"{wanted.way_out}"
    )
