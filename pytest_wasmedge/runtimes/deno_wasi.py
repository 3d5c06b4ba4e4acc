"""Deno with its own node:wasi: a new process per invocation, with permission for its files alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.command import CommandLaunch
from pytest_wasmedge.drivers.nodewasi import NodeWasiRuntime, report_file
from pytest_wasmedge.errors import UnsupportedError


class DenoWasi(NodeWasiRuntime):
    """``deno run nodewasi.mjs``. Deno's WASI checks Deno's permissions, too, so each folder is granted twice.

    Every guest sees its standard streams as terminals, even if they are pipes: Ruby colours its SyntaxErrors.
    """

    name = "deno-wasi"
    flags_at = 2
    tool = "deno"
    tools = ("deno",)
    # The first with a node:wasi that works.
    minimum = (2, 8)
    version_words = r"deno (\S+).*\nv8 (\S+)"

    def options(self, launch: CommandLaunch, folders: Sequence[Path]) -> Sequence[str]:
        # Deno opens a preopened folder by its path without links.
        paths = {path for folder in folders for path in (folder, folder.resolve())}
        if any("," in str(path) for path in paths):
            raise UnsupportedError(
                f"{self.name}: cannot grant {', '.join(map(str, folders))}: for Deno a comma "
                "ends a path. Use a folder without commas."
            )
        report = report_file(launch)
        return [
            "run",
            "--quiet",
            "--no-code-cache",
            "--no-prompt",
            "--no-config",
            "--no-lock",
            "--no-remote",
            "--no-npm",
            f"--allow-read={_list(launch.artifact_link, report, *paths)}",
            f"--allow-write={_list(report, *paths)}",
            f"--v8-flags=--wasm-max-mem-pages={launch.limits.memory_pages}",
        ]

    def environment(self, workspace: Path) -> dict[str, str]:
        # No cache: we would have to remove it while a killed process still writes to it.
        return {"DENO_DIR": os.devnull, "DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1"}


def _list(*paths: Path) -> str:
    return ",".join(map(str, paths))


RUNTIME = DenoWasi
