"""Cloudflare's wrangler: the artifact in a worker as `wrangler dev` runs it, with the workerd that is part of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.process import Announcement
from pytest_wasmedge.drivers.program import Interpreter
from pytest_wasmedge.drivers.server import OwnGlueLaunch, ServerRuntime, ServingLaunch
from pytest_wasmedge.drivers.target import SECRET_VARIABLE, Target

#: wrangler needs 22.12; the next one has --permission.
_NODE = Interpreter("node", (22, 13), ("-p", "process.versions.node"), r"(\S+)")


class Cloudflare(ServerRuntime):
    """``node wrangler.mjs``, which makes wrangler serve the project in the workspace."""

    name = "cloudflare"
    engine = "V8"
    groups = frozenset({"edge"})
    capabilities = frozenset({"memory_limit", "preopens"})
    tool = "wrangler"
    tools = ("node", "shim", "wrangler")
    minimum = (4,)
    version_words = ("version", "engine_version")
    limits_itself = False
    own_key = "config"
    export = Target(
        "Cloudflare Workers",
        ("worker.mjs", "wrangler.jsonc"),
        ("cloudflare-workers-free", "cloudflare-workers-paid"),
        "npx wrangler dev",
        "npx wrangler deploy",
        f"`npx wrangler secret put {SECRET_VARIABLE}`",
        "`wrangler dev` has none for processor time.",
        javascript.deployed_worker,
    )

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        # A project as people write it for wrangler; the artifact is in the workspace already.
        glue, main = javascript.glue_folder(), "workerd.mjs"
        for name in (main, *javascript.worker_modules()):
            (launch.workspace / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(glue / name, launch.workspace / name)
        project = {"name": "artifact", "main": main, "compatibility_date": "2026-01-01"}
        (launch.workspace / "wrangler.json").write_text(json.dumps(project), encoding="utf-8")
        return [*self._script(), str(launch.executable.resolve())]

    def environment(self, workspace: Path) -> dict[str, str]:
        # With these wrangler asks neither the network nor a person, and writes no logs.
        return super().environment(workspace) | {
            "WRANGLER_SEND_METRICS": "false",
            "CLOUDFLARE_CF_FETCH_ENABLED": "false",
            "WRANGLER_WRITE_LOGS": "false",
            "CI": "1",
        }

    def version_argv(self, executable: Path) -> Sequence[str]:
        nothing = str(javascript.GLUE / "nothing.capnp")
        return [*self._script(), str(executable.resolve()), "versions", nothing]

    def _script(self) -> list[str]:
        return [str(_NODE.require()), str(javascript.glue_folder() / "wrangler.mjs")]

    def own_announcement(self, line: bytes) -> Announcement | None:
        found = re.search(rb"Ready on http://127\.0\.0\.1:(\d+)", line)
        return {"port": int(found[1])} if found else None

    def own_argv(self, own: OwnGlueLaunch) -> Sequence[str]:
        # wrangler finds its packages by its own path among them.
        wrangler = [str(_NODE.require()), str(own.executable.resolve())]
        return [*wrangler, "dev", f"--config={own.entry}", "--ip=127.0.0.1", "--port=0", *own.args]


RUNTIME = Cloudflare
