"""The console script, called as the shell calls it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_wasmedge.artifacts.recipe import variants
from pytest_wasmedge.commands import cli, doctor
from pytest_wasmedge.commands import install as install_command
from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.model import Artifact, Availability, Host, Limits, Runtime
from pytest_wasmedge.provision.pins import exact, in_order, pin, this_platform
from pytest_wasmedge.runtimes import builtin_names, builtin_runtimes
from tests import tools


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of this test."""
    root = tmp_path / "cache"
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(root))
    return root


@pytest.fixture
def installs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the installer: tools become small folders, and this list tells which and in what order."""
    done: list[str] = []

    def install(name: str, progress: Callable[[str], None]) -> Path:
        progress(f"fetching {name}")
        done.append(name)
        return tools.put(cache, pin(name), files={"file": b"x" * 12_000})

    monkeypatch.setattr(install_command, "install", install)
    return done


def findings(*runtimes: dict[str, Any]) -> dict[str, Any]:
    """Return what `examine` finds on an invented machine."""
    return {
        "pytest_wasmedge": "0.1.0",
        "python": "3.11.7",
        "python_path": "/usr/bin/python3",
        "platform": "linux-x86_64",
        "cache": {"path": "/cache", "size_bytes": 642_000_000},
        "artifact": {"name": "ruby-worker", "sha256": "0123456789abcdef" * 4, "size_bytes": 18_545_748},
        "runtimes": list(runtimes),
    }


HERE = {
    "name": "node",
    "engine": "V8",
    "available": True,
    "version": "24.19.0",
    "engine_version": "13.6",
    "reason": "",
    "install": "",
    "path": "/cache/tools/node",
}
NOT_HERE = {
    "name": "bun",
    "engine": "JavaScriptCore",
    "available": False,
    "version": "",
    "engine_version": "",
    "reason": "no bun was found",
    "install": "pytest-wasmedge install bun",
    "path": "",
}


def test_doctor_prints_one_line_per_runtime() -> None:
    """The table says what is here and from where, and what is not, why, and how to get it."""
    theirs = NOT_HERE | {"name": "spin", "engine": "Cranelift", "reason": "no spin", "install": "ask IT"}
    workerd = NOT_HERE | {"name": "workerd", "engine": "V8", "reason": "no workerd was found"}
    workerd["install"] = "pytest-wasmedge install workerd"
    lines = [line for line, _ in doctor.lines(findings(HERE, NOT_HERE, workerd, theirs))]

    assert lines == [
        "pytest-wasmedge 0.1.0",
        "Python    3.11.7  /usr/bin/python3",
        "Platform  linux-x86_64",
        "Cache     /cache  642 MB",
        "Artifact  ruby-worker (built in)  19 MB  sha256 0123456789abcdef…",
        "",
        "runtime  version  engine          where from",
        "node     24.19.0  V8 13.6         /cache/tools/node",
        "bun      -        JavaScriptCore  not here: no bun was found",
        "workerd  -        V8              not here: no workerd was found",
        "spin     -        Cranelift       not here: no spin",
        "",
        "1 of 4 runtimes can run here.",
        "To get what is missing: pytest-wasmedge install bun workerd",
        "To get spin: ask IT",
    ]


def test_doctor_lists_other_versions_that_are_installed() -> None:
    """Below a runtime, here or not, stand the versions of it that can be asked for by name."""
    lines = [
        line
        for line, _ in doctor.lines(
            findings(HERE | {"versions": ["22.13.1", "24.1.0"]}, NOT_HERE | {"versions": ["1.2.3"]})
        )
    ]

    at = lines.index("runtime  version  engine          where from")
    assert lines[at + 1 : at + 5] == [
        "node     24.19.0  V8 13.6         /cache/tools/node",
        "  also installed: node@22.13.1, node@24.1.0",
        "bun      -        JavaScriptCore  not here: no bun was found",
        "  also installed: bun@1.2.3",
    ]


def test_doctor_tells_what_was_fetched() -> None:
    """With -v, below a runtime stand its tools, and of each every package with version and digest."""
    package = {"package": "node-wheel", "version": "24.19.0", "digest": "sha256:00"}
    tool = {"tool": "node", "version": "24.19.0", "source": "pypi", "packages": [package]}
    told = findings(HERE | {"tools": [tool]}, NOT_HERE | {"tools": []})
    plain, verbose = ([line for line, _ in doctor.lines(told, each)] for each in (False, True))

    added = ["  node 24.19.0, from pypi:", "    node-wheel 24.19.0 sha256:00"]
    at = verbose.index(added[0])
    assert verbose[at : at + 2] == added
    assert verbose[:at] + verbose[at + 2 :] == plain


def test_doctor_finds_versions_beside_the_pinned_one(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It lists what stands recorded and installed in the cache, without the pinned version and what is half there."""
    monkeypatch.setenv("PATH", str(cache))
    other, absent = (exact("deno", version, f"sha256:{version}") for version in ("2.7.14", "2.7.13"))
    for folder in (
        cache,
        cache / "tools",
        *(cache / "tools" / each.folder_name for each in (other, pin("deno"))),
    ):
        folder.mkdir(0o700)
    for each in (other, absent):
        told = {"package": each.package, "version": each.version, "integrity": each.digest}
        record = cache / "tools" / f"deno-{each.version}.{this_platform()}.json"
        record.write_text(json.dumps(told))

    assert cli.main(["doctor"]) == 0
    listed = [line for line in capsys.readouterr().out.splitlines() if "also installed" in line]
    # Runtimes that share a program share its versions.
    assert listed == ["  also installed: deno@2.7.14", "  also installed: deno-wasi@2.7.14"]


def test_doctor_says_what_is_wrong_with_cache_and_artifact() -> None:
    """An unsafe cache or a broken artifact is shown in its place, and the runtimes still follow."""
    broken = findings(HERE) | {"cache": {"error": "not yours"}, "artifact": {"error": "damaged"}}

    lines = [line for line, _ in doctor.lines(broken)]

    assert lines[3:5] == ["Cache     not yours", "Artifact  damaged"]
    assert lines[-1] == "1 of 1 runtimes can run here."


def test_doctor_lists_every_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    """All built-in runtimes stand in the table, whatever is installed, and the status is 0."""
    assert cli.main(["doctor"]) == 0

    printed = capsys.readouterr().out
    first_words = [line.split()[0] for line in printed.splitlines() if line]
    assert [name for name in builtin_names() if name in first_words] == builtin_names()
    assert "\x1b" not in printed


def test_doctor_in_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints one object with the availability of every runtime."""
    assert cli.main(["doctor", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert {runtime["name"] for runtime in told["runtimes"]} == set(builtin_names())
    assert {"available", "version", "engine_version", "reason", "install", "path"} <= set(told["runtimes"][0])
    assert {"pytest_wasmedge", "python", "python_path", "platform", "cache", "artifact"} <= set(told)


class BrokenRuntime(Runtime):
    """A runtime of somebody else whose probe raises, against its promise."""

    name = "broken"
    engine = "none"

    def probe(self) -> Availability:
        raise ValueError("no luck")

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        raise NotImplementedError


def test_a_probe_that_raises_hides_nothing(cache: Path) -> None:
    """One broken runtime is shown as unavailable with its error."""
    [found] = doctor.examine([BrokenRuntime()])["runtimes"]

    assert not found["available"]
    assert found["reason"] == "its probe failed: ValueError: no luck"


def test_install_gets_everything_by_default(installs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without a name, what the runtimes need is installed, each tool once, deno before npm packages."""
    assert cli.main(["install"]) == 0

    needed = {tool for runtime in builtin_runtimes() for tool in runtime.tools}
    assert sorted(installs) == sorted(in_order(list(needed)))
    assert installs.index("deno") < installs.index("bun")
    assert f"wasmtime {pin('wasmtime').version}: installed (12 kB, 0.0 s)" in capsys.readouterr().out


def test_a_runtime_brings_what_it_needs(installs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A name is a runtime's: it stands for the tools behind it, and what is there is left alone."""
    assert cli.main(["install", "workerd"]) == 0
    assert cli.main(["install", "workerd"]) == 0

    assert installs == ["deno", "workerd", "shim"]
    told = capsys.readouterr().out.splitlines()
    rows = [" ".join(line.split()) for line in told if "already there" in line]
    assert rows == [f"{name} {pin(name).version} already there 12 kB" for name in ("deno", "workerd", "shim")]


def test_wasmtime_needs_nothing(installs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The runtime wasmtime is a Python package; the tool wasmtime belongs to the runtime wasmtime-cli."""
    assert cli.main(["install", "wasmtime"]) == 0
    assert installs == []
    assert capsys.readouterr().out.startswith("wasmtime: nothing to install")

    assert cli.main(["install", "wasmtime-cli"]) == 0
    assert installs == ["wasmtime"]


def test_an_unknown_name_is_a_usage_error(installs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt name ends with 2, a suggestion and all known names, and nothing is installed."""
    with pytest.raises(SystemExit) as ending:
        cli.main(["install", "node", "wrokerd"])

    assert ending.value.code == 2
    assert installs == []
    printed = capsys.readouterr().err
    assert "unknown name 'wrokerd'. Did you mean workerd? Known: wasmtime, " in printed


def test_one_failure_does_not_stop_the_rest(
    installs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What does not depend on the tool that failed is installed; each failure is one line."""
    working: Callable[[str, Callable[[str], None]], Path] = vars(install_command)["install"]

    def no_deno(name: str, progress: Callable[[str], None]) -> Path:
        if name == "deno":
            raise ProvisionError("deno could not be fetched.")
        return working(name, progress)

    monkeypatch.setattr(install_command, "install", no_deno)

    assert cli.main(["install", "bun", "node"]) == 1
    assert installs == ["node"]
    assert capsys.readouterr().err.splitlines() == [
        "pytest-wasmedge: deno could not be fetched.",
        "pytest-wasmedge: bun: not installed, because it needs deno.",
        "pytest-wasmedge: shim: not installed, because it needs deno.",
    ]


def test_an_unsafe_cache_is_one_line_and_status_one(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Our errors are shown without a traceback."""
    cache.mkdir()
    cache.chmod(0o777)

    assert cli.main(["install", "wasmtime-cli"]) == 1

    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"pytest-wasmedge: The cache folder {cache} can be written by other users")


def test_interrupting_ends_with_130(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C gives one line, no traceback and the shell's usual status."""

    def interrupted(name: str, progress: Callable[[str], None]) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(install_command, "install", interrupted)

    assert cli.main(["install", "wasmtime-cli"]) == 130
    assert capsys.readouterr().err == "pytest-wasmedge: interrupted; nothing half-done was kept.\n"


def test_a_request_to_terminate_unwinds(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM raises like Ctrl-C does, so that temporary folders go; the old handler is put back."""
    before = signal.getsignal(signal.SIGTERM)

    def terminated(name: str, progress: Callable[[str], None]) -> Path:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("not reached")

    monkeypatch.setattr(install_command, "install", terminated)

    with pytest.raises(SystemExit) as ending:
        cli.main(["install", "wasmtime-cli"])
    assert ending.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_build_refuses_an_output_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder as output, or a file in no folder, is refused before anything is fetched."""
    for output in (tmp_path, tmp_path / "absent" / "ruby.wasm"):
        assert cli.main(["build", "--output", str(output)]) == 1
        assert "is no place for a file" in capsys.readouterr().err


def test_build_knows_the_variants_of_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    """The choices of --variant are the recipe's, and `compare` knows the same."""
    for argv in (["build", "--help"], ["compare", "--help"]):
        with pytest.raises(SystemExit):
            cli.main(argv)
        told = "".join(capsys.readouterr().out.split())
        assert all(name in told for name in variants())


@pytest.mark.parametrize(
    "argv", [["--help"], ["doctor", "--help"], ["install", "--help"], ["build", "--help"]]
)
def test_help_explains_each_command(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every command explains itself and ends with 0."""
    with pytest.raises(SystemExit) as ending:
        cli.main(argv)

    assert ending.value.code == 0
    assert capsys.readouterr().out.startswith("usage: pytest-wasmedge")


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The bare console script says what it can do and ends with 2."""
    with pytest.raises(SystemExit) as ending:
        cli.main([])

    assert ending.value.code == 2
    assert "COMMAND" in capsys.readouterr().err
