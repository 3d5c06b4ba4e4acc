"""Debian packages, resolved and fetched by apt and unpacked beside each other, for a program of no other registry.

Nothing is installed into the system and nobody has to be root: apt works in folders of ours, asks the Debian
mirrors that the machine itself is set up for, and trusts what it always trusts: an index signed by a key of the
machine, which holds the hash of every package. So the suite and a range of versions are pinned, and not the bytes,
which Debian replaces with every point update. The program comes with all its libraries, the C library too, and is
started through the loader that belongs to them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision.clients import run
from pytest_wasmedge.provision.pins import RECORD, DebianPin, Package, yourself
from pytest_wasmedge.provision.systems import codename, system_ids

#: Where apt reads which mirrors the machine uses.
SOURCES = Path("/etc/apt")

#: The suites by which a line of the machine's sources is known to speak of the Debian archive itself.
_SUITES = frozenset({"bullseye", "bookworm", "trixie", "forky", "sid"})

#: More of them on Debian itself; on other systems archives of all kinds call themselves stable.
_SUITES_THERE = frozenset({"oldoldstable", "oldstable", "stable", "testing", "unstable"})

#: What a line of the sources says for its own suite only.
_OWN_FIELDS = {"types", "suites", "components", "architectures", "arch", "enabled"}

#: What would let an archive through that nobody signed: we execute what comes.
_UNSAFE_FIELDS = {"trusted", "allow-insecure", "allow-weak", "allow-downgrade-to-insecure"}

#: Debian's word for a processor, its folder of libraries, and the loader in there.
_MACHINES = {
    "linux-x86_64": ("amd64", "x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
    "linux-aarch64": ("arm64", "aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
}

#: How apt tells what it would install: ``Inst libc6 (2.43-7 Debian:testing [amd64])``.
_PLANNED = re.compile(r"^Inst (\S+) \((\S+) ", re.MULTILINE)

# The environment may be empty: no command is searched for. `exec` leaves no shell behind.
_LAUNCHER = """#!/bin/sh
root=${{0%/*}}
exec "$root/usr/lib/{libraries}/{loader}" --library-path "$root/usr/lib/{libraries}" "$root/usr/bin/{program}" "$@"
"""

# The machine's own settings (proxies, certificates, keyrings) hold as well; those that would loosen what is
# checked, choose a suite, or act on the system are set back.
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
    """Unpack the program and all that it needs below the empty folder ``work``, with a launcher; return where.

    The first suite of the pin that offers a version in its range is taken; what was taken stands in ``packages.json``
    in the returned folder. Raises ProvisionError, which says of each suite why it was not.
    """
    if lacking := no_debian(pin):
        raise ProvisionError(lacking)
    refused: list[str] = []
    for suite in pin.suites:
        # Others use Debian's names for archives of their own: perhaps the next one is Debian's.
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
    """Say why this machine has nothing to fetch it with or from, and what to do; empty if it has."""
    for command in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(command) is None:
            return (
                f"{pin.name} comes from Debian, and there is no {command} here to fetch it with. "
                f"{yourself(pin.name)}"
            )
    if not any(debian_archives(SOURCES, pin.suites[0])):
        return (
            f"{pin.name} comes from Debian {' or '.join(pin.suites)}, and the sources of apt in {SOURCES} name no "
            f"mirror of Debian. {yourself(pin.name)}"
        )
    return ""


def debian_archives(folder: Path, suite: str) -> Iterator[str]:
    """Yield the Debian archives that apt's sources in this folder name, as deb822 text for another suite.

    Addresses, keyrings and options stay as they are, but for those by which an unsigned archive would do.
    """
    # On Debian itself also by its own name, which may be of a release that is younger than we are.
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
            told = {
                name.lower(): set(value.split())
                for name, _, value in (each.partition(":") for each in fields)
            }
            enabled = not told.get("enabled", set()) & {"no", "false", "0"}
            if (
                enabled
                and "deb" in told.get("types", set())
                and told.get("suites", set()) & suites
                and "main" in told.get("components", set())
            ):
                yield _stanza(fields, suite)


def _stanza(fields: Sequence[str], suite: str) -> str:
    kept = [
        field
        for field in fields
        if field.partition(":")[0].strip().lower() not in _OWN_FIELDS | _UNSAFE_FIELDS
    ]
    return "\n".join(["Types: deb", f"Suites: {suite}", "Components: main", *kept]) + "\n"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def offered(pin: DebianPin, suite: str, work: Path) -> list[str]:
    """Return the versions that Debian's suite offers now, newest first, and fetch no package.

    ``work`` is an empty folder. Raises ProvisionError if no archive that this machine knows can be asked.
    """
    if lacking := no_debian(pin):
        raise ProvisionError(lacking)
    failure = f"Debian {suite} could not be asked for {pin.package}"
    refused: list[str] = []
    answered = False
    # As in `fetch_debian`: the first that answers may be no archive of Debian's.
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
    from packaging.specifiers import SpecifierSet  # here, so that plugin.py can import us for nothing

    number = upstream(version)
    return bool(number) and number in SpecifierSet(pin.version)


def upstream(version: str) -> str:
    """Return what the program itself calls a version of Debian's; empty if that cannot be told."""
    # 1:0.14.1+dfsg-3.1 is Debian's version of 0.14.1.
    found = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", version)
    return found[1] if found else ""


def _apt(pin: DebianPin, archive: str, place: Path, failure: str) -> Callable[..., str]:
    """Return what runs a command of apt in a folder of ours, which knows what this archive offers now.

    ``failure`` begins its errors. Raises ProvisionError.
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
    """Fetch the program and what it needs from this archive, as apt resolves it. Raises ProvisionError."""
    apt = _apt(pin, archive, place, f"{pin.name} could not be fetched from Debian {suite}")
    version = _newest_in_range(pin, suite, apt("apt-cache", "madison", pin.package))
    # Nothing counts as installed, so this tells every package that is needed, the C library too. It is fetched by a
    # command of its own, since `--download-only` leaves what comes from a folder where it is.
    planned = apt("apt-get", "install", "--simulate", f"{pin.package}={version}")
    wanted = [f"{package}={version}" for package, version in _PLANNED.findall(planned)]
    apt("apt-get", "download", *wanted)
    return sorted((place / "debs").glob("*.deb"))


def _newest_in_range(pin: DebianPin, suite: str, said: str) -> str:
    """Return the version to take, from apt-cache's lines ``package | version | where``. Raises ProvisionError."""
    versions = _listed(pin, said)
    for version in versions:
        if accepted(pin, version):
            return version
    raise ProvisionError(
        f"{pin.name} could not be fetched from Debian {suite}: it offers "
        f"{', '.join(versions) or 'no such package'}, and {pin.version} is accepted."
    )


def _listed(pin: DebianPin, said: str) -> list[str]:
    rows = [[part.strip() for part in line.split("|")] for line in said.splitlines()]
    # apt lists the newest first.
    return [row[1] for row in rows if len(row) > 2 and row[0] == pin.package]


def _unpack(pin: DebianPin, suite: str, debs: Sequence[Path], work: Path) -> Path:
    root = work / "package"
    taken = []
    for deb in debs:
        failure = f"{deb.name} could not be unpacked"
        fields = run(
            ["dpkg-deb", "--show", "--showformat", "${Package} ${Version}", str(deb)],
            pin,
            work,
            os.environ,
            failure,
        )
        run(["dpkg-deb", "-x", str(deb), str(root)], pin, work, os.environ, failure)
        package, version = fields.split()
        taken.append(Package(package, version, f"sha256:{hashlib.sha256(deb.read_bytes()).hexdigest()}"))
    # The program first: its version is that of the whole.
    taken.sort(key=lambda each: (each.package != pin.package, each.package))
    record = {"suite": suite, "packages": [each.as_json() for each in taken]}
    (root / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    _, libraries, loader = _MACHINES[pin.platform]
    launcher = root / pin.entry
    launcher.write_text(
        _LAUNCHER.format(libraries=libraries, loader=loader, program=pin.package), encoding="utf-8"
    )
    return root
