"""Debian packages: which mirrors are asked, what is refused, and a program that comes with its own C library."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import debian, executable, find, install, installed, no_source, pins
from pytest_wasmedge.provision.debian import debian_archives, fetch_debian
from pytest_wasmedge.provision.pins import Deb, DebianPin
from tests.provision.conftest import leftovers

PLATFORMS = ("linux-x86_64", "linux-aarch64")


def wanted() -> DebianPin:
    """The real pin of wasmedge on this platform."""
    pin = pins.pin("wasmedge")
    assert isinstance(pin, DebianPin)
    return pin


def small(digest: str = "", version: str = "") -> DebianPin:
    """A pin of the smallest package alone, with another digest or version."""
    pin = wanted()
    deb = next(each for each in pin.debs if each.package == "libffi8")
    deb = Deb(deb.package, version or deb.version, digest or deb.digest)
    return dataclasses.replace(pin, debs=(deb,))


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources of apt, on Debian, that name nothing yet."""
    on_system(monkeypatch, "debian")
    (tmp_path / "etc" / "sources.list.d").mkdir(parents=True)
    return tmp_path / "etc"


def on_system(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let this be a system of this name."""
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"ID": name})


# -- pins


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_package_is_pinned(platform: str) -> None:
    """Each package has a version and a SHA-256; the program's own is first and stands for the whole."""
    pin = pins.pin("wasmedge", platform)

    assert isinstance(pin, DebianPin)
    assert pin.debs[0].package == pin.package
    assert pin.digest == pin.debs[0].digest
    assert pin.debs[0].version.startswith(pin.version)
    assert {"libwasmedge0", "libc6"} < {deb.package for deb in pin.debs}
    assert len({deb.package for deb in pin.debs}) == len(pin.debs)
    for deb in pin.debs:
        assert len(bytes.fromhex(deb.digest.removeprefix("sha256:"))) == 32


def test_platforms_pin_different_bytes() -> None:
    """No package's digest was copied from one platform to the other."""
    digests = [deb.digest for on in PLATFORMS for deb in pins.pin("wasmedge", on).debs]  # type: ignore[attr-defined]

    assert len(digests) == len(set(digests))


def test_another_library_is_another_folder() -> None:
    """What was installed with one version of a library is never taken for what is pinned with another."""
    assert small(version="1").folder_name != small(version="2").folder_name


def test_where_it_is_not_pinned(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a platform without a pin, one on PATH is found all the same, and installing says what to do."""
    monkeypatch.setattr(pins, "this_platform", lambda: "macos-arm64")
    command = tmp_path / "wasmedge"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find("wasmedge")

    assert installed("wasmedge") is None
    assert found
    assert (found.path, found.origin) == (command, "PATH")
    assert pins.in_order(["wasmedge"]) == ["wasmedge"]
    with pytest.raises(ProvisionError, match=r"not pinned for macos-arm64 .*PYTEST_WASMEDGE_WASMEDGE"):
        install("wasmedge")


# -- which mirrors


def test_one_line_sources(etc: Path) -> None:
    """Of one-line sources, those of Debian's own suites count; address and options stay, the suite is ours."""
    (etc / "sources.list").write_text(
        "# deb http://commented.test/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/keys/a.gpg,/keys/b.gpg] http://one.test/debian bookworm main contrib # mine\n"
        "deb-src http://sources.test/debian bookworm main\n"
        "deb http://security.test/debian-security bookworm-security main\n"
        "deb http://other.test/apt bookworm-pgdg main\n"
        "deb http://contrib.test/debian bookworm contrib\n"
    )
    (etc / "sources.list.d" / "more.list").write_text("deb mirror+file:/etc/apt/mirrors.list stable main\n")

    assert list(debian_archives(etc, "trixie")) == [
        "Types: deb\nSuites: trixie\nComponents: main\nURIs: http://one.test/debian\n"
        "signed-by: /keys/a.gpg /keys/b.gpg\n",
        "Types: deb\nSuites: trixie\nComponents: main\nURIs: mirror+file:/etc/apt/mirrors.list\n",
    ]


def test_deb822_sources(etc: Path) -> None:
    """Of deb822 sources the same counts; a key that stands in the file comes along, what is disabled does not."""
    (etc / "sources.list.d" / "debian.sources").write_text(
        "# Debian\nTypes: deb deb-src\nURIs: http://one.test/debian\nSuites: bookworm bookworm-updates\n"
        "Components: main\nArchitectures: amd64\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n"
        "\n"
        "Types: deb\nURIs: http://two.test/debian-security\nSuites: bookworm-security\nComponents: main\n"
        "\n \n"
        "Enabled: no\nTypes: deb\nURIs: http://three.test/debian\nSuites: sid\nComponents: main\n"
        "\n"
        "Types: deb\nURIs: http://four.test/node\nSuites: nodistro\nComponents: main\n"
    )

    assert list(debian_archives(etc, "trixie")) == [
        "Types: deb\nSuites: trixie\nComponents: main\nURIs: http://one.test/debian\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n"
    ]


def test_others_are_stable_too(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on Debian, an archive that calls itself stable is somebody's own; Debian's names are Debian's."""
    on_system(monkeypatch, "ubuntu")
    (etc / "sources.list.d" / "browser.list").write_text("deb https://browser.test/deb stable main\n")
    (etc / "sources.list.d" / "editor.sources").write_text(
        "Types: deb\nURIs: https://editor.test/deb\nSuites: stable\nComponents: main\n"
    )
    (etc / "sources.list").write_text("deb http://archive.test/ubuntu noble main\n")
    assert list(debian_archives(etc, "trixie")) == []

    (etc / "sources.list").write_text("deb http://one.test/debian bookworm main\n")
    assert list(debian_archives(etc, "trixie")) == [
        "Types: deb\nSuites: trixie\nComponents: main\nURIs: http://one.test/debian\n"
    ]


def test_no_mirror_of_debian(etc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where apt knows no mirror of Debian, nothing is fetched from elsewhere; the error says the way round."""
    monkeypatch.setattr(debian, "SOURCES", etc)

    with pytest.raises(ProvisionError, match=r"name no mirror of Debian\. .*PYTEST_WASMEDGE_WASMEDGE"):
        fetch_debian(wanted(), tmp_path)


def test_what_has_no_source_is_known_before(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a tool can be had at all is told without asking anybody, in the words of the error."""
    monkeypatch.setattr(debian, "SOURCES", etc)
    assert "name no mirror of Debian" in no_source("wasmedge")
    (etc / "sources.list").write_text("deb http://one.test/debian bookworm main\n")
    assert no_source("wasmedge") == ""
    monkeypatch.setattr(pins, "this_platform", lambda: "macos-arm64")
    assert "not pinned for macos-arm64" in no_source("wasmedge")
    assert no_source("deno") == ""


def test_no_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system without apt the error says that it is missing, and the way round."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(
        ProvisionError, match=r"there is no apt-get here .*install wasmedge yourself, put it on PATH"
    ):
        fetch_debian(wanted(), tmp_path)


# -- what comes


@pytest.mark.network
def test_a_package_that_is_gone(tmp_path: Path) -> None:
    """A version that the mirror has replaced is named with the one that is there now, and what to do."""
    present = small().debs[0].version

    with pytest.raises(ProvisionError) as raised:
        fetch_debian(small(version="0.1-1"), tmp_path)
    text = str(raised.value)
    assert f"no longer offers libffi8 0.1-1 (now: {present})" in text
    assert "a newer pytest-wasmedge pins newer ones" in text
    assert "`apt install wasmedge`" in text
    assert "PYTEST_WASMEDGE_WASMEDGE" in text


@pytest.mark.network
def test_a_package_that_is_not_the_pinned_one(tmp_path: Path) -> None:
    """A package of other bytes than pinned is refused, and not unpacked."""
    with pytest.raises(ProvisionError, match=r"libffi8 .* is not what is pinned .*thrown away"):
        fetch_debian(small(digest="sha256:" + "0" * 64), tmp_path)

    assert not (tmp_path / "package").exists()


@pytest.mark.network
def test_the_second_mirror_is_asked(etc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that only looks like Debian's does not keep the next one from being asked."""
    real = next(debian_archives(Path("/etc/apt"), "trixie"))
    (etc / "sources.list.d" / "a.list").write_text(f"deb file:{tmp_path}/nothing bookworm main\n")
    (etc / "sources.list.d" / "b.sources").write_text(real.replace("trixie", "bookworm"))
    monkeypatch.setattr(debian, "SOURCES", etc)

    assert (fetch_debian(small(), tmp_path) / "usr/share/doc/libffi8").is_dir()


@pytest.mark.network
def test_wasmedge_is_really_installed(cache: Path) -> None:
    """All of it comes, is checked, runs without any environment, and nothing but its folder stays."""
    said: list[str] = []
    place = install("wasmedge", said.append)
    done = subprocess.run(
        [executable("wasmedge"), "--version"], env={}, capture_output=True, check=True, text=True
    )

    assert f"version {wanted().version}\n" in done.stdout
    assert done.stderr == ""
    assert said == ["fetching wasmedge 0.14.1 from debian", "checking that wasmedge 0.14.1 runs"]
    assert leftovers(cache) == [place.name]
