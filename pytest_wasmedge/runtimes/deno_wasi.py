"""Deno with its own node:wasi, with permission for the files of its guests alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.nodewasi import NodeWasiRuntime
from pytest_wasmedge.drivers.serving import ServingLaunch


class DenoWasi(NodeWasiRuntime):
    """``deno run nodewasi.mjs``.

    Every guest sees its standard streams as files. Deno takes those of its own process for terminals, pipes too: with
    these Ruby colours its SyntaxErrors.
    """

    name = "deno-wasi"
    flags_at = 2
    tool = "deno"
    tools = ("deno",)
    # The first with a node:wasi.
    minimum = (2, 8)
    version_words = r"deno (\S+).*\nv8 (\S+)"

    def options(self, launch: ServingLaunch, modules: Sequence[Path], guests: Path) -> Sequence[str]:
        # By their names in the workspace, where it is started: a comma in a path would separate two.
        readable = ",".join(path.name for path in (*modules, launch.artifact_link, guests))
        return [
            "run",
            "--quiet",
            "--no-code-cache",
            "--no-prompt",
            "--no-config",
            "--no-lock",
            "--no-remote",
            "--no-npm",
            f"--allow-read={readable}",
            f"--allow-write={guests.name}",
            f"--v8-flags=--wasm-max-mem-pages={launch.limits.memory_pages}",
        ]

    def environment(self, workspace: Path) -> dict[str, str]:
        # No cache: we would have to remove it while a killed process still writes to it.
        return {"DENO_DIR": os.devnull, "DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1"}


RUNTIME = DenoWasi
