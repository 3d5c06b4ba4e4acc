"""WasmEdge, the runtime that this project is named after: a new process per invocation."""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pytest_wasmedge.drivers.command import CommandLaunch, Ended, Wrap
from pytest_wasmedge.drivers.compiled import (
    CompiledHost,
    CompiledRuntime,
    RefusedError,
    compile_phase,
    run_compiler,
)
from pytest_wasmedge.drivers.program import numbers
from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.model import (
    Artifact,
    Ending,
    Host,
    Invocation,
    Limits,
    Outcome,
    host_failed,
    out_of_memory,
    trapped,
)

#: Larger artifacts are interpreted, not compiled: the compiler is LLVM on a single thread.
COMPILED_BYTES = 128 << 10

#: From this version on, compiled code runs only with `--run-mode aot` (WasmEdge issue 5169).
_RUN_MODES = (0, 17)

_TRAP_STATUS = 134
_PAGE_BYTES = 1 << 16

#: A line of the engine's log, anywhere in the guest's output.
_RECORD = re.compile(rb"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.\d{3}\] \[(\w+)\] ([^\n]*)\n")
#: We read the clock before the process starts and after it has ended, and somebody may set it.
_TOLERANCE_S = 2.0


class WasmEdge(CompiledRuntime):
    """``wasmedge run``: small artifacts compiled ahead of time, all others (a Ruby, say) interpreted.

    WasmEdge writes its log to stdout, as the guest does. Each line of the log begins with the local time, so we give
    the process a secret time zone: an offset of random seconds. A line with the current time in that zone is the
    engine's, and is removed. A guest cannot see the zone; to write such a line it would have to guess one of 170,000.

    Every guest gets two things that cannot be taken away: WasmEdge's own socket functions, and as much memory of the
    machine as its call stack needs. ``--time-limit`` is not used, since it stops neither a guest that sleeps nor
    compiled code.
    """

    name = "wasmedge"
    engine = "WasmEdge"
    flags_at = 2
    statuses = "it passes on only the low 8 bits of an exit status: its 0 may be a 256"
    capabilities = frozenset({"memory_limit", "preopens"})
    tools = ("wasmedge",)
    absent = "no wasmedge command found"
    # The first with the subcommands run and compile; our options for them are older.
    minimum = (0, 13)
    # ``/usr/bin/wasmedge version 0.14.1``, followed by lines about plugins.
    version_words = r"\S.*wasmedge version (\d+\.\d+\.\d+\S*) *"

    def __init__(self) -> None:
        # Every C library accepts a day to either side; real zones are multiples of a quarter of an hour.
        secret = random.SystemRandom()
        self._zone_s = secret.randrange(-95, 96) * 900 + secret.randrange(1, 900)

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        """Start a host; its phases contain ``compile`` if a small artifact had no compiled code yet."""
        phases_ns = compile_phase(self.kept_code(artifact), lambda: self.code_of(self.executable(), artifact))
        host = WasmEdgeHost(self, artifact, limits)
        host.start_phases_ns = phases_ns
        return host

    def compiles(self, artifact: Artifact) -> bool:
        # WasmEdge's compiler has no exceptions, its interpreter has.
        return artifact.size_bytes <= COMPILED_BYTES and "exception handling" not in artifact.proposals

    def code_key(self, executable: Path, artifact: Artifact) -> tuple[str, str]:
        settings = " ".join(("generic", *_proposal_flags(artifact)))
        return f"wasmedge {self.versions(executable).version}", settings

    def compile_to(self, path: Path, executable: Path, artifact: Artifact, workspace: Path) -> None:
        began_s = time.time()
        # Generic, since people copy their cache folder to other machines.
        argv = [str(executable), "compile", "--generic-binary", *_proposal_flags(artifact)]
        argv += [str(artifact.path.absolute()), "code.wasm"]
        run_compiler(
            argv,
            self.environment(workspace),
            workspace,
            f"wasmedge {self.versions(executable).version} cannot compile {artifact.name}",
            lambda stdout, stderr: _wording(self._split(stdout, began_s)[1]),
        )
        path.write_bytes((workspace / "code.wasm").read_bytes())

    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        # This plugin would write to any file of the machine that the guest names.
        options = ["--forbidden-plugin", "wasi_logging", *_proposal_flags(launch.artifact)]
        version = self.versions(launch.executable).version
        if self.compiles(launch.artifact) and numbers(version) >= _RUN_MODES:
            options += ["--run-mode", "aot"]
        if launch.limits.memory_bytes:
            options += ["--memory-page-limit", str(min(launch.limits.memory_bytes // _PAGE_BYTES, 1 << 16))]
        for name, value in invocation.env.items():
            options += ["--env", f"{name}={value}"]
        for guest_path, folder in invocation.preopens.items():
            if ":" in guest_path or ":" in str(folder):
                raise UnsupportedError(
                    f"{self.name}: cannot grant {folder} as {guest_path}: both are one argument, "
                    "separated by a colon. Use a folder and a guest path without colons."
                )
            options += ["--dir", f"{guest_path}:{folder}"]
        return [str(launch.executable), "run", *options, "--", str(launch.artifact_link), *invocation.args]

    def environment(self, workspace: Path) -> dict[str, str]:
        # POSIX counts west of Greenwich as positive.
        minutes, seconds = divmod(abs(self._zone_s), 60)
        sign = "-" if self._zone_s > 0 else "+"
        return {"TZ": f"OUR{sign}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"}

    def outcome(self, launch: CommandLaunch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        stdout, errors = self._split(ended.stdout, launch.began_s)
        refused = next((each for each in errors if each.startswith("loading failed: ")), "")
        # The artifact itself is not to blame: the compiler has loaded it.
        if refused and self.compiles(launch.artifact):
            raise RefusedError(refused)
        return stdout, ended.stderr, _ending(ended, errors)

    def _split(self, stdout: bytes, began_s: float) -> tuple[bytes, list[str]]:
        """Return the guest's output, and the errors in the engine's log."""
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
    """Runs as many guests at once as the machine has processors; the others wait before their time begins.

    An interpreter takes a whole processor: more of them would only use up each other's time limit.
    """

    def __init__(self, runtime: WasmEdge, artifact: Artifact, limits: Limits) -> None:
        super().__init__(runtime, artifact, limits)
        self._processors = threading.Semaphore(max(2, os.cpu_count() or 2))

    def _invoke(self, invocation: Invocation, wrap: Wrap = list) -> Outcome:
        with self._processors:
            return super()._invoke(invocation, wrap)


def _proposal_flags(artifact: Artifact) -> tuple[str, ...]:
    """Return the options that enable all proposals, for an artifact that needs any."""
    return ("--enable-all",) if artifact.proposals else ()


def _wording(errors: Sequence[str]) -> str:
    """Return the error that says what went wrong; the errors after it say where."""
    return next((each for each in errors if " failed: " in each), errors[0] if errors else "")


def _ending(ended: Ended, errors: Sequence[str]) -> Ending:
    wording = _wording(errors)
    no_memory = next((each for each in errors if each.startswith("Memory Instance: Limited")), "")
    if no_memory and ended.status >= 0:
        # WasmEdge goes on with less memory than the artifact asks for, perhaps unnoticed by the guest.
        return out_of_memory(f"wasmedge: {no_memory}")
    # Other errors, such as a memory that did not grow, are for the guest to handle.
    if " failed: " not in wording or ended.status < 0:
        return ended.ending("wasmedge")
    # By its codes for execution errors, since a segment that does not fit is found before the guest runs.
    is_trap = ended.status == _TRAP_STATUS or re.search(r"^execution failed: .*Code: 0x4", wording)
    return (trapped if is_trap else host_failed)(f"wasmedge: {wording}")


RUNTIME = WasmEdge
