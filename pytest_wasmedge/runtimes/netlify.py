"""Netlify's own emulation of edge functions: what `pytest-wasmedge export netlify` writes, in a deno that it starts."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.http import Numbered
from pytest_wasmedge.drivers.program import Interpreter, Package
from pytest_wasmedge.drivers.server import ServerRuntime, ServingLaunch
from pytest_wasmedge.drivers.target import SECRET_VARIABLE, TEMPLATES, Target
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import Artifact

_NODE = Interpreter("node", (22, 12), ("-p", "process.versions.node"), r"(\S+)")
#: Of 2.8.3, `--allow-net` takes no socket.
_DENO = Interpreter("deno", (2, 9), ("--version",), r"deno (\S+).*\nv8 (\S+)")
_SOCKET = "sock"
_NOTHING = ("--no-prompt", "--no-config", "--no-lock", "--no-remote", "--no-npm", "--no-code-cache")
_RUN = ("run", "--quiet", "--allow-env", *_NOTHING)
#: The longest path of a socket on any of our systems.
_LONGEST_BYTES = 103
# Netlify lets no function read files, but fetch them here. Where it is deployed, there are none to fetch.
_FETCH = 'fetch(new URL("../../../artifact.wasm", import.meta.url)).then((file) => file.arrayBuffer())'
# Netlify evaluates what starts its server, with all permissions, by an option that deno 2.9 does not have.
_WRAPPER = '#!/bin/sh\n[ "$1" = eval ] || exec {deno} "$@"\nshift $(($# - 1))\nexec {run} "$1"\n'


def _project(artifact: Artifact, load: str) -> dict[str, bytes]:
    index = (TEMPLATES / "netlify.mjs").read_bytes()
    modules = {**javascript.deployed_with(artifact, load), "index.mjs": index}
    # In a folder `artifact`, Netlify would take artifact.mjs for the function.
    return {f"netlify/edge-functions/program/{name}": content for name, content in modules.items()}


class Netlify(Package, ServerRuntime):
    """``node netlify.mjs``, which has Netlify's package serve the project in the workspace."""

    name = "netlify"
    engine = "V8"
    groups = frozenset({"edge"})
    in_all = False
    capabilities = frozenset({"memory_limit", "preopens", "concurrent"})
    interpreters = (_NODE, _DENO)
    tool = "edge-functions-dev"
    tools = ("node", "deno", "shim", "edge-functions-dev")
    wire = Numbered()
    limits_itself = False
    export = Target(
        "Netlify Edge Functions",
        ("netlify.toml",),
        ("netlify-edge",),
        "npx netlify dev",
        "npx netlify deploy --prod",
        f"`npx netlify env:set {SECRET_VARIABLE} SECRET`, and deploy again",
        "Netlify's are 50 ms of processor time for a request, and 40 s until an answer begins.",
        lambda artifact: _project(artifact, javascript.as_text(artifact)) | {"public/index.html": b"\n"},
        code="netlify/",
    )

    def environment(self, workspace: Path) -> dict[str, str]:
        return super().environment(workspace) | {"PATH": str(workspace / "bin")}

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        socket, deno = (launch.workspace / each for each in (_SOCKET, "bin/deno"))
        if len(os.fsencode(socket)) > _LONGEST_BYTES:
            raise HostStartError(f"{launch.workspace} is too long a path for a socket: set a shorter TMPDIR.")
        server = launch.executable.parents[1] / "deno"
        reads = f"--allow-read={server},netlify,artifact.wasm,{_SOCKET}"
        listens = (f"--allow-write={_SOCKET}", f"--allow-net=unix:{socket}")
        limit = f"--v8-flags=--wasm-max-mem-pages={launch.limits.memory_pages}"
        run = [str(_DENO.require()), *_RUN, reads, *listens, limit, str(server / "server.mjs")]
        wrapper = _WRAPPER.format(deno=shlex.quote(str(_DENO.require())), run=shlex.join(run))
        for name, content in {**_project(launch.artifact, _FETCH), "bin/deno": wrapper.encode()}.items():
            (launch.workspace / name).parent.mkdir(parents=True, exist_ok=True)
            (launch.workspace / name).write_bytes(content)
        deno.chmod(0o700)
        socket.unlink(missing_ok=True)
        script = str(javascript.glue_folder() / "netlify.mjs")
        return [str(_NODE.require()), script, str(launch.executable), _SOCKET]


RUNTIME = Netlify
