"""Gates on real hosts, each written down as soon as it is judged: A/A, known slowdowns, ceilings."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from benchmarks.recording import CONDITIONS, LIMITS, SMALLEST, Condition, alone, condition_of
from benchmarks.slower import forget_code, slowed, write_anew
from pytest_wasmedge.errors import LatencyError
from pytest_wasmedge.latency.gate import Judgement, Rules, Verdict, baseline_gate, judge_ceiling
from pytest_wasmedge.latency.measurement import timed
from pytest_wasmedge.latency.sampling import Sample, cold_once
from pytest_wasmedge.latency.sharing import in_rounds
from pytest_wasmedge.latency.statistics import TimedPair
from pytest_wasmedge.model import Artifact, Runtime

What = Literal["pairs", "ceiling"]
#: How many gates of each slowdown there are per class, half of them with one core busy.
GATES = {0.0: 60, 0.10: 20, 0.25: 20}
#: Ceilings, as multiples of the median of the same minutes; how many trials of each there are per runtime.
CEILINGS = (0.8, 1.0, 1.2)
CEILING_TRIALS = 10
#: Cold starts that tell how long a slowdown has to spin.
_STARTS = 16


@dataclass(frozen=True, slots=True)
class Trial:
    """One gate on a real host. ``against`` is the slowdown of the head, or the ceiling in medians.

    What is below ``number`` is known once it is judged; times are nanoseconds for ceilings, ratios for pairs.
    """

    what: What
    group: str
    runtime: str
    condition: Condition
    against: float
    number: int
    verdict: Verdict | None = None
    limit: float = 0.0
    estimate: float = 0.0
    interval: tuple[float, float] | None = None
    count: int = 0
    looks: int = 0
    elapsed_s: float = 0.0
    spins: int = 0
    artifact_sha256: str = ""
    date: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this trial from all others, judged or not."""
        return (self.what, self.group, self.runtime, self.condition, self.against, self.number)

    def judged(self, judgement: Judgement, artifact: Artifact, spins: int = 0) -> Trial:
        """Return the trial with its verdict."""
        between = judgement.interval
        return replace(
            self,
            verdict=judgement.verdict,
            limit=judgement.limit,
            estimate=judgement.estimate,
            interval=(between.low, between.high) if between else None,
            count=judgement.count,
            looks=judgement.looks,
            elapsed_s=round(judgement.elapsed_s, 3),
            spins=spins,
            artifact_sha256=artifact.sha256,
            date=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        )

    def __str__(self) -> str:
        kind = f"+{self.against:.0%}" if self.what == "pairs" else f"ceiling at {self.against:.0%}"
        ratio = self.estimate / (self.limit / self.against if self.what == "ceiling" else 1)
        return (
            f"{self.runtime:13} {self.condition} {kind:15} {self.verdict or '':9} estimate {ratio:.3f}, "
            f"n={self.count}, {self.elapsed_s:.1f} s"
        )


def plan_pairs(classes: dict[str, Sequence[str]], seed: int, scale: float = 1.0) -> list[Trial]:
    """Return the paired gates in a shuffled order; the runtimes of a class take turns, idle and busy."""
    trials = [
        Trial("pairs", group, names[number // 2 % len(names)], CONDITIONS[number % 2], slowdown, number)
        for group, names in classes.items()
        for slowdown, gates in GATES.items()
        for number in range(round(gates * scale))
    ]
    random.Random(seed).shuffle(trials)
    return trials


def plan_ceilings(
    names: Iterable[str], seed: int, rounds: int = CEILING_TRIALS, ceilings: Sequence[float] = CEILINGS
) -> list[list[Trial]]:
    """Return the trials of ceilings; each list is those that are judged on the same cold starts."""
    lot = random.Random(seed)
    groups = []
    for number in range(rounds):
        for name in lot.sample(list(names), len(list(names))):
            groups.append([Trial("ceiling", name, name, "idle", at, number) for at in ceilings])
    return groups


class Pairs:
    """Judges paired gates; makes slowed artifacts when first needed, in ``folder``, under their condition."""

    def __init__(self, artifact: Artifact, rules: Rules, seed: int, folder: Path) -> None:
        self._artifact, self._rules, self._folder = artifact, rules, folder
        self._lot = random.Random(seed)
        self._heads: dict[tuple[str, Condition, float], tuple[Artifact, int]] = {}
        self._used: list[tuple[Runtime, Artifact]] = []

    def judge(self, trial: Trial, runtime: Runtime) -> Trial:
        """Return the trial with its verdict."""
        with alone(), condition_of(trial.condition):
            write_anew(runtime, self._artifact)
            head, spins = self._head(trial, runtime)

            def pair() -> TimedPair:
                first_is_base = self._lot.random() < 0.5
                order = (self._artifact, head) if first_is_base else (head, self._artifact)
                first, second = (_cold(runtime, each) for each in order)
                base, other = (first, second) if first_is_base else (second, first)
                return timed(base, other)

            # The first start of each pays for what later ones find ready.
            pair()
            for each in {self._artifact, head}:
                write_anew(runtime, each)
            cpu = pair().cpu is not None
            gate = baseline_gate(pair, self._rules, time.monotonic, cpu=cpu)
            in_rounds([gate], self._rules.budget_s)
            judgement = gate.judgement()
        return trial.judged(judgement, self._artifact, spins)

    def close(self) -> None:
        """Delete the compiled code of the slowed artifacts."""
        for runtime, artifact in self._used:
            forget_code(runtime, artifact)

    def _head(self, trial: Trial, runtime: Runtime) -> tuple[Artifact, int]:
        if not trial.against:
            return self._artifact, 0
        key = (trial.runtime, trial.condition, trial.against)
        compiles = runtime.kept_code(self._artifact) is not None
        if key not in self._heads or not compiles:
            # Anew for each gate, since machines become slower and faster: but where that would compile first.
            median_ns = _median_ns(runtime, self._artifact, _STARTS, self._rules.budget_s)
            made = slowed(self._artifact, runtime, trial.against, median_ns, self._folder)
            self._heads[key] = made
            self._used.append((runtime, made[0]))
        return self._heads[key]


class _LackingError(Exception):
    """A gate needs more cold starts than were taken."""


class _Turns:
    """Cold starts in turn: of every two, in an order by lot, one is judged, the other tells where the median is.

    A machine's median wanders within minutes: one that was taken before the gate is not its median any more. A gate's
    time is that of the starts that it judges.
    """

    def __init__(self, start: Callable[[], int], lot: random.Random) -> None:
        self._start, self._lot = start, lot
        self.judged_ns: list[int] = []
        self._judged_s: list[float] = []
        self._reference_ns: list[int] = []

    @property
    def median_ns(self) -> float:
        """The median of those that are not judged."""
        return statistics.median(self._reference_ns)

    def take(self) -> None:
        """Take two more."""
        for judged in self._lot.sample((True, False), 2):
            began_s = time.monotonic()
            elapsed_ns = self._start()
            if judged:
                self.judged_ns.append(elapsed_ns)
                self._judged_s.append(time.monotonic() - began_s)
            else:
                self._reference_ns.append(elapsed_ns)

    def judge(self, against: float, rules: Rules) -> Judgement | None:
        """Hold what is judged against so many medians; None as long as the gate goes on sampling."""
        limit_ns = against * self.median_ns
        samples: list[int] = []

        def draw() -> int:
            if len(samples) == len(self.judged_ns):
                raise _LackingError
            return self.judged_ns[len(samples)]

        def clock() -> float:
            return sum(self._judged_s[: len(samples)])

        try:
            judgement = judge_ceiling(samples, draw, limit_ns, rules, clock)
        except _LackingError:
            return None
        if judgement.count == len(self.judged_ns):
            return judgement
        # An earlier look would decide by now, since the median has moved: but that look is over.
        elapsed_s = sum(self._judged_s)
        if elapsed_s < rules.budget_s:
            return None
        last_look = replace(rules, most=len(self.judged_ns))
        return replace(
            judge_ceiling(self.judged_ns, draw, limit_ns, last_look, time.monotonic), elapsed_s=elapsed_s
        )


def judge_ceilings(
    trials: Sequence[Trial], runtime: Runtime, artifact: Artifact, rules: Rules, seed: str
) -> list[Trial]:
    """Judge ceilings around the median of the same minutes, all on the same cold starts."""
    turns = _Turns(lambda: _cold_ns(runtime, artifact), random.Random(seed))
    with alone():
        # The first start pays for what later ones find ready.
        _cold_ns(runtime, artifact)
        left, judged = list(trials), []
        while left:
            turns.take()
            for trial in tuple(left):
                if judgement := turns.judge(trial.against, rules):
                    left.remove(trial)
                    judged.append(trial.judged(judgement, artifact))
        return judged


def append(path: Path, trial: Trial) -> None:
    """Write a judged trial down."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(trial)) + "\n")


def load(path: Path) -> list[Trial]:
    """Return the judged trials; a last line that was cut off is left out."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    trials = []
    for line in lines:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        entry["interval"] = tuple(entry["interval"]) if entry["interval"] else None
        trials.append(Trial(**entry))
    return trials


def judged_before(path: Path, what: What, artifact: Artifact, resume: bool) -> set[tuple[object, ...]]:
    """Return the keys of what is judged already. Raises LatencyError if that is not to be gone on with."""
    before = [trial for trial in load(path) if trial.what == what]
    if before and not resume:
        raise LatencyError(f"{path} holds {len(before)} such gates already: give --resume, or move it away.")
    if any(trial.artifact_sha256 != artifact.sha256 for trial in before):
        raise LatencyError(f"{path} holds gates of another artifact: they do not mix. Move it away.")
    return {trial.key for trial in before}


def broken(trials: Sequence[Trial]) -> list[str]:
    """Return a sentence for each bound that we promise and that is broken."""
    found = []
    pairs = [trial for trial in trials if trial.what == "pairs"]
    for group in dict.fromkeys(trial.group for trial in pairs):
        ours = [trial for trial in pairs if trial.group == group]
        alarms = [trial for trial in ours if trial.against == 0 and trial.verdict == "fail"]
        slow = [
            trial for trial in ours if (trial.against, trial.condition) in ((0.10, "idle"), (0.25, "busy"))
        ]
        seen = [trial for trial in slow if trial.verdict == "fail"]
        if len(alarms) > 0.01 * sum(trial.against == 0 for trial in ours):
            found.append(f"{group}: {len(alarms)} false alarms, more than 1 %")
        if len(seen) < 0.95 * len(slow):
            found.append(f"{group}: {len(seen)} of {len(slow)} slowdowns (+10 % idle, +25 % busy) are seen")
    ceilings = [trial for trial in trials if trial.what == "ceiling"]
    for at, wanted in ((0.8, "fail"), (1.2, "pass")):
        wrong = [trial for trial in ceilings if trial.against == at and trial.verdict != wanted]
        found += [f"{trial}: that should {wanted}" for trial in wrong]
    decided = [trial for trial in ceilings if trial.against == 1.0 and trial.verdict != "undecided"]
    if len(decided) > 1:
        found.append(f"{len(decided)} ceilings at the median are decided, more than one")
    return found


def _cold(runtime: Runtime, artifact: Artifact) -> Sample:
    return cold_once(runtime, artifact, LIMITS, SMALLEST)


def _cold_ns(runtime: Runtime, artifact: Artifact) -> int:
    return _cold(runtime, artifact).elapsed_ns


def _median_ns(runtime: Runtime, artifact: Artifact, starts: int, most_s: float) -> float:
    """Return the median of so many cold starts, or as many as fit into the time; the first is not counted."""
    _cold_ns(runtime, artifact)
    until_s = time.monotonic() + most_s
    taken: list[int] = []
    while len(taken) < starts and (time.monotonic() < until_s or not taken):
        taken.append(_cold_ns(runtime, artifact))
    return statistics.median(taken)
