"""What registries state of packages, asked through the clients that also fetch them: versions and digests."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import sys
from pathlib import Path

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision.clients import deno_env, pip_env, run
from pytest_wasmedge.provision.pins import Pin

#: Lists are short; what takes longer than this is no network.
ASK_TIMEOUT_S = 300.0

# Somebody waits for the answer, and without a network there is another way.
_PIP_PATIENCE = ("--retries", "1", "--timeout", "20")
_LISTED = re.compile(r"^Available versions: (.*)$", re.MULTILINE)


def published(pin: Pin, work: Path, deno: Path | None) -> list[str]:
    """Return the versions of this package that can be installed here, in no order; ``work`` is an empty folder.

    ``deno`` is the client of npm packages. Raises ProvisionError if the registry cannot be asked.
    """
    failure = f"The versions of {pin.package} could not be asked of {pin.source}"
    if pin.source == "npm":
        _resolve_npm(pin, "*", work, deno, failure)
        return _kept_by_deno(pin, work, failure)
    argv = [*_pip(pin), "index", "versions", pin.package, "--only-binary", ":all:", *_PIP_PATIENCE]
    said = run(argv, pin, work, pip_env(work), failure, ASK_TIMEOUT_S, ())
    listed = _LISTED.search(said)
    if listed is None:
        raise ProvisionError(f"{failure}: pip listed none, but said {said[:200]!r}. Try a newer pip.")
    return listed[1].split(", ")


def stated(pin: Pin, version: str, work: Path, deno: Path | None) -> str:
    """Return the digest that the registry states of this version, in the form of a pin's; ``work`` is empty.

    A package that is pinned with its dependencies gets a lock file instead, ``work/deno.lock``, with what the
    registry states of each of them; the digest is that file's. Raises ProvisionError.
    """
    failure = f"{pin.package} {version} could not be looked up in {pin.source}"
    if pin.source == "npm":
        _resolve_npm(pin, version, work, deno, failure)
        lock = work / "deno.lock"
        if pin.lock:
            return f"sha256:{hashlib.sha256(lock.read_bytes()).hexdigest()}"
        try:
            return str(json.loads(lock.read_text("utf-8"))["npm"][f"{pin.package}@{version}"]["integrity"])
        except (OSError, ValueError, KeyError) as error:
            raise ProvisionError(f"{failure}: deno wrote no integrity of it ({error!r}).") from error
    report = work / "report.json"
    argv = [*_pip(pin), "install", "--dry-run", "--ignore-installed", "--no-deps", "--only-binary", ":all:"]
    argv += ["--quiet", "--report", str(report), *_PIP_PATIENCE, f"{pin.package}=={version}"]
    run(argv, pin, work, pip_env(work), failure, ASK_TIMEOUT_S, ())
    try:
        [wheel] = json.loads(report.read_text("utf-8"))["install"]
        return f"sha256:{wheel['download_info']['archive_info']['hashes']['sha256']}"
    except (OSError, ValueError, KeyError) as error:
        raise ProvisionError(f"{failure}: its index states no sha256 of the wheel ({error!r}).") from error


def _pip(pin: Pin) -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise ProvisionError(
            f"Other versions of {pin.name} than the pinned one need pip, which {sys.executable} lacks. "
            "Run `python -m ensurepip` and try again."
        )
    return [sys.executable, "-m", "pip", "--no-input"]


def _resolve_npm(pin: Pin, wanted: str, work: Path, deno: Path | None, failure: str) -> None:
    """Let deno find out what it would install, and write its lock file; no package is fetched."""
    assert deno is not None
    # The presence of a deno.json keeps deno from looking for a configuration in the folders above.
    (work / "deno.json").write_text('{"nodeModulesDir": "auto"}', encoding="utf-8")
    (work / "package.json").write_text(json.dumps({"dependencies": {pin.package: wanted}}), encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if name != "DENO_NO_PACKAGE_JSON"}
    argv = [str(deno), "install", "--lockfile-only"]
    run(argv, pin, work, env | deno_env(work), failure, ASK_TIMEOUT_S, ())


def _kept_by_deno(pin: Pin, work: Path, failure: str) -> list[str]:
    """Return the versions in the registry's own answer about a package, which deno keeps in its folder.

    deno has no command that lists versions; where it keeps the answer is known, since our deno is pinned.
    """
    try:
        [kept] = (work / "deno-dir" / "npm").glob(f"*/{pin.package}/registry.json")
        return [str(version) for version in json.loads(kept.read_text("utf-8"))["versions"]]
    except (OSError, ValueError, KeyError) as error:
        raise ProvisionError(f"{failure}: deno kept no answer ({error!r}). Please report this.") from error
