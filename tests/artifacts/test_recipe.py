"""The recipe: rebuilding gives the shipped bytes, and the other variants keep the same contract."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from wasmtime import wat2wasm

from pytest_wasmedge.artifacts import recipe, sections
from pytest_wasmedge.artifacts.driver import driver_wat, stub_wat
from pytest_wasmedge.artifacts.embedded import manifest, unpack
from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.artifacts.recipe import Tools, _optimise, build, fingerprint, variants
from pytest_wasmedge.artifacts.wasi import WASI
from pytest_wasmedge.errors import ArtifactError
from pytest_wasmedge.model import Artifact, Host, Limits
from pytest_wasmedge.provision.pins import pin
from pytest_wasmedge.runtimes.node import Node
from pytest_wasmedge.runtimes.wasmtime import Wasmtime
from tests import wat

PROGRAM = """
at_exit { puts "end" }
puts RUBY_VERSION, ARGV.inspect, ENV.to_h, __FILE__ == $0
begin
  raise "boom"
rescue => error
  p error.backtrace, caller(0)
end
exit 3
"""
EXPECTED = b"""4.0.0
["a b"]
{"K" => "V"}
true
["main.rb:5:in '<main>'"]
["main.rb:7:in '<main>'"]
end
"""
LIBRARIES = 'require "json"; require "time"; pp JSON.parse(%q([1, {"a": null}])), Time.at(0).utc.iso8601\n'


def test_the_driver_is_a_valid_module() -> None:
    """The driver's text assembles, with every placeholder filled in."""
    text = driver_wat()

    assert "@" not in text
    assert {one.module for one in sections.imports(bytes(wat2wasm(text)))} == {"ruby", WASI}


def test_stubs_have_the_signatures_of_the_imports() -> None:
    """A stub module exports exactly the functions asked for, handles passed through and all else trapping."""
    wanted = [
        sections.Import("canonical_abi", "resource_new_x", 0, ("i32",), ("i32",)),
        sections.Import("canonical_abi", "resource_drop_x", 0, ("i32",)),
        sections.Import("host", "eval-js: func(code: string) -> ()", 0, ("i32", "i64"), ("f64",)),
    ]
    text = stub_wat(wanted)

    assert [one.name for one in sections.exports(bytes(wat2wasm(text)))] == [one.name for one in wanted]
    assert text.count("unreachable") == 1


def test_an_unknown_variant_is_an_error(tmp_path: Path) -> None:
    """The message lists the variants that exist."""
    tools = Tools(tmp_path, tmp_path, tmp_path, tmp_path)

    with pytest.raises(ArtifactError, match=r"no variant 'big'; there are: raw, wizer, O2, Oz, .*stdlib"):
        build("big", tmp_path, tools, lambda _: None)


def test_a_missing_tool_is_an_error(tmp_path: Path) -> None:
    """The message names the tool, its path, and the command that installs it."""
    tools = Tools(tmp_path, tmp_path / "nowhere", tmp_path, tmp_path)

    with pytest.raises(ArtifactError, match=r"needs binaryen at .*nowhere.*pytest-wasmedge install"):
        build("raw", tmp_path, tools, lambda _: None)


@pytest.mark.parametrize(
    ("variant", "steps"),
    [
        ("raw", ["trim"]),
        ("wizer", ["snapshot"]),
        ("stdlib", ["snapshot"]),
        ("O2", ["trim", "O2"]),
        ("Oz", ["trim", "Oz"]),
        ("O2+wizer", ["O2", "snapshot"]),
        ("Oz+wizer", ["Oz", "snapshot"]),
        ("wizer+O2", ["snapshot", "O2"]),
        ("wizer+Oz", ["snapshot", "Oz"]),
    ],
)
def test_steps_follow_the_name(
    variant: str, steps: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plus puts steps one after the other; only where no snapshot needs it, its function goes at once."""
    done: list[str] = []

    def step(folder: Path, module: Path, tools: Tools, level: str = "snapshot") -> Path:
        done.append(level)
        return module

    def merge(folder: Path, tools: Tools, package_file: str) -> Path:
        (folder / "merged.wasm").touch()
        return folder / "merged.wasm"

    monkeypatch.setattr(recipe, "_merge", merge)
    monkeypatch.setattr(recipe, "_snapshot", step)
    monkeypatch.setattr(recipe, "_optimise", step)
    monkeypatch.setattr(recipe, "_trim", lambda module, names: done.append("trim"))
    monkeypatch.setattr(recipe, "_check", lambda module: None)

    path = build(variant, tmp_path, Tools(tmp_path, tmp_path, tmp_path, tmp_path), lambda _: None)

    assert done == steps
    assert path.name == ("ruby-worker.wasm" if variant == "wizer" else f"ruby-worker-{variant}.wasm")


def test_the_fingerprint_is_of_what_goes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variant has its own, always the same, and another driver gives another."""
    before = [fingerprint(name) for name in variants()]

    assert [fingerprint(name) for name in variants()] == before
    assert len(set(before)) == len(variants())
    monkeypatch.setattr(recipe, "driver_wat", lambda: "(module)")
    assert not set(before) & {fingerprint(name) for name in variants()}


Build = Callable[[str], Path]


@pytest.fixture(scope="module")
def build_once(tmp_path_factory: pytest.TempPathFactory, build_tools: Tools) -> Iterator[Build]:
    """Builds a variant with the pinned tools, in an odd environment, the first time that a test here asks for it.

    What is merged of the same packages is merged once: no variant has a part in that.
    """
    folder = tmp_path_factory.mktemp("built")
    merge, merged = recipe._merge, dict[str, bytes]()

    def merge_once(scratch: Path, tools: Tools, package_file: str) -> Path:
        if package_file not in merged:
            merged[package_file] = merge(scratch, tools, package_file).read_bytes()
        module = scratch / "merged.wasm"
        module.write_bytes(merged[package_file])
        return module

    @cache
    def build_once(variant: str) -> Path:
        steps: list[str] = []
        before = os.umask(0o077)
        try:
            path = build(variant, folder, build_tools, steps.append)
        finally:
            os.umask(before)
        assert steps[0] == "merging Ruby and the driver"
        return path

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(recipe, "_merge", merge_once)
        monkeypatch.setenv("RUBYOPT", "-w")
        monkeypatch.setenv("LANG", "C")
        yield build_once


# None with the optimiser, which takes minutes over all of Ruby.
@pytest.fixture(scope="module", params=["raw", "wizer", "stdlib"])
def built(request: pytest.FixtureRequest, build_once: Build) -> Path:
    """Variants, built."""
    return build_once(request.param)


@pytest.fixture(scope="module")
def built_host(built: Path) -> Iterator[Host]:
    """A host that holds the built variant: one that compiles what is called, and not all of Ruby at its start."""
    content = built.read_bytes()
    artifact = Artifact(built, hashlib.sha256(content).hexdigest(), len(content), built.stem)
    with Node().start(artifact, Limits()) as host:
        yield host


@pytest.mark.build
def test_a_build_leaves_only_the_artifact(built: Path) -> None:
    """Imports are WASI alone, exports what hosts need; no scratch folder is left beside the result."""
    content = built.read_bytes()

    assert {one.module for one in sections.imports(content)} == {WASI}
    assert {one.name for one in sections.exports(content)} == {"memory", "_start"}
    assert all(path.suffix == ".wasm" for path in built.parent.iterdir())


@pytest.mark.build
def test_every_variant_keeps_the_contract(built_host: Host) -> None:
    """Arguments, environment, backtraces, at_exit and status are the same in the variants."""
    outcome = built_host.run(PROGRAM, args=["a b"], env={"K": "V"})

    assert outcome.stdout == EXPECTED
    assert outcome.stderr == b""
    assert outcome.ending.status == 3


@pytest.mark.build
def test_only_the_stdlib_variant_has_the_library(built: Path, built_host: Host) -> None:
    """`json`, `pp` and `time` load in the stdlib variant; in the others that is a LoadError."""
    outcome = built_host.run(LIBRARIES)

    if built.stem.endswith("stdlib"):
        assert outcome.stdout == b'[1, {"a" => nil}]\n"1970-01-01T00:00:00Z"\n'
        assert outcome.ending.ok
    else:
        assert b"cannot load such file -- json (LoadError)" in outcome.stderr


@pytest.mark.build
def test_without_a_snapshot_the_hash_seed_is_fresh(built: Path, built_host: Host) -> None:
    """Only raw starts Ruby anew, so only there `String#hash` differs between invocations."""
    hashes = {built_host.run('p "x".hash').stdout for _ in range(3)}

    assert len(hashes) == (3 if built.stem.endswith("raw") else 1)


@pytest.mark.build
@pytest.mark.parametrize("step", ["O2", "Oz"])
def test_the_optimiser_keeps_what_a_module_does(tmp_path: Path, build_tools: Tools, step: str) -> None:
    """A module that went through wasm-opt is another one, uses no feature that hosts refuse, and answers the same."""
    module = wat.write(tmp_path / "count.wasm", wat.COUNT)
    before = module.read_bytes()
    optimised = _optimise(tmp_path, module, build_tools, step)

    assert optimised.read_bytes() != before
    with Wasmtime().start(load_artifact(optimised), Limits()) as host:
        assert host.run(b"abc") == host.run(b"abc")
        after = host.run(b"abc")
    with Wasmtime().start(wat.artifact(tmp_path, wat.COUNT), Limits()) as host:
        assert host.run(b"abc") == after


@pytest.mark.build
def test_the_recipe_reproduces_the_shipped_bytes(tmp_path: Path, build_once: Build) -> None:
    """Building the default variant again, in an odd environment, gives the shipped artifact byte for byte."""
    shipped = unpack(tmp_path / "cache").read_bytes()
    rebuilt = build_once("wizer").read_bytes()

    assert sections.imports(rebuilt) == sections.imports(shipped)
    assert sections.exports(rebuilt) == sections.exports(shipped)
    if pin("wizer").version != manifest().sources["wizer"].version:
        pytest.skip("this platform's pinned wizer is another version than the one that made the artifact")
    assert hashlib.sha256(rebuilt).hexdigest() == manifest().sha256
