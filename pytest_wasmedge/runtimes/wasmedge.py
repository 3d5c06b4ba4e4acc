"""WasmEdge, the runtime that this project is named after: a new process per invocation."""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pytest_wasmedge.drivers.command import Ended, Launch
from pytest_wasmedge.drivers.compiled import CompiledHost, CompiledRuntime, RefusedError, run_compiler
from pytest_wasmedge.drivers.preopens import granted
from pytest_wasmedge.drivers.versions import numbers
from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.model import (
    Artifact,
    Ending,
    Host,
    Invocation,
    Limits,
    Outcome,
    exited,
    host_failed,
    out_of_memory,
    trapped,
)

#: Artifacts up to this size are compiled beforehand, larger ones interpreted: its compiler is LLVM on one thread.
COMPILED_BYTES = 128 << 10

#: From here on compiled code is interpreted unless it is asked for (WasmEdge issue 5169).
_RUN_MODES = (0, 17)

_TRAP_STATUS = 134
_PAGE_BYTES = 1 << 16

#: A line of the engine's log, which stands wherever it was written between what the guest wrote.
_RECORD = re.compile(rb"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.\d{3}\] \[(\w+)\] ([^\n]*)\n")
#: The clock may be set, and is read before the process starts and after it has ended.
_TOLERANCE_S = 2.0


class WasmEdge(CompiledRuntime):
    """``wasmedge run``: small artifacts compiled ahead of time, all others (a Ruby, say) interpreted.

    Its log goes to stdout, where the guest writes, too. Each line begins with the local time, so the process gets a
    time zone that nobody knows, an offset of random seconds: a line that tells our time in it is the engine's, and is
    taken off. A guest cannot see the zone; to write such a line it would have to guess one of 170,000.

    Two things it grants that cannot be taken away: its own socket functions, and as much of the machine's memory as a
    guest's call stack takes. Its ``--time-limit`` is not used: it stops neither a guest that sleeps nor compiled code,
    and our own does.
    """

    name = "wasmedge"
    engine = "WasmEdge"
    statuses = "the low 8 bits of an exit status are all that it passes on: its 0 may be a 256"
    capabilities = frozenset({"memory_limit", "preopens"})
    tools = ("wasmedge",)
    absent = "no wasmedge command found"
    # The first with the subcommands run and compile; the options that we give them are older.
    minimum = (0, 13)
    # ``/usr/bin/wasmedge version 0.14.1``, and more lines for plugins.
    version_words = r"\S.*wasmedge version (\d+\.\d+\.\d+\S*) *"

    def __init__(self) -> None:
        # A day to either side is what every C library takes; a quarter of an hour is what real zones are made of.
        self._zone_s = random.SystemRandom().randrange(-95, 96) * 900 + random.SystemRandom().randrange(
            1, 900
        )

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        """Start a host; ``compile`` is among its phases if there was no compiled code of a small artifact yet."""
        compile_ns = 0
        kept = self.kept_code(artifact)
        if kept and not kept.exists():
            began_ns = time.perf_counter_ns()
            self.code_of(self.executable(), artifact)
            compile_ns = time.perf_counter_ns() - began_ns
        host = WasmEdgeHost(self, artifact, limits)
        host.start_phases_ns = {"compile": compile_ns} if compile_ns else {}
        return host

    def compiles(self, artifact: Artifact) -> bool:
        # Its compiler has no exceptions; its interpreter has.
        return artifact.size_bytes <= COMPILED_BYTES and "exception handling" not in artifact.proposals

    def code_key(self, executable: Path, artifact: Artifact) -> tuple[str, str]:
        settings = " ".join(("generic", *_proposal_flags(artifact)))
        return f"wasmedge {self.versions(executable).version}", settings

    def compile_to(self, path: Path, executable: Path, artifact: Artifact, workspace: Path) -> None:
        began_s = time.time()
        # Generic, since people take their cache folder from machine to machine.
        argv = [str(executable), "compile", "--generic-binary", *_proposal_flags(artifact)]
        argv += [str(artifact.path.absolute()), "code.wasm"]
        run_compiler(
            self,
            argv,
            workspace,
            f"wasmedge {self.versions(executable).version} cannot compile {artifact.name}",
            lambda stdout, stderr: _wording(self._split(stdout, began_s)[1]),
        )
        path.write_bytes((workspace / "code.wasm").read_bytes())

    def argv(self, launch: Launch, invocation: Invocation) -> Sequence[str]:
        # Writes to files of the machine that the guest names.
        options = ["--forbidden-plugin", "wasi_logging", *_proposal_flags(launch.artifact)]
        version = self.versions(launch.executable).version
        if self.compiles(launch.artifact) and numbers(version) >= _RUN_MODES:
            options += ["--run-mode", "aot"]
        if launch.limits.memory_bytes:
            options += ["--memory-page-limit", str(min(launch.limits.memory_bytes // _PAGE_BYTES, 1 << 16))]
        for name, value in invocation.env.items():
            options += ["--env", f"{name}={value}"]
        for guest_path, folder in granted(self.name, invocation):
            if ":" in guest_path or ":" in str(folder):
                raise UnsupportedError(
                    f"{self.name}: cannot grant {folder} as {guest_path}: it takes both in one word with a colon "
                    "between. Use a folder and a guest path without colons."
                )
            options += ["--dir", f"{guest_path}:{folder}"]
        return [str(launch.executable), "run", *options, "--", str(launch.artifact_link), *invocation.args]

    def environment(self, workspace: Path) -> dict[str, str]:
        # POSIX counts west of Greenwich as positive.
        minutes, seconds = divmod(abs(self._zone_s), 60)
        sign = "-" if self._zone_s > 0 else "+"
        return {"TZ": f"OUR{sign}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"}

    def outcome(self, launch: Launch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        stdout, errors = self._split(ended.stdout, launch.began_s)
        refused = next((each for each in errors if each.startswith("loading failed: ")), "")
        # The compiler has loaded the artifact itself.
        if refused and self.compiles(launch.artifact):
            raise RefusedError(refused)
        return stdout, ended.stderr, _ending(ended.status, errors)

    def _split(self, stdout: bytes, began_s: float) -> tuple[bytes, list[str]]:
        """Return what the guest wrote, and the errors among the lines that the engine wrote."""
        if b"] [" not in stdout:
            return stdout, []
        earliest_s, latest_s = began_s - _TOLERANCE_S, time.time() + _TOLERANCE_S
        errors: list[str] = []

        def take(record: re.Match[bytes]) -> bytes:
            try:
                local = datetime.strptime(record[1].decode(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
            except ValueError:
                return record[0]
            if not earliest_s <= local.timestamp() - self._zone_s <= latest_s:
                return record[0]
            if record[2] == b"error":
                errors.append(record[3].decode("utf-8", "backslashreplace").strip())
            return b""

        return _RECORD.sub(take, stdout), errors


class WasmEdgeHost(CompiledHost):
    """Runs as many guests at once as there are processors; the others wait, and their time begins when they start.

    An interpreter takes a processor for itself: more of them would only use up each other's time limit.
    """

    def __init__(self, runtime: WasmEdge, artifact: Artifact, limits: Limits) -> None:
        super().__init__(runtime, artifact, limits)
        self._processors = threading.Semaphore(max(2, os.cpu_count() or 2))

    def _invoke(
        self, invocation: Invocation, wrap: Callable[[Sequence[str]], Sequence[str]] | None = None
    ) -> Outcome:
        with self._processors:
            return super()._invoke(invocation, wrap)


def _proposal_flags(artifact: Artifact) -> tuple[str, ...]:
    """Return what lets it take proposals that it has and leaves off, for an artifact that needs any."""
    return ("--enable-all",) if artifact.proposals else ()


def _wording(errors: Sequence[str]) -> str:
    """Return the line that says what went wrong; those after it say where."""
    return next((each for each in errors if " failed: " in each), errors[0] if errors else "")


def _ending(status: int, errors: Sequence[str]) -> Ending:
    wording = _wording(errors)
    if status < 0:
        return host_failed(f"wasmedge was ended by signal {-status}")
    refused = next((each for each in errors if each.startswith("Memory Instance: Limited")), "")
    if refused:
        # It goes on with less memory than the artifact asks for, and the guest may not have noticed.
        return out_of_memory(f"wasmedge: {refused}")
    # What else it says, such as that the memory did not grow, is the guest's to live with.
    if " failed: " not in wording:
        return exited(status)
    # Its codes of execution errors, whatever the status: a segment that does not fit is found before the guest runs.
    is_trap = status == _TRAP_STATUS or re.search(r"^execution failed: .*Code: 0x4", wording)
    return (trapped if is_trap else host_failed)(f"wasmedge: {wording}")


RUNTIME = WasmEdge
