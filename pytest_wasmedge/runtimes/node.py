"""Node.js: each invocation in a worker thread, under Node's permission model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.server import Launch, ServerRuntime
from pytest_wasmedge.drivers.versions import Versions


class Node(ServerRuntime):
    """``node server.mjs``, which may read the glue and the artifact, and start threads."""

    name = "node"
    engine = "V8"
    capabilities = frozenset({"memory_limit", "concurrent"})
    tool = "node"
    tools = ("node", "shim")
    # The first with --permission.
    minimum = (22, 13)

    def missing(self) -> str:
        return javascript.missing()

    def argv(self, launch: Launch) -> Sequence[str]:
        glue = javascript.glue_folder()
        # Before 25 the permission model knew nothing of the network, nor this option.
        major = int(self.versions(launch.executable).version.split(".")[0])
        return [
            str(launch.executable),
            "--permission",
            f"--allow-fs-read={glue}",
            f"--allow-fs-read={launch.artifact_link}",
            "--allow-worker",
            # It would warn of --allow-worker once per worker; the workers run nothing but our glue.
            "--disable-warning=SecurityWarning",
            *(["--allow-net"] if major >= 25 else []),
            f"--wasm-max-mem-pages={launch.limits.memory_pages}",
            str(glue / "server.mjs"),
        ]

    def version_argv(self, executable: Path) -> Sequence[str]:
        return [str(executable), "-p", "JSON.stringify(process.versions)"]

    def read_versions(self, said: str) -> Versions:
        told = json.loads(said)
        return Versions(told["node"], told["v8"])


RUNTIME = Node
