"""Comparing variants: rounds of starts on fakes, and the table of made-up samples."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_wasmedge.commands import cli
from pytest_wasmedge.commands import compare as comparison
from pytest_wasmedge.errors import ArtifactError, HostStartError, LatencyError, RuntimeUnavailableError
from pytest_wasmedge.latency.ablation import Ablation, Result, Variant, lines
from pytest_wasmedge.latency.quiet import Quiet
from pytest_wasmedge.latency.sampling import Sample
from pytest_wasmedge.latency.statistics import Interval
from pytest_wasmedge.model import Artifact, Availability, Host, Invocation, Limits, Outcome, Runtime, trapped
from pytest_wasmedge.testing import FakeRuntime
from tests import wat
from tests.waiting import until_gone

NAMES = ("raw", "wizer", "O2")
ENTRIES = [
    Variant(name, Artifact(Path(f"{name}.wasm"), digit * 64, size, name), size // 3, size // 1000)
    for name, digit, size in (("raw", "1", 17_209_507), ("wizer", "2", 18_587_679), ("O2", "3", 900_000))
]


def silent(_: str) -> None:
    """Progress that nobody sees."""


def answering(name: str) -> FakeRuntime:
    """Return a runtime that knows what 1+1 is."""
    return FakeRuntime(name, lambda invocation: b"2\n")


class Watched(FakeRuntime):
    """A fake that writes down which artifact each start is of, and refuses those it is told to."""

    def __init__(self, name: str = "watched", refused: str = "") -> None:
        super().__init__(name, lambda invocation: b"2\n")
        self.started: list[str] = []
        self.refused = refused

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        self.started.append(artifact.name)
        if artifact.name == self.refused:
            raise HostStartError(f"{self.name} cannot load {artifact.name}:\n  invalid opcode.")
        return super().start(artifact, limits)


def rounds_of(times_ms: dict[str, list[float]], runtime: str = "fake") -> list[dict[tuple[str, int], Sample]]:
    """Return rounds in which the variants of ENTRIES took these times."""
    count = max(map(len, times_ms.values()))
    return [
        {
            (runtime, NAMES.index(name)): Sample(runtime, "cold/no-cache", round(times[number] * 1e6))
            for name, times in times_ms.items()
            if number < len(times)
        }
        for number in range(count)
    ]


def result_of(times_ms: dict[str, list[float]], name: str) -> Result:
    """Return what is made of these times for one variant."""
    ablation = Ablation(ENTRIES, [answering("fake")], seed=1)
    ablation.rounds = rounds_of(times_ms)
    return ablation.results()[NAMES.index(name)]


def test_the_table() -> None:
    """Sizes first, then each runtime with its variants, then what did not run, and how ratios were made."""
    results = [
        Result("node", "raw", "cold/no-cache", 20, 277_100_000, is_baseline=True),
        Result("node", "wizer", "cold/no-cache", 20, 101_200_000, 0.3652, Interval(0.351, 0.378)),
        Result("node", "O2", "cold/no-cache", 20, 301_000_000, 1.086, Interval(1.05, 1.121)),
        Result("wasmtime", "raw", "cold/code-cache", 3, 285_000_000, is_baseline=True),
        Result("wasmtime", "wizer", "cold/code-cache", 3, 85_000_000, 0.298),
        Result("wasmtime", "O2", "cold/code-cache", fault="cannot load it: \x1b[31mno"),
    ]
    availability = {
        "node": Availability(True, "24.19.0"),
        "wasmtime": Availability(True, "50.0.1"),
        "bun": Availability(False, reason="no bun was found", install="pytest-wasmedge install bun"),
    }

    assert list(lines(ENTRIES, results, availability, seed=42)) == [
        ("variant       bytes  gzip bytes  functions  sha256", "bold"),
        ("raw      17,209,507   5,736,502     17,209  1111111111111111…", ""),
        ("wizer    18,587,679   6,195,893     18,587  2222222222222222…", ""),
        ("O2          900,000     300,000        900  3333333333333333…", ""),
        ("", ""),
        ("runtime   variant  kind              n  cold ms  ratio   99 % interval  verdict", "bold"),
        ("node      raw      cold/no-cache    20    277.1      1                  baseline", ""),
        ("node      wizer    cold/no-cache    20    101.2  0.365  [0.351, 0.378]  faster", "green"),
        ("node      O2       cold/no-cache    20    301.0  1.086  [1.050, 1.121]  slower", "red"),
        ("wasmtime  raw      cold/code-cache   3    285.0      1                  baseline", ""),
        ("wasmtime  wizer    cold/code-cache   3     85.0  0.298                  too few rounds to say", ""),
        (
            "wasmtime  O2       cold/code-cache   0"
            "                                  not measured: cannot load it: \\x1b[31mno",
            "yellow",
        ),
        ("", ""),
        ("Runtimes: node 24.19.0, wasmtime 50.0.1.", ""),
        ("bun  NOT RUN: no bun was found; get it with `pytest-wasmedge install bun`", "yellow"),
        (
            "Ratios are to raw in the same round (Hodges and Lehmann, of log ratios; interval of Wilcoxon's "
            "signed-rank test); seed 42.",
            "",
        ),
    ]


@pytest.mark.parametrize(
    ("factor", "verdict"), [(0.9, "faster"), (1.0, "no difference seen"), (1.1, "slower")]
)
def test_the_verdict_is_the_interval_s(factor: float, verdict: str) -> None:
    """An interval under 1 is faster, one above slower, one that holds 1 says nothing."""
    base = [100 + number % 5 for number in range(16)]
    head = [time * factor * (1.01 if number % 2 else 0.99) for number, time in enumerate(base)]
    result = result_of({"raw": list(map(float, base)), "wizer": head}, "wizer")

    assert result.verdict == verdict
    assert result.interval is not None
    assert factor in result.interval


def test_too_few_rounds_have_no_verdict() -> None:
    """With seven pairs no interval is sure to 99 %; with eight there is one."""
    seven = {"raw": [100.0] * 7, "wizer": [50.0 + number for number in range(7)]}
    eight = {"raw": [100.0] * 8, "wizer": [50.0 + number for number in range(8)]}

    assert result_of(seven, "wizer").verdict == "too few rounds to say"
    assert result_of(eight, "wizer").verdict == "faster"


def test_only_pairs_make_a_ratio() -> None:
    """A round in which one of the two is missing counts for the median, not for the ratio."""
    result = result_of({"raw": [100.0] * 2, "wizer": [50.0, 50.0, 500.0]}, "wizer")

    assert result.count == 3
    assert result.ratio == pytest.approx(0.5)
    assert result_of({"wizer": [50.0]}, "wizer").verdict == "no baseline"


def test_each_round_starts_everything_once() -> None:
    """Every round starts every variant once, a runtime's variants together, in an order of the seed's."""
    one, two = Watched("one"), Watched("two")
    kept: list[tuple[str, int, str]] = []
    ablation = Ablation(
        ENTRIES, [one, two], 7, lambda sample, number, each: kept.append((sample.runtime, number, each.name))
    )
    for _ in range(12):
        ablation.take_round(silent)

    orders = {tuple(kept[at : at + 3]) for at in range(0, len(kept), 3)}
    assert all(len({runtime for runtime, _, _ in order}) == 1 for order in orders)
    assert all({name for _, _, name in order} == set(NAMES) for order in orders)
    assert len({tuple(name for _, _, name in order) for order in orders}) > 1
    assert [number for _, number, _ in kept] == [number for number in range(1, 13) for _ in range(6)]

    again = Watched("one"), Watched("two")
    repeated = Ablation(ENTRIES, again, 7)
    for _ in range(12):
        repeated.take_round(silent)
    assert (again[0].started, again[1].started) == (one.started, two.started)


def test_a_variant_that_does_not_start_is_left_out() -> None:
    """It is named with the runtime's own words on one line; the others are measured."""
    runtime = Watched(refused="wizer")
    ablation = Ablation(ENTRIES, [runtime], seed=1)
    ablation.check(silent)
    ablation.take_round(silent)

    raw, wizer, o2 = ablation.results()
    assert wizer.fault == "watched cannot load wizer: invalid opcode."
    assert (raw.count, wizer.count, o2.count) == (1, 0, 1)
    assert runtime.started.count("wizer") == 1


def test_a_variant_that_answers_wrongly_is_left_out() -> None:
    """What is not 2 is no answer; the sentence says what came."""
    wrong = FakeRuntime("wrong", lambda invocation: b"3\n")
    trapping = FakeRuntime(
        "trapping", lambda invocation: Outcome(b"", b"", trapped("wasm: unreachable\n at 0"))
    )
    ablation = Ablation(ENTRIES[:1], [wrong, trapping], seed=1)
    ablation.check(silent)

    assert [result.fault for result in ablation.results()] == [
        r"asked for `puts 1+1` it wrote b'3\n' and ended as exited(0), expected b'2\n' and exited(0)",
        r"asked for `puts 1+1` it wrote b'' and ended as trapped (wasm: unreachable at 0), "
        r"expected b'2\n' and exited(0)",
    ]


def test_a_start_that_fails_later_ends_its_row() -> None:
    """What was taken until then stays, the row says why there is no more, the others go on."""
    runtime = Watched()
    ablation = Ablation(ENTRIES, [runtime], seed=1)
    ablation.take_round(silent)
    runtime.refused = "O2"
    ablation.take_round(silent)
    ablation.take_round(silent)

    assert [result.count for result in ablation.results()] == [3, 3, 1]
    printed = [line for line, _ in lines(ENTRIES, ablation.results(), {}, 1)]
    assert printed[8].endswith(
        "too few rounds to say; then it failed: watched cannot load O2: invalid opcode."
    )


def test_what_an_interrupted_round_took_counts() -> None:
    """Ctrl-C in the middle of a round loses nothing that was measured before it."""
    starts = iter([b"2\n", b"2\n"])

    def until_interrupted(invocation: Invocation) -> bytes:
        try:
            return next(starts)
        except StopIteration:
            raise KeyboardInterrupt from None

    ablation = Ablation(ENTRIES, [FakeRuntime("fake", until_interrupted)], seed=1)
    with pytest.raises(KeyboardInterrupt):
        ablation.take_round(silent)

    assert sum(result.count for result in ablation.results()) == 2


def test_code_pushed_out_is_compiled_unmeasured(tmp_path: Path) -> None:
    """If the compiled code is gone, a start that is no sample puts it back before one is taken."""

    class Keeping(Watched):
        def kept_code(self, artifact: Artifact) -> Path:
            return tmp_path / artifact.name

    runtime = Keeping()
    (tmp_path / "raw").touch()
    ablation = Ablation(ENTRIES[:2], [runtime], seed=1)
    ablation.take_round(silent)

    assert sorted(runtime.started) == ["raw", "wizer", "wizer"]
    assert [result.count for result in ablation.results()] == [1, 1]


def test_an_entry_tells_what_needs_no_start(tmp_path: Path) -> None:
    """Size under gzip and the number of functions come from the bytes."""
    each = Variant.of("mine", wat.artifact(tmp_path, wat.TRAP))

    assert each.function_count == 3
    assert 0 < each.gzip_bytes < each.artifact.size_bytes


def test_what_is_compared_is_a_variant_or_a_file(tmp_path: Path) -> None:
    """A path is loaded under the name it was given; a word that is neither names the variants."""
    path = str(wat.artifact(tmp_path, wat.TRAP).path)

    assert [each.name for each in comparison.entries([path, path], NAMES, silent, silent)] == [path, path]
    with pytest.raises(ArtifactError, match="'O3' is no file and no variant; variants: raw, wizer, O2"):
        comparison.entries([path, "O3"], NAMES, silent, silent)


def test_a_variant_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time it comes from the cache, where one of an older recipe is deleted."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path / "cache"))
    built: list[str] = []

    def build(name: str, into: Path, tools: object, progress: Callable[[str], None]) -> Path:
        built.append(name)
        artifact = wat.artifact(into, wat.TRAP)
        return artifact.path

    monkeypatch.setattr("pytest_wasmedge.artifacts.recipe.build", build)
    monkeypatch.setattr(comparison, "build_tools", lambda progress: dict.fromkeys(_TOOLS, tmp_path))
    said: list[str] = []

    first = comparison.variant("O2", silent, said.append)
    stale = first.path.with_name("ruby-worker-O2-0123456789abcdef.wasm")
    other = first.path.with_name("ruby-worker-O2+wizer-0123456789abcdef.wasm")
    for path in (stale, other):
        path.touch()
    second = comparison.variant("O2", silent, said.append)

    assert built == ["O2"]
    assert said == ["O2: built in 0 s"]
    assert first == second
    assert sorted(first.path.parent.iterdir()) == sorted([first.path, other])


_TOOLS = ("node", "binaryen", "wizer", "ruby")

# Builds a variant for ever: says where, and waits to be killed.
BUILDER = """
import sys
from pathlib import Path
from pytest_wasmedge.commands import compare as comparison
from pytest_wasmedge.artifacts import recipe

def build(name, into, tools, progress):
    (into / "half").touch()
    print(into, flush=True)
    sys.stdin.readline()

recipe.build = build
comparison.build_tools = lambda progress: dict.fromkeys(("node", "binaryen", "wizer", "ruby"), Path())
comparison.variant("O2", print, print)
"""


def test_a_killed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends a build, what it had written goes, and the cache holds no half of a variant."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path / "cache"))
    builder = subprocess.Popen(
        [sys.executable, "-c", BUILDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with builder:
        assert builder.stdout
        into = Path(builder.stdout.readline().strip())
        assert (into / "half").exists()
        builder.kill()

    until_gone([builder.pid], [into])
    assert list((tmp_path / "cache" / "artifacts" / "variants").iterdir()) == []


def test_runtimes_that_are_not_here() -> None:
    """Under `all` one that is not here is told of; one that is named must be here."""
    here = answering("here")
    away = FakeRuntime("away", availability=Availability(False, reason="no away", install="get away"))

    found, availability = comparison.runtimes_for("all", [here, away])
    assert found == [here]
    assert list(availability) == ["here", "away"]
    for spec in ("here,away", "away"):
        with pytest.raises(RuntimeUnavailableError, match="away: no away; get it with `get away`"):
            comparison.runtimes_for(spec, [here, away])


@pytest.fixture
def two_runtimes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Runtime]:
    """The command line knows these runtimes alone, and a cache folder of this test."""
    known: list[Runtime] = [Watched("one"), Watched("two")]
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(comparison, "builtin_runtimes", lambda: known)
    return known


def test_the_command(tmp_path: Path, two_runtimes: list[Runtime], capsys: pytest.CaptureFixture[str]) -> None:
    """`compare` prints the table and appends every sample to the file of --json."""
    path, kept = str(wat.artifact(tmp_path, wat.TRAP).path), tmp_path / "samples.jsonl"
    argv = ["compare", path, path, "--rounds", "2", "--seed", "5", "--json", str(kept)]

    assert cli.main(argv) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[5:9]] == ["one", "one", "two", "two"]
    assert [line.rpartition("  ")[2] for line in printed[5:9]] == ["baseline", "too few rounds to say"] * 2
    samples = [json.loads(line) for line in kept.read_text().splitlines()]
    taken = [each for each in samples if "elapsed_ns" in each]
    assert sorted((each["runtime"], each["round"]) for each in taken) == sorted(
        (runtime, number) for runtime in ("one", "two") for number in (1, 1, 2, 2)
    )
    assert {(each["seed"], each["variant"], each["kind"]) for each in taken} == {(5, path, "cold/no-cache")}


def test_nothing_is_started_while_somebody_measures(
    tmp_path: Path, two_runtimes: list[Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check takes its turn among the machine's tests, each round that of a measurement, and they alone start."""
    went_on: list[str] = []

    class Told(Quiet):
        @contextmanager
        def testing(self) -> Iterator[None]:
            went_on.append("testing")
            yield
            went_on.append("over")

        @contextmanager
        def measuring(self, *, goes_on: bool = False) -> Iterator[None]:
            went_on.append("measuring")
            yield
            went_on.append("over")

    class Starting(Watched):
        def start(self, artifact: Artifact, limits: Limits) -> Host:
            went_on.append("start")
            return super().start(artifact, limits)

    monkeypatch.setattr(comparison, "Quiet", Told)
    two_runtimes[:] = [Starting("one")]

    assert cli.main(["compare", str(wat.artifact(tmp_path, wat.TRAP).path), "--rounds", "2"]) == 0
    assert went_on == ["testing", "start", "over", *["measuring", "start", "over"] * 2]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupting_the_command_prints_what_there_is(
    number: signal.Signals,
    status: int,
    tmp_path: Path,
    two_runtimes: list[Runtime],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C and SIGTERM end it with the usual status, after the table of what was measured until then."""
    path = str(wat.artifact(tmp_path, wat.TRAP).path)
    take_round = Ablation.take_round

    def only_one(self: Ablation, progress: Callable[[str], None]) -> None:
        if self.rounds:
            signal.raise_signal(number)
        take_round(self, progress)

    monkeypatch.setattr(Ablation, "take_round", only_one)

    assert cli.main(["compare", path, "--runtimes", "two"]) == status
    out, err = capsys.readouterr()
    assert out.splitlines()[4].split()[0] == "two"
    assert out.splitlines()[4].endswith("baseline")
    assert err == "pytest-wasmedge: interrupted; the table shows what was measured until then.\n"


def test_a_variant_that_cannot_be_measured_fails_the_command(
    tmp_path: Path, two_runtimes: list[Runtime], capsys: pytest.CaptureFixture[str]
) -> None:
    """A hole in the table is never a success: the status is 1."""
    artifact = wat.artifact(tmp_path, wat.TRAP)
    broken = two_runtimes[0]
    assert isinstance(broken, Watched)
    broken.refused = artifact.name

    assert cli.main(["compare", str(artifact.path), "--rounds", "1"]) == 1
    assert "not measured: one cannot load" in capsys.readouterr().out


def test_samples_that_cannot_be_written_stop_the_command_first(tmp_path: Path) -> None:
    """A file for --json that cannot be written is an error before anything is built."""
    with pytest.raises(LatencyError, match=r"--json .* cannot be written: Is a directory; give another file"):
        comparison.writer(tmp_path, 1, {})
