"""Node.js with its own node:wasi (uvwasi): a new process per invocation, under Node's permission model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.nodewasi import NodeWasiRuntime, Script
from pytest_wasmedge.drivers.versions import Versions


class NodeWasi(NodeWasiRuntime):
    """``node nodewasi.mjs``; the permission model knows WASI or no WASI, so folders are granted by preopens alone."""

    name = "node-wasi"
    tool = "node"
    tools = ("node",)
    # The first with --permission.
    minimum = (22, 13)

    def command(self, script: Script) -> Sequence[str]:
        return [
            str(script.executable),
            "--permission",
            f"--allow-fs-read={script.script}",
            f"--allow-fs-read={script.artifact}",
            f"--allow-fs-read={script.file}",
            f"--allow-fs-write={script.file}",
            "--allow-wasi",
            # That WASI is experimental, and that --allow-wasi allows it.
            "--no-warnings",
            f"--wasm-max-mem-pages={script.memory_pages}",
            str(script.script),
            str(script.artifact),
            str(script.file),
        ]

    def version_argv(self, executable: Path) -> Sequence[str]:
        return [str(executable), "-p", "JSON.stringify(process.versions)"]

    def read_versions(self, said: str) -> Versions:
        told = json.loads(said)
        return Versions(told["node"], told["v8"])


RUNTIME = NodeWasi
