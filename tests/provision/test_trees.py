"""npm packages that have dependencies: a lock file pins every one of them."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import executable, install, installed
from pytest_wasmedge.provision import pins as pins_module
from pytest_wasmedge.provision.cache import folder
from pytest_wasmedge.provision.pins import Pin
from tests.provision.conftest import install_module, leftovers

#: The pinned platforms as npm packages name them.
NPM_PLATFORMS = (("linux", "x64"), ("linux", "arm64"), ("darwin", "arm64"), ("darwin", "x64"))
LOCKED = [name for name in pins_module.tool_names() if pins_module.pin(name).lock]


def lock_of(name: str) -> Path:
    """Return the lock file of this tool."""
    lock = pins_module.pin(name).lock
    assert lock is not None
    return lock


def packages_of(name: str) -> dict[str, dict[str, Any]]:
    """Return what the lock file of this tool says of each package; some have their peers behind an underscore."""
    packages: dict[str, dict[str, Any]] = json.loads(lock_of(name).read_text(encoding="utf-8"))["npm"]
    return packages


def wanted(package: dict[str, Any]) -> list[str]:
    """Return what a package of a lock file depends on, optionally too."""
    return [*package.get("dependencies", []), *package.get("optionalDependencies", [])]


@pytest.fixture(scope="session")
def clients() -> dict[str, Path]:
    """Where the tools are that install and run npm packages."""
    return {name: install(name) for name in ("deno", "node")}


@pytest.fixture
def cache_of_clients(clients: dict[str, Path], cache: Path) -> Path:
    """A cache of this test that holds these tools and nothing else."""
    for name, place in clients.items():
        (folder("tools") / pins_module.pin(name).folder_name).symlink_to(place)
    return cache


def test_there_are_such_tools() -> None:
    """The tests below have something to look at."""
    assert {"wrangler", "edge-runtime"} <= set(LOCKED)


@pytest.mark.parametrize("name", LOCKED)
def test_the_pin_is_the_digest_of_the_lock(name: str) -> None:
    """Whoever changes the lock changes the pin, and with it the folder that the tool is installed in."""
    pin, content = pins_module.pin(name), lock_of(name).read_bytes()

    assert pin.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert dataclasses.replace(pin, digest="sha256:" + "0" * 64).folder_name != pin.folder_name


@pytest.mark.parametrize("name", LOCKED)
def test_every_package_is_locked(name: str) -> None:
    """Each package has one exact version and an integrity, each of its dependencies too, and nothing else is there."""
    packages = packages_of(name)

    plain = {key.partition("_")[0] for key in packages}
    known = {*packages, *plain, *(key.rpartition("@")[0] for key in plain)}
    for key, package in packages.items():
        assert re.match(r"(@[^/@]+/)?[^/@]+@\d+\.\d+\.\d+", key)
        assert len(base64.b64decode(package["integrity"].removeprefix("sha512-"), validate=True)) == 64
        assert [each for each in wanted(package) if each not in known] == []


@pytest.mark.parametrize("name", LOCKED)
def test_no_registry_is_written_down(name: str) -> None:
    """Which registry answers is the user's setting, so the lock names none."""
    text = lock_of(name).read_text(encoding="utf-8")

    assert "://" not in text
    assert "tarball" not in text


@pytest.mark.parametrize(("system", "processor"), NPM_PLATFORMS)
def test_native_packages_are_locked_for_every_platform(system: str, processor: str) -> None:
    """The engine and the bundler of wrangler are programs: there is one of each for every platform of ours."""
    native = [
        key
        for key, package in packages_of("wrangler").items()
        if package.get("os") == [system] and package.get("cpu") == [processor]
    ]

    assert any(key.startswith("@cloudflare/workerd-") for key in native)
    assert any(key.startswith("@esbuild/") for key in native)


def test_no_install_script_has_run() -> None:
    """esbuild's install script would have put a program in place of its own script; here it did not."""
    place = installed("wrangler")
    assert place is not None, "run `make setup`"

    (script,) = place.glob("node_modules/.deno/esbuild@*/node_modules/esbuild/bin/esbuild")
    assert script.read_bytes().startswith(b"#!/usr/bin/env node")


def test_links_stay_inside() -> None:
    """The installed folder was moved into its place: no link of it is absolute, and none leads outside or nowhere."""
    place = installed("wrangler")
    assert place is not None, "run `make setup`"
    links = [path for path in place.rglob("*") if path.is_symlink()]

    assert links
    for link in links:
        assert not link.readlink().is_absolute()
        assert link.resolve(strict=True).is_relative_to(place.resolve())


@pytest.mark.network
def test_a_tree_is_really_installed(cache_of_clients: Path) -> None:
    """The whole tree comes from the real registry, runs where it was moved to, and leaves nothing else."""
    place = install("edge-runtime")

    argv = [str(executable("node")), str(executable("edge-runtime")), "--eval", "typeof process + 6 * 7"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "undefined42\n"
    assert leftovers(cache_of_clients) == sorted(
        [pins_module.pin("deno").folder_name, pins_module.pin("node").folder_name, place.name]
    )


def locked_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, digest: str) -> None:
    """Have `edge-runtime` locked by this content and pinned to this digest."""
    home = tmp_path / "locks" / "edge-runtime"
    home.mkdir(parents=True)
    (home / "deno.lock").write_bytes(content)
    monkeypatch.setattr(pins_module, "LOCKS", tmp_path / "locks")
    real = pins_module.pin

    def pin(name: str) -> Pin:
        return dataclasses.replace(real(name), digest=digest) if name == "edge-runtime" else real(name)

    monkeypatch.setattr(install_module, "pin", pin)


@pytest.mark.network
def test_a_dependency_that_is_not_the_locked_one_is_refused(
    cache_of_clients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong integrity deep in the tree makes the client fail, and nothing of the tree stays."""
    lock = json.loads(lock_of("edge-runtime").read_text(encoding="utf-8"))
    (victim,) = (key for key in lock["npm"] if key.startswith("parse-ms@"))
    lock["npm"][victim]["integrity"] = lock["npm"]["edge-runtime@4.0.1"]["integrity"]
    content = json.dumps(lock).encode()
    locked_as(tmp_path, monkeypatch, content, f"sha256:{hashlib.sha256(content).hexdigest()}")
    before = leftovers(cache_of_clients)

    with pytest.raises(ProvisionError, match=r"checksum did not match.*not what is pinned"):
        install("edge-runtime")

    assert leftovers(cache_of_clients) == before


def test_another_lock_than_the_pinned_one_is_refused(
    cache_of_clients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock file that somebody changed is told, before anything is fetched."""
    content = lock_of("edge-runtime").read_bytes() + b"\n"
    locked_as(tmp_path, monkeypatch, content, pins_module.pin("edge-runtime").digest)
    before = leftovers(cache_of_clients)

    with pytest.raises(
        ProvisionError, match=r"is not the lock file that edge-runtime .* nothing was fetched"
    ):
        install("edge-runtime")

    assert leftovers(cache_of_clients) == before
