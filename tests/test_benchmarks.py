"""The benchmarks of the gate: artifacts of a known slowdown, the replay, what is kept and promised."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import gate as command
from benchmarks import recording, replay, tables, trials, workers
from benchmarks.recording import Series
from benchmarks.replay import Replay, wilson
from benchmarks.slower import NOTHING, slower, write_anew
from pytest_wasmedge.artifacts.loading import inspect
from pytest_wasmedge.artifacts.sections import exports
from pytest_wasmedge.errors import ArtifactError, LatencyError
from pytest_wasmedge.latency.gate import Judgement, Rules, Verdict
from pytest_wasmedge.model import Artifact, Limits, Outcome, exited
from pytest_wasmedge.provision.cache import ENV_CACHE
from pytest_wasmedge.runtimes.wasmtime import Wasmtime
from pytest_wasmedge.testing import FakeRuntime
from tests import wat

ARTIFACT = Artifact(Path("artifact.wasm"), "00" * 32, 1, "made-up")


def series(condition: recording.Condition = "idle", spread: float = 0.08, count: int = 400) -> Series:
    """Return made-up cold starts of about 20 ms."""
    lot = random.Random(7)
    elapsed_us = [round(20_000 * lot.lognormvariate(0, spread)) for _ in range(count)]
    wall_us = [us + 1000 for us in elapsed_us]
    taken = elapsed_us, wall_us, list(elapsed_us)
    return Series("made-up", condition, "cold/no-cache", "1", "00", {}, 1, "2026-11-21", *taken)


def judged(what: trials.What, against: float, verdict: Verdict, number: int = 0) -> trials.Trial:
    """Return a made-up trial."""
    trial = trials.Trial(what, "HTTP", "deno", "idle", against, number)
    judgement = Judgement("pass", 1.05, 1.0, None, 16, 1, 2.5)
    return replace(trial.judged(judgement, ARTIFACT), verdict=verdict)


@pytest.mark.parametrize("spins", [0, 1, 63, 64, 100_000])
def test_slower_answers_the_same(tmp_path: Path, spins: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that spins first, however often, still does what it did."""
    monkeypatch.setenv(ENV_CACHE, str(tmp_path / "cache"))
    artifact = wat.artifact(tmp_path, slower(wat.assemble(wat.ECHO), spins))
    with Wasmtime().start(artifact, Limits()) as host:
        assert host.run("still here").stdout == b"still here"


def test_slower_adds_one_function_at_the_end() -> None:
    """No function of the module gets another number; only `_start` is another one."""
    module = wat.assemble(wat.ECHO)
    slow = slower(module, 10)
    before, after = inspect(module), inspect(slow)
    assert after.function_count == before.function_count + 1
    assert after.imports == before.imports
    changed = {one.name: one.index for one in exports(slow) if one not in exports(module)}
    assert changed == {"_start": len(before.imports) + before.function_count}


def test_slower_spins_as_often_as_told() -> None:
    """Each turn is a turn: fuel, which counts instructions, grows evenly with the spins."""
    import wasmtime

    config = wasmtime.Config()
    config.consume_fuel = True
    engine = wasmtime.Engine(config)

    def burnt(spins: int) -> int:
        store = wasmtime.Store(engine)
        store.set_fuel(1_000_000)
        instance = wasmtime.Instance(store, wasmtime.Module(engine, slower(NOTHING, spins)), [])
        start = instance.exports(store)["_start"]
        assert isinstance(start, wasmtime.Func)
        start(store)
        return 1_000_000 - store.get_fuel()

    once = burnt(1) - burnt(0)
    assert once > 10
    assert burnt(1000) - burnt(0) == 1000 * once


def test_slower_again() -> None:
    """A module that was made slower can be made slower again."""
    assert inspect(slower(slower(NOTHING, 5), 5)).function_count == 3


def test_slower_needs_a_start() -> None:
    """A module without `_start` is refused."""
    with pytest.raises(ArtifactError, match="no function that it exports as _start"):
        slower(wat.assemble("(module)"), 5)


def test_files_are_written_anew(tmp_path: Path) -> None:
    """A file that is written anew is another file with the same bytes and permissions."""
    artifact = wat.artifact(tmp_path, NOTHING)
    artifact.path.chmod(0o600)
    before = artifact.path.stat()
    write_anew(FakeRuntime(), artifact)
    artifact.verify()
    after = artifact.path.stat()
    assert after.st_ino != before.st_ino
    assert after.st_mode == before.st_mode


def test_busy_core_ends_with_the_measurement() -> None:
    """The process that keeps a core busy runs during it, and is gone afterwards, also after an error."""
    seen = []

    def measure() -> None:
        with recording.busy_core() as spinning:
            seen.append((spinning, spinning.poll()))
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        measure()
    spinning, during = seen[0]
    assert during is None
    assert spinning.returncode is not None


def test_recorded_starts_come_back(tmp_path: Path) -> None:
    """What is stored is what is loaded; a part of it can be dropped."""
    path = tmp_path / "samples" / "cold.json.xz"
    recording.store(path, [series("idle"), series("busy")])
    assert recording.load(path) == [series("idle"), series("busy")]
    recording.drop(path, {"made-up"}, "busy")
    assert recording.load(path) == [series("idle")]


def test_replay_draws_neighbours() -> None:
    """A pair is two consecutive starts, in either order; its time passes, with what is not timed."""
    counting = series()
    counting.elapsed_us = list(range(1000, 1400))
    counting.wall_us = [us + 500 for us in counting.elapsed_us]
    counting.cpu_us = [2 * us for us in counting.elapsed_us]
    source = Replay(counting, 0.0, "both", random.Random(3))
    drawn = [source.draw() for _ in range(500)]
    pairs = [wall for wall, _ in drawn]
    assert all(cpu == (2 * wall[0], 2 * wall[1]) for wall, cpu in drawn)
    apart = [abs(head - base) // 1000 for base, head in pairs]
    assert set(apart) <= {1, 399}
    assert {head > base for base, head in pairs} == {True, False}
    assert source.clock() == pytest.approx(sum(map(sum, pairs)) / 1e9 + 500 * 2 * 0.0005)


@pytest.mark.parametrize("measure", ["both", "wall", "cpu"])
def test_replay_slows_the_head_alone(measure: replay.Measure) -> None:
    """The head of a pair takes longer by the slowdown, more CPU time, or both, and the baseline does not."""
    plain, slow = (Replay(series(), slowdown, measure, random.Random(3)) for slowdown in (0.0, 0.25))
    for _ in range(100):
        for name, pair, slower_pair in zip(("wall", "cpu"), plain.draw(), slow.draw(), strict=True):
            assert pair
            factor = 1.25 if measure in (name, "both") else 1
            assert slower_pair == (pair[0], round(pair[1] * factor))


def test_replayed_gates_are_right_where_it_is_easy(tmp_path: Path) -> None:
    """Equal bytes pass, +25 % fails, +5 % is within no promise; the tallies survive being stored."""
    rules = Rules().for_family(6)
    tallies = replay.replay([series()], 40, rules, 1, 1, lambda _: None)
    by_slowdown = {(tally.slowdown, tally.measure): tally for tally in tallies}
    assert by_slowdown[0.0, "both"].passed == 40
    assert by_slowdown[0.25, "both"].failed == by_slowdown[0.25, "wall"].failed == 40
    assert by_slowdown[0.05, "both"].passed == by_slowdown[0.10, "cpu"].passed == 0
    assert by_slowdown[0.0, "both"].mean_s < 60
    assert replay.broken(tallies, rules.budget_s) == []
    replay.store(tmp_path / "replay.json", tallies, rules, 1)
    assert replay.load(tmp_path / "replay.json") == tallies


def test_a_replay_can_be_repeated() -> None:
    """The same seed gives the same verdicts and seconds."""
    first, second = (replay.replay([series()], 5, Rules(), 1, 1, lambda _: None) for _ in range(2))
    assert first == second


def test_too_few_recorded_starts() -> None:
    """A replay of less than one block is refused."""
    with pytest.raises(LatencyError, match="only 10 cold starts of made-up, idle"):
        replay.replay([series(count=10)], 5, Rules(), 1, 1, lambda _: None)


@pytest.mark.parametrize(
    ("slowdown", "verdicts", "sentence"),
    [
        (0.0, (90, 2, 8), "2 of 100 are false alarms"),
        (0.05, (2, 0, 98), "2 of 100 pass"),
        (0.10, (0, 94, 6), "94 of 100 are seen"),
    ],
)
def test_broken_bounds_of_replays(slowdown: float, verdicts: tuple[int, int, int], sentence: str) -> None:
    """Each bound that is broken is told."""
    tally = replay.Tally("deno", "idle", slowdown, "both", 100, *verdicts, 30.0, 60.0)
    assert sentence in "".join(replay.broken([tally], 60.0))


def test_wilson_interval() -> None:
    """The interval of a rate is that of the textbooks, also for none at all."""
    assert wilson(0, 10_000) == pytest.approx((0.0, 0.000384), abs=1e-6)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_plan_of_paired_gates() -> None:
    """Per class there are 60 A/A gates and 20 of each slowdown, half of them busy; runtimes take turns."""
    plan = trials.plan_pairs({"HTTP": ["deno", "node", "bun", "workerd"]}, 1)
    for slowdown, count in ((0.0, 60), (0.10, 20), (0.25, 20)):
        ours = [trial for trial in plan if trial.against == slowdown]
        assert len(ours) == count
        assert sum(trial.condition == "busy" for trial in ours) == count / 2
        assert {trial.runtime for trial in ours if trial.condition == "idle"} == {
            "deno",
            "node",
            "bun",
            "workerd",
        }
    assert len({trial.key for trial in plan}) == 100
    assert plan == trials.plan_pairs({"HTTP": ["deno", "node", "bun", "workerd"]}, 1)


def test_plan_of_ceilings() -> None:
    """Each runtime gets ten trials of each ceiling."""
    plan = [trial for group in trials.plan_ceilings(["deno", "node"], 1) for trial in group]
    assert len(plan) == len({trial.key for trial in plan}) == 2 * 3 * 10


def test_trials_go_on_where_they_stopped(tmp_path: Path) -> None:
    """Judged trials are known again by their key; a line that was cut off is not; nothing is mixed."""
    path = tmp_path / "gates.jsonl"
    trial = judged("pairs", 0.10, "fail")
    trials.append(path, trial)
    with path.open("a") as file:
        file.write('{"what": "pairs", "gro')
    assert trials.load(path) == [trial]
    assert trials.judged_before(path, "pairs", ARTIFACT, resume=True) == {trial.key}
    assert trials.judged_before(path, "ceiling", ARTIFACT, resume=False) == set()
    with pytest.raises(LatencyError, match="give --resume"):
        trials.judged_before(path, "pairs", ARTIFACT, resume=False)
    other = Artifact(ARTIFACT.path, "11" * 32, 1, "other")
    with pytest.raises(LatencyError, match="another artifact"):
        trials.judged_before(path, "pairs", other, resume=True)


@pytest.mark.parametrize(
    ("made_up", "sentence"),
    [
        ([judged("pairs", 0.0, "fail")], "1 false alarms"),
        ([judged("pairs", 0.10, "undecided")], "0 of 1 slowdowns"),
        ([judged("ceiling", 0.8, "pass")], "should fail"),
        ([judged("ceiling", 1.2, "undecided")], "should pass"),
        ([judged("ceiling", 1.0, "fail", n) for n in range(2)], "2 ceilings at the median are decided"),
    ],
)
def test_broken_bounds_of_trials(made_up: list[trials.Trial], sentence: str) -> None:
    """Each bound that is broken is told."""
    assert sentence in "".join(trials.broken(made_up))


def test_bounds_that_hold() -> None:
    """One ceiling at the median may be decided; +5 % and busy +10 % promise nothing."""
    busy = replace(judged("pairs", 0.10, "undecided"), condition="busy")
    assert trials.broken([judged("ceiling", 1.0, "pass"), judged("pairs", 0.0, "undecided"), busy]) == []


def test_report(tmp_path: Path) -> None:
    """The report is written between its two marks and leaves the rest of the document alone."""
    tally = replay.Tally("deno", "idle", 0.10, "both", 10_000, 0, 9900, 100, 31.25, 59.0)
    text = tables.report([series()], [tally], [judged("pairs", 0.0, "pass"), judged("ceiling", 0.8, "fail")])
    assert "| deno | idle | +10% | 10000 | 0.00% (0.00%–0.04%) | 99.00% (98.79%–99.18%) |" in text
    assert "| HTTP (deno) | none (A/A) | idle | 1 | 1 | 0 | 0 | 1.000 | 2.5 | 2.5 |" in text
    assert "| deno | 1 of 1 | 0 of 0 | 0 of 0 | 2.5 | 2.5 |" in text
    assert (
        re.search(r"\| made-up \| 1 \| idle \| cold/no-cache \| 400 \| 2\d\.\d \|", text)
        or "| 400 | 19." in text
    )
    document = tmp_path / "latency.md"
    document.write_text(f"# Before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    tables.write_into(document, text)
    tables.write_into(document, text)
    assert document.read_text() == f"# Before\n{tables.BEGIN}\n\n{text}\n{tables.END}\nafter\n"
    document.write_text("nothing")
    with pytest.raises(LatencyError, match="no place for the tables"):
        tables.write_into(document, text)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`replay` and `report` work on stored samples; a broken promise is status 1, an error 2."""
    samples, out = tmp_path / "cold.json.xz", tmp_path / "replay.json"
    stored = series()
    stored.runtime = "deno"
    recording.store(samples, [stored])
    again = ["replay", "--gates", "4", "--workers", "1", "--samples", str(samples), "--out", str(out)]
    assert command.main(again) == 0
    missing = str(tmp_path / "gates.jsonl")
    assert (
        command.main(["report", "--samples", str(samples), "--replayed", str(out), "--gates", missing]) == 0
    )
    assert "| deno | idle | none (A/A) | 4 |" in capsys.readouterr().out
    assert command.main([*again, "--runtimes", "dino"]) == 2
    assert "Did you mean deno?" in capsys.readouterr().err
    noisy = series(spread=0.6)
    noisy.runtime = "deno"
    recording.store(samples, [noisy])
    assert command.main(again) == 1
    assert "BROKEN: deno, idle, +10%" in capsys.readouterr().err


def test_trials_on_a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gates and ceilings on a host are judged, with fresh samples each, and tell what was judged."""
    monkeypatch.setenv(ENV_CACHE, str(tmp_path))
    answer = Outcome(b"2\n", b"", exited(0))
    runtime = FakeRuntime("deno", lambda _: answer)
    artifact = wat.artifact(tmp_path, NOTHING)
    rules = Rules(most=16)
    kept = trials.judge_ceilings(trials.plan_ceilings(["deno"], 1, 1)[0], runtime, artifact, rules, "1")
    assert {trial.against for trial in kept} == {0.8, 1.0, 1.2}
    assert {(trial.count, trial.artifact_sha256) for trial in kept} == {(16, artifact.sha256)}
    gate = trials.Trial("pairs", "HTTP", "deno", "idle", 0.0, 0)
    judged_gate = trials.Pairs(artifact, rules, 1, tmp_path).judge(gate, runtime)
    assert (judged_gate.key, judged_gate.count, judged_gate.spins) == (gate.key, 16, 0)
    assert judged_gate.verdict in ("pass", "fail", "undecided")


def test_no_look_at_a_ceiling_is_taken_twice() -> None:
    """A look that would decide only with a later median does not; the last one, when the time is up, does."""
    rules = Rules(budget_s=3.0)
    verdicts = {}
    for count in (15, 16, 20, 30):
        turns = trials._Turns(lambda: 0, random.Random(1))
        turns.judged_ns, turns._reference_ns = [100] * count, [200] * count
        turns._judged_s = [0.125] * count
        judgement = turns.judge(1.0, rules)
        verdicts[count] = judgement and (judgement.verdict, judgement.count, judgement.elapsed_s)

    assert verdicts == {15: None, 16: ("pass", 16, 2.0), 20: None, 30: ("pass", 30, 3.75)}


def test_workers_are_held_against_what_repeats_itself() -> None:
    """Every two different runs are compared; medians count where the reference has an interval."""
    steady = [100_000_000 + number for number in range(40)]
    reference = {("deno", "cold"): steady, ("deno", "warm"): [1, 2]}
    same = {("deno", "cold"): list(steady), ("deno", "warm"): [5]}
    slower = {("deno", "cold"): [2 * each for each in steady]}

    assert workers.compare([reference], [reference]).of == 0
    assert workers.compare([reference], [same]) == workers.Comparison(1, 1, ratio=1.0, beyond=0.0)
    seen = workers.compare([reference, same], [same, slower])
    assert (seen.inside, seen.of) == (1, 3)
    assert seen.ratio == pytest.approx(4 ** (1 / 3))
    # What is shown is wider already by what a machine is allowed to wander.
    assert seen.beyond == pytest.approx(2 / (1 + Rules().repeatability) - 1, rel=1e-3)
