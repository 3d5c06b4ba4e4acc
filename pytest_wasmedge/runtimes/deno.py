"""Deno: each invocation in a worker without any permission."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.server import Launch, ServerRuntime
from pytest_wasmedge.drivers.versions import Versions


class Deno(ServerRuntime):
    """``deno run server.mjs``, which may read the glue and the artifact, and listen on loopback."""

    name = "deno"
    engine = "V8"
    capabilities = frozenset({"memory_limit", "concurrent"})
    tool = "deno"
    tools = ("deno", "shim")
    stops_guests = False  # worker.terminate() lets a guest in a loop run on (seen with 2.9.8)
    minimum = (2,)

    def missing(self) -> str:
        return javascript.missing()

    def argv(self, launch: Launch) -> Sequence[str]:
        glue = javascript.glue_folder()
        return [
            str(launch.executable),
            "run",
            "--quiet",
            # Its folder is new each time: writing a cache into it only delays the start.
            "--no-code-cache",
            "--no-prompt",
            "--no-config",
            "--no-lock",
            "--no-remote",
            "--no-npm",
            f"--allow-read={glue},{launch.artifact_link}",
            # To listen on; it may connect to nothing.
            "--allow-net=127.0.0.1:0",
            # For the permissions of workers.
            "--unstable-worker-options",
            f"--v8-flags=--wasm-max-mem-pages={launch.limits.memory_pages}",
            str(glue / "server.mjs"),
        ]

    def environment(self, workspace: Path) -> dict[str, str]:
        private = {"DENO_DIR": str(workspace / "deno"), "DENO_NO_UPDATE_CHECK": "1"}
        return super().environment(workspace) | private

    def version_argv(self, executable: Path) -> Sequence[str]:
        return [str(executable), "--version"]

    def read_versions(self, said: str) -> Versions:
        told = dict(re.findall(r"^(deno|v8) (\S+)", said, re.MULTILINE))
        return Versions(told["deno"], told["v8"])


RUNTIME = Deno
