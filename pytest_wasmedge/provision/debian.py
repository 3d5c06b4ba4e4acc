"""Debian packages, fetched by apt and unpacked beside each other, for a program that no other registry carries.

Nothing is installed into the system and nobody has to be root: apt works in folders of ours, asks the Debian
mirrors that the machine itself is set up for, and checks the archive's signature with the machine's keyrings. The
program comes with all its libraries, the C library too, and is started through the loader that belongs to them.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision.clients import run
from pytest_wasmedge.provision.pins import Deb, DebianPin, variable

#: Where apt reads which mirrors the machine uses.
SOURCES = Path("/etc/apt")

#: The suites by which a line of the machine's sources is known to speak of the Debian archive itself.
_SUITES = frozenset({"bullseye", "bookworm", "trixie", "forky", "sid"})

#: More of them on Debian itself; on other systems archives of all kinds call themselves stable.
_SUITES_THERE = frozenset({"oldoldstable", "oldstable", "stable", "testing"})

#: What a line of the sources says for its own suite only.
_OWN_FIELDS = {"types", "suites", "components", "architectures", "arch", "enabled"}

#: Debian's word for a processor, its folder of libraries, and the loader in there.
_MACHINES = {
    "linux-x86_64": ("amd64", "x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
    "linux-aarch64": ("arm64", "aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
}

# The environment may be empty: no command is searched for. `exec` leaves no shell behind.
_LAUNCHER = """#!/bin/sh
root=${{0%/*}}
exec "$root/usr/lib/{libraries}/{loader}" --library-path "$root/usr/lib/{libraries}" "$root/usr/bin/{program}" "$@"
"""

# The machine's own settings (proxies, certificates) hold as well; what runs after an update is not for ours.
_CONFIGURATION = """
Dir::State "{place}/state";
Dir::State::status "{place}/status";
Dir::Cache "{place}/cache";
Dir::Etc::sourcelist "{place}/archive.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
#clear APT::Architectures;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Acquire::Languages "none";
"""


def fetch_debian(pin: DebianPin, work: Path) -> Path:
    """Unpack the pinned .debs below the empty folder ``work``, with a launcher, and return where.

    Raises ProvisionError; its text says what to do if Debian has replaced a package meanwhile.
    """
    if lacking := no_debian(pin):
        raise ProvisionError(lacking)
    archives = list(dict.fromkeys(debian_archives(SOURCES, pin.suite)))
    for number, archive in enumerate(archives, 1):
        place = work / f"apt-{number}"
        try:
            debs = _download(pin, archive, place)
        except ProvisionError:
            # Others use Debian's names for archives of their own: perhaps the next one is Debian's.
            if archive == archives[-1]:
                raise
        else:
            break
    return _unpack(pin, debs, work)


def no_debian(pin: DebianPin) -> str:
    """Say why this machine has nothing to fetch it with or from, and what to do; empty if it has."""
    for command in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(command) is None:
            return (
                f"{pin.name} {pin.version} comes from Debian, and there is no {command} here to fetch it with. "
                f"You can {_yourself(pin)}"
            )
    if not any(debian_archives(SOURCES, pin.suite)):
        return (
            f"{pin.name} {pin.version} comes from Debian {pin.suite}, and the sources of apt in {SOURCES} name no "
            f"mirror of Debian. You can {_yourself(pin)}"
        )
    return ""


def debian_archives(folder: Path, suite: str) -> Iterator[str]:
    """Yield the Debian archives that apt's sources in this folder name, as deb822 text for another suite.

    Addresses, keyrings and options stay as they are.
    """
    suites = _SUITES | _SUITES_THERE if _is_debian() else _SUITES
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


def _is_debian() -> bool:
    try:
        return platform.freedesktop_os_release()["ID"] == "debian"
    except OSError:
        return False


def _stanza(fields: Sequence[str], suite: str) -> str:
    kept = [field for field in fields if field.partition(":")[0].lower() not in _OWN_FIELDS]
    return "\n".join(["Types: deb", f"Suites: {suite}", "Components: main", *kept]) + "\n"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _download(pin: DebianPin, archive: str, place: Path) -> list[Path]:
    """Fetch the .debs from this archive, each checked against its pin. Raises ProvisionError."""
    for name in ("state/lists/partial", "cache/archives/partial", "debs"):
        (place / name).mkdir(parents=True)
    (place / "status").touch()
    (place / "archive.sources").write_text(archive, encoding="utf-8")
    configuration = place / "apt.conf"
    architecture = _MACHINES[pin.platform][0]
    configuration.write_text(_CONFIGURATION.format(place=place, architecture=architecture), encoding="utf-8")
    env = os.environ | {"LC_ALL": "C.UTF-8", "TMPDIR": str(place)}
    failure = f"{pin.name} {pin.version} could not be fetched from Debian {pin.suite}"

    def apt(command: str, *arguments: str) -> str:
        argv = [command, "-c", str(configuration), *arguments]
        return run(argv, pin, cwd=place / "debs", env=env, failure=failure)

    apt("apt-get", "-q", "update")
    offered = _offered(apt("apt-cache", "madison", *(deb.package for deb in pin.debs)))
    _be_offered(pin, offered)
    apt("apt-get", "-q", "download", *(f"{deb.package}={deb.version}" for deb in pin.debs))
    return [_checked(pin, deb, place / "debs") for deb in pin.debs]


def _offered(said: str) -> dict[str, list[str]]:
    """Read the versions of each package from apt-cache's lines ``package | version | where``."""
    offered: dict[str, list[str]] = {}
    for line in said.splitlines():
        package, *rest = (part.strip() for part in line.split("|"))
        if len(rest) >= 2:
            offered.setdefault(package, []).append(rest[0])
    return offered


def _be_offered(pin: DebianPin, offered: dict[str, list[str]]) -> None:
    gone = [
        f"{deb.package} {deb.version} (now: {', '.join(offered.get(deb.package, [])) or 'none'})"
        for deb in pin.debs
        if deb.version not in offered.get(deb.package, [])
    ]
    if gone:
        raise ProvisionError(
            f"{pin.name} {pin.version} cannot be installed: Debian {pin.suite} no longer offers {'; '.join(gone)}. "
            "Debian replaces packages with every point release and keeps the newest alone, and we run those only "
            "whose SHA-256 is pinned: a newer pytest-wasmedge pins newer ones. Until then: on Debian 13 or later "
            f"`apt install {pin.package}` is enough. Or {_yourself(pin)}"
        )


def _checked(pin: DebianPin, deb: Deb, folder: Path) -> Path:
    """Return the file of this package if it holds the pinned bytes. Raises ProvisionError."""
    for path in folder.glob(f"{deb.package}_*.deb"):
        if f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" == deb.digest:
            return path
    raise ProvisionError(
        f"{deb.package} {deb.version} came from Debian {pin.suite}, but it is not what is pinned ({deb.digest}), so "
        "it was thrown away. If a mirror or proxy stands between, ask who runs it; otherwise report this."
    )


def _unpack(pin: DebianPin, debs: Sequence[Path], work: Path) -> Path:
    root = work / "package"
    for deb in debs:
        run(
            ["dpkg-deb", "-x", str(deb), str(root)],
            pin,
            cwd=work,
            env=os.environ,
            failure=f"{shlex.quote(deb.name)} could not be unpacked",
        )
    _, libraries, loader = _MACHINES[pin.platform]
    launcher = root / pin.entry
    launcher.write_text(
        _LAUNCHER.format(libraries=libraries, loader=loader, program=pin.package), encoding="utf-8"
    )
    return root


def _yourself(pin: DebianPin) -> str:
    return f"install {pin.package} yourself, put it on PATH or set {variable(pin.name)} to its path."
