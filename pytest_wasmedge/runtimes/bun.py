"""Bun: each invocation in a worker. It has no option that limits a guest's memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.program import Versions
from pytest_wasmedge.drivers.server import OwnGlueLaunch, ServerRuntime, ServingLaunch


class Bun(ServerRuntime):
    """``bun run server.mjs``. Bun has no permissions, so the guest has what the glue gives it."""

    name = "bun"
    engine = "JavaScriptCore"
    groups = frozenset({"engines", "fast"})
    flags_at = 1
    capabilities = frozenset({"preopens", "concurrent", "isolates"})
    tool = "bun"
    tools = ("bun", "shim")
    stops_guests = False  # worker.terminate() lets a guest in a loop run on (seen with 1.4.5)
    minimum = (1, 3)
    own_key = "server"
    version_arguments = ("-p", "JSON.stringify(process.versions)")

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        server = javascript.glue_folder() / "server.mjs"
        options = ["--no-install", "--no-env-file", "--config=/dev/null"]
        return [str(launch.executable), *options, "run", str(server)]

    def environment(self, workspace: Path) -> dict[str, str]:
        # Without the second one, Bun keeps transpiled code in the user's cache.
        return super().environment(workspace) | {
            "DO_NOT_TRACK": "1",
            "BUN_RUNTIME_TRANSPILER_CACHE_PATH": "0",
        }

    def read_versions(self, said: str) -> Versions:
        printed = json.loads(said)
        # The engine has no version number: this is WebKit's commit, shortened.
        return Versions(printed["bun"], printed["webkit"][:12])

    def own_argv(self, own: OwnGlueLaunch) -> Sequence[str]:
        return [str(own.executable), "--no-install", *own.args, "run", str(own.entry)]


RUNTIME = Bun
