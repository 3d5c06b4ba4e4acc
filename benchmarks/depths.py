"""How deep programs of the built-in Ruby may go on each runtime: ``python -m benchmarks.depths [RUNTIMES]``.

Prints the table of docs/artifacts.md, in Markdown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.model import Host, Limits, exited
from pytest_wasmedge.runtimes import builtin_runtimes

#: Not measured unless named: WasmEdge's interpreter needs more than the time limit for most of them.
LEFT_OUT = {"wasmedge-interpreter"}
#: Nothing deeper is tried: time and memory grow with the square of the depth.
DEEPEST = 1024
#: So deep, some shapes are tried as well: they need no copies of the stack.
DEEPER = {"`join`": 16_384}
#: A depth is told to a sixteenth.
STEPS = 16
TIME_LIMIT_S = 20.0


def calls(levels: int, call: str, end: str = "0") -> str:
    """Return a program whose method ``f`` calls itself by way of C."""
    return f"def f(n) = n == 0 ? ({end}) : {call}\nbegin; f({levels}); rescue IOError; end\nputs 'ok'"


#: What is nested (docs/artifacts.md says it in full), and the program that prints "ok" after it was.
SHAPES: dict[str, Callable[[int], str]] = {
    "`map`": lambda levels: calls(levels, "[n].map { f(n - 1) }"),
    "`GC.start`": lambda levels: calls(levels, "[n].map { f(n - 1) }", "GC.start"),
    "`raise`": lambda levels: calls(levels, "[n].map { f(n - 1) }", "raise IOError"),
    "`sort_by`": lambda levels: calls(levels, "[n].sort_by { f(n - 1); 1 }"),
    "`inspect`": lambda levels: f"a = []; {levels}.times {{ a = [a] }}; a.inspect; puts 'ok'",
    "`join`": lambda levels: f"a = [1]; {levels}.times {{ a = [a] }}; a.join; puts 'ok'",
    "regexps": lambda levels: (
        f"set_trace_func(proc {{ }})\ndef f(n) = /#{{n == 0 ? 1 : f(n - 1)}}/o\nf({levels}); puts 'ok'"
    ),
    "`[`": lambda levels: f"{'[' * levels}{']' * levels}; puts 'ok'",
    "`1.times {`": lambda levels: f"{'1.times {' * levels}{'}' * levels}; puts 'ok'",
}


def main() -> None:
    """Print one row for each runtime that is here, or of those that are named, as soon as it is measured."""
    named = sys.argv[1].split(",") if sys.argv[1:] else ()
    artifact = open_artifact(BUILTIN_ARTIFACT, Path())
    show(["runtime", *SHAPES])
    show(["---"] * (len(SHAPES) + 1))
    for runtime in builtin_runtimes():
        wanted = runtime.name in named if named else not runtime.yardstick and runtime.name not in LEFT_OUT
        if not wanted or runtime.deployed:
            continue
        try:
            with runtime.start(artifact, Limits(timeout_s=TIME_LIMIT_S)) as host:
                show([f"`{runtime.name}` {runtime.probe().version}", *(depth(host, name) for name in SHAPES)])
        except WasmEdgeError as error:
            sys.stderr.write(f"{runtime.name} is left out: {error}\n")


def show(cells: list[str]) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def depth(host: Host, name: str) -> str:
    """Return the largest depth at which the program of this shape ends well, to one part in STEPS."""
    shape, deepest = SHAPES[name], DEEPER.get(name, DEEPEST)

    def works(levels: int) -> bool:
        outcome = host.run(shape(levels))
        return outcome.ending == exited(0) and outcome.stdout == b"ok\n"

    if works(deepest):
        return f"{deepest}+"
    good, bad = 0, deepest
    while bad - good > max(1, good // STEPS):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if works(middle) else (good, middle)
    return str(good)


if __name__ == "__main__":
    main()
