"""Runs an artifact under a JavaScript runtime's own ``node:wasi``: what Node and Deno have in common there."""

from __future__ import annotations

import json
import signal
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.command import CommandRuntime, Ended, Launch
from pytest_wasmedge.drivers.preopens import granted
from pytest_wasmedge.model import ARGV0, Ending, EndingKind, Invocation, host_failed

_SCRIPT = javascript.GLUE / "nodewasi.mjs"
#: What an invocation is given, and then how it ended.
_FILE = "invocation.json"
_LAST_WORDS = 300


@dataclass(frozen=True, slots=True)
class Script:
    """What one process needs: paths without links, and the folders granted; ``file`` is read and written."""

    script: Path
    artifact: Path
    file: Path
    folders: tuple[Path, ...]
    memory_pages: int


class NodeWasiRuntime(CommandRuntime):
    """One process per invocation; how the guest ended comes back in a file, never on its streams."""

    engine = "V8"
    capabilities = frozenset({"memory_limit", "preopens"})

    @abstractmethod
    def options(self, script: Script) -> Sequence[str]:
        """Return the options of the program, which grant what the script needs and no more."""

    def prepare(self, launch: Launch) -> None:
        # In our own folder, whatever characters the paths of the package and of the artifact are made of.
        (launch.workspace / _SCRIPT.name).write_bytes(_SCRIPT.read_bytes())
        launch.artifact_link.symlink_to(launch.artifact.path.absolute())

    def argv(self, launch: Launch, invocation: Invocation) -> Sequence[str]:
        preopens = granted(self.name, invocation)
        given = {
            "args": [ARGV0, *invocation.args],
            "env": dict(invocation.env),
            "preopens": {guest_path: str(folder) for guest_path, folder in preopens},
        }
        launch.folder.mkdir()
        workspace = launch.workspace.resolve()
        script = Script(
            workspace / _SCRIPT.name,
            workspace / ARGV0,
            workspace / launch.folder.name / _FILE,
            tuple(folder for _, folder in preopens),
            launch.limits.memory_pages,
        )
        script.file.write_text(json.dumps(given))
        files = map(str, (script.script, script.artifact, script.file))
        return [str(launch.executable), *self.options(script), *files]

    def outcome(self, launch: Launch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        told = _read(launch.folder / _FILE)
        if ended.status == -signal.SIGKILL and (ending := _ending(told)):
            return ended.stdout, ended.stderr, ending
        how = f"with status {ended.status}" if ended.status >= 0 else f"by signal {-ended.status}"
        if "preopens" not in told:
            told_nothing = f"{self.tool} ended {how} and did not tell how the guest ended"
            return ended.stdout, ended.stderr, host_failed(told_nothing)
        # The guest has not started, so all that was written is the host's.
        words = " ".join((ended.stdout + ended.stderr).decode("utf-8", "backslashreplace").split())
        never_started = f"{self.tool} ended {how} before the guest started: {words[:_LAST_WORDS]}"
        return b"", b"", host_failed(never_started)


def _read(file: Path) -> dict[str, Any]:
    """Return what is in the file; nothing if that was never written to its end."""
    try:
        told = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _ending(told: Mapping[str, Any]) -> Ending | None:
    """Return the ending that the script has told; None if it has not."""
    kind, status = told.get("kind", ""), told.get("status")
    if kind not in get_args(EndingKind) or (kind == "exited") != isinstance(status, int):
        return None
    return Ending(kind, status, " ".join(str(told.get("detail")).split()))
