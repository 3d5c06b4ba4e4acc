"""Bun: each invocation in a worker. It has no option that limits a guest's memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.server import Launch, OwnLaunch, ServerRuntime
from pytest_wasmedge.drivers.versions import Versions


class Bun(ServerRuntime):
    """``bun run server.mjs``; Bun knows no permissions, the guest has only what the glue gives it."""

    name = "bun"
    engine = "JavaScriptCore"
    capabilities = frozenset({"concurrent"})
    tool = "bun"
    tools = ("bun", "shim")
    stops_guests = False  # worker.terminate() lets a guest in a loop run on (seen with 1.4.5)
    minimum = (1, 3)
    own_key = "server"
    version_arguments = ("-p", "JSON.stringify(process.versions)")

    def argv(self, launch: Launch) -> Sequence[str]:
        server = javascript.glue_folder() / "server.mjs"
        return [
            str(launch.executable),
            "--no-install",
            "--no-env-file",
            "--config=/dev/null",
            "run",
            str(server),
        ]

    def environment(self, workspace: Path) -> dict[str, str]:
        # Without the latter, Bun keeps what it transpiled in the user's cache.
        return super().environment(workspace) | {
            "DO_NOT_TRACK": "1",
            "BUN_RUNTIME_TRANSPILER_CACHE_PATH": "0",
        }

    def read_versions(self, said: str) -> Versions:
        told = json.loads(said)
        # Its engine has no number: this is WebKit's commit, as short as git shows it.
        return Versions(told["bun"], told["webkit"][:12])

    def own_argv(self, own: OwnLaunch) -> Sequence[str]:
        return [str(own.executable), "--no-install", *own.args, "run", str(own.entry)]


RUNTIME = Bun
