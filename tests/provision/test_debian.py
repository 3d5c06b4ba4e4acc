"""Debian packages: which mirrors are asked, what apt resolves, what is refused, and a program with its own libc."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import (
    clients,
    debian,
    executable,
    find,
    install,
    installed,
    no_source,
    pins,
    provenance,
)
from pytest_wasmedge.provision.debian import debian_archives, fetch_debian
from pytest_wasmedge.provision.pins import RECORD, DebianPin, Smoke
from tests.provision.archive import Archive, Key, echo_with_its_library, new_key
from tests.provision.conftest import install_module, leftovers

PLATFORMS = ("linux-x86_64", "linux-aarch64")


def wanted() -> DebianPin:
    """The real pin of wasmedge on this platform."""
    pin = pins.pin("wasmedge")
    assert isinstance(pin, DebianPin)
    return pin


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
def test_suites_and_a_range_are_pinned(platform: str) -> None:
    """What is pinned is what Debian does not change: the names of suites, and a range with both ends."""
    pin = pins.pin("wasmedge", platform)

    assert isinstance(pin, DebianPin)
    assert len(pin.suites) > 1
    assert {end[0] for end in pin.version.split(",")} == {">", "<"}
    assert pin.digest == ""


def test_another_range_is_another_folder() -> None:
    """What was installed for one range is never taken for another; the name says where it comes from."""
    other = dataclasses.replace(wanted(), version=">=0.18,<0.19")

    assert other.folder_name != wanted().folder_name
    assert wanted().folder_name.startswith("wasmedge-debian-")


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


def test_a_release_of_tomorrow(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a Debian that is younger than we are, the sources that name its own release are Debian's all the same."""
    (etc / "sources.list").write_text("deb http://one.test/debian tomorrow main\n")
    assert list(debian_archives(etc, "trixie")) == []

    told = {"ID": "debian", "VERSION_CODENAME": "tomorrow"}
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: told)
    assert len(list(debian_archives(etc, "trixie"))) == 1
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: told | {"ID": "ubuntu"})
    assert list(debian_archives(etc, "trixie")) == []


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
        ProvisionError,
        match=r"there is no apt-get here .*Install it yourself .*: it is found on PATH, or set",
    ):
        fetch_debian(wanted(), tmp_path)


# -- what comes


def test_an_option_that_lets_unsigned_through_is_dropped(etc: Path) -> None:
    """Whatever a machine's sources say, we execute only what is signed."""
    (etc / "sources.list").write_text(
        "deb [trusted=yes allow-insecure=yes check-valid-until=no] http://one.test/debian bookworm main\n"
    )
    (etc / "sources.list.d" / "more.sources").write_text(
        "Types: deb\nURIs: http://two.test/debian\nSuites: bookworm\nComponents: main\nTrusted: yes\n"
    )

    assert list(debian_archives(etc, "trixie")) == [
        "Types: deb\nSuites: trixie\nComponents: main\nURIs: http://one.test/debian\ncheck-valid-until: no\n",
        "Types: deb\nSuites: trixie\nComponents: main\nURIs: http://two.test/debian\n",
    ]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Key]:
    """The key that the machine trusts."""
    with new_key(tmp_path_factory.mktemp("key") / "archive.asc") as made:
        yield made


@pytest.fixture
def testing(tmp_path: Path, etc: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """An archive with a program like WasmEdge, in the first suite of the pin, not published yet.

    The machine's only source names it. What fails is not tried again.
    """
    made = Archive(tmp_path / "archive", wanted().suites[0])
    program, library = echo_with_its_library()
    made.add("wasmedge", "0.17.1-1", program, depends="libc6 (>= 2.30), libedge0 (= 0.17.1-1)")
    made.add("libedge0", "0.17.1-1")
    made.add("libc6", "2.41-1", library)
    made.add("libunused", "1-1")
    (etc / "sources.list").write_text(made.source(key))
    monkeypatch.setattr(debian, "SOURCES", etc)
    monkeypatch.setattr(clients, "PAUSES_S", ())
    return made


@pytest.fixture
def like_wasmedge(cache: Path, monkeypatch: pytest.MonkeyPatch) -> DebianPin:
    """A pin of the program of the archive, which proves that it runs by saying 42."""
    pin = dataclasses.replace(wanted(), smoke=Smoke(("42",), "42"))
    monkeypatch.setattr(install_module, "pin", lambda name: pin)
    return pin


def fetched(place: Path) -> list[str]:
    """Return what the record in this folder says was taken."""
    return [
        f"{each['package']} {each['version']}"
        for each in json.loads((place / RECORD).read_text())["packages"]
    ]


def test_apt_finds_out_what_is_needed(
    testing: Archive, key: Key, like_wasmedge: DebianPin, cache: Path
) -> None:
    """The program comes with what it depends on, no more, runs with its own C library, and its record names each."""
    testing.publish(key)

    place = install("wasmedge")

    assert fetched(place) == ["wasmedge 0.17.1-1", "libc6 2.41-1", "libedge0 0.17.1-1"]
    done = subprocess.run([place / "wasmedge", "hello"], env={}, capture_output=True, check=True)
    assert done.stdout == b"hello\n"
    assert leftovers(cache) == [place.name]
    came = provenance("wasmedge")
    assert came is not None
    assert (came.version, came.source) == ("0.17.1-1", f"debian {like_wasmedge.suites[0]}")
    assert all(len(bytes.fromhex(each.digest.removeprefix("sha256:"))) == 32 for each in came.packages)


def test_a_library_that_has_moved_on(testing: Archive, key: Key, like_wasmedge: DebianPin) -> None:
    """Debian replaced the C library since yesterday: the new one is taken, and nobody has to pin anything."""
    testing.publish(key)
    testing.add("libc6", "2.41-1+deb13u1", echo_with_its_library()[1])
    testing.publish(key)

    assert "libc6 2.41-1+deb13u1" in fetched(install("wasmedge"))


def test_the_newest_version_in_the_range_is_taken(
    testing: Archive, key: Key, etc: Path, like_wasmedge: DebianPin
) -> None:
    """A suite that has gone beyond the range is passed over: the next one of the pin is asked."""
    program, library = echo_with_its_library()
    testing.add("wasmedge", "2:9.0-1", program)
    testing.publish(key)
    older = Archive(testing.root, like_wasmedge.suites[1])
    older.add("wasmedge", "1:0.14.1+dfsg-3.1", program, depends="libc6")
    older.add("libc6", "2.41-1", library)
    older.publish(key)

    place = install("wasmedge")

    assert fetched(place)[0] == "wasmedge 1:0.14.1+dfsg-3.1"
    came = provenance("wasmedge")
    assert came is not None
    assert came.source == f"debian {like_wasmedge.suites[1]}"


def test_a_package_that_is_gone(testing: Archive, key: Key, like_wasmedge: DebianPin, cache: Path) -> None:
    """A program that no suite has any more is one error, which says what each offers and what to do."""
    for deb in testing.pool.glob("wasmedge_*.deb"):
        deb.unlink()
    testing.publish(key)

    with pytest.raises(ProvisionError) as raised:
        install("wasmedge")

    first, second = like_wasmedge.suites
    text = str(raised.value)
    assert f"Debian {first}: it offers no such package, and {like_wasmedge.version} is accepted." in text
    assert f"Debian {second}: " in text
    assert text.endswith("set PYTEST_WASMEDGE_WASMEDGE to its path.")
    assert leftovers(cache) == []


def test_a_dependency_that_is_gone(testing: Archive, key: Key, like_wasmedge: DebianPin) -> None:
    """What apt cannot resolve is told in apt's words."""
    for deb in testing.pool.glob("libedge0_*.deb"):
        deb.unlink()
    testing.publish(key)

    with pytest.raises(ProvisionError, match=r"wasmedge : Depends: libedge0 .*but it is not installable"):
        install("wasmedge")


@pytest.mark.parametrize("options", ["", "trusted=yes", "allow-insecure=yes"])
def test_an_unsigned_archive_is_refused(
    testing: Archive, key: Key, etc: Path, like_wasmedge: DebianPin, cache: Path, options: str
) -> None:
    """Nothing of an archive without a signature is taken, whatever the machine's sources allow."""
    testing.publish(None)
    (etc / "sources.list").write_text(testing.source(key, options))

    with pytest.raises(
        ProvisionError, match=r"not signed by a key that this machine trusts, so nothing of it was"
    ):
        install("wasmedge")
    assert leftovers(cache) == []


def test_a_signature_of_another_key_is_refused(
    testing: Archive, tmp_path: Path, like_wasmedge: DebianPin, cache: Path
) -> None:
    """An archive that somebody else signed is refused, in one sentence that says so."""
    with new_key(tmp_path / "other.asc", "somebody-else") as other:
        testing.publish(other)

    with pytest.raises(
        ProvisionError, match=r"not signed by a key that this machine trusts, so nothing of it was"
    ):
        install("wasmedge")
    assert leftovers(cache) == []


@pytest.mark.parametrize("what", ["index", "package"])
def test_what_was_changed_after_the_signature_is_refused(
    testing: Archive, key: Key, like_wasmedge: DebianPin, cache: Path, what: str
) -> None:
    """A package, or an index, that is not the signed one is never unpacked."""
    testing.publish(key)
    if what == "package":
        [victim] = testing.pool.glob("libedge0_*.deb")
        victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    else:
        [victim] = testing.root.glob("dists/*/main/*/Packages")
        victim.write_text(victim.read_text().replace("libunused", "libOnused"))

    with pytest.raises(
        ProvisionError, match=r"Hash Sum mismatch.* What came is not what is signed, so it was"
    ):
        install("wasmedge")
    assert leftovers(cache) == []


def test_the_second_mirror_is_asked(testing: Archive, key: Key, etc: Path, like_wasmedge: DebianPin) -> None:
    """An archive that only looks like Debian's does not keep the next one from being asked."""
    testing.publish(key)
    nothing = f"deb [signed-by={key.public}] file:{etc}/nothing bookworm main\n"
    (etc / "sources.list").write_text(nothing + testing.source(key))

    assert fetched(install("wasmedge"))


def test_settings_of_the_machine_do_not_loosen_ours(
    testing: Archive, key: Key, like_wasmedge: DebianPin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that takes unsigned archives, and another release by default, changes neither here."""
    settings = tmp_path / "apt.conf"
    settings.write_text(
        'APT::Default-Release "bookworm";\nAPT::Get::AllowUnauthenticated "true";\n'
        'Acquire::AllowInsecureRepositories "true";\nAPT::Install-Recommends "true";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(settings))
    testing.publish(None)
    with pytest.raises(ProvisionError, match="not signed by a key"):
        install("wasmedge")

    testing.publish(key)
    assert fetched(install("wasmedge"))


@pytest.mark.network
def test_wasmedge_is_really_installed(cache: Path) -> None:
    """The real one comes from the real archive, runs without any environment, and nothing but its folder stays."""
    said: list[str] = []
    place = install("wasmedge", said.append)
    done = subprocess.run(
        [executable("wasmedge"), "--version"], env={}, capture_output=True, check=True, text=True
    )

    came = provenance("wasmedge")
    assert came is not None
    assert f"version {came.version.partition('-')[0].partition('+')[0]}\n" in done.stdout
    assert done.stderr == ""
    assert {"wasmedge", "libwasmedge0", "libc6"} <= {each.package for each in came.packages}
    accepted = wanted().version
    assert said == [f"fetching wasmedge {accepted} from debian", f"checking that wasmedge {accepted} runs"]
    assert leftovers(cache) == [place.name]
