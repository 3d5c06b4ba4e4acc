"""Exact versions: which is meant, what is recorded, what is installed, and what happens without a network."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.model import Invocation, Limits
from pytest_wasmedge.provision import find, install, installed, registry
from pytest_wasmedge.provision import pins as pins_module
from pytest_wasmedge.provision import versions as versions_module
from pytest_wasmedge.provision.pins import Pin, this_platform
from pytest_wasmedge.provision.versions import (
    Resolver,
    in_order,
    install_version,
    installed_version,
    installed_versions,
    nearest,
    newest,
    published,
)
from pytest_wasmedge.runtimes import builtin_runtimes, select
from tests import wat
from tests.provision.conftest import FakeTool, find_module, install_module, leftovers

DENO = ["2.0.0", "2.6.10", "2.7.0", "2.7.0.post1", "2.7.9", "2.7.14", "2.8.0", "2.70.0"]
WORKERD = ["1.20251231.0", "1.20260101.0", "1.20261023.1", "1.20261117.1", "1.20270102.0"]


class FakeRegistry:
    """States versions of the fake tool and their digests; ``asked`` tells what it was asked."""

    def __init__(self) -> None:
        self.versions = ["0.9", "1.0", "1.1.0", "1.1.5", "2.0"]
        self.digest = "sha256:" + "1" * 64
        self.down = False
        self.asked: list[str] = []
        self.fetched: list[Pin] = []

    def published(self, pin: Pin, work: Path) -> list[str]:
        """Do what `registry.published` does."""
        return [*self._answer("versions"), *self.versions]

    def stated(self, pin: Pin, version: str, work: Path) -> str:
        """Do what `registry.stated` does."""
        self._answer(version)
        return self.digest

    def _answer(self, question: str) -> list[str]:
        self.asked.append(question)
        if self.down:
            raise ProvisionError("The registry could not be asked: no network. Try again.")
        return []


@pytest.fixture
def there(tool: FakeTool, monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    """The fake tool in several versions; the pinned one is 1.0."""
    fake = FakeRegistry()

    def fetch(pin: Pin, work: Path) -> Path:
        fake.fetched.append(pin)
        return tool.fetch(pin, work)

    for module in (pins_module, versions_module, find_module):
        monkeypatch.setattr(module, "pin", lambda _: tool.pin)
    monkeypatch.setattr(find_module, "programs", lambda: ["tool"])
    monkeypatch.setattr(install_module, "fetch_pypi", fetch)
    monkeypatch.setattr(versions_module, "registry", fake)
    monkeypatch.setattr(versions_module, "_published", {})
    return fake


# -- which version is meant


def test_versions_are_sorted_as_numbers() -> None:
    """2.10 is newer than 2.9; what is not stable, and what is no version, is left out."""
    assert in_order(["2.10.0", "2.9.8", "2.11.0-rc.1", "nightly", "2.9.8"]) == ["2.9.8", "2.10.0"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("2.7", "2.7.14"),
        ("2.7.0", "2.7.0"),
        ("2.7.1", None),
        ("2", "2.70.0"),
        ("2.6", "2.6.10"),
        ("7", None),
        ("2.7.14.0", None),
    ],
)
def test_a_beginning_means_the_newest(wanted: str, found: str | None) -> None:
    """The beginning of a version ends at a dot: 2.7 is not 2.70, and 2.7.1 not 2.7.14."""
    assert newest(wanted, DENO) == found


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("1.2026", "1.20261117.1"),
        ("1.202610", "1.20261023.1"),
        ("1.20260101", "1.20260101.0"),
        ("1", "1.20270102.0"),
        ("1.202", None),
        ("2.2026", None),
    ],
)
def test_a_year_is_the_beginning_of_a_date(wanted: str, found: str | None) -> None:
    """Where a number of the version is a date, its year is a beginning, or year and month."""
    assert newest(wanted, WORKERD) == found


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        ("2.7.10", ["2.7.0.post1", "2.7.9", "2.7.14", "2.8.0"]),
        ("1", ["2.0.0", "2.6.10"]),
        ("99", ["2.8.0", "2.70.0"]),
    ],
)
def test_the_nearest_are_those_around_it(wanted: str, near: list[str]) -> None:
    """Of a version that does not exist, the two before and the two after are named."""
    assert nearest(wanted, DENO) == near


# -- installing and recording


def test_versions_lie_side_by_side(there: FakeRegistry) -> None:
    """Another version is installed beside the pinned one, and each is found by its number alone."""
    pinned = install("tool")
    other = install_version("tool", "1.1.0")

    assert installed("tool") == pinned != other
    assert installed_version("tool", "1.1.0") == other
    assert installed_versions("tool") == ["1.0", "1.1.0"]
    found = find("tool", "1.1.0")
    assert found is not None
    assert found.path == other / "bin" / "tool"
    assert find("tool", "1.1.5") is None


def test_the_variable_does_not_stand_for_a_version(
    there: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program of one's own has some version, so it is never taken for an exact one."""
    monkeypatch.setenv("PYTEST_WASMEDGE_TOOL", "/bin/sh")

    assert find("tool", "1.1.0") is None


def test_what_the_registry_stated_is_recorded(there: FakeRegistry, cache: Path) -> None:
    """The record holds package, version, integrity and date; the client was told to demand that digest."""
    place = install_version("tool", "1.1.0")

    record = cache / "tools" / f"tool-1.1.0.{this_platform()}.json"
    told = json.loads(record.read_text())
    assert told.pop("date")[:2] == "20"
    assert told == {"package": "tool", "version": "1.1.0", "source": "pypi", "integrity": there.digest}
    assert [(pin.version, pin.digest) for pin in there.fetched] == [("1.1.0", there.digest)]
    assert leftovers(cache) == sorted([place.name, record.name])


def test_the_second_installation_must_be_the_first(there: FakeRegistry) -> None:
    """Once recorded, a version is demanded as it was then, whatever the registry states later."""
    first = there.digest
    shutil.rmtree(install_version("tool", "1.1.0"))
    there.digest = "sha256:" + "2" * 64

    install_version("tool", "1.1.0")

    assert [pin.digest for pin in there.fetched] == [first, first]
    assert there.asked == ["1.1.0"]


def test_what_is_installed_needs_nobody(there: FakeRegistry) -> None:
    """An exact version that is there is neither asked for nor fetched."""
    install_version("tool", "1.1.0")
    there.down = True

    assert Resolver().provide("tool", "1.1.0") == "1.1.0"
    assert len(there.fetched) == 1


def test_the_pinned_version_is_the_pin(there: FakeRegistry) -> None:
    """Asked for by its number, the pinned version is what its pin says, and the registry is not believed."""
    assert install_version("tool", "1.0") == install("tool")
    assert there.asked == []


def test_a_version_that_does_not_run_is_not_installed(
    there: FakeRegistry, tool: FakeTool, cache: Path
) -> None:
    """The smoke test of the pin holds for every version; what fails is said, and nothing stays."""
    tool.script = "echo nothing"

    with pytest.raises(ProvisionError, match=r"tool 1\.1\.0 came as it is recorded, but .*Other versions"):
        install_version("tool", "1.1.0")

    assert leftovers(cache) == []
    assert installed_versions("tool") == []


@pytest.mark.parametrize("content", ["{", '{"package": "other"}', "[]"])
def test_a_spoilt_record_is_no_licence(there: FakeRegistry, cache: Path, content: str) -> None:
    """A record that cannot be used is an error that names it, not a reason to fetch what comes."""
    install_version("tool", "1.1.0")
    record = cache / "tools" / f"tool-1.1.0.{this_platform()}.json"
    record.write_text(content)

    with pytest.raises(ProvisionError, match=rf"The record {record} cannot be used.*Delete it"):
        install_version("tool", "1.1.0")


def test_what_is_only_pinned_is_told(
    there: FakeRegistry, tool: FakeTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tool from neither PyPI nor npm can be had in its pinned version, and in no other."""
    tool.pin = dataclasses.replace(tool.pin, source="debian")

    with pytest.raises(ProvisionError, match=r"tool can be had in its pinned version 1\.0 only"):
        install_version("tool", "1.1.0")


def test_a_lock_file_made_for_a_version_is_kept(
    there: FakeRegistry, tool: FakeTool, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package with dependencies gets a lock file, whose digest is recorded, and which is used ever after."""
    lock = b"all that it needs"
    there.digest = f"sha256:{hashlib.sha256(lock).hexdigest()}"
    tool.pin = dataclasses.replace(tool.pin, source="npm")
    used: list[bytes] = []

    def stated(pin: Pin, version: str, work: Path) -> str:
        (work / "deno.lock").write_bytes(lock)
        return there.digest

    def fetch(pin: Pin, lock: Path, work: Path, deno: Path) -> Path:
        used.append(lock.read_bytes())
        return tool.fetch(pin, work)

    monkeypatch.setattr(there, "stated", stated)
    monkeypatch.setattr(versions_module, "install_client", lambda pinned, progress: None)
    monkeypatch.setattr(install_module, "install", lambda name, progress: None)
    monkeypatch.setattr(install_module, "executable", lambda name: Path(name))
    monkeypatch.setattr(install_module, "fetch_locked", fetch)

    for _ in range(2):
        shutil.rmtree(install_version("tool", "1.1.0"))

    assert used == [lock, lock]
    assert (cache / "tools" / "tool-1.1.0.deno.lock").read_bytes() == lock


# -- what a run asks for


def test_a_beginning_is_resolved_once(there: FakeRegistry) -> None:
    """The registry is asked for its versions once, and the newest that fits is installed."""
    resolver = Resolver()

    assert resolver.provide("tool", "1.1") == "1.1.5"
    assert resolver.provide("tool", "1.1") == "1.1.5"
    assert resolver.resolve("tool", "1") == "1.1.5"
    assert there.asked == ["versions", "1.1.5"]
    assert resolver.resolved == {"tool@1.1": "1.1.5", "tool@1": "1.1.5"}
    assert resolver.notes == []


def test_without_a_network_the_newest_installed_is_taken(there: FakeRegistry) -> None:
    """What could not be asked is said, and what is installed is used."""
    for version in ("1.1.0", "2.0"):
        install_version("tool", version)
    there.down = True
    resolver = Resolver()

    assert resolver.provide("tool", "1.1") == "1.1.0"
    [note] = resolver.notes
    assert note.startswith("tool@1.1 is 1.1.0, the newest one installed: ")
    assert "no network" in note


def test_without_a_network_nothing_is_made_up(there: FakeRegistry) -> None:
    """If nothing that fits is installed, the registry's absence is the error."""
    there.down = True

    with pytest.raises(ProvisionError, match="no network"):
        Resolver().provide("tool", "1.1")


def test_an_unknown_version_gets_the_nearest(there: FakeRegistry) -> None:
    """A version that was never published is told in one sentence with those around it."""
    with pytest.raises(
        ProvisionError,
        match=r"^tool has no version 1\.2 for \S+; the nearest: 1\.1\.0 and 1\.1\.5 and 2\.0\.$",
    ):
        Resolver().resolve("tool", "1.2")


@pytest.mark.parametrize("wanted", ["", "latest", "^1.0", "1.", "../1"])
def test_only_numbers_are_versions(there: FakeRegistry, wanted: str) -> None:
    """Whatever is no number, a path for example, is refused before anybody is asked."""
    with pytest.raises(ProvisionError, match=r"is no version; write a number"):
        Resolver().resolve("tool", wanted)
    assert there.asked == []


def test_what_another_process_has_found_is_taken(there: FakeRegistry) -> None:
    """A worker that is told the version asks and installs nothing."""
    there.down = True

    assert Resolver({"tool@1.1": "1.1.0"}).provide("tool", "1.1") == "1.1.0"
    assert there.fetched == []


# -- for real


@pytest.fixture(scope="module")
def cache_with_old_deno(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the pinned deno, the shim, and deno 2.7.1 beside it, really fetched."""
    root = tmp_path_factory.mktemp("with-old-deno") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_WASMEDGE_CACHE", str(root))
        install("shim")
        install_version("deno", "2.7.1")
    return root


@pytest.mark.network
def test_two_versions_of_deno_run(
    cache_with_old_deno: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pinned deno and an older one run the same program, each in its own version, under its own name."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(cache_with_old_deno))
    pinned = pins_module.pin("deno").version
    known = {runtime.name: runtime for runtime in builtin_runtimes()}

    old, new = select(f"deno@2.7.1,deno@{pinned}", known)

    assert [old.name, new.name] == ["deno@2.7.1", f"deno@{pinned}"]
    for runtime, version in ((old, "2.7.1"), (new, pinned)):
        assert runtime.probe().version == version
        with runtime.start(wat.artifact(tmp_path, wat.ECHO), Limits()) as host:
            outcome = host.invoke(Invocation(b"side by side"))
        assert (outcome.stdout, outcome.runtime) == (b"side by side", runtime.name)


@pytest.mark.network
def test_a_wheel_that_is_not_the_recorded_one_is_refused(
    cache_with_old_deno: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that comes otherwise than when it was recorded is thrown away."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(cache_with_old_deno))
    record = cache_with_old_deno / "tools" / f"deno-2.7.1.{this_platform()}.json"
    told = record.read_text()
    record.write_text(told.replace(json.loads(told)["integrity"], pins_module.pin("node").digest))
    try:
        with pytest.raises(ProvisionError, match=r"(?is)hash.*not what is recorded"):
            install_version("deno", "2.7.1")
    finally:
        record.write_text(told)


@pytest.mark.network
def test_npm_states_versions_and_integrity(
    cache_with_old_deno: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the npm client tells of the pinned workerd is what its pin says, and more versions are listed."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(cache_with_old_deno))
    wanted = pins_module.pin("workerd")

    listed = published("workerd")
    digest = registry.stated(wanted, wanted.version, tmp_path)

    assert wanted.version in listed
    assert newest("1.2026", listed) is not None
    assert digest == wanted.digest


@pytest.mark.network
def test_an_older_npm_package_is_really_installed(
    cache_with_old_deno: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """npm packages come in versions as wheels do; the lock that demands the integrity is made from the record."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(cache_with_old_deno))

    place = install_version("shim", "0.4.1")

    assert (place / pins_module.pin("shim").entry).is_file()
    assert installed_versions("shim") == ["0.4.1", pins_module.pin("shim").version]
    shutil.rmtree(place)
    assert install_version("shim", "0.4.1") == place
