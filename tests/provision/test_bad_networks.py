"""Real clients behind a proxy that drops, delays and cuts off: what is tried again, what is told, what stays."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import clients, debian, install, installed
from pytest_wasmedge.provision import pins as pins_module
from pytest_wasmedge.provision.cache import cache_root, folder
from pytest_wasmedge.provision.pins import DebianPin, Pin, Smoke
from tests.provision.archive import Archive, echo_with_its_library, new_key
from tests.provision.conftest import install_module, leftovers
from tests.provision.proxy import Fault, Proxy

SCRIPT = "#!/bin/sh\necho 42\n"
#: Faults that are over after a few answers. Some clients ask again themselves, apt does not: one answer is one attempt.
PASSING: list[tuple[Fault, int]] = [("down", 2), ("dropped", 2), ("cut", 2), ("slow", 100)]


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that every client is told to use, in place of this machine's own settings of registries."""
    with Proxy().running() as running:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, running.url)
        for name in (
            "no_proxy",
            "NO_PROXY",
            "https_proxy",
            "HTTPS_PROXY",
            "PIP_EXTRA_INDEX_URL",
            "PIP_FIND_LINKS",
        ):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", "http://pypi.test/simple")
        monkeypatch.setenv("PIP_TRUSTED_HOST", "pypi.test")
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://npm.test/")
        monkeypatch.setattr(clients, "PAUSES_S", (0.0, 0.0))
        yield running


def from_pypi(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pin:
    """A wheel that holds one shell script."""
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as files:
        files.writestr("bin/tool", SCRIPT)
        # Some size, so that half of it is a half.
        files.writestr("bin/ballast", os.urandom(200_000))
        files.writestr("tool-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n")
        files.writestr(
            "tool-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        files.writestr("tool-1.0.dist-info/RECORD", "")
    content, name = wheel.getvalue(), "tool-1.0-py3-none-any.whl"
    proxy.serve("http://pypi.test/simple/tool/", f'<a href="/files/{name}">{name}</a>'.encode(), "text/html")
    proxy.serve(f"http://pypi.test/files/{name}", content)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Pin("tool", "pypi", "tool", "1.0", digest, "bin/tool", True, Smoke((), "42"))


def from_npm(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pin:
    """An npm package that holds one shell script."""
    manifest = {"name": "tool", "version": "1.0.0"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as files:
        for name, content in {
            "package/package.json": json.dumps(manifest).encode(),
            "package/bin/tool": SCRIPT.encode(),
            "package/ballast": os.urandom(200_000),
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            files.addfile(entry, io.BytesIO(content))
    content = packed.getvalue()
    digest = f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"
    address = "http://npm.test/tool/-/tool-1.0.0.tgz"
    versions = {"1.0.0": {**manifest, "dist": {"tarball": address, "integrity": digest}}}
    told = {"name": "tool", "dist-tags": {"latest": "1.0.0"}, "versions": versions}
    proxy.serve("http://npm.test/tool", json.dumps(told).encode(), "application/json")
    proxy.serve(address, content)
    # The real deno, without fetching it.
    real = installed("deno")
    assert real is not None, "run `make setup`"
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path / "cache"))
    (folder("tools") / real.name).symlink_to(real)
    return Pin("tool", "npm", "tool", "1.0.0", digest, "bin/tool", True, Smoke((), "42"))


def from_debian(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pin:
    """A signed Debian archive with the machine's `echo` as the program."""
    real = pins_module.pin("wasmedge")
    assert isinstance(real, DebianPin)
    made = Archive(tmp_path / "archive", real.suites[0])
    program, library = echo_with_its_library()
    made.add("wasmedge", "0.17.1-1", program, depends="libc6")
    made.add("libc6", "2.41-1", library)
    with new_key(tmp_path / "archive.asc") as key:
        made.publish(key)
        for path in made.root.rglob("*"):
            if path.is_file():
                proxy.serve(f"http://debian.test/{path.relative_to(made.root)}", path.read_bytes())
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc" / "sources.list").write_text(
            f"deb [signed-by={key.public}] http://debian.test/ {made.suite} main\n"
        )
    monkeypatch.setattr(debian, "SOURCES", tmp_path / "etc")
    return dataclasses.replace(real, suites=real.suites[:1], smoke=Smoke(("42",), "42"))


Source = Callable[[Proxy, Path, pytest.MonkeyPatch], Pin]


@pytest.fixture(params=[from_pypi, from_npm, from_debian], ids=["pypi", "npm", "debian"])
def pin(request: pytest.FixtureRequest, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pin:
    """A tool that comes from this registry, through the proxy, into an empty cache."""
    source: Source = request.param
    wanted = source(proxy, tmp_path, monkeypatch)
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path / "cache"))
    real = pins_module.pin
    monkeypatch.setattr(install_module, "pin", lambda name: wanted if name == wanted.name else real(name))
    monkeypatch.setattr(install_module, "pinned_here", lambda name: True)
    return wanted


def ours() -> list[str]:
    """Return what is in the tools folder but deno, which is a client here."""
    return [name for name in leftovers(cache_root()) if not name.startswith("deno-")]


def test_a_good_network(pin: Pin, proxy: Proxy) -> None:
    """The proxy of the environment is used by every client, and what comes through it is installed."""
    place = install(pin.name)

    assert proxy.asked
    assert ours() == [place.name]


@pytest.mark.parametrize(("fault", "count"), PASSING, ids=[fault for fault, _ in PASSING])
def test_a_fault_that_passes(pin: Pin, proxy: Proxy, fault: Fault, count: int) -> None:
    """A registry that is down for a moment, drops, cuts off, or is slow delays an installation and no more."""
    proxy.fails(fault, count)

    place = install(pin.name)

    assert ours() == [place.name]


@pytest.mark.parametrize("fault", ["down", "dropped", "cut"])
def test_a_fault_that_stays(pin: Pin, proxy: Proxy, fault: Fault) -> None:
    """It is given up after a few attempts: one sentence, nothing half-installed, and the next try works."""
    proxy.fails(fault)

    with pytest.raises(ProvisionError) as raised:
        install(pin.name)

    text = str(raised.value)
    assert text.startswith(f"{pin.name} ")
    assert "could not be fetched from" in text
    assert "\n" not in text
    assert "Traceback" not in text
    assert ours() == []

    proxy.count = 0
    assert install(pin.name).is_dir()


def test_a_network_that_never_answers(pin: Pin, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """All attempts together are bounded: a client that waits for ever is stopped, and it is told after how long."""
    proxy.fails("stalled")
    monkeypatch.setattr(clients, "FETCH_TIMEOUT_S", 2.0)

    with pytest.raises(
        ProvisionError, match=r"was not done after 2 s and was stopped\. Check this machine's network"
    ):
        install(pin.name)

    assert ours() == []
    proxy.count = 0
    monkeypatch.setattr(clients, "FETCH_TIMEOUT_S", 600.0)
    assert install(pin.name).is_dir()


def test_a_second_time_needs_no_network(pin: Pin, proxy: Proxy) -> None:
    """What is installed is found without asking anybody."""
    install(pin.name)
    asked = len(proxy.asked)
    proxy.fails("dropped")

    assert install(pin.name) == installed(pin.name)
    assert len(proxy.asked) == asked
