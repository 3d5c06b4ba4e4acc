"""Fetches a program that no other registry has from Debian: apt resolves and fetches its packages.

Nothing is installed into the system, and the user need not be root: apt works in temporary folders, asks the Debian
mirrors of this machine, and trusts what it always trusts: an index signed by a key of the machine, with the hash of
every package. The pin has suites and a range of versions, not a digest, because Debian replaces the packages with
every point update. The program comes with all its libraries, including the C library and its loader; one that is
linked statically is run as it is.
"""

from __future__ import annotations

import collections
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from packaging.specifiers import SpecifierSet

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision.clients import run
from pytest_wasmedge.provision.pins import RECORD, DebianPin, Package, digest_of, yourself
from pytest_wasmedge.provision.systems import codename, system_ids

#: The folder in which apt finds the mirrors of this machine.
SOURCES = Path("/etc/apt")

#: A line of the machine's sources with one of these suites is about the Debian archive itself.
_SUITES = frozenset({"bullseye", "bookworm", "trixie", "forky", "sid"})

#: More such suites on Debian itself; on other systems, other archives use these names too.
_SUITES_THERE = frozenset({"oldoldstable", "oldstable", "stable", "testing", "unstable"})

#: The fields of a source that hold for its own suite only.
_OWN_FIELDS = {"types", "suites", "components", "architectures", "arch", "enabled"}

#: The fields that would accept an unsigned archive, although we execute what comes from it.
_UNSAFE_FIELDS = {"trusted", "allow-insecure", "allow-weak", "allow-downgrade-to-insecure"}

#: By platform: Debian's name of the processor, its folder of libraries, and the loader in that folder.
_MACHINES = {
    "linux-x86_64": ("amd64", "x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
    "linux-aarch64": ("arm64", "aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
}

#: What apt prints for each package it would install: ``Inst libc6 (2.43-7 Debian:testing [amd64])``.
_PLANNED = re.compile(r"^Inst (\S+) \((\S+) ", re.MULTILINE)

# It uses no PATH, because the environment may be empty, and `exec`, so that no shell stays behind.
_LAUNCHER = """#!/bin/sh
root=${{0%/*}}
exec "$root/usr/lib/{libraries}/{loader}" --library-path "$root/usr/lib/{libraries}" "$root/usr/bin/{program}" "$@"
"""

# The machine's other settings (proxies, certificates, keyrings) hold as well. These reset all that would weaken the
# checks, choose a suite, or act on the system.
_CONFIGURATION = """
Dir::State "{place}/state";
Dir::State::status "{place}/status";
Dir::Cache "{place}/cache";
Dir::Cache::archives "archives/";
Dir::Etc::sourcelist "{place}/archive.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
#clear APT::Architectures;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Default-Release "";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
APT::Update::Error-Mode "any";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
Acquire::Languages "none";
quiet "1";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
"""


def fetch_debian(pin: DebianPin, work: Path) -> Path:
    """Unpack the program and all that it needs below the empty folder ``work``, with a launcher; return the folder.

    The first suite of the pin that offers a version in its range is taken; ``packages.json`` in the folder lists what
    was fetched. Raises ProvisionError, which says for each suite why it was not taken.
    """
    if lacking := no_debian(pin):
        raise ProvisionError(lacking)
    refused: list[str] = []
    for suite in pin.suites:
        # Other archives use the names of Debian's suites too: the next one may be Debian's.
        for archive in dict.fromkeys(debian_archives(SOURCES, suite)):
            place = work / f"apt-{len(refused)}"
            try:
                debs = _download(pin, suite, archive, place)
            except ProvisionError as error:
                refused.append(str(error))
            else:
                return _unpack(pin, suite, debs, work)
    raise ProvisionError(f"{' '.join(dict.fromkeys(refused))} {yourself(pin.name)}")


def no_debian(pin: DebianPin) -> str:
    """Say why this machine cannot fetch from Debian, and what to do; empty if it can. Uses no network."""
    missing = [command for command in ("apt-get", "apt-cache", "dpkg-deb") if not shutil.which(command)]
    if missing:
        problem = f"there is no {missing[0]} here to fetch it with"
    elif not any(debian_archives(SOURCES, pin.suites[0])):
        problem = f"the sources of apt in {SOURCES} name no mirror of Debian"
    else:
        return ""
    return f"{pin.name} comes from Debian {' or '.join(pin.suites)}, and {problem}. {yourself(pin.name)}"


def debian_archives(folder: Path, suite: str) -> Iterator[str]:
    """Yield the Debian archives that apt's sources in this folder name, as deb822 text for another suite.

    Addresses, keyrings and options stay as they are, except those that would accept an unsigned archive.
    """
    # On Debian itself also the codename of its release, which may be younger than this list.
    suites = _SUITES | _SUITES_THERE | {codename()} if "debian" in system_ids()[:1] else _SUITES
    for path in (folder / "sources.list", *sorted(folder.glob("sources.list.d/*.list"))):
        for line in _lines(path):
            entry = re.fullmatch(
                r"deb\s+(?:\[(.*?)\]\s*)?(\S+)\s+(\S+)\s+(.+)", line.partition("#")[0].strip()
            )
            if entry and entry[3] in suites and "main" in entry[4].split():
                pairs = [option.partition("=") for option in (entry[1] or "").split()]
                options = [f"{name}: {value.replace(',', ' ')}" for name, _, value in pairs]
                yield _stanza([f"URIs: {entry[2]}", *options], suite)
    for path in sorted(folder.glob("sources.list.d/*.sources")):
        lines = [line for line in _lines(path) if not line.startswith("#")]
        for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
            fields = [field for field in re.split(r"\n(?=\S)", paragraph.strip("\n")) if ":" in field]
            words: dict[str, set[str]] = collections.defaultdict(set)
            for name, _, value in (field.partition(":") for field in fields):
                words[name.lower()] = set(value.split())
            wanted = "deb" in words["types"] and "main" in words["components"] and words["suites"] & suites
            if wanted and not words["enabled"] & {"no", "false", "0"}:
                yield _stanza(fields, suite)


def _stanza(fields: Sequence[str], suite: str) -> str:
    dropped = _OWN_FIELDS | _UNSAFE_FIELDS
    kept = [field for field in fields if field.partition(":")[0].strip().lower() not in dropped]
    return "\n".join(["Types: deb", f"Suites: {suite}", "Components: main", *kept]) + "\n"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def offered(pin: DebianPin, suite: str, work: Path) -> list[str]:
    """Return the versions that Debian's suite offers now, newest first; fetches no package.

    ``work`` is an empty folder. Raises ProvisionError if none of the machine's archives can be asked.
    """
    if lacking := no_debian(pin):
        raise ProvisionError(lacking)
    failure = f"Debian {suite} could not be asked for {pin.package}"
    refused: list[str] = []
    answered = False
    # As in `fetch_debian`: the first archive that answers may not be Debian's.
    for number, archive in enumerate(dict.fromkeys(debian_archives(SOURCES, suite))):
        try:
            apt = _apt(pin, archive, work / f"apt-{number}", failure)
            if versions := _listed(pin, apt("apt-cache", "madison", pin.package)):
                return versions
            answered = True
        except ProvisionError as error:
            refused.append(str(error))
    if answered:
        return []
    raise ProvisionError(" ".join(dict.fromkeys(refused)))


def accepted(pin: DebianPin, version: str) -> bool:
    """True if this version of Debian's is in the range of the pin."""
    number = upstream(version)
    return bool(number) and number in SpecifierSet(pin.version)


def upstream(version: str) -> str:
    """Return the program's own version in a version of Debian's; empty if none is found."""
    # 1:0.14.1+dfsg-3.1 is Debian's version of 0.14.1.
    found = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", version)
    return found[1] if found else ""


def _apt(pin: DebianPin, archive: str, place: Path, failure: str) -> Callable[..., str]:
    """Return a function that runs apt's commands in ``place``, with the archive's current index.

    Its errors start with ``failure``. Raises ProvisionError.
    """
    for name in ("state/lists/partial", "cache/archives/partial", "debs"):
        (place / name).mkdir(parents=True)
    (place / "status").touch()
    (place / "archive.sources").write_text(archive, encoding="utf-8")
    configuration = place / "apt.conf"
    architecture = _MACHINES[pin.platform][0]
    configuration.write_text(_CONFIGURATION.format(place=place, architecture=architecture), encoding="utf-8")
    env = os.environ | {"LC_ALL": "C.UTF-8", "TMPDIR": str(place)}

    def apt(command: str, *arguments: str) -> str:
        argv = [command, *arguments, f"--config-file={configuration}"]
        return run(argv, pin, cwd=place / "debs", env=env, failure=failure)

    apt("apt-get", "update")
    return apt


def _download(pin: DebianPin, suite: str, archive: str, place: Path) -> list[Path]:
    """Fetch the program and what it needs from this archive, as resolved by apt. Raises ProvisionError."""
    apt = _apt(pin, archive, place, f"{pin.name} could not be fetched from Debian {suite}")
    versions = _listed(pin, apt("apt-cache", "madison", pin.package))
    version = next((each for each in versions if accepted(pin, each)), "")
    if not version:
        raise ProvisionError(
            f"{pin.name} could not be fetched from Debian {suite}: it offers "
            f"{', '.join(versions) or 'no such package'}, and {pin.version} is accepted."
        )
    # Nothing counts as installed, so this lists every package that is needed, including the C library. They are fetched
    # by `download`, because `--download-only` would not copy packages from an archive on disk.
    planned = apt("apt-get", "install", "--simulate", f"{pin.package}={version}")
    wanted = [f"{package}={version}" for package, version in _PLANNED.findall(planned)]
    apt("apt-get", "download", *wanted)
    return sorted((place / "debs").glob("*.deb"))


def _listed(pin: DebianPin, said: str) -> list[str]:
    """Return the versions in apt-cache's lines ``package | version | where``, newest first."""
    rows = [[part.strip() for part in line.split("|")] for line in said.splitlines()]
    return [row[1] for row in rows if len(row) > 2 and row[0] == pin.package]


def _unpack(pin: DebianPin, suite: str, debs: Sequence[Path], work: Path) -> Path:
    root = work / "package"
    taken = []
    for deb in debs:
        failure = f"{deb.name} could not be unpacked"
        show = ["dpkg-deb", "--show", "--showformat", "${Package} ${Version}", str(deb)]
        package, version = run(show, pin, work, os.environ, failure).split()
        run(["dpkg-deb", "-x", str(deb), str(root)], pin, work, os.environ, failure)
        taken.append(Package(package, version, digest_of(deb.read_bytes())))
    # The program comes first, because its version is the tool's version.
    taken.sort(key=lambda each: (each.package != pin.package, each.package))
    record = {"suite": suite, "packages": [asdict(each) for each in taken]}
    (root / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    _, libraries, loader = _MACHINES[pin.platform]
    # The entry is the program itself if that needs no loader.
    if not (root / pin.entry).exists():
        script = _LAUNCHER.format(libraries=libraries, loader=loader, program=pin.package)
        (root / pin.entry).write_text(script, encoding="utf-8")
    return root
