"""Moving pins: what is written into pins.toml and the lock files, what stays byte for byte, and what stops it."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from pathlib import Path

import pytest

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import moving, pins
from pytest_wasmedge.provision.moving import move, unwritable
from pytest_wasmedge.provision.standing import Offer, Standing, ask
from tests.provision.registries import Checkout, Registries


def changes(before: str, after: str) -> list[str]:
    """Return the lines that went and came, in their order."""
    lines = difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True))
    return [line.rstrip("\n") for line in lines if line[0] in "+-"]


def files(checkout: Checkout) -> dict[str, bytes]:
    """Return everything in the checkout."""
    return {
        str(path.relative_to(checkout.root)): path.read_bytes()
        for path in checkout.root.rglob("*")
        if path.is_file()
    }


def test_our_pins_are_read_and_written_byte_for_byte() -> None:
    """The real pins.toml comes out of the editor as it went in."""
    assert moving._read().as_string().encode() == pins.PINS.read_bytes()


def test_nothing_newer(checkout: Checkout) -> None:
    """What is at its newest stays, and no file is touched."""
    before = files(checkout)

    said = [str(move(ask(tool))) for tool in ("py", "js", "tree")]

    assert said == ["py: stays at 1.0", "js: stays at 1.0.0", "tree: stays at 1.0.0"]
    assert files(checkout) == before


def test_what_moves_and_what_stays(checkout: Checkout, registries: Registries) -> None:
    """Version and digests of the one tool are new; comments, order and layout around them stay byte for byte."""
    linux, mac = (registries.add_wheel("1.1", on) for on in ("linux-x86_64", "macos-arm64"))
    before = checkout.pins.read_text()
    old = [pins.pin("py", on).digest for on in ("linux-x86_64", "macos-arm64")]

    done = move(ask("py"))

    assert (str(done), done.changed) == ("py: 1.0 -> 1.1", True)
    assert changes(before, checkout.pins.read_text()) == [
        '- version =   "1.0"  # why this one',
        '+ version =   "1.1"  # why this one',
        f'- linux-x86_64.digest = "{old[0]}"',
        f'- macos-arm64.digest  = "{old[1]}" # Apple\'s',
        f'+ linux-x86_64.digest = "{linux}"',
        f'+ macos-arm64.digest  = "{mac}" # Apple\'s',
    ]
    checkout.read_anew()
    assert ask("py").state == "newest"


def test_line_ends_stay(checkout: Checkout, registries: Registries) -> None:
    """A file with other line ends keeps them."""
    checkout.pins.write_bytes(checkout.pins.read_bytes().replace(b"\n", b"\r\n"))
    checkout.read_anew()
    for on in ("linux-x86_64", "macos-arm64"):
        registries.add_wheel("1.1", on)

    move(ask("py"))

    assert checkout.pins.read_bytes().count(b"\n") == checkout.pins.read_bytes().count(b"\r\n")


@pytest.mark.parametrize("tool", ["py", "js"])
def test_a_platform_without_the_newest_version(checkout: Checkout, registries: Registries, tool: str) -> None:
    """It gets a line with its own version above its digest, and loses that when all have the same version again."""

    def publish(version: str, *platforms: str) -> None:
        for on in platforms:
            if tool == "py":
                registries.add_wheel(version, on)
            else:
                registries.add_npm(f"@fake/js-{'mac' if on.startswith('mac') else 'linux'}", version)

    before = checkout.pins.read_text()
    old = pins.pin(tool, "macos-arm64").version
    publish("2.0.0", "linux-x86_64")
    assert str(move(ask(tool))) == f"{tool}: {old} -> 2.0.0"
    own = [line[2:] for line in changes(before, checkout.pins.read_text()) if old in line and line[0] == "+"]
    prefix = "macos-arm64." if tool == "py" else ""
    assert own == [f'{prefix}version = "{old}"']
    lines = checkout.pins.read_text().splitlines()
    assert lines[lines.index(own[0]) + 1].startswith(f"{prefix}digest")
    checkout.read_anew()
    assert pins.pin(tool, "linux-x86_64").version == "2.0.0"
    assert pins.pin(tool, "macos-arm64").version == old
    assert ask(tool).state == "newest"

    publish("1.9.0", "macos-arm64")
    assert str(move(ask(tool))) == f"{tool}: stays at 2.0.0; macos-arm64: {old} -> 1.9.0"
    checkout.read_anew()
    assert pins.pin(tool, "macos-arm64").version == "1.9.0"

    publish("2.0.0", "macos-arm64")
    assert str(move(ask(tool))) == f"{tool}: stays at 2.0.0; macos-arm64: 1.9.0 -> 2.0.0"
    left = checkout.pins.read_text()
    assert 'version = "1.9.0"' not in left
    assert len(left.splitlines()) == len(before.splitlines())
    assert "# What stands above js.\n[js]\n" in left


def test_a_locked_tree(checkout: Checkout, registries: Registries) -> None:
    """Its lock file is made anew, less what is not wanted with what only that needed, and its digest is pinned."""
    registries.add_npm("tree", "1.1.0", {"light": "1", "heavy": "1"})
    registries.add_npm("light", "1.0.5", {"shared": "*"})

    assert str(move(ask("tree"))) == "tree: 1.0.0 -> 1.1.0"

    checkout.read_anew()
    pin = pins.pin("tree")
    content = checkout.lock.read_bytes()
    assert (pin.version, pin.digest) == ("1.1.0", f"sha256:{hashlib.sha256(content).hexdigest()}")
    assert sorted(json.loads(content)["npm"]) == ["light@1.0.5", "shared@1.0.0", "tree@1.1.0"]
    assert json.loads(content)["npm"]["tree@1.1.0"]["dependencies"] == ["light"]
    assert registries.url not in content.decode()
    assert ask("tree").state == "newest"


def test_a_tree_whose_dependencies_moved(checkout: Checkout, registries: Registries) -> None:
    """The same version may need newer packages by now: the lock file is made anew, and that is said."""
    registries.add_npm("shared", "1.0.1")

    assert str(move(ask("tree"))) == (
        "tree: stays at 1.0.0; what it needs has moved, and its lock file is written anew"
    )
    assert "shared@1.0.1" in checkout.lock.read_text()


def test_other_bytes_of_the_same_version(checkout: Checkout, registries: Registries) -> None:
    """A package that was replaced is pinned anew, with a warning: somebody has to find out why."""
    now = registries.add_wheel("1.0", "macos-arm64", salt="changed")

    assert str(move(ask("py"))) == (
        "py: stays at 1.0; another digest of the same version (macos-arm64): find out why before you commit that"
    )
    assert now in checkout.pins.read_text()


# -- what stops it


def test_what_could_not_be_asked_is_left(checkout: Checkout, registries: Registries) -> None:
    """One platform that nobody could be asked about leaves the whole tool as it was."""
    registries.add_wheel("1.1", "linux-x86_64")
    registries.withdraw_wheels("1.0", "macos-arm64")
    before = files(checkout)

    with pytest.raises(
        ProvisionError, match=r"^py is left as it was, because not everything could be asked: "
    ):
        move(ask("py"))

    assert files(checkout) == before


def test_a_platform_without_any_version_is_left(checkout: Checkout, registries: Registries) -> None:
    """A platform whose package is gone altogether is for people to decide about."""
    registries.add_npm("@fake/js-linux", "1.1.0")
    del registries.npm["@fake/js-mac"]
    before = files(checkout)

    with pytest.raises(
        ProvisionError, match=r"^js is left as it was: npm has no version at all for macos-arm64"
    ):
        move(ask("js"))

    assert files(checkout) == before


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device", "a file"), KeyboardInterrupt()])
@pytest.mark.parametrize("victim", ["deno.lock", "pins.toml"])
def test_what_fails_midway_leaves_all_as_it_was(
    checkout: Checkout,
    registries: Registries,
    monkeypatch: pytest.MonkeyPatch,
    fault: BaseException,
    victim: str,
) -> None:
    """A full disk, or Ctrl-C, while either file is put in place: lock file and pins still belong together."""
    registries.add_npm("tree", "1.1.0", {"light": "1"})
    standing, before = ask("tree"), files(checkout)
    replace = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target.name == victim:
            raise fault
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    expected = ProvisionError if isinstance(fault, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as raised:
        move(standing)

    assert files(checkout) == before
    if expected is ProvisionError:
        assert "No space left on device. All pins of this tool are as they were" in str(raised.value)


def test_a_lock_that_deno_refuses_is_not_written(
    checkout: Checkout, registries: Registries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock file that is not complete as deno sees it is an error, and what was pinned stays."""
    registries.add_npm("tree", "1.1.0", {"light": "1"})
    standing, before = ask("tree"), files(checkout)
    broken = '{"version": "5", "specifiers": {}, "npm": {}}'
    monkeypatch.setattr("pytest_wasmedge.provision.registry.pruned", lambda text, without: broken)

    with pytest.raises(ProvisionError, match=r"tree 1\.1\.0 could not be locked"):
        move(standing)

    assert files(checkout) == before


def test_only_a_checkout_is_changed(checkout: Checkout) -> None:
    """Where the package is installed, its pins are not to be moved, and the sentence says where they are."""
    assert unwritable() == ""
    (checkout.root / "pyproject.toml").unlink()
    assert unwritable() == (
        f"{checkout.pins} belongs to an installed pytest-wasmedge, whose pins are not to be moved: do it in a checkout "
        "of the project, with `make pins UPDATE=1`."
    )


@pytest.mark.parametrize("victim", ["pins.toml", "locks"])
def test_what_cannot_be_written(checkout: Checkout, monkeypatch: pytest.MonkeyPatch, victim: str) -> None:
    """Files of somebody else are told of in one sentence."""
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != victim and allowed(path, mode))

    assert unwritable().startswith(f"{checkout.pins.parent / victim} cannot be written by you")


# -- ranges of Debian


@pytest.mark.parametrize(
    ("pinned", "newest", "behind", "new"),
    [
        (">=0.14.1,<0.18", "0.17.1", False, ">=0.14.1,<0.18"),
        (">=0.14.1,<0.18", "0.18.2", True, ">=0.14.1,<0.19"),
        (">=0.14.1, <=0.17.9", "1.0", True, ">=0.14.1, <1.1"),
        ("<0.18,>=0.14.1", "2", True, "<2.1,>=0.14.1"),
    ],
)
def test_the_upper_end_of_a_range_moves(
    checkout: Checkout, pinned: str, newest: str, behind: bool, new: str
) -> None:
    """It ends before the next minor version after the newest one; its lower end, and the suites, stay."""
    text = f'[edge] # from Debian\nsuites = ["forky",\n  "trixie"]\nversion = "{pinned}" # accepted\n'
    checkout.pins.write_text(text)

    done = move(Standing("edge", "debian", pinned, (Offer("linux-x86_64", pinned, newest, behind),)))

    assert (done.old, done.new) == (pinned, new)
    assert checkout.pins.read_text() == text.replace(pinned, new)
