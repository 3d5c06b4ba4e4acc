"""Installing: verified, proven to run, whole or not at all."""

from __future__ import annotations

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import executable, install, installed
from pytest_wasmedge.provision import pins as pins_module
from pytest_wasmedge.provision.digests import MANIFEST
from pytest_wasmedge.provision.pins import Pin
from tests.provision.conftest import FakeTool, install_module, leftovers


def test_an_installed_tool_is_not_fetched_again(tool: FakeTool) -> None:
    """Installing is idempotent, and the entry of what was installed can be executed."""
    place = install("tool")

    assert install("tool") == place
    assert installed("tool") == place
    assert executable("tool").stat().st_mode & 0o100
    assert tool.fetches == 1


def test_only_the_tool_itself_stays(tool: FakeTool, cache: Path) -> None:
    """After an installation the cache holds the tool's folder and nothing temporary."""
    place = install("tool")

    assert leftovers(cache) == [place.name]
    assert sorted(path.name for path in place.iterdir()) == ["bin", MANIFEST]


def test_two_at_once_install_it_once(tool: FakeTool) -> None:
    """Who comes second waits for the first and takes its work."""
    with ThreadPoolExecutor(4) as pool:
        places = set(pool.map(install, ["tool"] * 4))

    assert len(places) == 1
    assert tool.fetches == 1


@pytest.mark.parametrize("script", ["echo 41", "echo 42; exit 1", "exec /does/not/exist"])
def test_a_tool_that_does_not_run_is_not_installed(
    tool: FakeTool, cache: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it counts as installed, a tool must print 42 and end with 0."""
    monkeypatch.setattr(pins_module, "programs", lambda: ["tool"])
    tool.script = script

    with pytest.raises(ProvisionError, match=r"does not run here.*PYTEST_WASMEDGE_TOOL=PATH"):
        install("tool")

    assert leftovers(cache) == []
    assert installed("tool") is None


def test_an_entry_that_is_missing_is_reported(tool: FakeTool, cache: Path) -> None:
    """A package without the file that the pin promises is an error, not a broken installation."""
    tool.pin = dataclasses.replace(tool.pin, entry="bin/other")

    with pytest.raises(ProvisionError, match=r"tool 1\.0 has no bin/other"):
        install("tool")

    assert leftovers(cache) == []


def test_an_interruption_leaves_nothing(tool: FakeTool, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a download leaves no half of it, and the next try works."""

    def interrupted(pin: Pin, work: Path) -> Path:
        tool.fetch(pin, work)
        raise KeyboardInterrupt

    monkeypatch.setattr(install_module, "fetch_pypi", interrupted)
    with pytest.raises(KeyboardInterrupt):
        install("tool")
    assert leftovers(cache) == []

    monkeypatch.setattr(install_module, "fetch_pypi", tool.fetch)
    assert install("tool").is_dir()


def test_what_a_killed_process_left_is_cleared(tool: FakeTool, cache: Path) -> None:
    """A folder that `kill -9` left behind goes with the next installation of the same tool."""
    (cache / "tools" / ".tool.abcdef" / "package").mkdir(parents=True)
    for path in (cache, cache / "tools"):
        path.chmod(0o700)

    place = install("tool")

    assert leftovers(cache) == [place.name]


def test_what_is_not_installed_cannot_be_used(cache: Path) -> None:
    """Asking for the entry of a tool that is not there names the command that gets it."""
    with pytest.raises(ProvisionError, match=r"shim is not installed\. Get it: pytest-wasmedge install shim"):
        executable("shim")


@pytest.fixture(scope="module")
def cache_with_deno(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds deno alone, really fetched: deno is the client for everything from npm."""
    root = tmp_path_factory.mktemp("with-deno") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_WASMEDGE_CACHE", str(root))
        install("deno")
    return root


@pytest.mark.network
def test_the_shim_is_really_installed(
    cache_with_deno: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real package comes from the real registry, is self-contained, and leaves nothing elsewhere."""
    home = tmp_path / "home"
    home.mkdir()
    # Where the registry is may be said in the home folder, so only what deno calls home moves.
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(cache_with_deno))
    said: list[str] = []

    place = install("shim", said.append)

    assert executable("shim").is_file()
    assert not any(path.is_symlink() for path in place.rglob("*"))
    assert said == [
        "fetching @bjorn3/browser_wasi_shim 0.4.2 from npm",
        "checking that shim 0.4.2 runs",
    ]
    assert leftovers(cache_with_deno) == sorted([pins_module.pin("deno").folder_name, place.name])
    assert list(home.iterdir()) == []
    shutil.rmtree(place)


@pytest.mark.network
def test_a_package_that_is_not_the_pinned_one_is_refused(
    cache_with_deno: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tampered integrity really makes the client fail, and nothing of the package stays."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(cache_with_deno))
    real = pins_module.pin
    wrong = dataclasses.replace(real("shim"), digest=real("ruby").digest)
    monkeypatch.setattr(install_module, "pin", lambda name: wrong if name == "shim" else real(name))

    with pytest.raises(ProvisionError, match=r"checksum did not match.*not what is pinned"):
        install("shim")

    assert leftovers(cache_with_deno) == [real("deno").folder_name]


@pytest.mark.network
def test_a_wheel_that_is_not_the_pinned_one_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong sha256 makes the Python client fail in the same way."""
    real = pins_module.pin
    wrong = dataclasses.replace(real("wasmtime"), digest=real("deno").digest)
    monkeypatch.setattr(install_module, "pin", lambda _: wrong)

    with pytest.raises(ProvisionError, match=r"(?is)hash.*not what is pinned"):
        install("wasmtime")

    assert leftovers(cache) == []
