"""The pins: exactly which tools we fetch and execute, read from pins.toml."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import platform
import sys
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pytest_wasmedge.errors import ProvisionError

#: What ``pytest-wasmedge build`` needs.
BUILD_TOOLS = ("node", "binaryen", "wizer", "ruby")


@dataclass(frozen=True, slots=True)
class Smoke:
    """How a tool proves that it runs here: ``stdout`` is a regular expression for its trimmed output."""

    argv: tuple[str, ...]
    stdout: str
    runner: Literal["self", "deno", "node"] = "self"
    file: str = ""


@dataclass(frozen=True, slots=True)
class Pin:
    """One tool on one platform. ``digest`` is ``sha256:HEX`` of the wheel or npm's ``sha512-BASE64``."""

    name: str
    source: Literal["pypi", "npm"]
    package: str
    version: str
    digest: str
    entry: str
    executable: bool
    smoke: Smoke

    @property
    def folder_name(self) -> str:
        """The name of the installed folder; another pin never shares it."""
        fingerprint = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{self.version}-{fingerprint[:8]}"

    @property
    def needs(self) -> tuple[str, ...]:
        """The tools that must be installed first: npm's client, and what runs the smoke test."""
        client = ("deno",) if self.source == "npm" else ()
        runner = () if self.smoke.runner in ("self", *client) else (self.smoke.runner,)
        return (*client, *runner)


def pin(name: str, on: str | None = None) -> Pin:
    """Return the pin of this tool on a platform (default: this one). Raises ProvisionError if none."""
    table = _tables().get(name)
    if table is None:
        close = difflib.get_close_matches(name, tool_names(), 1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ProvisionError(f"No tool is called {name!r}.{hint} Pinned tools: {', '.join(tool_names())}.")
    on = on or this_platform()
    here = table["platforms"].get("any") or table["platforms"].get(on)
    if here is None:
        raise ProvisionError(
            f"{name} is not pinned for {on} (only for {', '.join(table['platforms'])}). "
            f"Install it yourself and set PYTEST_WASMEDGE_{name.upper()} to its path."
        )
    return Pin(
        name=name,
        source=table["source"],
        package=here.get("package") or table["package"],
        version=here.get("version") or table["version"],
        digest=here["digest"],
        entry=table["entry"],
        executable=table["executable"],
        smoke=Smoke(**{**table["smoke"], "argv": tuple(table["smoke"]["argv"])}),
    )


def tool_names() -> list[str]:
    """Return the names of all pinned tools, in the order of pins.toml."""
    return list(_tables())


def programs() -> list[str]:
    """Return the tools that are programs which people may have already."""
    return [name for name, table in _tables().items() if table["executable"] and table.get("findable", True)]


def wheel_of(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the Python module that carries this program, and the program's places relative to its folder."""
    table = _tables()[name].get("wheel")
    return (table["module"], tuple(table["places"])) if table else None


def platforms_of(name: str) -> list[str]:
    """Return the platforms that this tool is pinned for; ``any`` stands for all."""
    return list(_tables()[name]["platforms"])


def in_order(names: list[str]) -> list[str]:
    """Return these tools and what they need, each once, needs first. Raises ProvisionError."""
    ordered: list[str] = []
    for name in names:
        ordered += [tool for tool in (*in_order(list(pin(name).needs)), name) if tool not in ordered]
    return ordered


def this_platform() -> str:
    """Return this machine as pins name it: ``linux-x86_64``, ``linux-aarch64``, ``macos-arm64`` …"""
    system = {"linux": "linux", "darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64"}.get(machine, machine)
    return f"{system}-{machine}"


@functools.cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("pins.toml").read_text(encoding="utf-8"))
