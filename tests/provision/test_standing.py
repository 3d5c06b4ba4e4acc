"""How pins stand against their registries: newest, newer, gone, or not known. Real clients, registries on loopback."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import debian, pins, standing
from pytest_wasmedge.provision.pins import DebianPin
from pytest_wasmedge.provision.registry import wheel_tags
from pytest_wasmedge.provision.standing import Offer, Standing, ask
from tests.provision.archive import Archive, new_key
from tests.provision.registries import Checkout, Registries


def test_all_is_as_pinned(checkout: Checkout) -> None:
    """What the registries state as it is pinned is the newest, on every platform."""
    for tool in ("py", "js", "tree"):
        found = ask(tool)
        assert (found.state, found.fetchable) == ("newest", True)
        assert found.newest == found.pinned


def test_a_newer_version(checkout: Checkout, registries: Registries) -> None:
    """A newer version is told with the platforms that have it; one that is not stable, or withdrawn, does not count."""
    registries.add_wheel("1.1", "macos-arm64")
    registries.add_wheel("1.2rc1", "macos-arm64")
    registries.add_wheel("1.3", "macos-arm64", yanked=True)
    for name in ("@fake/js-linux", "@fake/js-mac"):
        registries.add_npm(name, "1.10.0")
        registries.add_npm(name, "2.0.0-beta.1")
        registries.add_npm(name, "1.9.0")

    assert ask("py").state == "newer: 1.1 (macos-arm64)"
    assert ask("js").state == "newer: 1.10.0"
    assert ask("py").fetchable


def test_the_wheel_of_the_oldest_system(checkout: Checkout, registries: Registries) -> None:
    """Where there are two wheels for one platform, the one that runs on more systems is the one that is asked about."""
    registries.add_wheel("1.0", "linux-x86_64", tag=1)

    assert ask("py").state == "newest"


def test_wheels_of_other_systems_are_seen() -> None:
    """The tags of a platform are those of all its systems, whatever this machine is; macOS's are known to pip."""
    linux, mac = wheel_tags("linux-aarch64"), wheel_tags("macos-arm64")
    assert wheel_tags("linux-aarch64-cp312") == linux

    assert {"manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_39_aarch64"} <= set(linux)
    assert len(mac) == 1
    assert mac[0].endswith("_arm64")


def test_another_digest_than_the_pinned_one(checkout: Checkout, registries: Registries) -> None:
    """A package that was replaced under its old version cannot be fetched any more; only its platform is named."""
    now = registries.add_wheel("1.0", "linux-x86_64", salt="changed")
    mac = registries.add_npm("@fake/js-mac", "1.0.0", salt="changed")

    py, js = ask("py"), ask("js")

    assert not py.fetchable
    assert py.state == (
        f"cannot be fetched any more: pypi states {now} of 1.0, not the pinned digest (linux-x86_64)"
    )
    assert not js.fetchable
    assert js.state == (
        f"cannot be fetched any more: npm states {mac} of 1.0.0, not the pinned digest (macos-arm64)"
    )


def test_a_version_that_was_taken_away(checkout: Checkout, registries: Registries) -> None:
    """A version that the registry no longer has cannot be fetched any more; what there is instead is told."""
    registries.withdraw_wheels("1.0", "linux-x86_64")
    registries.add_wheel("1.1", "linux-x86_64")
    registries.add_npm("@fake/js-linux", "1.1.0")
    del registries.npm["@fake/js-linux"]["1.0.0"]
    del registries.npm["@fake/js-mac"]

    py, js = ask("py"), ask("js")

    assert py.state == (
        "cannot be fetched any more: pypi has no fake-py 1.0 (linux-x86_64); newer: 1.1 (linux-x86_64)"
    )
    assert js.state == (
        "cannot be fetched any more: npm has no @fake/js-linux 1.0.0 (linux-x86_64); "
        "npm has no @fake/js-mac 1.0.0 (macos-arm64); newer: 1.1.0 (linux-x86_64)"
    )


def test_a_registry_that_does_not_answer(checkout: Checkout, registries: Registries) -> None:
    """Without an answer nothing is said to be gone: it could not be asked, and why."""
    registries.down = True

    for tool in ("py", "js", "tree"):
        found = ask(tool)
        assert not found.fetchable
        assert found.state.startswith("could not be asked: ")
        assert not any(offer.gone for offer in found.offers)


def test_a_client_that_cannot_be_had(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where deno cannot be installed, its tools could not be asked about."""

    def no_deno(pinned: object, progress: object) -> None:
        raise ProvisionError("deno 2 could not be fetched. Try again.")

    monkeypatch.setattr(standing, "install_client", no_deno)

    assert ask("js").state == "could not be asked: deno 2 could not be fetched. Try again"


def test_a_withdrawn_version_that_is_still_there(checkout: Checkout, registries: Registries) -> None:
    """A pinned version that was withdrawn after a while can be fetched, and nobody is sent back to an older one."""
    registries.add_wheel("0.9", "linux-x86_64")
    name = next(name for name in registries.wheels if "-1.0-" in name and "linux" in name)
    registries.wheels[name] = (registries.wheels[name][0], True)

    assert ask("py").state == "newest"
    assert ask("py").fetchable


# -- with a lock file


def test_a_dependency_that_changed(checkout: Checkout, registries: Registries) -> None:
    """One package deep in a locked tree that is not what it was is named."""
    registries.add_npm("shared", "1.0.0", salt="changed")

    assert ask("tree").state == (
        "cannot be fetched any more: npm states another integrity of shared 1.0.0 than is locked"
    )


def test_a_dependency_that_is_gone(checkout: Checkout, registries: Registries) -> None:
    """One package deep in a locked tree that the registry has no longer is told in the client's words."""
    registries.add_npm("shared", "1.1.0")
    del registries.npm["shared"]["1.0.0"]

    found = ask("tree")

    assert found.state.startswith("cannot be fetched any more: ")
    assert "'shared' matching '1.0.0'" in found.state


def test_another_lock_file_than_the_pinned_one(checkout: Checkout) -> None:
    """A lock file that is not the pinned one is told; nothing in it is believed."""
    checkout.lock.write_text(checkout.lock.read_text().replace("sha512-", "sha512-x", 1))

    assert ask("tree").state == (
        f"cannot be fetched any more: {checkout.lock} is not the lock file that is pinned"
    )


# -- Debian


def wasmedge(**suites: list[str] | None) -> Standing:
    """Return how the real pin of wasmedge stands if suites offer these versions; None cannot be asked."""

    def offered(pin: DebianPin, suite: str, work: Path) -> list[str]:
        versions = suites.get(suite)
        if versions is None:
            raise ProvisionError(f"Debian {suite} could not be asked for wasmedge.")
        return versions

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(debian, "offered", offered)
        return ask("wasmedge")


@pytest.fixture
def ranged(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pin of wasmedge, with a range of this test's."""
    real = pins.pin
    monkeypatch.setattr(pins, "version_of", lambda name: ">=0.14.1,<0.18")
    monkeypatch.setattr(
        pins, "pin", lambda name, on: dataclasses.replace(real(name, on), version=">=0.14.1,<0.18")
    )


@pytest.mark.usefixtures("ranged")
@pytest.mark.parametrize(
    ("suites", "newest", "state"),
    [
        ({"forky": ["0.17.1-1"], "trixie": ["0.14.1"], "sid": ["0.18-1"]}, "0.17.1", "newest"),
        ({"forky": ["0.18.0-1"], "trixie": ["0.14.1"], "sid": []}, "0.18.0", "newer: 0.18.0"),
        ({"forky": None, "trixie": ["0.14.1"], "sid": None}, "0.14.1", "newest"),
        (
            {"forky": ["0.18.0"], "trixie": [], "sid": []},
            "0.18.0",
            "cannot be fetched any more: forky and trixie offer no version in >=0.14.1,<0.18; newer: 0.18.0",
        ),
        (
            {"forky": [], "trixie": None, "sid": ["0.17"]},
            "",
            "could not be asked: Debian trixie could not be asked for wasmedge",
        ),
    ],
)
def test_suites(suites: dict[str, list[str] | None], newest: str, state: str) -> None:
    """A range is fetchable if a suite of the pin offers something in it; sid is told of, but counts for nothing."""
    found = wasmedge(**suites)

    assert found.newest == newest
    assert found.state.partition(" (forky: ")[0] == state
    assert found.note.startswith("forky: ")
    assert "sid: " in found.note


@pytest.fixture
def real_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    """A signed archive that offers a wasmedge, the only one that this machine knows."""
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"ID": "debian"})
    made = Archive(tmp_path / "archive", "trixie")
    with new_key(tmp_path / "archive.asc") as key:
        made.add("wasmedge", "1:0.9-1")
        made.publish(key)
        etc = tmp_path / "etc"
        etc.mkdir()
        (etc / "sources.list").write_text(made.source(key))
        monkeypatch.setattr(debian, "SOURCES", etc)
        yield made


def test_a_suite_is_asked_by_apt(real_archive: Archive, tmp_path: Path) -> None:
    """What a suite offers is what its signed index says; no package is fetched for that."""
    pin = pins.pin("wasmedge")
    assert isinstance(pin, DebianPin)
    for deb in real_archive.pool.glob("*.deb"):
        deb.unlink()
    (tmp_path / "work").mkdir()

    assert debian.offered(pin, "trixie", tmp_path / "work") == ["1:0.9-1"]


def test_what_is_the_same_is_said_once() -> None:
    """A reason that holds for all platforms is told without them; different ones each with theirs."""
    same = Standing("tool", "npm", "1", (Offer("a", "1", gone="why"), Offer("b", "1", gone="why")))
    some = Standing(
        "tool", "npm", "1", (Offer("a", "1", gone="x"), Offer("b", "1", unasked="y"), Offer("c", "1"))
    )

    assert same.state == "cannot be fetched any more: why"
    assert some.state == "cannot be fetched any more: x (a); could not be asked: y (b)"
