"""Installs pinned tools into the cache: fetches them, checks and tries them, then moves them into place at once."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision.cache import folder, locked, writing
from pytest_wasmedge.provision.clients import call, deno_env, fetch_locked, fetch_npm, fetch_pypi, last_words
from pytest_wasmedge.provision.debian import fetch_debian, no_debian
from pytest_wasmedge.provision.digests import check, seal
from pytest_wasmedge.provision.pins import RECORD, DebianPin, Package, Pin, pin, pinned_here

Progress = Callable[[str], None]

SMOKE_TIMEOUT_S = 60.0


def installed(name: str, *, all_bytes: bool = False) -> Path | None:
    """Return the folder of this tool if its current pin is installed, after a check of it (digests.py).

    Raises ProvisionError, also if it is not what was installed.
    """
    return installed_pin(pin(name), all_bytes=all_bytes) if pinned_here(name) else None


def installed_pin(wanted: Pin, *, all_bytes: bool = False) -> Path | None:
    """Return the folder of exactly this pin, as `installed` does."""
    place = folder("tools") / wanted.folder_name
    if not place.is_dir():
        return None
    check(place, wanted.entry, wanted.asked, all_bytes=all_bytes)
    return place


def executable(name: str) -> Path:
    """Return the entry of an installed tool: its program, script or module. Raises ProvisionError."""
    place = installed(name)
    if place is None:
        raise ProvisionError(f"{name} is not installed. Get it: pytest-wasmedge install {name}")
    return place / pin(name).entry


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an installed tool came from: the registry or Debian's suite, and each package that was fetched."""

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
        record = json.loads(path.read_text(encoding="utf-8"))
        packages = tuple(Package(**each) for each in record["packages"])
        return Provenance(name, packages[0].version, f"debian {record['suite']}", packages)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ProvisionError(
            f"The record {path} cannot be used: {error}. Delete {place}, and {name} is fetched anew."
        ) from error


def provenances(names: Iterable[str]) -> tuple[Provenance, ...]:
    """Return the provenance of each of these tools that is installed; one with a damaged record is left out."""
    found: list[Provenance] = []
    for name in names:
        # Using or installing the tool reports the damage.
        with suppress(ProvisionError):
            if came := provenance(name):
                found.append(came)
    return tuple(found)


def no_source(name: str) -> str:
    """Say why this system has no source of this tool, and what to do; empty if it has. Uses no network."""
    try:
        wanted = pin(name)
    except ProvisionError as error:
        return str(error)
    return no_debian(wanted) if isinstance(wanted, DebianPin) else ""


def install(name: str, progress: Progress = lambda _: None) -> Path:
    """Install this tool and what it needs, unless it is there and whole, and return its folder.

    ``progress`` is called with each step. Several processes may install at once. Raises ProvisionError; nothing is
    ever half-installed.
    """
    return install_pin(pin(name), progress)


def install_pin(wanted: Pin, progress: Progress = lambda _: None) -> Path:
    """Install exactly this pin, as `install` does."""
    name = wanted.name
    place = folder("tools") / wanted.folder_name
    # An installed tool needs no lock, and the cache may be read-only.
    if _is_whole(wanted):
        return place
    for need in wanted.needs:
        install(need, progress)
    with working_folder(name, progress) as work:
        if not _is_whole(wanted):
            progress(f"fetching {wanted.package} {wanted.version} from {wanted.source}")
            package = _fetch(wanted, work)
            progress(f"checking that {name} {wanted.version} runs")
            _check_runs(wanted, package, work)
            seal(package)
            # What is damaged goes with the working folder.
            if os.path.lexists(place):
                place.rename(work / "damaged")
            try:
                package.rename(place)
            except OSError:
                # Another machine that shares this folder may have installed the same first.
                if not place.is_dir():
                    raise
    return place


def _is_whole(wanted: Pin) -> bool:
    with suppress(ProvisionError):
        return installed_pin(wanted, all_bytes=True) is not None
    return False


def _fetch(wanted: Pin, work: Path) -> Path:
    if isinstance(wanted, DebianPin):
        return fetch_debian(wanted, work)
    if wanted.source == "pypi":
        return fetch_pypi(wanted, work)
    if wanted.lock:
        return fetch_locked(wanted, wanted.lock, work, executable("deno"))
    return fetch_npm(wanted, work, executable("deno"))


@contextmanager
def working_folder(name: str, progress: Progress) -> Iterator[Path]:
    """Hold the lock of this tool and yield an empty temporary folder beside the tools.

    Raises ProvisionError if the disk is full or read-only, also inside the context.
    """
    tools = folder("tools")
    waiting = functools.partial(progress, f"waiting for another installation of {name}")
    with writing(), locked(tools / f"{name}.install-lock", waiting):
        # Under the lock, such folders can only be those of a process that was killed.
        for litter in tools.glob(f".{name}.*"):
            shutil.rmtree(litter, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=tools, ignore_cleanup_errors=True) as work:
            yield Path(work)


def _check_runs(wanted: Pin, package: Path, work: Path) -> None:
    """Run the smoke test of the pin on the package. Raises ProvisionError unless it gives the expected output."""
    entry = package / wanted.entry
    if not entry.is_file():
        raise ProvisionError(
            f"{wanted.package} {wanted.version} has no {wanted.entry}, so it was not installed. {wanted.if_incomplete}"
        )
    if wanted.executable:
        entry.chmod(entry.stat().st_mode | 0o700)
    smoke, file = wanted.smoke, work / "smoke"
    file.write_text(smoke.file, encoding="utf-8")
    runner = {"self": entry, "python": sys.executable}.get(smoke.runner) or executable(smoke.runner)
    argv = [str(runner)]
    argv += [part.format(entry=entry, file=file) if "{" in part else part for part in smoke.argv]
    try:
        done = call(argv, work, deno_env(work), SMOKE_TIMEOUT_S, stderr=subprocess.PIPE)
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    else:
        stdout = done.stdout.strip()
        if done.returncode == 0 and re.fullmatch(smoke.stdout, stdout):
            return
        problem = (
            f"expected status 0 and stdout like {smoke.stdout!r}, got status {done.returncode}, stdout "
            f"{stdout[:80]!r}, stderr: {last_words(done.stderr)}"
        )
    raise ProvisionError(
        f"{wanted.name} {wanted.version} came as it is {wanted.known_from}, but it does not run here: "
        f"`{shlex.join(argv)}`: {problem}. It was not installed. This machine may lack what it needs (processor, "
        f"system libraries). {wanted.way_out}"
    )
