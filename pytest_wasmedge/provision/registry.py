"""Asks registries for versions and digests of packages, through the clients that also fetch them."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision.clients import deno_env, make_npm_project, pip_env, run
from pytest_wasmedge.provision.install import executable
from pytest_wasmedge.provision.lockfile import integrities, pruned
from pytest_wasmedge.provision.pins import Pin, digest_of

# A person waits for the answer, and can do without it.
_PIP_PATIENCE = ("--retries", "1", "--timeout", "20")
#: What a client says if the registry answered and has no such version. pip says the same without a network, but then
#: it lists no other version either.
_GONE = re.compile(
    r"from versions: (?!none).*No matching distribution|Could not find npm package '.*' matching"
    r"|npm package '.*' does not exist"
)

#: A wheel may require any of these glibc 2.x, or any macOS up to this one, whatever this machine has.
_OLDEST_GLIBC, _NEWEST_GLIBC = 5, 60
_NEWEST_MACOS = 40

_LISTED = re.compile(r"^Available versions: (.*)$", re.MULTILINE)


def published(pin: Pin, work: Path) -> list[str]:
    """Return the versions of this package that can be installed here, unsorted; ``work`` is an empty folder.

    Raises ProvisionError if the registry cannot be asked.
    """
    failure = f"The versions of {pin.package} could not be asked of {pin.source}"
    if pin.source == "npm":
        _resolve_npm(pin, {pin.package: "*"}, work, failure)
        return _kept_by_deno(pin.package, work, failure)
    argv = [*_pip(pin), "index", "versions", pin.package, "--only-binary", ":all:", *_PIP_PATIENCE]
    said = run(argv, pin, work, pip_env(work), failure, asks=True)
    listed = _LISTED.search(said)
    if listed is None:
        raise ProvisionError(f"{failure}: pip listed none, but said {said[:200]!r}. Try a newer pip.")
    return listed[1].split(", ")


def stated(pin: Pin, version: str, work: Path, on: str | None = None) -> str:
    """Return the digest that the registry states of this version, in the form of a pin's; ``work`` is an empty folder.

    For a package that is pinned with its dependencies it is the digest of ``work/deno.lock``, written here with what
    the registry states of each of them. ``on`` is the platform of a wheel, by default this one. Raises ProvisionError.
    """
    if pin.lock:
        failure = f"{pin.package} {version} could not be looked up in {pin.source}"
        _resolve_npm(pin, {pin.package: version}, work, failure)
        return digest_of((work / "deno.lock").read_bytes())
    if pin.source == "npm":
        package = (pin.package, version)
        return npm_stated(pin, [package], work)[package]
    return wheel_for(pin, version, work, on)[1]


def wheel_for(pin: Pin, version: str | None, work: Path, on: str | None = None) -> tuple[str, str]:
    """Return version and digest of the wheel that the index states for a platform, by default this one.

    Without a ``version`` it is the newest stable one that has a wheel for that platform. Raises ProvisionError.
    """
    failure = f"{pin.package}{f' {version}' if version else ''} could not be looked up in {pin.source}"
    report = work / "report.json"
    argv = [*_pip(pin), "install", "--dry-run", "--ignore-installed", "--no-deps", "--only-binary", ":all:"]
    argv += ["--quiet", "--report", str(report), *_PIP_PATIENCE]
    if on:
        # pip requires a folder for another platform, but creates none in a dry run.
        argv += ["--target", str(work / "target")]
        argv += [part for tag in wheel_tags(on) for part in ("--platform", tag)]
        if python := on.partition("-cp")[2]:
            argv += ["--python-version", python]
    argv.append(f"{pin.package}=={version}" if version else pin.package)
    run(argv, pin, work, pip_env(work), failure, asks=True)
    try:
        [wheel] = json.loads(report.read_text("utf-8"))["install"]
        digest = f"sha256:{wheel['download_info']['archive_info']['hashes']['sha256']}"
        return str(wheel["metadata"]["version"]), digest
    except (OSError, ValueError, KeyError) as error:
        raise ProvisionError(f"{failure}: its index states no sha256 of the wheel ({error!r}).") from error


def wheel_tags(on: str) -> list[str]:
    """Return the tags of the wheels that run on a platform, those for the oldest systems first.

    Of several wheels of one version, the one that runs on the most systems is pinned.
    """
    system, _, machine = on.partition("-cp")[0].partition("-")
    if system == "macos":
        # pip adds the tags that this version of macOS also accepts, such as those of universal wheels.
        return [f"macosx_{_NEWEST_MACOS}_0_{machine}"]
    return [
        *(f"manylinux_2_{minor}_{machine}" for minor in range(_OLDEST_GLIBC, _NEWEST_GLIBC + 1)),
        *(f"manylinux{year}_{machine}" for year in (2010, 2014)),
    ]


def is_gone(error: ProvisionError) -> bool:
    """True if the error says that the registry answered and has no such version."""
    return bool(_GONE.search(str(error)))


def npm_stated(pin: Pin, wanted: Iterable[tuple[str, str]], work: Path) -> dict[tuple[str, str], str]:
    """Return the integrity that npm states of each (package, version), for any platform; fetches no package.

    Raises ProvisionError, also if one of them does not exist.
    """
    asked = list(dict.fromkeys(wanted))
    what = " ".join(asked[0]) if len(asked) == 1 else f"The packages of {pin.name}"
    failure = f"{what} could not be looked up in npm"
    # Under made-up names, so that two versions of one package can be asked for at once.
    _resolve_npm(pin, {f"p{i}": f"npm:{name}@{v}" for i, (name, v) in enumerate(asked)}, work, failure)
    stated = integrities((work / "deno.lock").read_text("utf-8"))
    if missing := [f"{name} {version}" for name, version in asked if (name, version) not in stated]:
        raise ProvisionError(f"{failure}: deno wrote no integrity of {', '.join(missing)}. Please report it.")
    return {each: stated[each] for each in asked}


def npm_lock(pin: Pin, version: str, without: Sequence[str], work: Path) -> str:
    """Return the lock file of this version and all that it needs, except the packages named in ``without``.

    Raises ProvisionError, also if deno finds the lock file incomplete without them.
    """
    failure = f"{pin.package} {version} could not be locked"
    _resolve_npm(pin, {pin.package: version}, work, failure)
    lock = work / "deno.lock"
    text = pruned(lock.read_text("utf-8"), without)
    lock.write_text(text, encoding="utf-8")
    _deno_install(pin, ["--frozen"], work, failure)
    return text


def _pip(pin: Pin) -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise ProvisionError(
            f"Asking about versions of {pin.package} needs pip, which {sys.executable} lacks. "
            "Run `python -m ensurepip` and try again."
        )
    return [sys.executable, "-m", "pip", "--no-input"]


def _resolve_npm(pin: Pin, wanted: Mapping[str, str], work: Path, failure: str) -> None:
    """Let deno resolve these dependencies and write its lock file; fetches no package."""
    make_npm_project(work, wanted)
    # The lock file of an earlier question would answer this one.
    (work / "deno.lock").unlink(missing_ok=True)
    _deno_install(pin, [], work, failure)


def _deno_install(pin: Pin, options: Sequence[str], work: Path, failure: str) -> None:
    argv = [str(executable("deno")), "install", "--lockfile-only", *options]
    run(argv, pin, work, deno_env(work), failure, asks=True)


def _kept_by_deno(package: str, work: Path, failure: str) -> list[str]:
    """Return the versions in the registry's answer about a package, which deno keeps in its folder.

    deno has no command that lists versions; its folder's layout is known, because deno is pinned.
    """
    try:
        [kept] = (work / "deno-dir" / "npm").glob(f"*/{package}/registry.json")
        return [str(version) for version in json.loads(kept.read_text("utf-8"))["versions"]]
    except (OSError, ValueError, KeyError) as error:
        raise ProvisionError(f"{failure}: deno kept no answer ({error!r}). Please report this.") from error
