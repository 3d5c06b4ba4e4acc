"""WasmEdge, the runtime that this project is named after: runs code that was compiled beforehand."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.command import CommandLaunch, Moment
from pytest_wasmedge.drivers.compiled import (
    CompiledRuntime,
    RefusedError,
    compile_phase,
    run_compiler,
)
from pytest_wasmedge.drivers.program import numbers
from pytest_wasmedge.drivers.wasmedge import WasmEdgeRuntime, proposal_flags, wording
from pytest_wasmedge.model import Artifact, Host, Limits

#: Larger artifacts are compiled without optimisation: LLVM, on a single thread, would need ten minutes for a Ruby.
OPTIMISED_BYTES = 128 << 10

#: From this version on, compiled code runs only with `--run-mode aot` (WasmEdge issue 5169).
_RUN_MODES = (0, 17)

#: A shared library starts in a third of the time: it is mapped, not read. Whether one is whole we can tell on Linux.
_CODE = "code.so" if sys.platform == "linux" else "code.wasm"
#: What the log says of code that is no code, and of code of another version.
_REFUSED = ("loading failed: ", "Mismatched version")


class WasmEdge(CompiledRuntime, WasmEdgeRuntime):
    """``wasmedge run`` with code that ``wasmedge compile`` made, but for an artifact that its compiler cannot take."""

    name = "wasmedge"
    groups = frozenset({"engines", "fast"})
    cache_state = "code-cache"

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        """Start a host; its phases contain ``compile`` if there was no compiled code yet."""
        phases_ns = compile_phase(self.kept_code(artifact), lambda: self.code_of(self.executable(), artifact))
        host = super().start(artifact, limits)
        host.start_phases_ns = phases_ns
        return host

    def compiles(self, artifact: Artifact) -> bool:
        # WasmEdge's compiler has no exceptions, its interpreter has.
        return "exception handling" not in artifact.proposals

    def code_key(self, executable: Path, artifact: Artifact) -> tuple[str, str]:
        settings = " ".join((_CODE, *_settings(artifact)))
        return f"wasmedge {self.versions(executable).version}", settings

    def compile_to(self, path: Path, executable: Path, artifact: Artifact, workspace: Path) -> None:
        began = Moment()
        argv = [str(executable), "compile", *_settings(artifact), str(artifact.path.absolute()), _CODE]
        run_compiler(
            argv,
            self.environment(workspace),
            workspace,
            f"wasmedge {self.versions(executable).version} cannot compile {artifact.name}",
            lambda stdout, stderr: wording(self.split(stdout, began)[1]),
        )
        shutil.copyfile(workspace / _CODE, path)

    def mode(self, launch: CommandLaunch) -> Sequence[str]:
        has_modes = numbers(self.versions(launch.executable).version) >= _RUN_MODES
        return ("--run-mode", "aot") if has_modes and self.compiles(launch.artifact) else ()

    def check_loaded(self, launch: CommandLaunch, errors: Sequence[str]) -> None:
        refused = next((each for each in errors if each.startswith(_REFUSED)), "")
        # The artifact itself is not to blame: the compiler has loaded it.
        if refused and self.compiles(launch.artifact):
            raise RefusedError(refused)


def _settings(artifact: Artifact) -> tuple[str, ...]:
    """Return the compiler's options for an artifact."""
    # Generic, since people copy their cache folder to other machines.
    optimise = () if artifact.size_bytes <= OPTIMISED_BYTES else ("--optimize", "0")
    return ("--generic-binary", *optimise, *proposal_flags(artifact))


RUNTIME = WasmEdge
