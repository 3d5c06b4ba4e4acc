"""wazero, the engine in Go: a new process per invocation, which finds code that was compiled beforehand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.command import CommandLaunch, Ended
from pytest_wasmedge.drivers.compiled import CompiledRuntime, RefusedError, run_compiler
from pytest_wasmedge.drivers.program import Versions
from pytest_wasmedge.model import Artifact, Ending, Invocation, exited, host_failed, trapped
from pytest_wasmedge.provision import installed, provenance

#: Its own cache, in the workspace. It lists in its log, on stderr, how the guest exits; so no guest can imitate the
#: report of a trap: whoever exits is told after it. The log is part of the name under which it looks for code.
_OPTIONS = ("-cachedir=cache", "-hostlogging=proc")
_EXIT = re.compile(rb"==> wasi_snapshot_preview1\.proc_exit\(rval=(\d+)\)\n\Z")
#: Only `run` compiles for that name. It is to listen at an address of nobody, so it ends before the guest runs.
_COMPILE = ('"$0" run "$@"; for code in cache/*/*; do test -e "$code"; done', "-listen=192.0.2.1:1")
#: The end of the code that we keep: where its own cache looks for it.
_NAME = re.compile(rb"\n(wazero-[\w.+-]+/[0-9a-f]{64})\n\Z")
_REPORT = re.compile(rb"error (?:instantiat|compil)ing wasm binary: [^\n]*")


class Wazero(CompiledRuntime):
    """``wazero run``. It reads all of the code at each start; it has no memory limit.

    It grants no folders, since its mounts follow every link (https://github.com/wazero/wazero/issues/2321).
    """

    name = "wazero"
    engine = "wazero"
    groups = frozenset({"engines"})
    flags_at = 2
    no_folders = "a link that the guest makes would lead it out of them, to files of this machine"
    cache_state = "code-cache"
    in_all = False
    tools = ("wazero",)
    version_arguments = ("version",)
    version_words = r"(dev|v?\d+\.\d+\.\d+\S*)"

    def versions(self, executable: Path) -> Versions:
        said = super().versions(executable)
        # Debian's program calls its version "dev".
        came = provenance(self.name) if executable.parent == installed(self.name) else None
        return Versions(came.version, came.version) if came else said

    def code_key(self, executable: Path, artifact: Artifact) -> tuple[str, str]:
        return f"wazero {self.versions(executable).version}", " ".join(_OPTIONS)

    def compile_to(self, path: Path, executable: Path, artifact: Artifact, workspace: Path) -> None:
        script, nowhere = _COMPILE
        argv = ["/bin/sh", "-c", script, str(executable), *_OPTIONS, nowhere, str(artifact.path.absolute())]
        run_compiler(argv, self.environment(workspace), workspace, f"wazero cannot compile {artifact.name}")
        (code,) = (workspace / "cache").glob("*/*")
        name = code.relative_to(workspace / "cache").as_posix()
        path.write_bytes(code.read_bytes() + f"\n{name}\n".encode())

    def prepare(self, launch: CommandLaunch) -> None:
        code = self.code_of(launch.executable, launch.artifact)
        place = launch.workspace / "cache" / _name_of(code)
        if not place.is_symlink():
            place.parent.mkdir(parents=True)
            place.symlink_to(code)
            launch.artifact_link.symlink_to(launch.artifact.path.absolute())

    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        options = [f"-env={name}={value}" for name, value in invocation.env.items()]
        run = [str(launch.executable), "run", *_OPTIONS, *options, str(launch.artifact_link)]
        return [*run, *(["--", *invocation.args] if invocation.args else [])]

    def outcome(self, launch: CommandLaunch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        if exit_ := _EXIT.search(ended.stderr):
            return ended.stdout, ended.stderr[: exit_.start()], exited(int(exit_[1]))
        reports = list(_REPORT.finditer(ended.stderr)) if ended.status == 1 else []
        if not reports:
            return ended.stdout, ended.stderr, ended.ending("wazero")
        said = reports[-1][0].decode("utf-8", "backslashreplace")
        if "compilationcache" in said:
            raise RefusedError(said)
        is_trap = re.search(r"failed: |out of bounds", said)
        ending = (trapped if is_trap else host_failed)(f"wazero: {said.partition(': ')[2]}")
        return ended.stdout, ended.stderr[: reports[-1].start()], ending


def _name_of(code: Path) -> str:
    """Return where wazero's cache looks for this code, which we wrote at its end."""
    with code.open("rb") as file:
        file.seek(max(0, code.stat().st_size - 256))
        found = _NAME.search(file.read())
    assert found
    return found[1].decode()


RUNTIME = Wazero
