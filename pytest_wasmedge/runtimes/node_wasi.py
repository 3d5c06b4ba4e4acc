"""Node.js with its own node:wasi (uvwasi): a new process per invocation, under Node's permission model."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_wasmedge.drivers.nodewasi import NodeWasiRuntime, Script


class NodeWasi(NodeWasiRuntime):
    """``node nodewasi.mjs``. Node's permission for WASI covers no folders: those are granted by preopens alone."""

    name = "node-wasi"
    flags_at = 1
    tool = "node"
    tools = ("node",)
    # The first with --permission.
    minimum = (22, 13)
    version_arguments = ("-p", "JSON.stringify(process.versions)")
    version_words = ("node", "v8")

    def options(self, script: Script) -> Sequence[str]:
        return [
            "--permission",
            f"--allow-fs-read={script.script}",
            f"--allow-fs-read={script.artifact}",
            f"--allow-fs-read={script.file}",
            f"--allow-fs-write={script.file}",
            "--allow-wasi",
            # Warnings that WASI is experimental, and of --allow-wasi.
            "--no-warnings",
            f"--wasm-max-mem-pages={script.memory_pages}",
        ]


RUNTIME = NodeWasi
