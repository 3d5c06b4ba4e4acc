"""The wasmtime command: a new process per invocation, running code compiled beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.command import Ended, Launch
from pytest_wasmedge.drivers.compiled import CompiledRuntime, RefusedError, run_compiler
from pytest_wasmedge.drivers.preopens import granted
from pytest_wasmedge.model import (
    ARGV0,
    Artifact,
    Ending,
    Invocation,
    exited,
    host_failed,
    out_of_memory,
    trapped,
)

#: What wasmtime prints before its own report; the path after it is one that the guest cannot know.
_REPORT = b"Error: failed to run main module `"
_TRAP_STATUS = 134


class WasmtimeCli(CompiledRuntime):
    """``wasmtime run`` with precompiled code; the engine's report is told from the guest's stderr."""

    name = "wasmtime-cli"
    engine = "Cranelift"
    capabilities = frozenset({"memory_limit", "preopens"})
    cache_state = "code-cache"
    statuses = "it refuses an exit status above 125: a guest that ends with one has failed there"
    tool = "wasmtime"
    tools = ("wasmtime",)
    absent = "no wasmtime command found"
    # Before 14 it called itself wasmtime-cli.
    version_words = r"wasmtime(?:-cli)? (\d+\.\d+\.\d+\S*)(?: .*)?"
    # The first with --argv0. The others are older: -W and --dir HOST::GUEST came with 14.
    minimum = (24,)

    def code_key(self, executable: Path, artifact: Artifact) -> tuple[str, str]:
        # 49.0.4 calls itself 49.0.3.
        build = self.versions(executable).build
        return f"wasmtime-cli {build}, {executable.stat().st_size} bytes", " ".join(_proposal_flags(artifact))

    def compile_to(self, path: Path, executable: Path, artifact: Artifact, workspace: Path) -> None:
        argv = [
            str(executable),
            "compile",
            *_proposal_flags(artifact),
            "-o",
            str(path),
            str(artifact.path.absolute()),
        ]
        version = self.versions(executable).version
        run_compiler(self, argv, workspace, f"wasmtime {version} cannot compile {artifact.name}")

    def argv(self, launch: Launch, invocation: Invocation) -> Sequence[str]:
        options = ["--allow-precompiled", "--argv0", ARGV0, *_proposal_flags(launch.artifact)]
        if launch.limits.memory_bytes:
            options += ["-W", f"max-memory-size={launch.limits.memory_bytes}"]
        for name, value in invocation.env.items():
            options += ["--env", f"{name}={value}"]
        for guest_path, folder in granted(self.name, invocation):
            options += ["--dir", f"{folder}::{guest_path}"]
        return [str(launch.executable), "run", *options, str(launch.artifact_link), *invocation.args]

    def environment(self, workspace: Path) -> dict[str, str]:
        return {"RUST_BACKTRACE": "0", "NO_COLOR": "1"}

    def outcome(self, launch: Launch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        stderr, report = self._split(launch, ended.stderr)
        if ended.status < 0:
            return ended.stdout, stderr, host_failed(f"wasmtime was ended by signal {-ended.status}")
        if not report:
            # Before the guest runs; and it cannot know this path.
            if stderr.startswith(b"Error: ") and str(launch.artifact_link).encode() in stderr:
                raise RefusedError(" ".join(stderr.decode("utf-8", "backslashreplace").split())[:400])
            return ended.stdout, stderr, exited(ended.status)
        wording = report.strip().splitlines()[-1].strip().lstrip("0123456789: ")
        # An exception that nobody catches, and a place outside the guest's memory, given to WASI, are its own faults.
        if ended.status == _TRAP_STATUS or wording.startswith(
            ("thrown Wasm exception", "Pointer out of bounds")
        ):
            return ended.stdout, stderr, trapped(f"wasmtime: {wording}")
        if "memory minimum size" in report:
            return ended.stdout, stderr, out_of_memory(f"wasmtime: {wording}")
        return ended.stdout, stderr, host_failed(f"wasmtime: {wording}")

    def _split(self, launch: Launch, stderr: bytes) -> tuple[bytes, str]:
        marker = _REPORT + str(launch.artifact_link).encode()
        at = stderr.rfind(marker)
        return (stderr, "") if at < 0 else (stderr[:at], stderr[at:].decode("utf-8", "backslashreplace"))


def _proposal_flags(artifact: Artifact) -> tuple[str, ...]:
    """Return what lets wasmtime take proposals that it has and leaves off, for an artifact that needs any."""
    shared = ",shared-memory=y" if "threads" in artifact.proposals else ""
    return ("-W", f"all-proposals=y{shared}") if artifact.proposals else ()


RUNTIME = WasmtimeCli
