"""The pins: exactly which tools we fetch and execute, read from pins.toml."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import sys
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from pytest_wasmedge.errors import ProvisionError, did_you_mean
from pytest_wasmedge.provision.cache import folder
from pytest_wasmedge.provision.systems import remedy

#: Where all of it stands.
PINS = Path(__file__).with_name("pins.toml")

#: One folder per tool that has dependencies, with the lock file that names all of them.
LOCKS = Path(__file__).with_name("locks")

#: In the folder of a tool whose packages are not pinned one by one: what was taken.
RECORD = "packages.json"

#: What ``pytest-wasmedge build`` needs.
BUILD_TOOLS = ("node", "binaryen", "wizer", "ruby")

#: What to do about a tool that is no program which people could have themselves.
_NO_OTHER = "One of your own cannot take its place: use what needs it on another machine."


@dataclass(frozen=True, slots=True)
class Smoke:
    """How a tool proves that it runs here: ``stdout`` is a regular expression for its trimmed output."""

    argv: tuple[str, ...]
    stdout: str
    runner: Literal["self", "deno", "node"] = "self"
    file: str = ""


@dataclass(frozen=True, slots=True)
class Pin:
    """One tool on one platform.

    ``digest`` is ``sha256:HEX`` of the wheel, npm's ``sha512-BASE64`` of a package that has no dependencies, or
    ``sha256:HEX`` of the lock file of one that has.
    """

    name: str
    source: Literal["pypi", "npm", "debian"]
    package: str
    version: str
    digest: str
    entry: str
    executable: bool
    smoke: Smoke

    #: How we know what it should be; no field, since those make the name of its folder.
    known_from: ClassVar[str] = "pinned"

    @property
    def way_out(self) -> str:
        """What to do if it does not run here."""
        return f"{variable(self.name)}=PATH takes one of your own." if self.name in programs() else _NO_OTHER

    @property
    def if_odd(self) -> str:
        """What to do if its entry is not there."""
        return f"The pin of {self.name} is wrong, please report it."

    @property
    def folder_name(self) -> str:
        """The name of the installed folder; another pin never shares it."""
        return f"{self.name}-{self.version}-{self.fingerprint}"

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that change with anything of the pin."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]

    @property
    def lock(self) -> Path | None:
        """The lock file of an npm package that has dependencies: each of them with version and integrity."""
        locked = self.source == "npm" and self.digest.startswith("sha256:")
        return LOCKS / self.name / "deno.lock" if locked else None

    @property
    def needs(self) -> tuple[str, ...]:
        """The tools that must be installed first: npm's client, and what runs the smoke test."""
        client = ("deno",) if self.source == "npm" else ()
        runner = () if self.smoke.runner in ("self", *client) else (self.smoke.runner,)
        return (*client, *runner)


@dataclass(frozen=True, slots=True)
class DebianPin(Pin):
    """A program of Debian: ``version`` is the range that is accepted, ``suites`` are asked in this order.

    There is no digest: the archive's signature is trusted, which apt checks.
    """

    platform: str
    suites: tuple[str, ...]

    known_from: ClassVar[str] = "signed"

    @property
    def folder_name(self) -> str:
        """The name of the installed folder; another pin never shares it."""
        return f"{self.name}-debian-{self.fingerprint}"


@dataclass(frozen=True, slots=True)
class Package:
    """What was fetched for a tool: ``digest`` as in a pin."""

    package: str
    version: str
    digest: str

    def as_json(self) -> dict[str, str]:
        """Return it as it stands in a record."""
        return asdict(self)


class Exact(Pin):
    """A tool in another version than the pinned one: ``digest`` is what the registry stated when first asked.

    Its package is taken to be laid out, and its program to be called, like those of the pinned version.
    """

    known_from: ClassVar[str] = "recorded"

    @property
    def way_out(self) -> str:
        """What to do if it does not run here."""
        return "Other versions of it may run."

    @property
    def if_odd(self) -> str:
        """What to do if its entry is not there."""
        return "That version is packed in another way than the pinned one: ask for another."

    @property
    def lock(self) -> Path | None:
        """The lock file that was made when this version was first asked for, if it has dependencies."""
        return folder("tools") / f"{self.name}-{self.version}.deno.lock" if super().lock else None


def exact(name: str, version: str, digest: str) -> Exact:
    """Return this tool in another version than the pinned one. Raises ProvisionError if it is not pinned."""
    pinned = pin(name)
    same = {each.name: getattr(pinned, each.name) for each in fields(pinned)}
    return Exact(**same | {"version": version, "digest": digest})


def pin(name: str, on: str | None = None) -> Pin:
    """Return the pin of this tool on a platform (default: this one). Raises ProvisionError if none."""
    table = _tables().get(name)
    if table is None:
        hint = did_you_mean(name, tool_names())
        raise ProvisionError(f"No tool is called {name!r}.{hint} Pinned tools: {', '.join(tool_names())}.")
    on = on or this_platform()
    here = table["platforms"].get("any") or table["platforms"].get(on)
    if here is None:
        raise ProvisionError(
            f"{name} is not pinned for {on} (only for {', '.join(table['platforms'])}). "
            f"{yourself(name) if name in programs() else _NO_OTHER}"
        )
    common = {
        "name": name,
        "source": table["source"],
        "package": here.get("package") or table["package"],
        "version": here.get("version") or table["version"],
        "digest": here.get("digest", ""),
        "entry": table["entry"],
        "executable": table["executable"],
        "smoke": Smoke(**{**table["smoke"], "argv": tuple(table["smoke"]["argv"])}),
    }
    if table["source"] == "debian":
        return DebianPin(**common, platform=on, suites=tuple(table["suites"]))
    return Pin(**common)


def pinned_here(name: str) -> bool:
    """True unless this tool is pinned for other platforms alone."""
    table = _tables().get(name)
    return table is None or not {"any", this_platform()}.isdisjoint(table["platforms"])


def platforms_of(name: str) -> list[str]:
    """Return the platforms that this tool is pinned for, in the order of pins.toml; ``any`` stands for all."""
    return list(_tables()[name]["platforms"])


def version_of(name: str) -> str:
    """Return the version that this tool is pinned to where a platform names none of its own."""
    return str(_tables()[name]["version"])


def without(name: str) -> tuple[str, ...]:
    """Return the packages that the lock file of this tool leaves out, though it names them as needed."""
    return tuple(_tables()[name].get("without", ()))


def tool_names() -> list[str]:
    """Return the names of all pinned tools, in the order of pins.toml."""
    return list(_tables())


def programs() -> list[str]:
    """Return the tools that are programs which people may have already."""
    return [name for name, table in _tables().items() if table["executable"] and table.get("findable", True)]


def variable(name: str) -> str:
    """Return the environment variable by which people name a program of their own for this one."""
    return f"PYTEST_WASMEDGE_{name.upper().replace('-', '_')}"


def own_way(name: str) -> str:
    """Return the command by which people of this system get this program without us; empty if we know none."""
    return remedy(_tables()[name].get("remedies", {}))


def yourself(name: str) -> str:
    """Say how people get this program without us, in this system's own way if we know it."""
    command = own_way(name)
    way = f" (`{command}`)" if command else ""
    return f"Install it yourself{way}: it is found on PATH, or set {variable(name)} to its path."


def wheel_of(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the Python module that carries this program, and the program's places relative to its folder."""
    table = _tables()[name].get("wheel")
    return (table["module"], tuple(table["places"])) if table else None


def needs_of(name: str) -> tuple[str, ...]:
    """Return the tools that must be installed before this one; none if it is not pinned for this platform."""
    return pin(name).needs if pinned_here(name) else ()


def in_order(names: list[str]) -> list[str]:
    """Return these tools and what they need, each once, needs first. Raises ProvisionError."""
    ordered: list[str] = []
    for name in names:
        # What is not pinned for this platform is told when it is installed, not before all others.
        needs = in_order(list(needs_of(name)))
        ordered += [tool for tool in (*needs, name) if tool not in ordered]
    return ordered


def this_platform() -> str:
    """Return this machine as pins name it: ``linux-x86_64``, ``linux-aarch64``, ``macos-arm64`` …"""
    system = {"linux": "linux", "darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64"}.get(machine, machine)
    return f"{system}-{machine}"


@functools.cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(PINS.read_text(encoding="utf-8"))
