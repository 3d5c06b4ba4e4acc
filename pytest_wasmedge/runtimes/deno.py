"""Deno: each invocation in a worker without any permission."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.server import OwnGlueLaunch, ServerRuntime, ServingLaunch
from pytest_wasmedge.drivers.target import SECRET_VARIABLE, Target


class Deno(ServerRuntime):
    """``deno run server.mjs``, which may read the glue and the artifact, and listen on loopback."""

    name = "deno"
    engine = "V8"
    groups = frozenset({"edge", "fast"})
    flags_at = 2
    capabilities = frozenset({"memory_limit", "preopens", "concurrent", "isolates"})
    tool = "deno"
    tools = ("deno", "shim")
    stops_guests = False  # worker.terminate() lets a guest in a loop run on (seen with 2.9.8)
    minimum = (2,)
    own_key = "server"
    export = Target(
        "Deno Deploy",
        ("main.ts", "deno.json"),
        (),
        "DENO_SERVE_ADDRESS=tcp:127.0.0.1:8000 deno task start",
        "deno deploy",
        f"set {SECRET_VARIABLE} among the environment variables of the app",
        "a Deno of your own has none.",
        javascript.deployed,
        "no published limits were found; those of its predecessor, Deploy Classic, were 1 GB and 512 MB of memory",
    )
    version_words = r"deno (\S+).*\nv8 (\S+)"

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        glue = javascript.glue_folder()
        return [
            str(launch.executable),
            "run",
            "--quiet",
            # DENO_DIR is new for each host: writing a cache into it would only delay the start.
            "--no-code-cache",
            "--no-prompt",
            "--no-config",
            "--no-lock",
            "--no-remote",
            "--no-npm",
            f"--allow-read={glue},{launch.artifact_link}",
            # To listen; it may not connect to anything.
            "--allow-net=127.0.0.1:0",
            # Workers have permissions of their own.
            "--unstable-worker-options",
            f"--v8-flags=--wasm-max-mem-pages={launch.limits.memory_pages}",
            str(glue / "server.mjs"),
        ]

    def environment(self, workspace: Path) -> dict[str, str]:
        private = {"DENO_DIR": str(workspace / "deno"), "DENO_NO_UPDATE_CHECK": "1"}
        return super().environment(workspace) | private

    def own_port_environment(self, port: int) -> Mapping[str, str]:
        # `deno serve` and `Deno.serve` take the address from the last one, whatever the script says.
        return {**super().own_port_environment(port), "DENO_SERVE_ADDRESS": f"tcp:127.0.0.1:{port}"}

    def own_argv(self, own: OwnGlueLaunch) -> Sequence[str]:
        text = own.entry.read_text(encoding="utf-8", errors="replace")
        return [
            str(own.executable),
            # `serve` takes a module with a default export, `run` a script that serves.
            "serve" if re.search(r"\bexport\s+default\b|\bas\s+default\b", text) else "run",
            "--quiet",
            "--no-prompt",
            f"--allow-read={own.folder}",
            "--allow-net",
            "--allow-env",
            *own.args,
            str(own.entry),
        ]


RUNTIME = Deno
