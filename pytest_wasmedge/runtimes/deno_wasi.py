"""Deno with its own node:wasi: a new process per invocation, with permission for its files alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.command import CommandLaunch
from pytest_wasmedge.drivers.nodewasi import NodeWasiRuntime, report_file


class DenoWasi(NodeWasiRuntime):
    """``deno run nodewasi.mjs``.

    Every guest sees its standard streams as terminals, even if they are pipes: Ruby colours its SyntaxErrors.
    """

    name = "deno-wasi"
    flags_at = 2
    tool = "deno"
    tools = ("deno",)
    # 2.8 has a node:wasi, too, but wants --allow-run of a process that ends itself.
    minimum = (2, 9)
    version_words = r"deno (\S+).*\nv8 (\S+)"

    def options(self, launch: CommandLaunch, folders: Sequence[Path]) -> Sequence[str]:
        # In the workspace, where it is started, no name has a comma, which would separate two.
        written = [str(path.relative_to(launch.workspace)) for path in (report_file(launch), *folders)]
        return [
            "run",
            "--quiet",
            "--no-code-cache",
            "--no-prompt",
            "--no-config",
            "--no-lock",
            "--no-remote",
            "--no-npm",
            f"--allow-read={','.join([launch.artifact_link.name, *written])}",
            f"--allow-write={','.join(written)}",
            f"--v8-flags=--wasm-max-mem-pages={launch.limits.memory_pages}",
        ]

    def environment(self, workspace: Path) -> dict[str, str]:
        # No cache: we would have to remove it while a killed process still writes to it.
        return {"DENO_DIR": os.devnull, "DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1"}


RUNTIME = DenoWasi
