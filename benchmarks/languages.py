"""`make bench-languages`: Hello World and the parsing of HTML, native and in WebAssembly, cold and warm.

    python -m benchmarks.languages [--rounds 50] [--into docs/languages.md]

All give the same answers, which are checked. A cold start is one process from its start to its whole answer; warm is
one more invocation on a started host. They take turns, in an order that is shuffled each round.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.recording import alone
from examples import build
from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.drivers.command import CommandLaunch, CommandRuntime, Ended
from pytest_wasmedge.drivers.program import Interpreter, Package
from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.latency.journal import describe_machine
from pytest_wasmedge.latency.sampling import Answer
from pytest_wasmedge.latency.statistics import Pair, median_interval, ratio_estimate, ratio_interval
from pytest_wasmedge.model import Artifact, Ending, Host, Invocation, Limits, Runtime
from pytest_wasmedge.provision import Found, install
from pytest_wasmedge.provision.pins import version_of
from pytest_wasmedge.runtimes.jco import Jco
from pytest_wasmedge.runtimes.native_ruby import NativeRuby
from pytest_wasmedge.runtimes.wasmtime import Wasmtime
from pytest_wasmedge.runtimes.wasmtime_cli import WasmtimeCli

ROOT = Path(__file__).parent.parent
SEED = 20261129
#: The columns: what is done, and from where.
COLUMNS = tuple((task, state) for task in ("hello", "html") for state in ("cold", "warm"))
PAGE = build.HERE / "html-parser" / "cases" / "rows.html"
ANSWERS = {"hello": b"Hello, World!\n", "html": b"1005\n"}
#: The rows that the question is about; Ruby as people start it, and as it starts fastest.
SMALL, RUBY, BARE_RUBY = "hand-written WebAssembly, in wasmtime", "native Ruby", "native Ruby, without gems"
#: Runs Pyodide: the versions that it can, and how it tells its own and its engine's.
_NODE = Interpreter("node", (22,), ("-p", "JSON.stringify(process.versions)"), ("node", "v8"))


class NativeProgram(CommandRuntime):
    """A program of this machine, which a benchmark has compiled; a process per invocation, as all commands have."""

    name = "native"
    engine = "none"
    yardstick = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def locate(self) -> Found:
        return Found(self._path, "compiled for this benchmark")

    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        return [str(launch.executable), *invocation.args]

    def outcome(self, launch: CommandLaunch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        return ended.stdout, ended.stderr, ended.ending("the program")


class Pyodide(Package, CommandRuntime):
    """CPython as Emscripten makes it, which runs the program on its stdin: a process of Node per invocation."""

    name = "pyodide"
    engine = "V8"
    yardstick = True
    tools = ("node", "pyodide")
    tool = "pyodide"
    interpreters = (_NODE,)

    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        script = Path(__file__).with_name("pyodide.mjs")
        return [str(_NODE.require()), str(script), str(launch.executable), *invocation.args]

    def outcome(self, launch: CommandLaunch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        return ended.stdout, ended.stderr, ended.ending("node")


@dataclass(slots=True)
class Cell:
    """One figure of the table: an invocation on a host, and what it took each time, in nanoseconds."""

    row: str
    task: str
    state: str
    host: Host
    invocation: Invocation
    samples_ns: list[int] = field(default_factory=list)

    def take(self) -> None:
        """Invoke once. Raises LatencyError if the answer is another one."""
        outcome = self.host.invoke(self.invocation)
        Answer(ANSWERS[self.task]).check(outcome, f"{self.row}: {self.task}")
        self.samples_ns.append(outcome.timings.elapsed_ns)


def asked(task: str, *, of_ruby: bool = False) -> Invocation:
    """Return what a guest is asked: Ruby is given the program, all others are the program."""
    if not of_ruby:
        return Invocation() if task == "hello" else Invocation(PAGE.read_bytes(), args=("count",))
    programs = ROOT / "fixtures" / "latency"
    if task == "hello":
        return Invocation((programs / "hello.rb").read_bytes())
    parser = (programs / "html.rb").read_text(encoding="utf-8")
    parser = parser[parser.index("Node = ") : parser.index("tree = ")]
    page = PAGE.read_text(encoding="utf-8")
    return Invocation(f"PAGE = <<'END'\n{page}END\n{parser}puts count(parse(PAGE)) - 1\n".encode())


def in_wasmtime(row: str, task: str, artifact: Artifact, start: Callable[..., Host]) -> Iterator[Cell]:
    """Yield both cells of an artifact: the command is a process each time, and the host in this process is warm."""
    invocation = asked(task, of_ruby=artifact.name == BUILTIN_ARTIFACT)
    yield Cell(row, task, "cold", start(WasmtimeCli(), artifact), invocation)
    yield Cell(row, task, "warm", start(Wasmtime(), artifact), invocation)


def cells(
    work: Path, start: Callable[[Runtime, Artifact], Host], missing: Callable[[str], None]
) -> Iterator[Cell]:
    """Yield what is measured, row by row; ``missing`` is told what cannot be."""
    ruby, small = open_artifact(BUILTIN_ARTIFACT, Path.cwd()), load_artifact(build.build("hello-wat"))
    c = {"hello": "hello-c", "html": "html-parser"}
    sources = {"hello": [build.HERE / "hello-c" / "hello.c"], "html": build.html_sources()}
    for task, name in c.items():
        build.compile_c(sources[task], work / name, *build.html_flags())
        yield Cell("native C", task, "cold", start(NativeProgram(work / name), small), asked(task))
    try:
        compiler, _ = build.rust_for_wasi()
        rust = load_artifact(build.build("hello-rust"))
        build.compile_rust(build.HERE / "hello-rust" / "hello.rs", work / "hello-rust", compiler)
        native = start(NativeProgram(work / "hello-rust"), small)
        yield Cell("native Rust", "hello", "cold", native, asked("hello"))
        yield from in_wasmtime("Rust, in wasmtime", "hello", rust, start)
    except WasmEdgeError as error:
        missing(f"Rust: {error}")
    if (there := NativeRuby().probe()).available:
        as_usual = NativeProgram(NativeRuby().executable())
        for task in ANSWERS:
            for row, runtime in ((RUBY, as_usual), (BARE_RUBY, NativeRuby())):
                yield Cell(row, task, "cold", start(runtime, ruby), asked(task, of_ruby=True))
    else:
        missing(f"{RUBY}: {there.reason}; get it with `{there.install}`.")
    try:
        install(Pyodide.tool)
        python = Invocation(b'print("Hello, World!")\n')
        yield Cell("CPython (Pyodide), on Node", "hello", "cold", start(Pyodide(), small), python)
    except WasmEdgeError as error:
        missing(f"Pyodide: {error}")
    if (there := Jco().probe()).available:
        # Node runs Pyodide, too, in a process each time.
        for task in ANSWERS:
            host = start(Jco(), ruby)
            yield Cell("the built-in Ruby, on Node (jco)", task, "cold", host, asked(task, of_ruby=True))
    else:
        missing(f"the built-in Ruby on Node: {there.reason}; get it with `{there.install}`.")
    for task, name in c.items():
        yield from in_wasmtime("C, in wasmtime", task, load_artifact(build.build(name)), start)
        yield from in_wasmtime("the built-in Ruby, in wasmtime", task, ruby, start)
    yield from in_wasmtime(SMALL, "hello", small, start)


def measure(taking_part: Sequence[Cell], rounds: int) -> None:
    """Take a sample of each in every round, in an order of its own. Raises WasmEdgeError."""
    lot = random.Random(SEED)
    with alone():
        for cell in taking_part:
            # Not kept: the first one reads from disk.
            cell.take()
            cell.samples_ns.clear()
        for _ in range(rounds):
            for cell in lot.sample(taking_part, len(taking_part)):
                cell.take()


def page(
    measured: Sequence[Cell], versions: Mapping[str, str], missing: Sequence[str], rounds: int, load: float
) -> str:
    """Return the whole of docs/languages.md."""
    names = ("Hello World, cold", "warm", "HTML, cold", "warm")
    rows = [["ms", *names], ["---"] * (len(names) + 1)]
    found = {(cell.row, cell.task, cell.state): cell for cell in measured}
    # The fastest to greet comes first.
    by_start = sorted({cell.row for cell in measured}, key=lambda row: _ms(found[row, "hello", "cold"]))
    for row in by_start:
        rows.append([row, *(_figure(found.get((row, *column))) for column in COLUMNS)])
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    told = "".join(f"* {name}: {version}\n" for name, version in versions.items())
    absent = "".join(f"\nNot measured here: {reason}\n" for reason in missing)
    small, *rubies = (found.get((row, "hello", "cold")) for row in (SMALL, BARE_RUBY, RUBY))
    return _PAGE.format(
        answer=answer(small, *rubies),
        machine=describe_machine(),
        table=table,
        versions=told,
        rounds=rounds,
        load=load,
        absent=absent,
    )


def answer(small: Cell | None, bare: Cell | None, usual: Cell | None) -> str:
    """Return what the figures say to the question: pairs of one round each, as in all our comparisons."""
    if small is None or bare is None or usual is None:
        return "Not answered: there was no native Ruby to compare with."
    pairs = list(zip(small.samples_ns, bare.samples_ns, strict=True))
    interval = ratio_interval(pairs, 0.05)
    word = "Undecided."
    if interval and 1.0 not in interval:
        word = "Yes." if interval.low > 1 else "No."
    return (
        f"**{word}** A module of {small.host.artifact.size_bytes} bytes in a wasmtime process of its own greets after "
        f"{_ms(small):.1f} ms.\nThe Ruby VM takes {_ratio(pairs)} as long without its gems,\n"
        f"and {_ratio(list(zip(small.samples_ns, usual.samples_ns, strict=True)))} as people start it."
    )


def _ratio(pairs: Sequence[Pair]) -> str:
    interval = ratio_interval(pairs, 0.05)
    between = f" (95 %: {interval.low:.1f}–{interval.high:.1f})" if interval else ""
    return f"{ratio_estimate(pairs):.1f} times{between}"


_PAGE = """\
# What a start costs, by language

Can a small wasm print Hello World faster than the Ruby VM does?

{answer}

This page is written by `make bench-languages`. Medians in milliseconds with their 95 % intervals (order statistics,
exact), of {rounds} samples each, all in turn, in an order shuffled each round; how many times as long is told from the
pairs of each round (Wilcoxon). {machine}; its load
when this began, which should be near 0: {load:.1f}.

{table}
**Cold** is one process from its start to its whole answer, read by us. What can be kept on disk was: wasmtime's code
is compiled beforehand, jco's component made, and all files are in the page cache. **Warm** is one more invocation, in a
fresh instance, on a host that is already there: wasmtime in this process. A native program has no such host: each run
is a process, so its second run is a cold start again.

HTML is a page of 200 rows (22 KB), parsed to a tree whose elements are counted. C does it with Gumbo, which follows
the standard; Ruby with a scanner of 30 lines, which does much less (`fixtures/latency/html.rb`). Both count 1,005. The
page is stdin; for Ruby it stands in the program, which has to be parsed as well.

{versions}{absent}"""


def _ms(cell: Cell) -> float:
    return statistics.median(cell.samples_ns) / 1e6


def _figure(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    interval = median_interval(cell.samples_ns, 0.05)
    between = f" ({_number(interval.low)}–{_number(interval.high)})" if interval else ""
    return f"{_number(statistics.median(cell.samples_ns))}{between}"


def _number(elapsed_ns: float) -> str:
    return f"{elapsed_ns / 1e6:.2f}" if elapsed_ns < 10e6 else f"{elapsed_ns / 1e6:.1f}"


def versions_here(ruby: Artifact) -> dict[str, str]:
    """Return the versions of what took part."""
    told = {"C": f"Zig {version_of('zig')} (`zig cc -O2`)"}
    try:
        compiler, _ = build.rust_for_wasi()
        said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
        told["Rust"] = said.stdout.strip()
    except (WasmEdgeError, OSError, subprocess.CalledProcessError):
        told["Rust"] = "none"
    for runtime in (NativeRuby(), WasmtimeCli(), Wasmtime(), Jco(), Pyodide()):
        told[runtime.name] = runtime.probe().version
    return {
        **told,
        "the built-in Ruby": f"{ruby.name}, sha256 {ruby.sha256[:12]}",
        "Python": platform.python_version(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the page; 2 if something cannot be measured at all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.languages", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="samples of each (default: %(default)s)")
    parser.add_argument(
        "--into",
        type=Path,
        default=ROOT / "docs" / "languages.md",
        help="the page (default: docs/languages.md)",
    )
    options = parser.parse_args(argv)
    missing: list[str] = []
    load = os.getloadavg()[0]
    try:
        with ExitStack() as stack, TemporaryDirectory(prefix="bench-languages-") as work:

            def start(runtime: Runtime, artifact: Artifact) -> Host:
                return stack.enter_context(runtime.start(artifact, Limits()))

            taking_part = list(cells(Path(work), start, missing.append))
            measure(taking_part, options.rounds)
            versions = versions_here(open_artifact(BUILTIN_ARTIFACT, Path.cwd()))
    except WasmEdgeError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    text = page(taking_part, versions, missing, options.rounds, load)
    options.into.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
