"""How often the gate is wrong, how often it sees a slowdown, and how long that takes (`make bench-gate`).

    python -m benchmarks.gate record    raw cold starts, kept in benchmarks/samples
    python -m benchmarks.gate replay    ten thousand gates of each kind, drawn from those
    python -m benchmarks.gate real      gates on real hosts, with artifacts of a known slowdown
    python -m benchmarks.gate ceilings  ceilings under, at and over the median
    python -m benchmarks.gate report    the tables of docs/latency.md

What measures can be stopped and gone on with. Ends with status 1 if a bound that we promise is broken.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks import recording, replay, tables, trials
from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.errors import RuntimeUnavailableError, WasmEdgeError
from pytest_wasmedge.latency.gate import Rules
from pytest_wasmedge.model import Artifact, Runtime
from pytest_wasmedge.runtimes import DEFAULT, builtin_names, builtin_runtimes, merge, select

SAMPLES = Path(__file__).parent / "samples"
COLD_STARTS = SAMPLES / "cold-starts.json.xz"
REPLAYED = SAMPLES / "replay.json"
GATES = SAMPLES / "gates.jsonl"
SEED = 20261121
HTTP = "deno,node,bun,workerd"

#: What things took on two cores, to tell people how long they will wait.
_COLD_S, _REPLAYED_GATE_S, _REAL_GATE_S = 0.35, 0.0015, 40


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    options = _parser().parse_args(argv)
    try:
        return int(options.run(options))
    except WasmEdgeError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped; what was measured is kept: go on with the same command (and --resume).\n")
        return 130


def _record(options: argparse.Namespace) -> int:
    runtimes = _runtimes(options.runtimes)
    if options.anew:
        recording.drop(options.out, {runtime.name for runtime in runtimes}, options.condition)
    _expect(len(runtimes) * options.count, "cold starts, if none is recorded yet", _COLD_S)
    recording.record(runtimes, _artifact(), options.condition, options.count, options.out, options.seed, _say)
    return 0


def _replay(options: argparse.Namespace) -> int:
    names = {runtime.name for runtime in select(options.runtimes, merge(builtin_runtimes(), []))}
    recorded = [
        series
        for series in recording.load(options.samples)
        if series.runtime in names
        and series.condition in options.conditions
        and len(series.elapsed_us) >= replay.LEAST
    ]
    kinds = len(recorded) * len(replay.SLOWDOWNS)
    _expect(options.gates * kinds, "gates", _REPLAYED_GATE_S / options.workers)
    rules = _rules(options)
    tallies = replay.replay(recorded, options.gates, rules, options.seed, options.workers, _say)
    replay.store(options.out, tallies, rules, options.seed)
    return _promises(replay.broken(tallies, rules.budget_s))


def _real(options: argparse.Namespace) -> int:
    artifact = _artifact()
    classes = {"in-process": [DEFAULT], "HTTP": options.http.split(",")}
    chosen = {name: names for name, names in classes.items() if name in options.classes}
    names = ",".join(name for names in chosen.values() for name in names)
    runtimes = {runtime.name: runtime for runtime in _runtimes(names, required=True)}
    done = trials.judged_before(options.out, "pairs", artifact, options.resume)
    plan = trials.plan_pairs(chosen, options.seed, options.scale)
    left = [trial for trial in plan if trial.key not in done and trial.against in options.slowdowns]
    _expect(len(left), "gates", _REAL_GATE_S)
    with tempfile.TemporaryDirectory(prefix="bench-gate-") as folder:
        # Another lot each time it goes on, so that no order is drawn twice.
        pairs = trials.Pairs(artifact, _rules(options), options.seed + len(done), Path(folder))
        with closing(pairs):
            for trial in left:
                judged = pairs.judge(trial, runtimes[trial.runtime])
                trials.append(options.out, judged)
                _say(str(judged))
    return _finish(options.out, "pairs")


def _ceilings(options: argparse.Namespace) -> int:
    artifact = _artifact()
    runtimes = {runtime.name: runtime for runtime in _runtimes(options.runtimes)}
    done = trials.judged_before(options.out, "ceiling", artifact, options.resume)
    plan = trials.plan_ceilings(runtimes, options.seed, options.trials, options.ceilings)
    left = [group for trio in plan if (group := [trial for trial in trio if trial.key not in done])]
    _expect(len(left), "times ceilings", 2 * options.budget)
    for group in left:
        seed = f"{options.seed}/{group[0].key}"
        judged = trials.judge_ceilings(group, runtimes[group[0].runtime], artifact, _rules(options), seed)
        for trial in judged:
            trials.append(options.out, trial)
            _say(str(trial))
    return _finish(options.out, "ceiling")


def _report(options: argparse.Namespace) -> int:
    tallies, judged = replay.load(options.replayed), trials.load(options.gates)
    text = tables.report(recording.load(options.samples), tallies, judged)
    if options.into:
        tables.write_into(options.into, text)
    else:
        _say(text)
    return _promises(replay.broken(tallies, Rules().budget_s) + trials.broken(judged))


def _finish(path: Path, what: trials.What) -> int:
    """Show what all such trials so far add up to."""
    judged = [trial for trial in trials.load(path) if trial.what == what]
    _say(tables.real(judged) if what == "pairs" else tables.ceilings(judged))
    return _promises(trials.broken(judged))


def _promises(broken: Sequence[str]) -> int:
    """Say which promises are broken; 1 if any is."""
    for sentence in broken:
        sys.stderr.write(f"BROKEN: {sentence}\n")
    return int(bool(broken))


def _runtimes(spec: str, *, required: bool = False) -> list[Runtime]:
    """Return the runtimes asked for that can run here; raises RuntimeUnavailableError if all must."""
    chosen = select(spec, merge(builtin_runtimes(), []))
    available = [runtime for runtime in chosen if runtime.probe().available]
    for runtime in chosen:
        if runtime not in available:
            missing = f"{runtime.name} cannot run here: get it with `pytest-wasmedge install`."
            if required:
                raise RuntimeUnavailableError(missing)
            sys.stderr.write(f"left out: {missing}\n")
    return available


def _artifact() -> Artifact:
    return open_artifact(BUILTIN_ARTIFACT, Path.cwd())


def _rules(options: argparse.Namespace) -> Rules:
    return Rules(budget_s=options.budget).for_family(options.family)


def _expect(count: int, what: str, each_s: float) -> None:
    _say(f"{count} {what}: about {max(1, round(count * each_s / 60))} minutes")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    record = commands.add_parser("record", help="record raw cold starts")
    record.set_defaults(run=_record)
    record.add_argument("--condition", choices=recording.CONDITIONS, required=True)
    record.add_argument("--count", type=int, default=400, help="of each runtime (default: %(default)s)")
    record.add_argument("--out", type=Path, default=COLD_STARTS)
    record.add_argument("--anew", action="store_true", help="drop what is recorded of them first")

    again = commands.add_parser("replay", help="judge gates drawn from what was recorded")
    again.set_defaults(run=_replay)
    again.add_argument("--gates", type=int, default=10_000, help="of each kind (default: %(default)s)")
    again.add_argument("--conditions", nargs="+", choices=recording.CONDITIONS, default=recording.CONDITIONS)
    again.add_argument("--samples", type=Path, default=COLD_STARTS)
    again.add_argument("--out", type=Path, default=REPLAYED)
    again.add_argument("--workers", type=int, default=os.cpu_count() or 1)

    real = commands.add_parser("real", help="judge gates on real hosts")
    real.set_defaults(run=_real)
    real.add_argument("--classes", nargs="+", choices=("in-process", "HTTP"), default=("in-process", "HTTP"))
    real.add_argument("--http", default=HTTP, help="runtimes that take turns (default: %(default)s)")
    real.add_argument(
        "--slowdowns",
        nargs="+",
        type=float,
        choices=tuple(trials.GATES),
        default=tuple(trials.GATES),
        help="gates of these slowdowns only: 0 is none (default: all)",
    )
    real.add_argument("--scale", type=float, default=1.0, help="so many times the gates that are due")

    ceilings = commands.add_parser("ceilings", help="judge ceilings around the median")
    ceilings.set_defaults(run=_ceilings)
    ceilings.add_argument(
        "--trials", type=int, default=trials.CEILING_TRIALS, help="of each (default: %(default)s)"
    )
    ceilings.add_argument(
        "--ceilings",
        nargs="+",
        type=float,
        choices=trials.CEILINGS,
        default=trials.CEILINGS,
        help="as multiples of the median; the median itself takes the whole budget (default: all)",
    )

    report = commands.add_parser("report", help="print the tables of docs/latency.md")
    report.set_defaults(run=_report)
    report.add_argument("--samples", type=Path, default=COLD_STARTS)
    report.add_argument("--replayed", type=Path, default=REPLAYED)
    report.add_argument("--gates", type=Path, default=GATES)
    report.add_argument("--into", type=Path, help="a document with our two marks, to write them into")

    for command in (record, again, ceilings):
        command.add_argument("--runtimes", default="all", help="all or NAME,… (default: %(default)s)")
    for command in (record, again, real, ceilings):
        command.add_argument("--seed", type=int, default=SEED)
    for command in (again, real, ceilings):
        command.add_argument("--budget", type=float, default=Rules().budget_s, help="seconds (%(default)s)")
        command.add_argument(
            "--family",
            type=int,
            default=len(builtin_names()),
            help="gates that share the error (%(default)s)",
        )
    for command in (real, ceilings):
        command.add_argument("--out", type=Path, default=GATES)
        command.add_argument("--resume", action="store_true", help="go on with what is there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
