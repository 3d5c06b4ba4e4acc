"""`pytest-wasmedge pins`: what is shown and with which status, and which pins are moved."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from pytest_wasmedge.commands import cli
from pytest_wasmedge.commands import pins as pins_command
from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import no_source, pins
from pytest_wasmedge.provision.moving import Move
from pytest_wasmedge.provision.standing import Offer, Standing


class FakeRegistries:
    """Answers about every tool what is pinned, and for some something else; knows what was asked and moved."""

    def __init__(self) -> None:
        self.odd: dict[str, Offer] = {}
        self.refused: dict[str, str] = {}
        self.asked: list[str] = []
        self.moved: list[str] = []

    def ask(self, tool: str, progress: Callable[[str], None]) -> Standing:
        """Do what `standing.ask` does."""
        self.asked.append(tool)
        version = pins.version_of(tool)
        offers = [Offer(on, version, version) for on in pins.platforms_of(tool)]
        offers[0] = self.odd.get(tool, offers[0])
        return Standing(tool, pins.pin(tool, offers[0].on).source, version, tuple(offers))

    def move(self, standing: Standing, progress: Callable[[str], None]) -> Move:
        """Do what `moving.move` does."""
        if standing.tool in self.refused:
            raise ProvisionError(self.refused[standing.tool])
        self.moved.append(standing.tool)
        return Move(standing.tool, standing.pinned, standing.newest or standing.pinned, ())


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> FakeRegistries:
    """Registries that say what a test wants; our own pins.toml is not touched."""
    fake = FakeRegistries()
    monkeypatch.setattr(pins_command, "ask", fake.ask)
    monkeypatch.setattr(pins_command, "move", fake.move)
    return fake


def row(out: str, tool: str) -> str:
    """Return the line of this tool."""
    [line] = [line for line in out.splitlines() if line.split()[:1] == [tool]]
    return " ".join(line.split())


def test_every_pin_has_a_line(there: FakeRegistries, capsys: pytest.CaptureFixture[str]) -> None:
    """Without names every tool is shown, with source, pinned version, newest version, state; the status is 0."""
    there.odd["bun"] = Offer("linux-x86_64", pins.version_of("bun"), "9.9.9", behind=True)

    assert cli.main(["pins"]) == 0

    told = capsys.readouterr()
    assert [line.split()[0] for line in told.out.splitlines()] == ["tool", *pins.tool_names()]
    deno = pins.version_of("deno")
    assert row(told.out, "deno") == f"deno pypi {deno} {deno} newest"
    assert row(told.out, "bun") == f"bun npm {pins.version_of('bun')} 9.9.9 newer: 9.9.9 (linux-x86_64)"
    assert told.err == ""


def test_what_is_gone_is_a_failure(there: FakeRegistries, capsys: pytest.CaptureFixture[str]) -> None:
    """One pin that cannot be fetched any more makes the status 1, and the last line says what to do."""
    there.odd["bun"] = Offer("linux-x86_64", "1", "2", behind=True, gone="npm states other bytes")

    assert cli.main(["pins"]) == 1

    told = capsys.readouterr()
    assert "cannot be fetched any more: npm states other bytes (linux-x86_64); newer: 2" in row(
        told.out, "bun"
    )
    assert row(told.out, "ruby").endswith("newest")
    assert told.err == (
        "pytest-wasmedge: what is pinned of bun cannot be fetched any more. In a checkout, "
        "`pytest-wasmedge pins --update bun` pins what there is now.\n"
    )


def test_who_does_not_answer_stops_nobody(there: FakeRegistries, capsys: pytest.CaptureFixture[str]) -> None:
    """A registry that fails is told as such, after all others were asked, and is no success."""
    there.odd["deno"] = Offer("linux-x86_64", "1", unasked="no network")

    assert cli.main(["pins"]) == 1

    told = capsys.readouterr()
    assert there.asked == pins.tool_names()
    assert "could not be asked: no network (linux-x86_64)" in row(told.out, "deno")
    assert "pinned of deno can be fetched is not known" in told.err
    assert "any more" not in told.err


def test_one_object(there: FakeRegistries, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints one object with all platforms, and has the same status."""
    there.odd["bun"] = Offer("linux-x86_64", "1", "2", gone="npm states other bytes")

    assert cli.main(["pins", "bun", "deno", "--json"]) == 1

    told = json.loads(capsys.readouterr().out)
    assert told["fetchable"] is False
    bun, deno = told["pins"]
    assert (bun["tool"], bun["fetchable"], bun["offers"][0]["gone"]) == (
        "bun",
        False,
        "npm states other bytes",
    )
    assert (deno["tool"], deno["newest"], deno["state"]) == ("deno", pins.version_of("deno"), "newest")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("dneo", "unknown tool 'dneo'. Did you mean deno? Known: deno, node"),
        (
            "cloudflare",
            "unknown tool 'cloudflare'. The runtime of that name needs node and shim and wrangler.",
        ),
    ],
)
def test_an_unknown_name(
    there: FakeRegistries, capsys: pytest.CaptureFixture[str], name: str, hint: str
) -> None:
    """A name that is no tool is a usage error, before anybody is asked; a runtime's name leads to its tools."""
    with pytest.raises(SystemExit, match="2"):
        cli.main(["pins", "deno", name])

    assert hint in capsys.readouterr().err
    assert there.asked == []


def test_moving_some(there: FakeRegistries, capsys: pytest.CaptureFixture[str]) -> None:
    """`--update` with names moves these, says of each what became of it, and what is to be done next."""
    there.odd["bun"] = Offer("linux-x86_64", "1", "9.9.9", behind=True)

    assert cli.main(["pins", "--update", "bun", "deno", "bun"]) == 0

    assert there.moved == ["bun", "deno"]
    assert capsys.readouterr().out.splitlines() == [
        f"bun: {pins.version_of('bun')} -> 9.9.9",
        f"deno: stays at {pins.version_of('deno')}",
        "Next: run `pytest-wasmedge install bun`, then `make conformance`, and note what changed in CHANGELOG.md.",
    ]


def test_what_cannot_be_moved_stops_nobody(there: FakeRegistries, capsys: pytest.CaptureFixture[str]) -> None:
    """A tool that cannot be moved stays, the others are moved, its reason comes last, and the status is 1."""
    there.refused["node"] = "node is left as it was: no network."

    assert cli.main(["pins", "--update"]) == 1

    told = capsys.readouterr()
    assert there.moved == [tool for tool in pins.tool_names() if tool != "node"]
    assert "node: left as it was" in told.out.splitlines()
    assert told.err == "pytest-wasmedge: node is left as it was: no network.\n"
    assert "Next:" not in told.out


def test_an_installed_package_is_not_changed(
    there: FakeRegistries, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the pins cannot be written that is the whole answer, before anybody is asked."""
    monkeypatch.setattr(pins_command, "unwritable", lambda: "pins.toml belongs to an installed package.")

    assert cli.main(["pins", "--update"]) == 1

    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "pytest-wasmedge: pins.toml belongs to an installed package.\n")
    assert there.asked == []


# Two minutes for what `make pins` asks, too, and what the world can change at any time.
@pytest.mark.skipif(not os.environ.get("PYTEST_WASMEDGE_TEST_ALL"), reason="make pins asks the same")
@pytest.mark.network
def test_every_pin_of_ours_can_still_be_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    """The real registries still state every version and digest that is pinned, for all platforms of every tool."""
    here = [tool for tool in pins.tool_names() if not no_source(tool)]
    status = cli.main(["pins", "--json", *here])

    told = json.loads(capsys.readouterr().out)
    assert [(each["tool"], each["state"]) for each in told["pins"] if not each["fetchable"]] == []
    assert status == 0
    assert all(each["newest"] for each in told["pins"])
