"""Deno with its own node:wasi: a new process per invocation, with permission for its files alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.nodewasi import NodeWasiRuntime, Script
from pytest_wasmedge.errors import UnsupportedError


class DenoWasi(NodeWasiRuntime):
    """``deno run nodewasi.mjs``; its WASI asks for Deno's permissions too, so each folder is granted twice.

    It tells every guest that the standard streams are terminals, pipes or not: Ruby colours its SyntaxErrors.
    """

    name = "deno-wasi"
    tool = "deno"
    tools = ("deno",)
    # The first with more of node:wasi than its name.
    minimum = (2, 8)
    version_words = r"deno (\S+).*\nv8 (\S+)"

    def options(self, script: Script) -> Sequence[str]:
        # A preopened folder is opened by its path without links.
        folders = {path for folder in script.folders for path in (folder, folder.resolve())}
        if any("," in str(folder) for folder in folders):
            raise UnsupportedError(
                f"{self.name}: cannot grant {', '.join(map(str, script.folders))}: Deno takes a comma in a path for "
                "the end of it. Use a folder without commas."
            )
        return [
            "run",
            "--quiet",
            "--no-code-cache",
            "--no-prompt",
            "--no-config",
            "--no-lock",
            "--no-remote",
            "--no-npm",
            f"--allow-read={_list(script.artifact, script.file, *folders)}",
            f"--allow-write={_list(script.file, *folders)}",
            f"--v8-flags=--wasm-max-mem-pages={script.memory_pages}",
        ]

    def environment(self, workspace: Path) -> dict[str, str]:
        # It keeps nothing where it cannot: a cache would have to be removed while a killed process still writes it.
        return {"DENO_DIR": os.devnull, "DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1"}


def _list(*paths: Path) -> str:
    return ",".join(map(str, paths))


RUNTIME = DenoWasi
