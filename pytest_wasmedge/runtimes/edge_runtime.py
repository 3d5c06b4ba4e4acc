"""edge-runtime, in which Vercel's tools run edge functions: a sandbox in Node.js that only a kill can stop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.program import Interpreter, numbers
from pytest_wasmedge.drivers.server import ServerRuntime, ServingLaunch

#: The first with --permission.
_NODE = Interpreter("node", (22, 13), ("-p", "process.versions.node"), r"(\S+)")


class EdgeRuntime(ServerRuntime):
    """``node edgeruntime.mjs``, which loads the worker and the compiled artifact into the sandbox and serves it."""

    name = "edge-runtime"
    engine = "V8"
    groups = frozenset({"edge"})
    flags_at = 1
    capabilities = frozenset({"memory_limit", "preopens"})
    tool = "edge-runtime"
    tools = ("node", "shim", "edge-runtime")
    minimum = (4,)
    version_words = ("version", "engine_version")
    limits_itself = False

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        glue, node = javascript.glue_folder(), _NODE.require()
        program = launch.executable.resolve()
        # The outermost node_modules around the program contains its dependencies, too.
        packages = [folder for folder in program.parents if folder.name == "node_modules"]
        return [
            str(node),
            "--permission",
            # Before 25 the permission model did not cover the network, and this option did not exist.
            *(["--allow-net"] if numbers(_NODE.versions(node).version) >= (25,) else []),
            f"--allow-fs-read={glue}",
            f"--allow-fs-read={packages[-1] if packages else program.parents[2]}",
            f"--allow-fs-read={launch.artifact_link}",
            # For modules in the sandbox.
            "--experimental-vm-modules",
            "--disable-warning=ExperimentalWarning",
            f"--wasm-max-mem-pages={launch.limits.memory_pages}",
            str(glue / "edgeruntime.mjs"),
            str(program),
        ]

    def version_argv(self, executable: Path) -> Sequence[str]:
        script = javascript.glue_folder() / "edgeruntime.mjs"
        return [str(_NODE.require()), str(script), str(executable.resolve()), "versions"]


RUNTIME = EdgeRuntime
