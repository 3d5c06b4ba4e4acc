"""How a program is found, asked and refused: the one description that all runtimes with a program share."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.drivers.program import Interpreter, Program, Versions
from pytest_wasmedge.errors import RuntimeUnavailableError


class Odd(Program):
    """A program that people install themselves."""

    name = "odd"
    commands = ("odd", "odder")


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the program is named, which is not there yet."""
    path = tmp_path / "odd"
    monkeypatch.setenv("PYTEST_WASMEDGE_ODD", str(path))
    return path


def write(path: Path, said: str) -> None:
    """Write a program that says this."""
    path.write_text(f"#!/bin/sh\nprintf '{said}'\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    "said", ["1.2.3", "v1.2.3", "odd 1.2.3", "odd v1.2.3 (abc 2026-01-01)", "note\\nodd 1.2.3"]
)
def test_usual_words(odd: Path, said: str) -> None:
    """Nothing has to be said of a program that tells its version as most do; its engine has the same one."""
    write(odd, f"{said}\\n")
    found = Odd().probe()

    assert (found.available, found.version, found.engine_version) == (True, "1.2.3", "1.2.3")
    assert found.path == f"{odd} (PYTEST_WASMEDGE_ODD)"
    assert (found.reason, found.install) == ("", "")
    assert Odd().executable() == odd


@pytest.mark.parametrize(
    ("words", "said"),
    [(r"odd (\S+), engine (\S+)", "odd 3, engine 4"), (("odd", "engine"), '{"engine":"4","odd":"3"}')],
)
def test_other_words(words: str | tuple[str, str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both versions are the groups of a regular expression, or two keys in JSON."""
    monkeypatch.setattr(Odd, "version_words", words)
    found = Odd().read_versions(said)

    assert (found.version, found.engine_version) == ("3", "4")
    with pytest.raises((ValueError, LookupError)):
        Odd().read_versions("even 3")


def test_a_part_that_is_missing(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else is needed is told with our command, whoever installs the program; an old program is told first."""
    write(odd, "1.2")
    monkeypatch.setattr(Odd, "missing", lambda _: "half of it is missing")
    found = Odd().probe()

    assert (found.available, found.version, found.reason) == (False, "1.2", "half of it is missing")
    assert found.install == "pytest-wasmedge install odd"
    with pytest.raises(RuntimeUnavailableError, match="odd cannot start: half of it is missing; get it with"):
        Odd().executable()
    monkeypatch.setattr(Odd, "minimum", (2,))
    assert Odd().probe().reason == f"{odd} is version 1.2, at least 2 is needed"


def test_no_way_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program that this system's own way is not known of is got somehow."""
    monkeypatch.setenv("PATH", str(tmp_path))

    assert (Odd().probe().reason, Odd().probe().install) == ("odd or odder is not on PATH", "")
    with pytest.raises(RuntimeUnavailableError, match="get it with `your package manager`"):
        Odd().executable()


def test_an_interpreter_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs the program of a runtime has to be new enough, and is told with the way to a newer one."""
    path = tmp_path / "node"
    write(path, "20.1.0\\n")
    monkeypatch.setenv("PYTEST_WASMEDGE_NODE", str(path))

    assert Interpreter("node", (20,), ("-v",), r"(\S+)").require() == path
    too_old = f"{path} is node 20.1.0, at least 22.13 is needed; get one with `pytest-wasmedge install node`"
    with pytest.raises(RuntimeUnavailableError, match=too_old):
        Interpreter("node", (22, 13), ("-v",), r"(\S+)").require()


def test_build() -> None:
    """What tells programs of one version apart is the whole line."""
    assert Odd().read_versions("odd 1.2 (a)\nmore") == Versions("1.2", "1.2", "odd 1.2 (a)")
