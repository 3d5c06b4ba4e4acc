"""`pytest-wasmedge install`: what is left out, what fails, what is said of a version that was found."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_wasmedge import provision
from pytest_wasmedge.commands import cli
from pytest_wasmedge.commands import install as install_command
from pytest_wasmedge.drivers.compiled import compiled
from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.model import Artifact
from pytest_wasmedge.provision import debian, pins, registry, versions
from pytest_wasmedge.provision.pins import RECORD, pin
from pytest_wasmedge.runtimes import builtin_runtimes
from tests import tools


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of this test."""
    root = tmp_path / "cache"
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(root))
    return root


@pytest.fixture
def installs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the installer; this list tells which tools it was asked for, and in what order."""
    done: list[str] = []

    def install(name: str, progress: Callable[[str], None]) -> Path:
        done.append(name)
        return cache

    monkeypatch.setattr(install_command, "install", install)
    return done


@pytest.fixture
def no_debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system whose apt knows archives, but none of Debian's."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "sources.list").write_text("deb http://archive.test/ubuntu noble main\n")
    monkeypatch.setattr(debian, "SOURCES", tmp_path / "etc")


def all_tools() -> set[str]:
    """Return the tools that the runtimes need, and those that these need."""
    return set(pins.in_order([tool for runtime in builtin_runtimes() for tool in runtime.tools]))


@pytest.mark.usefixtures("no_debian")
def test_what_has_no_source_here_is_left_out(installs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without names, a system that is not Debian is no failure: one line says what is left out, why, and the way."""
    assert cli.main(["install"]) == 0

    told = capsys.readouterr()
    assert set(installs) == all_tools() - {"runsc", "wasmedge", "wazero"}
    lines = [line for line in told.out.splitlines() if line.startswith("left out")]
    for line, name in zip(lines, ("runsc", "wasmedge", "wazero"), strict=True):
        assert line.startswith(f"left out: {name} comes from Debian")
        assert line.endswith(f"it is found on PATH, or set PYTEST_WASMEDGE_{name.upper()} to its path.")
    assert told.err == ""


def test_what_is_not_pinned_here_is_left_out(
    installs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tool that is pinned for other platforms alone is told of in the same way."""
    monkeypatch.setattr(pins, "this_platform", lambda: "macos-arm64")

    assert cli.main(["install"]) == 0

    assert "wasmedge" not in installs
    assert "left out: wasmedge is not pinned for macos-arm64 (only for linux" in capsys.readouterr().out


@pytest.mark.usefixtures("no_debian")
def test_what_is_there_needs_no_source(
    installs: list[str], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tool that was installed when there was a source is not left out."""
    package = {"package": "wasmedge", "version": "0.17.1-1", "digest": "sha256:" + "0" * 64}
    record = json.dumps({"suite": "forky", "packages": [package]})
    tools.put(cache, pin("wasmedge"), files={RECORD: record.encode()})

    assert cli.main(["install"]) == 0

    told = capsys.readouterr().out
    assert "left out: wasmedge" not in told
    assert "wasmedge 0.17.1-1 already there" in " ".join(told.split())


@pytest.mark.usefixtures("cache", "no_debian")
def test_what_is_named_must_have_a_source(capsys: pytest.CaptureFixture[str]) -> None:
    """Asked for by its name, a tool that cannot be had is a failure."""
    assert cli.main(["install", "wasmedge"]) == 1

    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("pytest-wasmedge: wasmedge comes from Debian")


@pytest.mark.usefixtures("cache")
def test_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal each step says of which of how many tools it is."""
    shown: list[str] = []

    @contextmanager
    def on_a_terminal(console: object) -> Iterator[Callable[[str], None]]:
        yield shown.append

    def install(name: str, progress: Callable[[str], None]) -> Path:
        progress(f"fetching {name}")
        raise ProvisionError(f"{name}: is not to be had.")

    monkeypatch.setattr(install_command, "progress_on", on_a_terminal)
    monkeypatch.setattr(install_command, "install", install)

    assert cli.main(["install", "deno", "node"]) == 1
    # The second is left out, since it needs the first.
    assert shown == ["1 of 3: fetching deno", "3 of 3: fetching node"]


@pytest.fixture
def wasmedge_is_gone(installs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A day on which one tool cannot be had."""
    working: Callable[[str, Callable[[str], None]], Path] = vars(install_command)["install"]

    def gone(name: str, progress: Callable[[str], None]) -> Path:
        if name == "wasmedge":
            raise ProvisionError("Debian offers no such package.")
        return working(name, progress)

    monkeypatch.setattr(install_command, "no_source", lambda tool: "")
    monkeypatch.setattr(install_command, "install", gone)


@pytest.mark.usefixtures("wasmedge_is_gone")
@pytest.mark.parametrize(("argv", "status"), [([], 0), (["--strict"], 1), (["wasmedge", "deno"], 1)])
def test_one_absent_tool_is_one_absent_tool(
    installs: list[str], capsys: pytest.CaptureFixture[str], argv: list[str], status: int
) -> None:
    """All others are tried, the summary and the last line say what is missing; only --strict and names fail."""
    assert cli.main(["install", *argv]) == status

    told = capsys.readouterr()
    assert "wasmedge" not in installs
    assert {"deno"} <= set(installs)
    if "deno" not in argv:
        assert set(installs) == all_tools() - {"wasmedge"}
    rows = [line.split() for line in told.out.splitlines()]
    assert ["wasmedge", "-", "not", "here"] in rows
    assert told.out.splitlines()[-1].endswith("tools are here; without the others, runs leave out: wasmedge")
    assert told.err == "pytest-wasmedge: Debian offers no such package.\n"


@pytest.mark.usefixtures("no_debian")
def test_strict_leaves_nothing_out(
    installs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--strict demands what this system has no source of, too."""
    working: Callable[[str, Callable[[str], None]], Path] = vars(install_command)["install"]
    real: Callable[[str, Callable[[str], None]], Path] = vars(provision)["install"]

    def install(name: str, progress: Callable[[str], None]) -> Path:
        return (real if name == "wasmedge" else working)(name, progress)

    monkeypatch.setattr(install_command, "install", install)

    assert cli.main(["install", "--strict"]) == 1

    told = capsys.readouterr()
    assert set(installs) == all_tools() - {"wasmedge"}
    assert told.err.startswith("pytest-wasmedge: wasmedge comes from Debian")


def test_a_fault_of_many_tools_is_told_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that is full is one line, and what needs what could not be installed is not tried."""

    def full(name: str, progress: Callable[[str], None]) -> Path:
        raise ProvisionError("The cache folder cannot be written: No space left on device.")

    monkeypatch.setattr(install_command, "install", full)

    assert cli.main(["install", "node", "deno", "wasmtime-cli"]) == 1

    faults = capsys.readouterr().err.splitlines()
    assert faults[0] == "pytest-wasmedge: The cache folder cannot be written: No space left on device."
    assert all("because it needs" in line for line in faults[1:])


def test_how_a_version_was_found_is_told(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a network the newest installed version is taken, and that it may not be the newest is said."""
    version = pin("deno").version
    beginning = version.partition(".")[0]
    tools.put(cache, pin("deno"))

    def down(*_: object) -> list[str]:
        raise ProvisionError("The registry could not be asked: no network. Try again.")

    monkeypatch.setattr(versions, "_published", {})
    monkeypatch.setattr(registry, "published", down)
    # What deno needs beside its program.
    monkeypatch.setattr(install_command, "install", lambda name, progress: cache)

    assert cli.main(["install", f"deno@{beginning}"]) == 0

    told = capsys.readouterr().out.splitlines()
    note = (
        f"deno@{beginning} is {version}, the newest one installed: whether there is a newer one could not be asked "
        "(The registry could not be asked: no network)"
    )
    assert note in told
    assert any(line.split()[:4] == ["deno", version, "already", "there"] for line in told[told.index(note) :])


def test_what_is_damaged_is_installed_anew(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is there with all its bytes is left alone; what is not is told, and fetched once more."""
    fetched = []

    def install(name: str, progress: Callable[[str], None]) -> Path:
        fetched.append(name)
        return tools.put(cache, pin(name))

    monkeypatch.setattr(install_command, "install", install)
    for name in "deno", "shim", "bun":
        tools.put(cache, pin(name))
    bun = cache / "tools" / pin("bun").folder_name / pin("bun").entry
    bun.write_bytes(bun.read_bytes() + b"# more")

    assert cli.main(["install", "deno", "bun"]) == 0

    told = capsys.readouterr().out
    assert "bun is not used: bin/bun in it has 16 bytes, 10 were installed." in told
    assert fetched == ["bun"]


def test_doctor_verifies(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--verify compares all tools and all compiled code, tells what is not as it was, and ends with 1 for a tool."""
    places = {name: tools.put(cache, pin(name)) for name in ("deno", "bun", "wasmedge")}
    other = pins.exact("deno", "2.7.14", f"sha256:{'0' * 64}")
    places["deno@2.7.14"] = tools.put(cache, other)
    told = {"package": other.package, "version": other.version, "integrity": other.digest}
    record = cache / "tools" / f"deno-2.7.14.{pins.this_platform()}.json"
    record.write_text(json.dumps(told))
    artifact = Artifact(Path("a.wasm"), "a" * 64, 1, "a")
    code = compiled(artifact, "engine 1", "", lambda path: None)

    def verify() -> tuple[int, list[str]]:
        status = cli.main(["doctor", "--verify"])
        lines = capsys.readouterr().out.splitlines()
        return status, lines[next(n for n, line in enumerate(lines) if "byte by byte" in line) :]

    assert verify() == (
        0,
        [
            "4 tools and 1 files of compiled code were checked byte by byte: 0 and 0 are not what was installed or "
            "compiled."
        ],
    )

    code.write_bytes(b"more")
    status, [_, line] = verify()
    assert (status, line) == (0, f"{code} has other bytes: it is not loaded, but compiled anew.")

    for name in "deno@2.7.14", "wasmedge":
        place = places[name]
        entry = place / pin(name.partition("@")[0]).entry
        times = entry.stat()
        entry.write_bytes(b"#!/bin/sh#")
        os.utime(entry, ns=(times.st_atime_ns, times.st_mtime_ns))
    status, [head, *damaged] = verify()
    assert status == 1
    assert "byte: 2 and 1 are not" in head
    assert damaged[0].endswith("has other bytes. `pytest-wasmedge install wasmedge` installs it anew.")
    assert damaged[1].endswith("has other bytes. `pytest-wasmedge install deno@2.7.14` installs it anew.")

    assert cli.main(["doctor", "--verify", "--json"]) == 1
    verified = json.loads(capsys.readouterr().out)["verified"]
    assert (verified["tools"], verified["compiled"], len(verified["damaged"])) == (4, 1, 2)
