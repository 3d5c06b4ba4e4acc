"""Cloudflare's wrangler: the artifact in a worker as `wrangler dev` runs it, in the workerd that it brings along."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers import javascript, nodes
from pytest_wasmedge.drivers.server import Launch, ServerRuntime
from pytest_wasmedge.drivers.versions import Versions

#: So that wrangler asks neither the network nor a person, and keeps no record.
_ALONE = {
    "WRANGLER_SEND_METRICS": "false",
    "CLOUDFLARE_CF_FETCH_ENABLED": "false",
    "WRANGLER_WRITE_LOGS": "false",
    "CI": "1",
}


class Cloudflare(ServerRuntime):
    """``node wrangler.mjs``, which has wrangler serve the project in the workspace."""

    name = "cloudflare"
    engine = "V8"
    capabilities = frozenset({"memory_limit"})
    tool = "wrangler"
    tools = ("node", "shim", "wrangler")
    minimum = (4,)
    limits_itself = False

    def missing(self) -> str:
        return javascript.missing()

    def argv(self, launch: Launch) -> Sequence[str]:
        _write_project(launch.workspace)
        return [*self._script(), str(launch.executable.resolve())]

    def environment(self, workspace: Path) -> dict[str, str]:
        return super().environment(workspace) | _ALONE

    def greeting(self, launch: Launch) -> bytes:
        settings = {
            "secret": launch.secret,
            "output_bytes": launch.limits.output_bytes,
            "memory_pages": launch.limits.memory_pages,
        }
        return json.dumps(settings).encode() + b"\n"

    def version_argv(self, executable: Path) -> Sequence[str]:
        return [*self._script(), str(executable.resolve()), "versions", str(javascript.NOTHING)]

    def read_versions(self, said: str) -> Versions:
        told = json.loads(said)
        return Versions(told["version"], told["engine_version"])

    def _script(self) -> list[str]:
        return [str(nodes.node()), str(javascript.glue_folder() / "wrangler.mjs")]


def _write_project(folder: Path) -> None:
    """Write what people write for wrangler; the artifact lies there already."""
    glue = javascript.glue_folder()
    main, *others = javascript.worker_modules()
    for name in (main, *others):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(glue / name, folder / name)
    project = {"name": "artifact", "main": main, "compatibility_date": "2026-01-01"}
    (folder / "wrangler.json").write_text(json.dumps(project), encoding="utf-8")


RUNTIME = Cloudflare
