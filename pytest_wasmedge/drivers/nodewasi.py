"""Runs an artifact under a JavaScript runtime's own ``node:wasi``: what is the same in all of them."""

from __future__ import annotations

import json
import signal
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.command import CommandLaunch, CommandRuntime, Ended
from pytest_wasmedge.drivers.http import read_ending
from pytest_wasmedge.model import ARGV0, Ending, Invocation, host_failed

SCRIPT = "nodewasi.mjs"
_LAST_WORDS = 300


class NodeWasiRuntime(CommandRuntime):
    """One process per invocation, which reports the ending in a file: its streams are the guest's.

    In a folder that it grants there are no symbolic links: the programs follow them out of it (docs/design.md).
    """

    engine = "V8"
    capabilities = frozenset({"memory_limit", "preopens"})
    no_links = "its own WASI may follow a link out of the folder"

    @abstractmethod
    def options(self, launch: CommandLaunch, folders: Sequence[Path]) -> Sequence[str]:
        """Return the program's options: it may read glue and artifact, and use `report_file` and these folders."""

    def prepare(self, launch: CommandLaunch) -> None:
        # In our own folder, so that the paths of the package and of the artifact may contain any characters.
        (launch.workspace / SCRIPT).write_bytes((javascript.GLUE / SCRIPT).read_bytes())
        launch.artifact_link.symlink_to(launch.artifact.path.absolute())

    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        given = {
            "args": [ARGV0, *invocation.args],
            "env": dict(invocation.env),
            "preopens": {guest_path: str(folder) for guest_path, folder in invocation.preopens.items()},
        }
        launch.folder.mkdir()
        report_file(launch).write_text(json.dumps(given))
        files = map(str, (launch.workspace / SCRIPT, launch.artifact_link, report_file(launch)))
        return [str(launch.executable), *self.options(launch, [*invocation.preopens.values()]), *files]

    def outcome(self, launch: CommandLaunch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        report: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            report = json.loads(report_file(launch).read_bytes())
        if ended.status == -signal.SIGKILL and (ending := read_ending(report)):
            return ended.stdout, ended.stderr, replace(ending, detail=" ".join(ending.detail.split()))
        how = f"with status {ended.status}" if ended.status >= 0 else f"by signal {-ended.status}"
        if "args" not in report:
            problem = f"{self.tool} ended {how} and did not report how the guest ended"
            return ended.stdout, ended.stderr, host_failed(problem)
        # The guest has not started, so all output is the host's.
        words = " ".join((ended.stdout + ended.stderr).decode("utf-8", "backslashreplace").split())
        never_started = f"{self.tool} ended {how} before the guest started: {words[:_LAST_WORDS]}"
        return b"", b"", host_failed(never_started)


def report_file(launch: CommandLaunch) -> Path:
    """Return the file with what the invocation gives to the guest, and afterwards with how the guest ended."""
    return launch.folder / "invocation.json"
