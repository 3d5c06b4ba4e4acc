"""Node.js: each invocation in a worker thread, under Node's permission model."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.server import Launch, OwnLaunch, ServerRuntime
from pytest_wasmedge.drivers.versions import numbers


class Node(ServerRuntime):
    """``node server.mjs``, which may read the glue and the artifact, and start threads."""

    name = "node"
    engine = "V8"
    capabilities = frozenset({"memory_limit", "concurrent"})
    tool = "node"
    tools = ("node", "shim")
    # The first with --permission.
    minimum = (22, 13)
    own_key = "server"
    version_arguments = ("-p", "JSON.stringify(process.versions)")
    version_words = ("node", "v8")

    def argv(self, launch: Launch) -> Sequence[str]:
        glue = javascript.glue_folder()
        # Before 25 the permission model knew nothing of the network, nor this option.
        knows_network = numbers(self.versions(launch.executable).version) >= (25,)
        return [
            str(launch.executable),
            "--permission",
            f"--allow-fs-read={glue}",
            f"--allow-fs-read={launch.artifact_link}",
            "--allow-worker",
            # It would warn of --allow-worker once per worker; the workers run nothing but our glue.
            "--disable-warning=SecurityWarning",
            *(["--allow-net"] if knows_network else []),
            f"--wasm-max-mem-pages={launch.limits.memory_pages}",
            str(glue / "server.mjs"),
        ]

    def own_argv(self, own: OwnLaunch) -> Sequence[str]:
        return [str(own.executable), *own.args, str(own.entry)]


RUNTIME = Node
