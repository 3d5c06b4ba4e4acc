"""Faults by which internals of host or engine show in guest-visible text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from pytest_wasmedge.model import Host, Outcome
from pytest_wasmedge.testing.endings import UNCAUGHT
from pytest_wasmedge.testing.fault import Fault, Invoke, Plant
from pytest_wasmedge.testing.planting import answered, told

#: The path that ``leaks_path`` prints.
LEAKED_PATH = "/home/builder/engine/src/host.rs"

_SYNTAX_ERROR = re.compile(rb"^.*SyntaxError.*$", re.MULTILINE)
_WARNING = re.compile(rb"^.*\bwarning: .*$", re.MULTILINE)
_LEAK = ("leak",)


def _fault(name: str, sentence: str, plant: Plant, *says: str) -> Fault:
    return Fault(name, "leaks", sentence, plant, says or _LEAK)


def _after(line: re.Pattern[bytes], text: str) -> Plant:
    """Return a plant that puts a line after the first one on stderr that looks so."""
    said = text.encode()

    def spoil(stderr: bytes) -> bytes:
        found = line.search(stderr)
        return stderr if found is None else stderr[: found.end()] + b"\n" + said + stderr[found.end() :]

    return told(lambda each: replace(each, stderr=spoil(each.stderr)))


def _within(line: re.Pattern[bytes], text: str) -> Plant:
    """Return a plant that puts a text at the end of the first line on stderr that looks so."""
    said = text.encode()

    def spoil(stderr: bytes) -> bytes:
        found = line.search(stderr)
        return stderr if found is None else stderr[: found.end()] + b" " + said + stderr[found.end() :]

    return told(lambda each: replace(each, stderr=spoil(each.stderr)))


def _stderr(text: str, when: Callable[[Outcome], object] = lambda each: each.stderr) -> Plant:
    """Return a plant that puts a line after stderr, by default where there is something."""
    return told(
        lambda each: replace(each, stderr=each.stderr + text.encode() + b"\n") if when(each) else each
    )


def _coloured(outcome: Outcome) -> Outcome:
    return replace(outcome, stderr=b"\x1b[31m" + outcome.stderr + b"\x1b[0m") if outcome.stderr else outcome


def _artifacts_path(host: Host) -> Invoke:
    return _after(UNCAUGHT, f"\tfrom {host.artifact.path}:1")(host)


def _trapped(outcome: Outcome) -> bool:
    return outcome.ending.kind == "trapped"


def _without_program(outcome: Outcome) -> Outcome:
    return replace(outcome, stderr=outcome.stderr.replace(b"main.rb:", b"/srv/worker-7/releases/41/main.rb:"))


_POINTER = "0x55d0c0ffee10"
FAULTS = (
    _fault(
        "pointer_in_syntax_errors",
        "shows a pointer in every SyntaxError",
        _within(_SYNTAX_ERROR, f"at {_POINTER}"),
    ),
    _fault("pointer_in_warnings", "shows a pointer in warnings", _within(_WARNING, f"[node {_POINTER}]")),
    _fault(
        "pointer_in_exceptions",
        "shows a pointer in the text of an uncaught exception",
        _within(UNCAUGHT, f"at {_POINTER}"),
    ),
    _fault(
        "bare_pointer_in_exceptions",
        "shows a pointer without 0x in the text of an uncaught exception",
        _within(UNCAUGHT, "at 00007f3a5c0ffee1"),
        "leak",
        "stderr",
    ),
    _fault("leaks_path", "shows a path of its own on stderr", _stderr(f"  at {LEAKED_PATH}:42")),
    _fault(
        "path_in_exceptions",
        "shows a path of its own in the text of an uncaught exception",
        _within(UNCAUGHT, "/home/builder/app/worker"),
    ),
    _fault(
        "odd_path_in_exceptions",
        "shows a path in a folder of its own in an uncaught exception",
        told(_without_program),
        "leak",
        "stderr",
        "path",
    ),
    _fault(
        "path_of_artifact",
        "shows the path of the artifact on its machine in an uncaught exception",
        _artifacts_path,
        "leak",
        "path",
    ),
    _fault(
        "trace_after_trap",
        "puts the engine's trace on stderr after a trap",
        _stderr(
            "wasm trap: wasm `unreachable` instruction executed\nwasm backtrace:\n"
            "    0: 0x1f3a7 - <unknown>!rb_vm_exec",
            _trapped,
        ),
        "leak",
        "stderr",
        "trap",
    ),
    _fault(
        "words_after_trap",
        "puts the engine's word for a trap on stderr",
        _stderr("unreachable", _trapped),
        "leak",
        "stderr",
        "trap",
    ),
    _fault(
        "rust_panic",
        "shows a panic of Rust after an uncaught exception",
        _after(UNCAUGHT, "thread 'main' panicked at crates/wasi/src/ctx.rs:88:14:"),
    ),
    _fault(
        "rust_debug",
        "shows a value of Rust after a SyntaxError",
        _after(_SYNTAX_ERROR, "Some(Location { line: 1, column: 4 })"),
    ),
    _fault(
        "rust_debug_in_warnings",
        "shows a value of Rust after warnings",
        _after(_WARNING, "Diagnostic { level: Warning, marker: PhantomData<&mut State> }"),
    ),
    _fault(
        "wasm_frames",
        "shows frames of the engine after an uncaught exception",
        _after(UNCAUGHT, "    at wasm://wasm/00ab12cd:wasm-function[812]:0x1f3a7"),
    ),
    _fault(
        "javascript_frames",
        "shows frames of JavaScript after an uncaught exception",
        _after(UNCAUGHT, "    at WASI.start (runner.mjs:41:18)"),
    ),
    _fault(
        "package_path",
        "shows a path in node_modules after an uncaught exception",
        _after(UNCAUGHT, "    at ./node_modules/@bjorn3/browser_wasi_shim/dist/wasi.js"),
    ),
    _fault(
        "file_url",
        "shows the URL of a file after an uncaught exception",
        _after(UNCAUGHT, "    from file:///srv/worker/glue.mjs"),
    ),
    _fault(
        "windows_path",
        "shows a Windows path after an uncaught exception",
        _after(UNCAUGHT, r"    from C:\Users\builder\engine\host.cc"),
    ),
    _fault(
        "source_position",
        "shows a position in its own source after a SyntaxError",
        _after(_SYNTAX_ERROR, "compile.cc:2210: compile failed"),
    ),
    _fault(
        "deprecation_warning",
        "puts a warning of its own on stderr of every guest",
        _stderr("(node:1234) ExperimentalWarning: WASI is an experimental feature", lambda each: True),
        "stderr",
        "leak",
    ),
    _fault(
        "warning_of_failures",
        "puts a warning of its own on stderr where the status is not 0",
        _stderr("[host] guest exited with a failure", lambda each: not each.ending.ok),
        "stderr",
        "leak",
    ),
    _fault(
        "log_on_stdout",
        "puts a line of its log before stdout",
        told(lambda each: replace(each, stdout=b"[info] invocation done\n" + each.stdout)),
        "stdout",
    ),
    _fault("colours_errors", "colours stderr", told(_coloured), "leak", "ansi"),
    _fault(
        "engine_name",
        "shows names of the engine's own functions after a SyntaxError",
        _after(_SYNTAX_ERROR, "v8::internal::wasm::Decoder"),
    ),
    _fault(
        "replaced_characters",
        "shows the replacement character where an error's text is not ASCII",
        answered(
            lambda _, each: (
                replace(each, stderr=each.stderr.decode("ascii", "replace").encode()) if each.stderr else each
            )
        ),
        "leak",
        "stderr",
        "replaced",
    ),
)
