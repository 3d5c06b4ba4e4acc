"""Node.js with its own node:wasi (uvwasi), under Node's permission model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.nodewasi import NodeWasiRuntime
from pytest_wasmedge.drivers.serving import ServingLaunch


class NodeWasi(NodeWasiRuntime):
    """``node nodewasi.mjs``. Node's permission for files does not cover what a guest does by WASI, nor has it to."""

    name = "node-wasi"
    flags_at = 1
    tool = "node"
    tools = ("node",)
    # The first with --permission.
    minimum = (22, 13)
    version_arguments = ("-p", "JSON.stringify(process.versions)")
    version_words = ("node", "v8")

    def options(self, launch: ServingLaunch, modules: Sequence[Path], guests: Path) -> Sequence[str]:
        return [
            "--permission",
            *(f"--allow-fs-read={path}" for path in (*modules, launch.artifact_link, guests)),
            f"--allow-fs-write={guests}",
            "--allow-wasi",
            "--allow-worker",
            # Warnings that WASI is experimental, and of --allow-wasi and --allow-worker.
            "--no-warnings",
            f"--wasm-max-mem-pages={launch.limits.memory_pages}",
        ]


RUNTIME = NodeWasi
