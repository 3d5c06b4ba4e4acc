"""Bun with its own node:wasi. It has no option that limits a guest's memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.nodewasi import NodeWasiRuntime
from pytest_wasmedge.drivers.program import Versions
from pytest_wasmedge.drivers.serving import ServingLaunch


class BunWasi(NodeWasiRuntime):
    """``bun run nodewasi.mjs``. Bun has no permissions, so the guest has what node:wasi gives it.

    Every guest sees its standard streams as terminals, even if they are pipes: Ruby colours its SyntaxErrors.
    """

    name = "bun-wasi"
    engine = "JavaScriptCore"
    capabilities = frozenset({"concurrent"})
    no_folders = "a link that the guest puts in the place of one would lead it out, to files of this machine"
    flags_at = 1
    tool = "bun"
    tools = ("bun",)
    # 1.3.14 writes the stack of what it throws onto the guest's stderr, and fails the tests of sleeping.
    minimum = (1, 4)
    version_arguments = ("-p", "JSON.stringify(process.versions)")

    def options(self, launch: ServingLaunch, modules: Sequence[Path], guests: Path) -> Sequence[str]:
        return ["--no-install", "--no-env-file", "--config=/dev/null", "run"]

    def environment(self, workspace: Path) -> dict[str, str]:
        # Without the second one, Bun keeps transpiled code in the user's cache.
        return {"DO_NOT_TRACK": "1", "BUN_RUNTIME_TRANSPILER_CACHE_PATH": "0"}

    def read_versions(self, said: str) -> Versions:
        printed = json.loads(said)
        # The engine has no version number: this is WebKit's commit, shortened.
        return Versions(printed["bun"], printed["webkit"][:12])


RUNTIME = BunWasi
