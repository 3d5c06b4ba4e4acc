"""Runs code that ``wasmtime compile`` made by ``wasmtime run``: what is the same whatever made the code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.command import CommandLaunch, Ended
from pytest_wasmedge.drivers.compiled import CompiledRuntime, RefusedError, run_compiler
from pytest_wasmedge.model import ARGV0, Artifact, Ending, Invocation, host_failed, out_of_memory, trapped

#: wasmtime's report on the guest's stderr begins with this, followed by a path that no guest can know.
_REPORT = b"Error: failed to run main module `"
_TRAP_STATUS = 134
_TRAPS = ("thrown Wasm exception", "Pointer out of bounds")


class WasmtimeRuntime(CompiledRuntime):
    """``wasmtime run``, in a new process per invocation; the engine's report is cut off the guest's stderr.

    ``generator`` are the options that choose what makes the code, for the one that compiles and the one that runs;
    ``lacking`` are the proposals that it does not have, by the names of wasmtime's options.
    """

    generator: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    flags_at: int | None = 2
    capabilities = frozenset({"memory_limit", "preopens"})
    cache_state = "code-cache"
    statuses = "it refuses an exit status above 125: a guest that ends with one has failed there"
    highest_status = 125
    tool = "wasmtime"
    tools: tuple[str, ...] = ("wasmtime",)
    absent = "no wasmtime command found"
    # Before 14 it printed wasmtime-cli.
    version_words = r"wasmtime(?:-cli)? (\d+\.\d+\.\d+\S*)(?: .*)?"
    # The first with --argv0. Our other options are older: -W and --dir HOST::GUEST came with 14.
    minimum = (24,)

    def code_key(self, executable: Path, artifact: Artifact) -> tuple[str, str]:
        # 49.0.4 prints the version 49.0.3.
        build = self.versions(executable).build
        settings = " ".join((*self.generator, *self._proposal_flags(artifact), *self.flags))
        return f"wasmtime-cli {build}, {executable.stat().st_size} bytes", settings

    def compile_to(self, path: Path, executable: Path, artifact: Artifact, workspace: Path) -> None:
        argv = self.compiler(path, executable, artifact)
        version, env = self.versions(executable).version, self.environment(workspace)
        run_compiler(argv, env, workspace, f"wasmtime {version} cannot compile {artifact.name}")

    def compiler(self, path: Path, executable: Path, artifact: Artifact) -> list[str]:
        """Return the command line that compiles the artifact into the file ``path``."""
        flags = (*self.generator, *self._proposal_flags(artifact), *self.flags)
        return [str(executable), "compile", *flags, "-o", str(path), str(artifact.path.absolute())]

    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        options = [
            "--allow-precompiled",
            "--argv0",
            ARGV0,
            *self.generator,
            *self._proposal_flags(launch.artifact),
        ]
        if launch.limits.memory_bytes:
            options += ["-W", f"max-memory-size={launch.limits.memory_bytes}"]
        for name, value in invocation.env.items():
            options += ["--env", f"{name}={value}"]
        for guest_path, folder in invocation.preopens.items():
            options += ["--dir", f"{folder}::{guest_path}"]
        return [str(launch.executable), "run", *options, str(launch.artifact_link), *invocation.args]

    def environment(self, workspace: Path) -> dict[str, str]:
        return {"RUST_BACKTRACE": "0", "NO_COLOR": "1"}

    def outcome(self, launch: CommandLaunch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        at = ended.stderr.rfind(_REPORT + str(launch.artifact_link).encode())
        stderr = ended.stderr if at < 0 else ended.stderr[:at]
        if at < 0 or ended.status < 0:
            # Written before the guest runs, which cannot know this path.
            if (
                ended.status >= 0
                and stderr.startswith(b"Error: ")
                and str(launch.artifact_link).encode() in stderr
            ):
                raise RefusedError(" ".join(stderr.decode("utf-8", "backslashreplace").split())[:400])
            return ended.stdout, stderr, ended.ending("wasmtime")
        report = ended.stderr[at:].decode("utf-8", "backslashreplace")
        wording = report.strip().splitlines()[-1].strip().lstrip("0123456789: ")
        # An uncaught exception and a pointer outside the guest's memory, passed to WASI, are the guest's own faults.
        if ended.status == _TRAP_STATUS or wording.startswith(_TRAPS):
            ending = trapped
        elif "memory minimum size" in report:
            ending = out_of_memory
        else:
            ending = host_failed
        return ended.stdout, stderr, ending(f"wasmtime: {wording}")

    def _proposal_flags(self, artifact: Artifact) -> tuple[str, ...]:
        """Return the options that enable all proposals, for an artifact that needs any."""
        shared = ",shared-memory=y" if "threads" in artifact.proposals else ""
        off = "".join(f",{name}=n" for name in self.lacking)
        return ("-W", f"all-proposals=y{shared}{off}") if artifact.proposals else ()
