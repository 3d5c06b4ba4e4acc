"""pins.toml says exactly what is fetched, for every platform that we support."""

from __future__ import annotations

import base64
import dataclasses
import re
from pathlib import Path

import pytest

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import pins
from pytest_wasmedge.runtimes import builtin_runtimes

PLATFORMS = ("linux-x86_64", "linux-aarch64", "macos-arm64", "macos-x86_64")


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", pins.tool_names())
def test_every_tool_is_pinned_on_every_platform(name: str, platform: str) -> None:
    """Each pin has an exact version, a digest that its source can check, and a smoke test; Debian's are for Linux."""
    if "any" not in pins.platforms_of(name) and pins.pin(name, PLATFORMS[0]).source == "debian":
        assert set(pins.platforms_of(name)) == {on for on in PLATFORMS if on.startswith("linux")}
        if not platform.startswith("linux"):
            return
    pin = pins.pin(name, platform)

    assert re.fullmatch(r"\d+(\.\d+)+", pin.version)
    if pin.source != "npm" or pin.lock:
        assert re.fullmatch("sha256:[0-9a-f]{64}", pin.digest)
    else:
        assert len(base64.b64decode(pin.digest.removeprefix("sha512-"), validate=True)) == 64
    assert pin.entry
    assert pin.smoke.argv
    assert pin.smoke.stdout


def test_no_digest_stands_twice() -> None:
    """Two packages never share a digest, so none was copied to the wrong place."""
    digests = [pins.pin(name, on).digest for name in pins.tool_names() for on in pins.platforms_of(name)]

    assert len(digests) == len(set(digests))


def test_no_download_address_is_written_down() -> None:
    """Which registry or mirror answers is the user's setting, so pins.toml names none."""
    text = Path(pins.__file__).with_name("pins.toml").read_text(encoding="utf-8")

    assert "://" not in text.replace("file://", "")
    assert not re.search(r"\.(whl|tgz)\b", text)


def test_another_digest_is_another_folder() -> None:
    """A tool that was installed from one pin is never taken for another pin of the same version."""
    pin = pins.pin("bun", "linux-x86_64")
    other = dataclasses.replace(pin, digest=pins.pin("bun", "macos-arm64").digest)

    assert re.fullmatch(r"bun-\d+\.\d+\.\d+-[0-9a-f]{8}", pin.folder_name)
    assert other.folder_name != pin.folder_name


def test_what_a_tool_needs_comes_first() -> None:
    """npm packages come after deno, which fetches them, and each tool is named once."""
    assert pins.in_order(["bun", "shim", "binaryen"]) == ["deno", "bun", "shim", "node", "binaryen"]


def test_every_runtime_needs_only_pinned_tools() -> None:
    """What the built-in runtimes and the build need is pinned."""
    needed = {tool for runtime in builtin_runtimes() for tool in runtime.tools} | set(pins.BUILD_TOOLS)

    assert needed == set(pins.tool_names())


def test_an_unknown_tool_gets_a_suggestion() -> None:
    """A misspelt name is answered with the nearest one and all that there are."""
    with pytest.raises(ProvisionError, match=r"'workred'\. Did you mean workerd\? Pinned tools: deno, node"):
        pins.pin("workred")


def test_a_platform_without_a_pin_is_named() -> None:
    """On a platform that we have no package for, the error names it and the way round."""
    with pytest.raises(ProvisionError, match=r"bun is not pinned for windows-x86_64 .*PYTEST_WASMEDGE_BUN"):
        pins.pin("bun", "windows-x86_64")
