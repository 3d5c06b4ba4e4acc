"""Gates: pass, fail or undecided, after looks whose number is fixed beforehand. No clock runs here."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from pytest_wasmedge.errors import LatencyError
from pytest_wasmedge.latency import gate
from pytest_wasmedge.latency.gate import Gate, Judgement, Rules, judge_ceiling, spread
from pytest_wasmedge.latency.sharing import in_rounds
from pytest_wasmedge.latency.statistics import TimedPair

RULES = Rules().for_family(6)


class Clock:
    """Goes only when told to; in seconds."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def noise(rng: random.Random, sd: float) -> float:
    """Return a factor with a tail to the slow side, as starts have."""
    return math.exp(rng.gauss(0, sd) + (rng.expovariate(5) if rng.random() < 0.03 else 0))


def pairs_gate(
    ratio: float,
    sd: float,
    seed: int,
    rules: Rules = RULES,
    cost_s: float = 0.5,
    cpu: tuple[float, float] | None = None,
) -> Judgement:
    """Judge made-up starts of about 250 ms, the second of each pair so many times slower.

    ``cpu`` is the same ratio and noise of their CPU time, if that is told.
    """
    rng, clock = random.Random(seed), Clock()

    def times(ratio: float, sd: float) -> tuple[int, int]:
        return round(25e7 * noise(rng, sd)), round(25e7 * ratio * noise(rng, sd))

    def draw() -> TimedPair:
        clock.now_s += cost_s
        return TimedPair(times(ratio, sd), times(*cpu) if cpu else None)

    return gate.baseline_gate(draw, rules, clock, cpu=cpu is not None).run()


def ceiling_gate(ceiling: float, seed: int, rules: Rules = RULES) -> Judgement:
    """Judge made-up starts with a median of 250 ms against so many times that."""
    rng, clock = random.Random(seed), Clock()

    def draw() -> int:
        clock.now_s += 0.3
        return round(25e7 * noise(rng, 0.08))

    return judge_ceiling([], draw, ceiling * 25e7, rules, clock)


def verdicts(gate: Callable[[int], Judgement], count: int) -> Counter[str]:
    """Count the verdicts of so many gates with seeds of their own."""
    return Counter(gate(seed).verdict for seed in range(count))


def test_an_equal_artifact_passes() -> None:
    """The same against itself is never an alarm, and mostly passes with confidence."""
    seen = verdicts(lambda seed: pairs_gate(1.0, 0.07, seed), 200)

    assert seen["fail"] == 0
    assert seen["pass"] > 150


def test_a_slowdown_fails() -> None:
    """10 % more with the noise of an idle machine, and 25 % with that of a busy one, is found within the budget."""
    for ratio, sd in ((1.10, 0.07), (1.25, 0.12)):
        found = [pairs_gate(ratio, sd, seed) for seed in range(100)]
        assert sum(each.verdict == "fail" for each in found) >= 95
        assert all(each.elapsed_s <= RULES.budget_s + 0.5 for each in found)


def test_what_is_at_the_margin_does_not_pass() -> None:
    """5 % more, the margin itself, is undecided; it passes no more often than the rules allow."""
    seen = verdicts(lambda seed: pairs_gate(1.05, 0.07, seed), 200)

    assert seen["pass"] <= 2
    assert seen["fail"] <= 20
    assert seen["undecided"] >= 175


def test_without_a_margin_the_false_alarm_rate_holds() -> None:
    """With a margin of 0 an equal artifact sits on the edge: it fails no more often than a false alarm may."""
    rules = replace(Rules(), margin=0.0, most=60)
    seen = verdicts(lambda seed: pairs_gate(1.0, 0.1, seed, rules, cost_s=0.1), 1000)

    assert seen["fail"] <= 20


def test_a_faster_artifact_passes_soon() -> None:
    """What is clearly faster needs only the second look, the first that can be sure enough."""
    judgement = pairs_gate(0.5, 0.1, 1)

    assert (judgement.verdict, judgement.looks) == ("pass", 2)
    assert judgement.count < 40
    assert judgement.estimate == pytest.approx(0.5, rel=0.1)
    assert judgement.interval is not None
    assert judgement.interval.low < 0.5 < judgement.interval.high


def test_the_less_noisy_of_wall_and_cpu_time_decides() -> None:
    """Where CPU time is less noisy, an equal artifact passes by it, and a slower one fails by it."""
    equal = verdicts(lambda seed: pairs_gate(1.0, 0.14, seed, cpu=(1.0, 0.06)), 100)
    slower = verdicts(lambda seed: pairs_gate(1.1, 0.14, seed, cpu=(1.1, 0.06)), 100)

    assert equal["fail"] == 0
    assert equal["pass"] > 50 > verdicts(lambda seed: pairs_gate(1.0, 0.14, seed), 100)["pass"]
    assert slower["fail"] >= 95 > verdicts(lambda seed: pairs_gate(1.1, 0.14, seed), 100)["fail"]


def test_what_one_of_wall_and_cpu_time_tells_alone_is_seen() -> None:
    """What waits takes no CPU time, and what runs on another core takes nothing else: each alone fails."""
    waits = [pairs_gate(1.1, 0.07, seed, cpu=(1.0, 0.03)) for seed in range(100)]
    beside = [pairs_gate(1.0, 0.03, seed, cpu=(1.1, 0.07)) for seed in range(100)]

    for found in (waits, beside):
        seen = Counter(each.verdict for each in found)
        assert seen["fail"] >= 95
        assert seen["pass"] == 0
    assert waits[0].estimate == pytest.approx(1.1, rel=0.05)
    assert waits[0].cpu_estimate == pytest.approx(1.0, rel=0.05)
    assert waits[0].cpu_interval is not None


def test_both_times_share_the_error() -> None:
    """An equal artifact is no alarm more often for being judged twice; at the margin it does not pass."""
    rules = replace(Rules(), margin=0.0, most=60)
    alarms = verdicts(lambda seed: pairs_gate(1.0, 0.1, seed, rules, 0.1, (1.0, 0.1)), 1000)["fail"]
    at_the_margin = verdicts(lambda seed: pairs_gate(1.05, 0.07, seed, cpu=(1.05, 0.05)), 200)

    assert alarms <= 20
    assert at_the_margin["pass"] <= 2


def test_pairs_without_cpu_time_are_judged_by_the_wall_clock() -> None:
    """A system that does not tell a host's CPU time, or once did not, leaves the wall clock."""
    clock, told = Clock(), iter([TimedPair((100, 300), (100, 300))] * 20 + [TimedPair((100, 300))] * 100)

    judged = gate.baseline_gate(lambda: next(told), RULES, clock, cpu=True).run()
    unheard = gate.baseline_gate(lambda: TimedPair((100, 300)), RULES, clock, cpu=False).run()

    assert (judged.verdict, unheard.verdict) == ("fail", "fail")
    assert unheard.cpu_estimate is None
    assert gate.cpus([TimedPair((1, 2), (3, 4)), TimedPair((1, 2))]) == []


@pytest.mark.parametrize(("ceiling", "verdict"), [(1.2, "pass"), (0.8, "fail")])
def test_a_ceiling_20_percent_away_is_decided(ceiling: float, verdict: str) -> None:
    """20 % over or under the median is enough, every time."""
    assert verdicts(lambda seed: ceiling_gate(ceiling, seed), 100) == {verdict: 100}


def test_a_ceiling_at_the_median_is_undecided() -> None:
    """Exactly at it there is nothing to decide, however many samples are taken."""
    assert verdicts(lambda seed: ceiling_gate(1.0, seed), 200)["undecided"] >= 199


def test_a_ceiling_allows_for_what_a_machine_wanders() -> None:
    """A median that is sure to 0.1 % and 2 % over its ceiling is undecided: minutes differ by more."""
    clock = Clock()
    samples = [10**8 + n for n in range(400)]
    judged = judge_ceiling(samples, lambda: 10**8, 0.98e8, RULES, clock)

    assert judged.verdict == "undecided"
    assert judge_ceiling(samples, lambda: 10**8, 0.96e8, RULES, clock).verdict == "fail"
    assert judge_ceiling(samples, lambda: 10**8, 1.04e8, RULES, clock).verdict == "pass"


def test_samples_already_taken_count() -> None:
    """A ceiling starts from the samples that are there, and adds what it draws to them."""
    samples = [100] * 12
    drawn = []

    def draw() -> int:
        drawn.append(100)
        return 100

    judgement = judge_ceiling(samples, draw, 200, RULES, Clock())

    assert (judgement.verdict, judgement.count, len(drawn), len(samples)) == ("pass", 16, 4, 16)


@pytest.mark.parametrize(
    ("gates", "samples", "pairs"),
    [(1, 16, 12), (13, 16, 13), (14, 17, 13), (26, 17, 14), (27, 18, 14), (60, 19, 15)],
)
def test_the_first_look_can_decide(gates: int, samples: int, pairs: int) -> None:
    """What is clear is decided at the first look, however many gates share the error."""
    rules = Rules().for_family(gates)
    ceiling = judge_ceiling([], lambda: 100, 200, rules, Clock())
    multiple = gate.multiple_gate(lambda: (100, 300), 20.0, rules, Clock()).run()

    assert (ceiling.verdict, ceiling.count, ceiling.looks) == ("pass", samples, 1)
    assert (multiple.verdict, multiple.count, multiple.looks) == ("pass", pairs, 1)


def test_the_number_of_looks_is_bounded() -> None:
    """What stays undecided is looked at four times, and the time is kept."""
    judgement = pairs_gate(1.05, 0.3, 3)

    assert (judgement.verdict, judgement.looks) == ("undecided", 4)
    assert judgement.elapsed_s <= RULES.budget_s + 0.5


def test_a_budget_for_few_samples() -> None:
    """If the time is up before anything can be decided, the gate is undecided, and says that it has no interval."""
    judgement = pairs_gate(1.0, 0.1, 3, replace(RULES, budget_s=4.0))

    assert (judgement.verdict, judgement.count, judgement.interval) == ("undecided", 8, None)


def test_a_budget_that_clearly_will_not_do() -> None:
    """What would be undecided if it were twice as fast is not waited for; the fewest that decide are all waited for."""
    rules = replace(RULES, budget_s=5.0)

    assert [pairs_gate(0.5, 0.01, 3, rules, cost_s).count for cost_s in (1.5, 1.0)] == [1, 5]
    fewest = pairs_gate(0.1, 0.01, 3, replace(RULES, budget_s=7.0))
    assert (fewest.verdict, fewest.count) == ("pass", 14)


def test_a_limit_in_place_of_the_margin() -> None:
    """A multiple of the floor is a limit of the ratio itself, with the same error on both sides."""
    assert verdicts(lambda seed: multiple(3.6, seed), 100) == {"pass": 100}
    assert verdicts(lambda seed: multiple(2.4, seed), 100) == {"fail": 100}


def test_a_start_right_at_its_multiple() -> None:
    """It is decided on either side no more often than the error rate says, however many looks there are."""
    often = replace(RULES, false_alarm=0.05)
    seen = verdicts(lambda seed: multiple(3.0, seed, often), 400)

    # Of 400 gates 20 may be wrong on each side; three standard deviations more are 33.
    assert seen["pass"] <= 33
    assert seen["fail"] <= 33


def multiple(limit: float, seed: int, rules: Rules = RULES) -> Judgement:
    """Judge made-up starts that take three times their floor."""
    rng, clock = random.Random(seed), Clock()

    def draw() -> tuple[int, int]:
        clock.now_s += 0.5
        return round(1e8 * noise(rng, 0.1)), round(3e8 * noise(rng, 0.1))

    return gate.multiple_gate(draw, limit, rules, clock).run()


def test_the_shown_interval_is_widened() -> None:
    """The interval that is shown holds what another run, minutes later, may find."""
    interval = spread([10**8] * 40, RULES)

    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((10**8 / 1.03, 10**8 * 1.03))
    assert spread([1, 2, 3], RULES) is None


def test_errors_are_divided_over_a_family() -> None:
    """Six runtimes share the error that one would have."""
    assert Rules().for_family(5).false_alarm == pytest.approx(0.002)
    assert Rules().for_family(5).margin == Rules().margin


# -- rounds


class Shared:
    """Gates of made-up starts that share a clock and a budget; ``order`` has which gate drew when."""

    def __init__(self, seed: int, gates: int) -> None:
        self._seed, self._rules = seed, Rules().for_family(gates)
        self.clock = Clock()
        self.order: list[str] = []
        self.gates: dict[str, Gate[TimedPair]] = {}

    def add(self, name: str, cost_s: float, ratio: float = 1.0, sd: float = 0.02, *, breaks: int = 0) -> None:
        """Add a gate whose pairs take so long; its ``breaks``-th draw raises, if that is not 0."""
        rng = random.Random(f"{self._seed} {name}")

        def draw() -> TimedPair:
            self.order.append(name)
            self.clock.now_s += cost_s
            if breaks and self.order.count(name) == breaks:
                raise LatencyError(f"{name} does not answer")
            return TimedPair((round(25e7 * noise(rng, sd)), round(25e7 * ratio * noise(rng, sd))))

        self.gates[name] = gate.baseline_gate(draw, self._rules, self.clock, cpu=False)

    def run(self, budget_s: float) -> dict[str, Judgement]:
        """Return the judgements of all gates that were not broken off."""
        in_rounds(list(self.gates.values()), budget_s)
        return {name: each.judgement() for name, each in self.gates.items() if name != "broken"}


def test_rounds_share_one_budget() -> None:
    """Many cheap gates and a dear one end within the budget, and the dear one gets what the others leave over."""
    shared = Shared(1, 12)
    for number in range(11):
        shared.add(f"cheap-{number}", 0.06)
    shared.add("dear", 2.0)
    found = shared.run(120)

    assert {each.verdict for each in found.values()} == {"pass"}
    assert shared.clock.now_s <= 122
    assert found["dear"].elapsed_s > 120 / 12


def test_a_gate_that_cannot_be_paid_costs_one_pair() -> None:
    """What no budget would decide takes no time from others, stays undecided, and is no failure."""
    shared = Shared(2, 3)
    shared.add("cheap", 0.1)
    shared.add("hopeless", 30.0)
    shared.add("other", 0.2)
    found = shared.run(60)

    assert (found["hopeless"].verdict, found["hopeless"].count) == ("undecided", 1)
    assert (found["cheap"].verdict, found["other"].verdict) == ("pass", "pass")


@pytest.mark.parametrize(("cost_s", "seen"), [(0.6, 19), (1.3, 15)])
def test_what_seems_slower_is_looked_at_first(cost_s: float, seen: int) -> None:
    """One slower gate among many equal ones is found, though the budget is not enough for all; nothing else is red.

    Mostly also one of which only four pairs fit into the time that all draw by turns.
    """
    found: Counter[tuple[bool, str]] = Counter()
    for seed in range(20):
        shared = Shared(seed, 12)
        for number in range(12):
            slower = number == 7
            shared.add(f"{number}", cost_s if slower else 0.6, 1.1 if slower else 1.0, 0.06)
        found.update((name == "7", each.verdict) for name, each in shared.run(120).items())
        assert shared.clock.now_s <= 121

    assert found[True, "fail"] >= seen
    assert found[False, "fail"] == 0
    assert found[False, "undecided"] > found[False, "pass"]


def test_a_gate_is_looked_at_as_planned_alone() -> None:
    """When time is up there is no look that was not planned: what decides when to draw must not decide when to look."""
    shared = Shared(4, 2)
    shared.add("slower", 1.0, 1.5, 0.02)
    shared.add("other", 1.0, 1.5, 0.02)
    found = shared.run(12)

    assert {(each.verdict, each.looks) for each in found.values()} == {("undecided", 0)}


def test_every_gate_sees_the_whole_time() -> None:
    """Gates draw by turns: between two draws of one, each other one that is undecided draws once."""
    shared = Shared(3, 3)
    for name in ("a", "b", "c"):
        shared.add(name, 0.1)
    shared.run(60)

    first = shared.order[: 3 * 16]
    assert all(set(first[at : at + 3]) == {"a", "b", "c"} for at in range(0, len(first), 3))


def test_a_slowdown_of_one_runtime_is_found_among_others() -> None:
    """10 % more on one of fifteen runtimes is red in 19 of 20 runs, and no other one ever is."""
    red = Counter[str]()
    for seed in range(20):
        shared = Shared(seed, 15)
        for number in range(14):
            shared.add(f"same-{number}", 0.1, sd=0.05)
        shared.add("slower", 0.3, ratio=1.10, sd=0.05)
        red.update(name for name, each in shared.run(120).items() if each.verdict == "fail")

    assert set(red) == {"slower"}
    assert red["slower"] >= 19


def test_a_draw_that_raises_ends_its_own_gate() -> None:
    """The others go on, and the error is raised where that gate's judgement is asked for."""
    shared = Shared(4, 2)
    shared.add("broken", 0.1, breaks=5)
    shared.add("whole", 0.1)

    assert shared.run(60)["whole"].verdict == "pass"
    assert shared.order.count("broken") == 5
    with pytest.raises(LatencyError, match="broken does not answer"):
        shared.gates["broken"].judgement()


def test_no_time_at_all_is_undecided() -> None:
    """A budget that is used up already decides nothing, and draws nothing."""
    shared = Shared(5, 1)
    shared.add("one", 0.1)

    assert shared.run(-1)["one"].verdict == "undecided"
    assert shared.order == []
