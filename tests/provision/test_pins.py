"""pins.toml says exactly what is fetched, for every platform that we support."""

from __future__ import annotations

import base64
import dataclasses
import re
import sys
import tomllib
from pathlib import Path

import pytest

from examples.build import TOOLS as EXAMPLE_TOOLS
from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import find, pins
from pytest_wasmedge.runtimes import builtin_runtimes

PLATFORMS = ("linux-x86_64", "linux-aarch64", "macos-arm64", "macos-x86_64")
FILE = Path(pins.__file__).with_name("pins.toml")
#: Debian's packages, and a client that is made for machines of a platform.
LINUX_ALONE = {"runsc", "wasmedge", "wazero", "awslambdaric"}


def platforms_of(name: str) -> list[str]:
    """Return the platforms that this tool is pinned for; ``any`` stands for all."""
    return list(tomllib.loads(FILE.read_text(encoding="utf-8"))[name]["platforms"])


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", pins.tool_names())
def test_every_tool_is_pinned_on_every_platform(name: str, platform: str) -> None:
    """Each pin has an exact version, a digest that its source can check, and a smoke test; some are for Linux alone."""
    if name in LINUX_ALONE:
        of_each_python = {on.partition("-cp")[0] for on in platforms_of(name)}
        assert of_each_python == {on for on in PLATFORMS if on.startswith("linux")}
        if not platform.startswith("linux"):
            return
    pin = pins.pin(name, platform)

    assert pin.entry
    assert pin.smoke.argv
    assert pin.smoke.stdout
    if pin.source == "debian":
        # Signed by its archive, where no digest lasts.
        return
    assert re.fullmatch(r"\d+(\.\d+)+", pin.version)
    if pin.source != "npm" or pin.lock:
        assert re.fullmatch("sha256:[0-9a-f]{64}", pin.digest)
    else:
        assert len(base64.b64decode(pin.digest.removeprefix("sha512-"), validate=True)) == 64


def test_no_digest_stands_twice() -> None:
    """Two packages never share a digest, so none was copied to the wrong place."""
    every = [pins.pin(name, on) for name in pins.tool_names() for on in platforms_of(name)]
    digests = [pin.digest for pin in every if pin.source != "debian"]

    assert len(digests) == len(set(digests))


def test_no_download_address_is_written_down() -> None:
    """Which registry or mirror answers is the user's setting, so pins.toml names none."""
    text = FILE.read_text(encoding="utf-8")

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
    """What the built-in runtimes, the build, the examples, tests and a benchmark need is pinned, and nothing else."""
    needed = {tool for runtime in builtin_runtimes() for tool in runtime.tools} | set(pins.BUILD_TOOLS)
    needed |= {*EXAMPLE_TOOLS, "actionlint", "axe", "pyodide"}

    assert needed == set(pins.tool_names())


def test_an_unknown_tool_gets_a_suggestion() -> None:
    """A misspelt name is answered with the nearest one and all that there are."""
    with pytest.raises(ProvisionError, match=r"'workred'\. Did you mean workerd\? Pinned tools: deno, node"):
        pins.pin("workred")


def test_a_platform_without_a_pin_is_named() -> None:
    """On a platform that we have no package for, the error names it and the way round."""
    with pytest.raises(ProvisionError, match=r"bun is not pinned for windows-x86_64 .*PYTEST_WASMEDGE_BUN"):
        pins.pin("bun", "windows-x86_64")


def test_what_a_tool_is_the_same_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with a part compiled for each Python is another one in another Python; no other tool is."""
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    monkeypatch.setattr(pins, "this_platform", lambda: "linux-aarch64")
    found = {name: pins.key_here(name) for name in ("deno", "shim", "awslambdaric", "unknown")}

    here = "linux-aarch64"
    assert found == {"deno": here, "shim": here, "awslambdaric": f"{here}-{python}", "unknown": here}
    assert pins.pin("awslambdaric").digest == pins.pin("awslambdaric", f"{here}-{python}").digest
    monkeypatch.setattr(pins, "this_platform", lambda: "macos-arm64")
    assert not pins.pinned_here("awslambdaric")


def test_a_tool_that_is_no_program_has_no_variable() -> None:
    """Where no program of one's own is looked for, no variable is offered that nobody would read."""
    offered = {
        name for name in pins.tool_names() if "PYTEST_WASMEDGE_" in pins.pin(name, PLATFORMS[0]).way_out
    }

    assert offered == set(pins.programs())
    with pytest.raises(
        ProvisionError, match=r"wizer is not pinned for windows-x86_64 .*\)\. One of your own cannot"
    ):
        pins.pin("wizer", "windows-x86_64")


@pytest.mark.parametrize("name", pins.programs())
def test_the_variable_that_is_offered_is_the_one_that_is_read(
    name: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the advice says can be typed as it stands: a hyphen of the name is none in the variable."""
    variable = pins.pin(name, PLATFORMS[0]).way_out.partition("=")[0]
    monkeypatch.setenv(variable, "/bin/sh")

    found = find(name)

    assert found is not None
    assert found.origin == variable
    assert re.fullmatch("[A-Z0-9_]+", variable)
