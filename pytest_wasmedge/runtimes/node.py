"""Node.js: each invocation in a worker thread, under Node's permission model."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.program import numbers
from pytest_wasmedge.drivers.server import OwnGlueLaunch, ServerRuntime, ServingLaunch


class Node(ServerRuntime):
    """``node server.mjs``, which may read the glue and the artifact, and start threads."""

    name = "node"
    engine = "V8"
    groups = frozenset({"engines", "fast"})
    flags_at = 1
    capabilities = frozenset({"memory_limit", "preopens", "concurrent", "isolates"})
    tool = "node"
    tools = ("node", "shim")
    # The first with --permission.
    minimum = (22, 13)
    own_key = "server"
    version_arguments = ("-p", "JSON.stringify(process.versions)")
    version_words = ("node", "v8")

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        glue = javascript.glue_folder()
        # Before 25 the permission model did not cover the network, and this option did not exist.
        has_network = numbers(self.versions(launch.executable).version) >= (25,)
        return [
            str(launch.executable),
            "--permission",
            f"--allow-fs-read={glue}",
            f"--allow-fs-read={launch.artifact_link}",
            "--allow-worker",
            # Node would warn about --allow-worker once per worker; workers run our glue alone.
            "--disable-warning=SecurityWarning",
            *(["--allow-net"] if has_network else []),
            f"--wasm-max-mem-pages={launch.limits.memory_pages}",
            str(glue / "server.mjs"),
        ]

    def own_argv(self, own: OwnGlueLaunch) -> Sequence[str]:
        return [str(own.executable), *own.args, str(own.entry)]


RUNTIME = Node
