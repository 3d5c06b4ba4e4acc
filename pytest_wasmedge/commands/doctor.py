"""``pytest-wasmedge doctor``: shows which runtimes can run here."""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_wasmedge import __version__
from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.commands.console import Subparsers, open_console, show, table
from pytest_wasmedge.drivers.compiled import faults_of_all
from pytest_wasmedge.drivers.pool import probe
from pytest_wasmedge.errors import ProvisionError, WasmEdgeError
from pytest_wasmedge.model import Runtime
from pytest_wasmedge.provision import install_command, installed, provenances
from pytest_wasmedge.provision.cache import cache_root
from pytest_wasmedge.provision.pins import pin, pinned_here, this_platform, tool_names
from pytest_wasmedge.provision.versions import installed_version, installed_versions
from pytest_wasmedge.runtimes import builtin_runtimes


def examine(runtimes: Sequence[Runtime]) -> dict[str, Any]:
    """Return what ``doctor --json`` prints: the machine, the cache, the built-in artifact, each runtime."""
    try:
        root = cache_root()
        cache: dict[str, Any] = {"path": str(root), "size_bytes": folder_bytes(root)}
    except ProvisionError as error:
        cache = {"error": str(error)}
    return {
        "pytest_wasmedge": __version__,
        "python": platform.python_version(),
        "python_path": sys.executable,
        "platform": this_platform(),
        "cache": cache,
        "artifact": _builtin_artifact(),
        "runtimes": [
            {
                "name": runtime.name,
                "engine": runtime.engine,
                **asdict(probe(runtime)),
                "versions": _versions(runtime),
                "tools": [asdict(came) for came in provenances(runtime.tools)],
            }
            for runtime in runtimes
        ],
    }


def lines(findings: dict[str, Any], verbose: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the lines of ``doctor`` with their styles; ``verbose`` adds the packages of each runtime."""
    cache, artifact, runtimes = findings["cache"], findings["artifact"], findings["runtimes"]
    yield f"pytest-wasmedge {findings['pytest_wasmedge']}", "bold"
    yield f"Python    {findings['python']}  {findings['python_path']}", ""
    yield f"Platform  {findings['platform']}", ""
    if "error" in cache:
        yield f"Cache     {cache['error']}", "red"
    else:
        yield f"Cache     {cache['path']}  {size_text(cache['size_bytes'])}", ""
    if "error" in artifact:
        yield f"Artifact  {artifact['error']}", "red"
    else:
        size = size_text(artifact["size_bytes"])
        yield f"Artifact  {artifact['name']} (built in)  {size}  sha256 {artifact['sha256'][:16]}…", ""
    yield "", ""

    rows = []
    for runtime in runtimes:
        here = runtime["available"]
        # An engine with a program of its own name has the same version; some versions are commits.
        extra = runtime["engine_version"] if runtime["engine_version"] != runtime["version"] else ""
        extra = f"{extra[:12]}…" if len(extra) > 24 else extra
        engine = f"{runtime['engine']} {extra}".rstrip() if here else runtime["engine"]
        origin = runtime["path"] if here else f"not here: {runtime['reason']}"
        cells = (runtime["name"], runtime["version"] if here else "-", engine, origin)
        rows.append((cells, "green" if here else "yellow"))
    head, *body = table(("runtime", "version", "engine", "where from"), rows)
    yield head
    for runtime, line in zip(runtimes, body, strict=True):
        yield line
        others = [f"{runtime['name']}@{version}" for version in runtime.get("versions", ())]
        if others:
            yield f"  also installed: {', '.join(others)}", ""
        for tool in runtime.get("tools", ()) if verbose else ():
            yield f"  {tool['tool']} {tool['version']}, from {tool['source']}:", ""
            for package in tool["packages"]:
                yield f"    {package['package']} {package['version']} {package['digest']}", ""
    yield "", ""

    missing = [runtime for runtime in runtimes if not runtime["available"]]
    yield f"{len(runtimes) - len(missing)} of {len(runtimes)} runtimes can run here.", ""
    remedies = list(dict.fromkeys(runtime["install"] for runtime in missing if runtime["install"]))
    installable = [remedy for remedy in remedies if remedy.startswith(install_command(""))]
    if installable:
        names = " ".join(remedy.removeprefix(install_command("")) for remedy in installable)
        yield f"To get what is missing: {install_command(names)}", ""
    for remedy in remedies:
        if remedy not in installable:
            names = ", ".join(runtime["name"] for runtime in missing if runtime["install"] == remedy)
            yield f"To get {names}: {remedy}", ""


def verify() -> dict[str, Any]:
    """Return what ``doctor --verify --json`` adds: how much was checked byte by byte, and what is wrong.

    ``tools`` and ``compiled`` are counts; ``damaged`` are sentences on tools, ``recompiled`` are files of compiled code
    that are not what we compiled and will be compiled anew. Raises ProvisionError if the cache cannot be used.
    """
    looks = [functools.partial(installed, tool) for tool in tool_names()]
    for tool in filter(pinned_here, tool_names()):
        others = (each for each in installed_versions(tool) if each != pin(tool).version)
        looks += [functools.partial(installed_version, tool, version) for version in others]
    tools, damaged = 0, []
    for look in looks:
        try:
            tools += look(all_bytes=True) is not None
        except ProvisionError as error:
            tools += 1
            damaged.append(str(error))
    faults = faults_of_all()
    recompiled = [f"{code} {why}" for code, why in faults.items() if why]
    return {"tools": tools, "compiled": len(faults), "damaged": damaged, "recompiled": recompiled}


def verified_lines(verified: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the lines that ``doctor --verify`` adds, with their styles."""
    damaged, recompiled = verified["damaged"], verified["recompiled"]
    yield (
        f"{verified['tools']} tools and {verified['compiled']} files of compiled code were checked byte by byte: "
        f"{len(damaged)} and {len(recompiled)} are not what was installed or compiled.",
        "yellow" if damaged or recompiled else "green",
    )
    yield from ((each, "red") for each in damaged)
    yield from ((f"{each}: it is not loaded, but compiled anew.", "yellow") for each in recompiled)


def _versions(runtime: Runtime) -> list[str]:
    """Return the installed versions of this runtime other than the pinned one."""
    try:
        known = installed_versions(runtime.tool) if runtime.tool else []
        return [each for each in known if each != pin(runtime.tool).version]
    except ProvisionError:
        # The line about the cache, or about the runtime, reports the error.
        return []


def _builtin_artifact() -> dict[str, Any]:
    try:
        artifact = open_artifact(BUILTIN_ARTIFACT, Path.cwd())
    except WasmEdgeError as error:
        return {"error": str(error)}
    return {"name": artifact.name, "sha256": artifact.sha256, "size_bytes": artifact.size_bytes}


def folder_bytes(folder: Path) -> int:
    """Return the size of all files in a folder."""
    # A file that another process deletes meanwhile is not counted.
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sum(file.lstat().st_size for file in files if file.is_file())


def size_text(size_bytes: int) -> str:
    """Return a size in kB or MB, multiples of 1000."""
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1e3:.0f} kB"
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes < 10_000_000 else f"{size_bytes / 1e6:.0f} MB"


def add_to(commands: Subparsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "doctor",
        help="show which runtimes can run here, and how to get the rest",
        description="Ask every built-in runtime whether it can start here. Installs nothing; the exit status is 0, "
        "but for --verify.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("-v", "--verbose", action="store_true", help="also list the packages of each runtime")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="also compare every installed tool and all compiled code with their digests; the exit status is 1 if a "
        "tool is damaged",
    )
    parser.set_defaults(action=run)


def run(options: argparse.Namespace) -> int:
    """Show the findings and return the exit status: 0, or 1 if --verify finds a damaged tool.

    Raises ProvisionError if the cache cannot be used at all and is to be verified.
    """
    findings = examine(builtin_runtimes())
    if options.verify:
        findings["verified"] = verify()
    if options.json:
        print(json.dumps(findings, indent=2))
    else:
        show(lines(findings, options.verbose), open_console())
        if options.verify:
            show(verified_lines(findings["verified"]), open_console())
    return 1 if options.verify and findings["verified"]["damaged"] else 0
