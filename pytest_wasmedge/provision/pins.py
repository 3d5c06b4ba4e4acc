"""The pins, read from pins.toml: exactly which tools are fetched and executed."""

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

#: The file of all pins.
PINS = Path(__file__).with_name("pins.toml")

#: One folder per tool with dependencies; its lock file names all of them.
LOCKS = Path(__file__).with_name("locks")

#: In the folder of a tool from Debian: which packages were fetched.
RECORD = "packages.json"

#: The tools that ``pytest-wasmedge build`` needs.
BUILD_TOOLS = ("node", "binaryen", "wizer", "ruby")

#: What to do if a tool does not run here, and users cannot have a program of their own for it.
_NO_OTHER = "One of your own cannot take its place: use what needs it on another machine."


def digest_of_all() -> str:
    """Return the SHA-256 of all pins and lock files: with another digest, other tools are fetched."""
    digest = hashlib.sha256()
    for path in (PINS, *sorted(path for path in LOCKS.rglob("*") if path.is_file())):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Smoke:
    """How a tool proves that it runs here: ``stdout`` is a regular expression for its stripped output."""

    argv: tuple[str, ...]
    stdout: str
    runner: Literal["self", "deno", "node", "python"] = "self"
    file: str = ""


@dataclass(frozen=True, slots=True)
class Pin:
    """One tool on one platform.

    ``digest`` is ``sha256:HEX`` of a wheel, npm's ``sha512-BASE64`` of a package without dependencies, or
    ``sha256:HEX`` of the lock file of a package with dependencies.
    """

    name: str
    source: Literal["pypi", "npm", "debian"]
    package: str
    version: str
    digest: str
    entry: str
    executable: bool
    smoke: Smoke

    #: What vouches for its bytes, as a participle. Not a field, because fields determine the name of the folder.
    known_from: ClassVar[str] = "pinned"
    #: What to do if its entry is missing.
    if_incomplete: ClassVar[str] = "Its pin is wrong, please report it."

    @property
    def asked(self) -> str:
        """What to ask `pytest-wasmedge install` for."""
        return self.name

    @property
    def way_out(self) -> str:
        """What to do if it does not run here."""
        return f"{variable(self.name)}=PATH takes one of your own." if self.name in programs() else _NO_OTHER

    @property
    def folder_name(self) -> str:
        """The name of the installed folder; its hash changes with any field of the pin."""
        fingerprint = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]
        # The version of a Debian pin is a range.
        return f"{self.name}-{'debian' if self.source == 'debian' else self.version}-{fingerprint}"

    @property
    def lock(self) -> Path | None:
        """The lock file of an npm package with dependencies; None for all others."""
        locked = self.source == "npm" and self.digest.startswith("sha256:")
        return LOCKS / self.name / "deno.lock" if locked else None

    @property
    def needs(self) -> tuple[str, ...]:
        """The tools to install first: npm's client, and what runs the smoke test."""
        needed = ["deno"] if self.source == "npm" else []
        if self.smoke.runner not in ("self", "python", *needed):
            needed.append(self.smoke.runner)
        return tuple(needed)


@dataclass(frozen=True, slots=True)
class DebianPin(Pin):
    """A program from Debian: ``version`` is the accepted range, ``suites`` are asked in this order.

    It has no digest: apt checks the archive's signature.
    """

    platform: str
    suites: tuple[str, ...]

    known_from: ClassVar[str] = "signed"


@dataclass(frozen=True, slots=True)
class Package:
    """A package that was fetched; ``digest`` as in a pin."""

    package: str
    version: str
    digest: str


class Exact(Pin):
    """A tool in another version than the pinned one; ``digest`` is what the registry stated when first asked.

    Entry and smoke test are those of the pinned version.
    """

    known_from: ClassVar[str] = "recorded"
    if_incomplete: ClassVar[str] = (
        "That version is packed in another way than the pinned one: ask for another."
    )

    @property
    def asked(self) -> str:
        """What to ask `pytest-wasmedge install` for."""
        return f"{self.name}@{self.version}"

    @property
    def way_out(self) -> str:
        """What to do if it does not run here."""
        return "Other versions of it may run."

    @property
    def lock(self) -> Path | None:
        """The lock file that was written when this version was first asked for; None without dependencies."""
        return folder("tools") / f"{self.name}-{self.version}.deno.lock" if super().lock else None


def digest_of(content: bytes) -> str:
    """Return the digest of a file in the form of a pin's: ``sha256:HEX``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def exact(name: str, version: str, digest: str) -> Exact:
    """Return this tool in another version than the pinned one. Raises ProvisionError if the tool is not pinned."""
    pinned = pin(name)
    fixed = {each.name: getattr(pinned, each.name) for each in fields(pinned)}
    return Exact(**fixed | {"version": version, "digest": digest})


def pin(name: str, on: str | None = None) -> Pin:
    """Return the pin of this tool on a platform (default: this one). Raises ProvisionError if none."""
    table = _tables().get(name)
    if table is None:
        hint = did_you_mean(name, tool_names())
        raise ProvisionError(f"No tool is called {name!r}.{hint} Pinned tools: {', '.join(tool_names())}.")
    on = on or this_platform()
    here = table["platforms"].get(_key(table, on))
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
    """True unless this tool is pinned for other platforms only."""
    table = _tables().get(name)
    return table is None or _key(table, this_platform()) in table["platforms"]


def key_here(name: str) -> str:
    """Return what this tool is the same on: this platform, or that with this Python, if it has a part for each."""
    on = this_platform()
    key = _key(_tables().get(name, {"platforms": ()}), on)
    return on if key == "any" else key


def _key(table: dict[str, Any], on: str) -> str:
    """Return ``any``, or the platform, or that with this Python, for a package with a part compiled for each."""
    keys = ("any", on, f"{on}-cp{sys.version_info.major}{sys.version_info.minor}")
    return next((key for key in keys if key in table["platforms"]), on)


def platforms_of(name: str) -> list[str]:
    """Return the platforms that this tool is pinned for, in the order of pins.toml; ``any`` means all."""
    return list(_tables()[name]["platforms"])


def version_of(name: str) -> str:
    """Return the version that this tool is pinned to on platforms without a version of their own."""
    return str(_tables()[name]["version"])


def without(name: str) -> tuple[str, ...]:
    """Return the packages that the tool's lock file leaves out although the tool asks for them."""
    return tuple(_tables()[name].get("without", ()))


def tool_names() -> list[str]:
    """Return the names of all pinned tools, in the order of pins.toml."""
    return list(_tables())


def programs() -> list[str]:
    """Return the tools that are programs which users may have already."""
    return [name for name, table in _tables().items() if table["executable"] and table.get("findable", True)]


def variable(name: str) -> str:
    """Return the environment variable with which users name their own program for this tool."""
    return f"PYTEST_WASMEDGE_{name.upper().replace('-', '_')}"


def own_way(name: str) -> str:
    """Return this system's own command to install this program; empty if none is known."""
    return remedy(_tables()[name].get("remedies", {}))


def yourself(name: str) -> str:
    """Say how to install this program without pytest-wasmedge."""
    command = own_way(name)
    way = f" (`{command}`)" if command else ""
    return f"Install it yourself{way}: it is found on PATH, or set {variable(name)} to its path."


def wheel_of(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the Python module that brings this program, and where the program may be relative to its folder."""
    table = _tables()[name].get("wheel")
    return (table["module"], tuple(table["places"])) if table else None


def needs_of(name: str) -> tuple[str, ...]:
    """Return the tools to install before this one; none if it is not pinned for this platform."""
    return pin(name).needs if pinned_here(name) else ()


def in_order(names: list[str]) -> list[str]:
    """Return these tools and what they need, each once, needs first. Raises ProvisionError."""
    ordered: list[str] = []
    for name in names:
        needs = in_order(list(needs_of(name)))
        ordered += [tool for tool in (*needs, name) if tool not in ordered]
    return ordered


def this_platform() -> str:
    """Return this machine as pins name it: ``linux-x86_64``, ``linux-aarch64``, ``macos-arm64`` …"""
    system = {"linux": "linux", "darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    machine = platform.machine().lower()
    return f"{system}-{'x86_64' if machine == 'amd64' else machine}"


@functools.cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(PINS.read_text(encoding="utf-8"))
