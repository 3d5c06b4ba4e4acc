"""How an event ends an invocation, on every host: the table of docs/endings.md, which is made from the one here.

After a change, `.venv/bin/python -m tests.runtimes.test_endings` writes that page anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.artifacts.wasi import WASI
from pytest_wasmedge.model import Host, Limits
from pytest_wasmedge.runtimes import builtin_runtimes
from tests import wat

PAGE = Path(__file__).parents[2] / "docs" / "endings.md"
#: All but what takes a gigabyte per second in an endless recursion, and one that is as slow.
NAMES = sorted(
    each.name
    for each in builtin_runtimes()
    if not each.yardstick and each.name not in ("wasmedge-interpreter", "wazero")
)
TIMEOUT_S = 0.5


def _module(body: str = "", before: str = "") -> str:
    return f'(module {before} (memory (export "memory") 1) (func (export "_start") {body}))'


def _exits(status: int) -> str:
    return f"(call $exit (i32.const {status}))"


def _writes(place: int) -> str:
    """Write what the list of buffers in this place names, and exit with the errno."""
    return f"(call $exit (call $write (i32.const 1) (i32.const {place}) (i32.const 1) (i32.const 0)))"


#: What happens in a program that can do all of it, and how it ends.
DEEDS: dict[str, tuple[str, str]] = {
    "returns from _start": ("", "exited(0)"),
    "proc_exit(1)": (_exits(1), "exited(1)"),
    "proc_exit(125)": (_exits(125), "exited(125)"),
    "proc_exit(255)": (_exits(255), "exited(255)"),
    "proc_exit(256)": (_exits(256), "exited(256)"),
    "proc_exit(257)": (_exits(257), "exited(257)"),
    "proc_exit(-1)": (_exits(-1), "exited(4294967295)"),
    "proc_exit(1 << 31)": (_exits(1 << 31), "exited(2147483648)"),
    "unreachable": ("unreachable", "trapped"),
    "division by zero": ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", "trapped"),
    "load outside of memory": ("(drop (i32.load (i32.const -4)))", "trapped"),
    "call of a null reference": ("(call_indirect (i32.const 0))", "trapped"),
    "recursion without end": ("(drop (call $deep (i32.const 0)))", "trapped"),
    "loop without end": ("(loop $l br $l)", "timed_out"),
    "list of buffers outside of memory": (_writes(-16), "trapped"),
    "buffer outside of memory": (_writes(16), "trapped"),
}
#: What needs a program of its own, since it happens before any code runs, or asks for a proposal.
PROGRAMS: dict[str, tuple[str, str]] = {
    "exception that nobody catches": (_module("throw $t", "(tag $t)"), "trapped"),
    "data segment outside of memory": (
        _module().replace("1)", '1) (data (i32.const 65530) "0123456789")', 1),
        "trapped",
    ),
    "element segment outside of its table": (
        _module(before="(table 1 funcref) (elem (i32.const 5) $f) (func $f)"),
        "trapped",
    ),
    "trap in the start section": (_module(before="(func $s unreachable) (start $s)"), "trapped"),
    "loop without end in the start section": (
        _module(before="(func $s (loop $l br $l)) (start $s)"),
        "timed_out",
    ),
}
EVENTS = DEEDS | PROGRAMS


def _doing() -> str:
    """Return the program that does what the first byte of its stdin, a letter from A on, stands for."""
    chosen = "".join(
        f"(if (i32.eq (i32.load8_u (i32.const 64)) (i32.const {ord('A') + index})) (then {body}))"
        for index, (body, _) in enumerate(DEEDS.values())
    )
    # The list of buffers at 16 names 16 bytes just below 2 GiB, the one at 32 a byte at 64. Between the calls of the
    # recursion are stores, so that no compiler makes a loop of it.
    return rf"""(module
      (import "{WASI}" "proc_exit" (func $exit (param i32)))
      (import "{WASI}" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
      (import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (table 1 funcref)
      (data (i32.const 16) "\f0\ff\ff\7f\10\00\00\00")
      (data (i32.const 32) "\40\00\00\00\01\00\00\00")
      (func $deep (param i32) (result i32) (local i32)
        (local.set 1 (call $deep (i32.add (local.get 0) (i32.const 1))))
        (i32.store (i32.and (local.get 1) (i32.const 1020)) (i32.load (i32.const 4)))
        (i32.add (local.get 1) (i32.load (i32.and (local.get 0) (i32.const 1020)))))
      (func (export "_start")
        (drop (call $read (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 0)))
        {chosen}))"""


_REFUSES = "host_failed"
#: What a host does otherwise, by its own decision: (event, runtime) to the ending. Nothing else is made allowance for.
OTHERWISE: dict[tuple[str, str], str] = {
    # Preview 1 in wasmtime takes statuses below 126 only.
    **{
        (f"proc_exit({status})", name): _REFUSES
        for status in ("255", "256", "257", "-1", "1 << 31")
        for name in ("gvisor", "lambda", "wasmtime", "wasmtime-cli", "wasmtime-winch", "wasmtime-pulley")
    },
    # The exit that jco's adapter calls has success and failure alone.
    **{
        (f"proc_exit({status})", "jco"): "exited(1)"
        for status in ("125", "255", "256", "257", "-1", "1 << 31")
    },
    # A process passes on 8 bits of its status.
    **{("proc_exit(256)", name): "exited(0)" for name in ("wasmedge", "wasmer")},
    **{("proc_exit(257)", name): "exited(1)" for name in ("wasmedge", "wasmer")},
    **{("proc_exit(1 << 31)", name): "exited(0)" for name in ("wasmedge", "wasmer")},
    ("proc_exit(-1)", "wasmedge"): "exited(255)",
    ("proc_exit(-1)", "wasmer"): "exited(65535)",
    # Its compiled code does not watch its stack: the process dies of it.
    ("recursion without end", "wasmedge"): "host_failed",
    # They tell the guest by an errno: fault, inval, overflow, memory violation.
    **{
        (f"{what} outside of memory", name): f"exited({errno})"
        for what in ("list of buffers", "buffer")
        for name, errno in (("deno-wasi", 21), ("wasmedge", 21), ("node-wasi", 61), ("wasmer", 78))
    },
    ("buffer outside of memory", "bun-wasi"): "exited(28)",
    # What jco makes of a component takes of the memory what there is: nothing.
    ("buffer outside of memory", "jco"): "exited(0)",
    # Bun's node:wasi throws an error of JavaScript.
    ("list of buffers outside of memory", "bun-wasi"): "host_failed",
}


def page() -> str:
    """Return the page, in Markdown."""
    lines = [
        "# How an event ends an invocation",
        "",
        "The same event is the same ending on every host. What a host does otherwise, by its own decision, is named.",
        "Made from tests/runtimes/test_endings.py, which makes each event happen on each host.",
        "",
        "| event | ending | otherwise |",
        "|---|---|---|",
    ]
    for event, (_, ending) in EVENTS.items():
        otherwise: dict[str, list[str]] = {}
        for name in NAMES:
            if (event, name) in OTHERWISE:
                otherwise.setdefault(OTHERWISE[event, name], []).append(name)
        told = "; ".join(f"{', '.join(names)}: {other}" for other, names in otherwise.items())
        lines.append(f"| {event} | {ending} | {told} |")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_every_event_ends_as_the_table_says(name: str, tmp_path: Path) -> None:
    """Each event on this host, in one test, so that one look at a failure shows all that is otherwise."""
    (runtime,) = (each for each in builtin_runtimes() if each.name == name)
    seen = {}

    def see(host: Host, event: str, stdin: bytes = b"") -> None:
        # Time enough for all but the loops, which have no end however much they get.
        timeout_s = TIMEOUT_S if "loop" in event else 20.0
        seen[event] = str(host.run(stdin, timeout_s=timeout_s).ending)

    def start(program: str, stem: str) -> Host:
        artifact = load_artifact(wat.write(tmp_path / f"{stem}.wasm", wat.assemble(program)))
        return runtime.start(artifact, Limits(timeout_s=TIMEOUT_S))

    with start(_doing(), "doing") as host:
        for index, event in enumerate(DEEDS):
            see(host, event, bytes([ord("A") + index]))
    for index, (event, (program, _)) in enumerate(PROGRAMS.items()):
        with start(program, str(index)) as host:
            see(host, event)

    assert seen == {event: OTHERWISE.get((event, name), ending) for event, (_, ending) in EVENTS.items()}


def test_the_page_is_the_table() -> None:
    """docs/endings.md says what is tested."""
    assert PAGE.read_text(encoding="utf-8") == page()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
