"""Node.js with its own node:wasi (uvwasi): a new process per invocation, under Node's permission model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.command import CommandLaunch
from pytest_wasmedge.drivers.nodewasi import SCRIPT, NodeWasiRuntime, report_file


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

    def options(self, launch: CommandLaunch, folders: Sequence[Path]) -> Sequence[str]:
        return [
            "--permission",
            f"--allow-fs-read={launch.workspace / SCRIPT}",
            f"--allow-fs-read={launch.artifact_link}",
            f"--allow-fs-read={report_file(launch)}",
            f"--allow-fs-write={report_file(launch)}",
            "--allow-wasi",
            # Warnings that WASI is experimental, and of --allow-wasi.
            "--no-warnings",
            f"--wasm-max-mem-pages={launch.limits.memory_pages}",
        ]


RUNTIME = NodeWasi
