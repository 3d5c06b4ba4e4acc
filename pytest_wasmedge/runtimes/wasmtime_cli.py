"""The wasmtime command: a new process per invocation, running code compiled beforehand."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.command import Ended, Launch
from pytest_wasmedge.drivers.compiled import CompiledRuntime, RefusedError, compiled, place_of
from pytest_wasmedge.drivers.preopens import granted
from pytest_wasmedge.drivers.process import spawn, stop
from pytest_wasmedge.drivers.versions import Versions, ask, told, too_old
from pytest_wasmedge.errors import HostStartError, ProvisionError, RuntimeUnavailableError
from pytest_wasmedge.model import (
    ARGV0,
    Artifact,
    Availability,
    Ending,
    Invocation,
    exited,
    host_failed,
    out_of_memory,
    trapped,
)
from pytest_wasmedge.provision import find, install_command

#: What wasmtime prints before its own report; the path after it is one that the guest cannot know.
_REPORT = b"Error: failed to run main module `"
_TRAP_STATUS = 134

#: The first with --argv0. The others are older: -W and --dir HOST::GUEST came with 14.
MINIMUM = (24,)


class WasmtimeCli(CompiledRuntime):
    """``wasmtime run`` with precompiled code; the engine's report is told from the guest's stderr."""

    name = "wasmtime-cli"
    engine = "Cranelift"
    capabilities = frozenset({"memory_limit", "preopens"})
    cache_state = "code-cache"
    tool = "wasmtime"
    tools = ("wasmtime",)

    def probe(self) -> Availability:
        install = install_command(self.name)
        try:
            found = find(self.tool, self.version)
        except ProvisionError as error:
            return Availability(False, reason=str(error))
        if found is None:
            return Availability(False, reason="no wasmtime command found", install=install)
        try:
            version = self._versions(found.path).version
        except RuntimeUnavailableError as error:
            return Availability(False, reason=str(error), install=install)
        path = f"{found.path} ({found.origin})"
        if reason := too_old(found.path, self.tool, version, MINIMUM):
            # Of a version that was asked for there is no newer one to install.
            return Availability(False, version, version, reason, "" if self.version else install, path)
        return Availability(True, version, version, path=path)

    def executable(self) -> Path:
        found = find(self.tool, self.version)
        if found is None:
            raise RuntimeUnavailableError(
                f"no wasmtime command found; get it with `{install_command(self.name)}`."
            )
        return found.path

    def prepare(self, launch: Launch) -> None:
        version = self._versions(launch.executable).version

        def compile_to(path: Path) -> None:
            command = [str(launch.executable), "compile", "-o", str(path), str(launch.artifact.path)]
            process = spawn(command, env=self.environment(), cwd=launch.workspace, stderr=subprocess.PIPE)
            try:
                _, stderr = process.communicate()
            finally:
                stop(process)
            if process.returncode:
                said = stderr.decode("utf-8", "backslashreplace").strip().splitlines()
                raise HostStartError(
                    f"wasmtime {version} cannot compile {launch.artifact.name}: {said[-1] if said else 'no message'}. "
                    "Check the file with `wasm-tools validate`, or build it again."
                )

        self._code(launch).symlink_to(compiled(launch.artifact, *self._key(launch.executable), compile_to))

    def renew(self, launch: Launch) -> None:
        place_of(launch.artifact, *self._key(launch.executable)).unlink(missing_ok=True)
        self._code(launch).unlink(missing_ok=True)
        self.prepare(launch)

    def kept_code(self, artifact: Artifact) -> Path | None:
        try:
            return place_of(artifact, *self._key(self.executable()))
        except (ProvisionError, RuntimeUnavailableError):
            return None

    def argv(self, launch: Launch, invocation: Invocation) -> Sequence[str]:
        options = ["--allow-precompiled", "--argv0", ARGV0]
        if launch.limits.memory_bytes:
            options += ["-W", f"max-memory-size={launch.limits.memory_bytes}"]
        for name, value in invocation.env.items():
            options += ["--env", f"{name}={value}"]
        for guest_path, folder in granted(self.name, invocation):
            options += ["--dir", f"{folder}::{guest_path}"]
        return [str(launch.executable), "run", *options, str(self._code(launch)), *invocation.args]

    def environment(self) -> dict[str, str]:
        return {"RUST_BACKTRACE": "0", "NO_COLOR": "1"}

    def outcome(self, launch: Launch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        stderr, report = self._split(launch, ended.stderr)
        if ended.status < 0:
            return ended.stdout, stderr, host_failed(f"wasmtime was ended by signal {-ended.status}")
        if not report:
            # Before the guest runs; and it cannot know this path.
            if stderr.startswith(b"Error: ") and str(self._code(launch)).encode() in stderr:
                raise RefusedError(" ".join(stderr.decode("utf-8", "backslashreplace").split())[:400])
            return ended.stdout, stderr, exited(ended.status)
        wording = report.strip().splitlines()[-1].strip().lstrip("0123456789: ")
        if ended.status == _TRAP_STATUS:
            return ended.stdout, stderr, trapped(f"wasmtime: {wording}")
        if "memory minimum size" in report:
            return ended.stdout, stderr, out_of_memory(f"wasmtime: {wording}")
        return ended.stdout, stderr, host_failed(f"wasmtime: {wording}")

    def _split(self, launch: Launch, stderr: bytes) -> tuple[bytes, str]:
        marker = _REPORT + str(self._code(launch)).encode()
        at = stderr.rfind(marker)
        return (stderr, "") if at < 0 else (stderr[:at], stderr[at:].decode("utf-8", "backslashreplace"))

    def _code(self, launch: Launch) -> Path:
        return launch.workspace / "artifact.cwasm"

    def _versions(self, executable: Path) -> Versions:
        return ask([str(executable), "--version"], lambda _: self.environment(), read_versions)

    def _key(self, executable: Path) -> tuple[str, str]:
        """Return engine and settings, by which compiled code is kept: 49.0.4 calls itself 49.0.3."""
        build = self._versions(executable).build
        return f"wasmtime-cli {build}, {executable.stat().st_size} bytes", ""


def read_versions(said: str) -> Versions:
    """Find the version in ``wasmtime 49.0.3 (f96eabaa1 2026-10-14)``. Raises LookupError."""
    # Before 14 it called itself wasmtime-cli.
    line = told(r"wasmtime(?:-cli)? (\d+\.\d+\.\d+\S*)(?: .*)?", said)
    return Versions(line[1], line[1], build=line[0])


RUNTIME = WasmtimeCli
