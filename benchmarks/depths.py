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

RUNTIMES = "wasmtime,wasmtime-cli,wasmtime-serve,node,deno,bun,workerd,chromium,firefox,wasmer,wasmedge"
#: Nothing deeper is tried: time and memory grow with the square of the depth.
DEEPEST = 1024
#: So deep, some shapes are tried as well: they need no copies of the stack.
DEEPER = {"`join` of arrays": 16_384}
#: A depth is told to a sixteenth.
STEPS = 16
TIME_LIMIT_S = 20.0


def calls(levels: int, call: str, end: str = "0") -> str:
    """Return a program whose method ``f`` calls itself by way of C."""
    return f"def f(n) = n == 0 ? ({end}) : {call}\nbegin; f({levels}); rescue IOError; end\nputs 'ok'"


#: What is nested, and the program that prints "ok" after it was.
SHAPES: dict[str, Callable[[int], str]] = {
    "`map` in `map`": lambda levels: calls(levels, "[n].map { f(n - 1) }"),
    "the same, `GC.start` inside": lambda levels: calls(levels, "[n].map { f(n - 1) }", "GC.start"),
    "the same, `raise` inside, rescued outside": lambda levels: calls(
        levels, "[n].map { f(n - 1) }", "raise IOError"
    ),
    "`sort_by` in `sort_by`": lambda levels: calls(levels, "[n].sort_by { f(n - 1); 1 }"),
    "`inspect` of arrays": lambda levels: f"a = []; {levels}.times {{ a = [a] }}; a.inspect; puts 'ok'",
    "`join` of arrays": lambda levels: f"a = [1]; {levels}.times {{ a = [a] }}; a.join; puts 'ok'",
    "regexps (`/#{f}/o`) under `set_trace_func`": lambda levels: (
        f"set_trace_func(proc {{ }})\ndef f(n) = /#{{n == 0 ? 1 : f(n - 1)}}/o\nf({levels}); puts 'ok'"
    ),
    "array literals": lambda levels: f"{'[' * levels}{']' * levels}; puts 'ok'",
    "blocks (`1.times {`)": lambda levels: f"{'1.times {' * levels}{'}' * levels}; puts 'ok'",
}


def main() -> None:
    """Print one row per shape, one column per runtime that is here."""
    names = (sys.argv[1] if sys.argv[1:] else RUNTIMES).split(",")
    columns: dict[str, list[str]] = {}
    artifact = open_artifact(BUILTIN_ARTIFACT, Path())
    for runtime in (one for one in builtin_runtimes() if one.name in names):
        sys.stderr.write(f"{runtime.name} …\n")
        try:
            with runtime.start(artifact, Limits(timeout_s=TIME_LIMIT_S)) as host:
                columns[runtime.name] = [depth(host, name) for name in SHAPES]
        except WasmEdgeError as error:
            sys.stderr.write(f"{runtime.name} is left out: {error}\n")
    rows = [["nested", *columns], ["---"] * (len(columns) + 1)]
    for number, shape in enumerate(SHAPES):
        rows.append([shape, *(column[number] for column in columns.values())])
    sys.stdout.writelines(f"| {' | '.join(row)} |\n" for row in rows)


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
