"""Finding the version in which an outcome changed: the search by itself, then for real."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.version import Version

from pytest_wasmedge.commands import bisect as bisecting
from pytest_wasmedge.commands import cli
from pytest_wasmedge.commands.bisect import (
    Change,
    Report,
    Step,
    between,
    bisect,
    find_case,
    find_change,
    search,
)
from pytest_wasmedge.errors import (
    CorpusError,
    HostStartError,
    ProvisionError,
    UnsupportedError,
    WasmEdgeError,
)
from pytest_wasmedge.model import Artifact, Availability, Host, Limits, Outcome, exited, host_failed
from pytest_wasmedge.provision import versions
from pytest_wasmedge.testing import FakeRuntime
from tests import wat

VERSIONS = [f"1.{minor}" for minor in range(33)]


# -- the search


@pytest.mark.parametrize("count", [2, 3, 10, 33])
def test_every_place_is_found(count: int) -> None:
    """Wherever the change is, it is found, and in no more tries than halving takes."""
    versions = VERSIONS[:count]
    for first in range(1, count):
        tried: list[str] = []

        def differs(version: str, first: int = first, tried: list[str] = tried) -> bool:
            tried.append(version)
            return versions.index(version) >= first

        assert search(versions, differs) == Change(versions[first - 1], versions[first])
        assert len(tried) == len(set(tried)) <= math.ceil(math.log2(count - 1)) if count > 2 else not tried


@pytest.mark.parametrize("count", [3, 9])
def test_what_cannot_be_tried_is_passed_over(count: int) -> None:
    """Whatever set of versions cannot be tried, the answer holds, and names those in between as unknown."""
    versions = VERSIONS[:count]
    for first in range(1, count):
        for mask in range(2 ** (count - 2)):
            broken = {at + 1 for at in range(count - 2) if mask >> at & 1}
            verdicts = [None if at in broken else at >= first for at in range(count)]

            change = search(versions, dict(zip(versions, verdicts, strict=True)).__getitem__)

            low, high = versions.index(change.before), versions.index(change.first)
            assert verdicts[low] is False
            assert verdicts[high] is True
            assert low < first <= high
            assert [versions.index(each) for each in change.unknown] == list(range(low + 1, high))
            assert set(range(low + 1, high)) <= broken


# -- with outcomes


def changing(at: str, broken: tuple[str, ...] = ()) -> Callable[[str], Outcome]:
    """Return a trial whose stdout changes in this version, and that fails on those which are broken."""

    def attempt(version: str) -> Outcome:
        if version in broken:
            raise ProvisionError(f"{version} does not run here.")
        new = VERSIONS.index(version) >= VERSIONS.index(at)
        return Outcome(b"new" if new else b"old", b"", exited(0), runtime=f"fake@{version}")

    return attempt


def test_each_step_is_told() -> None:
    """Both ends come first, then each version that was tried, and what could not be."""
    said: list[str] = []
    steps: list[Step] = []

    change, divergences = find_change(VERSIONS[:9], changing("1.3", ("1.4",)), said.append, steps)

    assert change == Change("1.2", "1.3")
    assert said == [
        "1.0  --good: exited(0), 3 B of stdout, 0 B of stderr",
        "1.8  --bad: exited(0), 3 B of stdout, 0 B of stderr",
        "1.4  skipped: 1.4 does not run here.",
        "1.3  differs: exited(0), 3 B of stdout, 0 B of stderr",
        "1.1  same as --good: exited(0), 3 B of stdout, 0 B of stderr",
        "1.2  same as --good: exited(0), 3 B of stdout, 0 B of stderr",
    ]
    assert [(step.version, step.verdict) for step in steps][2:4] == [("1.4", "skipped"), ("1.3", "differs")]
    [divergence] = divergences
    assert (divergence.field, divergence.runtime) == ("stdout", "fake@1.3")


def test_the_same_outcome_at_both_ends_is_an_error() -> None:
    """Where nothing changed, one sentence says so, and nothing between is tried."""
    with pytest.raises(
        WasmEdgeError, match=r"^1\.0 and 1\.8 have the same outcome, exited\(0\).*no change between"
    ):
        find_change(VERSIONS[:9], changing("1.20"), lambda _: None, [])


@pytest.mark.parametrize(("broken", "end"), [("1.0", "--good 1.0"), ("1.8", "--bad 1.8")])
def test_an_end_that_cannot_be_tried_is_an_error(broken: str, end: str) -> None:
    """Without both ends there is nothing to compare with."""
    with pytest.raises(WasmEdgeError, match=rf"^{end} cannot be tried: {broken} does not run here\."):
        find_change(VERSIONS[:9], changing("1.4", (broken,)), lambda _: None, [])


def test_an_interruption_is_none_of_the_outcomes() -> None:
    """Ctrl-C ends the search; it is not taken for a version that cannot be tried."""

    def attempt(version: str) -> Outcome:
        if version == "1.4":
            raise KeyboardInterrupt
        return changing("1.3")(version)

    with pytest.raises(KeyboardInterrupt):
        find_change(VERSIONS[:9], attempt, lambda _: None, [])


def test_the_end_names_the_version_and_what_is_unknown() -> None:
    """The closing lines name the first version that differs, the one before, and what may have been first."""
    report = Report(
        "deno", "errors/boom", "ruby", "0" * 64, change=Change("2.7.1", "2.7.4", ("2.7.2", "2.7.3"))
    )

    assert [line for line, _ in bisecting.lines(report)] == [
        "",
        "first version that differs: deno@2.7.4",
        "the one before it:          deno@2.7.1",
        "or one of these in between, which could not be tried: 2.7.2, 2.7.3",
    ]


# -- a runtime in versions that were made up


class Changing(FakeRuntime):
    """A runtime that answers otherwise since 1.5, does not start in 1.4, refuses all but the floor since 1.7."""

    tool = "made-up"

    def probe(self) -> Availability:
        return Availability(True, self.version, self.version)

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        minor = VERSIONS.index(self.version)
        self.answer = lambda _: b"new" if minor >= 5 else b"old"
        if minor == 4 or (minor >= 7 and artifact.name != "floor"):
            raise HostStartError(f"{self.name} does not start with {artifact.name}.")
        return super().start(artifact, limits)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Let the versions of `Changing` be there; this list tells which were installed."""
    done: list[str] = []
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bisecting, "published", lambda tool, progress: VERSIONS[:9])
    monkeypatch.setattr(bisecting, "install_version", lambda tool, version, progress: done.append(version))

    class AsGiven:
        def __init__(self, progress: object) -> None:
            pass

        def resolve(self, tool: str, wanted: str) -> str:
            return wanted

    monkeypatch.setattr(bisecting, "Resolver", AsGiven)
    return done


def test_only_what_is_needed_is_installed(made_up: list[str], tmp_path: Path) -> None:
    """Versions are installed when they are tried, and one that does not start at all is skipped."""
    report = bisect(
        Changing("fake"),
        wat.artifact(tmp_path, wat.ECHO),
        None,
        ("1.0", "1.6"),
        lambda _: None,
        lambda _: None,
    )

    assert report.change == Change("1.3", "1.5", ("1.4",))
    assert made_up == ["1.0", "1.6", "1.3", "1.4", "1.5"]


def test_a_version_that_refuses_the_artifact_alone_has_an_outcome(made_up: list[str], tmp_path: Path) -> None:
    """A host that starts with the floor but not with this artifact differs from one that runs it."""
    report = bisect(
        Changing("fake"),
        wat.artifact(tmp_path, wat.ECHO),
        None,
        ("1.5", "1.8"),
        lambda _: None,
        lambda _: None,
    )

    assert report.change == Change("1.6", "1.7")
    [divergence] = report.divergences
    assert divergence.actual == "host_failed"
    assert "fake@1.7 does not start with" in divergence.diff


def test_a_failing_host_is_like_another(made_up: list[str], tmp_path: Path) -> None:
    """Two versions that refuse the artifact have not changed."""
    with pytest.raises(WasmEdgeError, match=r"have the same outcome, host_failed"):
        bisect(
            Changing("fake"), wat.artifact(tmp_path, wat.ECHO), None, ("1.7", "1.8"), print, lambda _: None
        )


def test_a_program_that_is_not_always_the_same_is_told(made_up: list[str], tmp_path: Path) -> None:
    """An outcome that differs from itself cannot be searched for."""
    numbers = iter(range(9))

    class Random(Changing):
        def start(self, artifact: Artifact, limits: Limits) -> Host:
            self.answer = lambda _: b"%d" % next(numbers)
            return FakeRuntime.start(self, artifact, limits)

    with pytest.raises(WasmEdgeError, match=r"--good 1\.0 cannot be tried: fake@1\.0 did it in two ways"):
        bisect(Random("fake"), wat.artifact(tmp_path, wat.ECHO), None, ("1.0", "1.8"), print, lambda _: None)


@pytest.mark.parametrize(
    ("good", "bad", "relation"), [("1.6", "1.0", "newer than"), ("1.6", "1.6", "the same version as")]
)
def test_the_older_one_is_the_good_one(made_up: list[str], good: str, bad: str, relation: str) -> None:
    """Ends in the wrong order are told, with what to do."""
    with pytest.raises(WasmEdgeError, match=rf"^--good {good} is {relation} --bad {bad}: give the older one"):
        between(Changing("fake"), good, bad, lambda _: None)


def test_a_runtime_without_versions_is_told() -> None:
    """A runtime that has no program of ours cannot be bisected."""
    with pytest.raises(UnsupportedError, match="no exact version of fake can be installed"):
        between(FakeRuntime("fake"), "1.0", "2.0", lambda _: None)


def test_a_failed_host_is_compared_by_its_ending() -> None:
    """For a search, a host that fails is like another that fails, and unlike one that does not."""
    failed = Outcome(b"", b"", host_failed("one reason"))

    assert bisecting.same(failed, Outcome(b"", b"", host_failed("another")))
    assert not bisecting.same(failed, Outcome(b"", b"", exited(0)))


# -- what is asked for


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("errors/stack_overflw", r"there is no case 'errors/stack_overflw'; there are errors/stack_overflow"),
        ("errors/stack", r"there are errors/stack_overflow"),
        ("zzz", r"there are .*errors/…"),
    ],
)
def test_an_unknown_case_is_completed(name: str, message: str) -> None:
    """The error names the cases that begin so, else the nearest, else the topics."""
    with pytest.raises(CorpusError, match=message):
        find_case(name)


@pytest.mark.parametrize("name", ["deno@2.7", "deno,node", "all"])
def test_one_runtime_without_a_version(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--runtime takes one name; the versions are given by --good and --bad."""
    arguments = ["--runtime", name, "--good=1", "--bad=2", "--case=errors/stack_overflow"]

    assert cli.main(["bisect", *arguments]) == 1
    assert "name one runtime, without a version" in capsys.readouterr().err


def test_something_must_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a case, a source or an artifact there is nothing to bisect."""
    with pytest.raises(SystemExit) as ending:
        cli.main(["bisect", "--runtime=deno", "--good=1", "--bad=2"])

    assert ending.value.code == 2
    assert "--case NAME, --source FILE, or --artifact PATH" in capsys.readouterr().err


# -- for real


@pytest.mark.network
def test_a_real_change_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program that catches exceptions runs on the wasmtime command since 37: 36 cannot compile it."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path / "cache"))
    program = wat.command("(block $caught (try_table (catch_all $caught) (nop)))")
    artifact = wat.write(tmp_path / "catches.wasm", program)
    ends = ["--good", "36.0.9", "--bad", "47.0.2"]

    assert cli.main(["bisect", "--runtime=wasmtime-cli", *ends, f"--artifact={artifact}", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    # Which versions lie between the ends, and so which are tried, is up to those who publish them.
    assert told["change"]["unknown"] == []
    before, first = (Version(told["change"][side]) for side in ("before", "first"))
    assert before.major == 36 < first.major
    verdicts = {Version(step["version"]): step["verdict"] for step in told["steps"]}
    assert {verdicts[each] for each in verdicts if each <= before} <= {"good", "same"}
    assert {verdicts[each] for each in verdicts if each >= first} <= {"bad", "differs"}
    assert {Version("36.0.9"), before, first, Version("47.0.2")} <= set(verdicts)
    assert not [each for each in verdicts if before < each < first]
    [divergence] = told["divergences"]
    assert (divergence["expected"], divergence["actual"]) == ("host_failed", "exited(0)")
    assert not list((tmp_path / "cache" / "tools").glob(".wasmtime*"))


def test_what_the_program_needs_is_installed_too(
    made_up: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A runtime's other tools are installed with the first version that is tried, and only then."""
    others: list[str] = []
    monkeypatch.setattr(versions, "installed", lambda tool: tmp_path if tool in others else None)
    monkeypatch.setattr(versions, "install", lambda tool, progress: others.append(tool))

    class Needing(Changing):
        tools = ("made-up", "glue")

        def probe(self) -> Availability:
            return Availability("glue" in others, self.version, reason="the glue is not installed")

    report = bisect(
        Needing("fake"), wat.artifact(tmp_path, wat.ECHO), None, ("1.5", "1.8"), print, lambda _: None
    )

    assert report.change == Change("1.6", "1.7")
    assert others == ["glue"]
