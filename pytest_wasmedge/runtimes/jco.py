"""jco: the artifact as a component of WASI 0.2, made JavaScript, on Node under its permission model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.command import CommandLaunch, Ended
from pytest_wasmedge.drivers.compiled import CompiledRuntime, run_compiler
from pytest_wasmedge.drivers.http import read_ending
from pytest_wasmedge.drivers.javascript import GLUE
from pytest_wasmedge.drivers.program import Interpreter, Package
from pytest_wasmedge.model import ARGV0, Artifact, Ending, Invocation, host_failed
from pytest_wasmedge.provision.pins import pin

_NODE = Interpreter("node", (22, 13), ("-p", "JSON.stringify(process.versions)"), ("node", "v8"))
_TRANSPILE = GLUE / "jco_transpile.mjs"
_MODULES = ("jco.mjs", "endings.mjs")


class Jco(Package, CompiledRuntime):
    """``node jco.mjs``, which runs what jco made of the artifact, in a new process per invocation."""

    name = "jco"
    engine = "V8"
    in_all = False
    flags_at = 1
    capabilities = frozenset({"memory_limit"})
    cache_state = "code-cache"
    statuses = "its adapter calls an exit that has success and failure alone: every status but 0 becomes 1"
    highest_status = 1
    no_folders = "a link that the guest puts in the place of one would lead it out, to files of this machine"
    wrapped = (
        "the artifact is in a component with jco's adapter, which gives it preview 1 on top of WASI 0.2, "
        "unchanged but for the names of functions that it imports twice"
    )
    interpreters = (_NODE,)
    tool = "jco"
    tools = ("node", "jco")
    # Older versions were not tried.
    minimum = (1, 35)

    def code_key(self, executable: Path, artifact: Artifact) -> tuple[str, str]:
        script = hashlib.sha256(_TRANSPILE.read_bytes()).hexdigest()
        return f"jco {self.version or pin(self.tool).version}", script

    def compile_to(self, path: Path, executable: Path, artifact: Artifact, workspace: Path) -> None:
        files = [executable.resolve(), artifact.path.absolute(), path]
        argv = [str(_NODE.require()), str(_TRANSPILE), *map(str, files)]
        run_compiler(argv, {}, workspace, f"jco cannot make a component of {artifact.name}")

    def prepare(self, launch: CommandLaunch) -> None:
        super().prepare(launch)
        # In our own folder, so that the paths of the package and of the artifact may contain any characters.
        for name in _MODULES:
            (launch.workspace / name).write_bytes((GLUE / name).read_bytes())

    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        launch.folder.mkdir()
        given = {"args": [ARGV0, *invocation.args], "env": dict(invocation.env)}
        (launch.folder / "given.json").write_text(json.dumps(given), encoding="ascii")
        jco = launch.executable.resolve()
        packages = next(each for each in reversed(jco.parents) if each.name == "node_modules")
        return [
            str(_NODE.require()),
            "--permission",
            *(
                f"--allow-fs-read={each}"
                for each in (packages, launch.workspace, launch.artifact_link.resolve())
            ),
            f"--allow-fs-write={launch.folder}",
            # The shim reads stdin in a worker.
            "--allow-worker",
            "--no-warnings",
            f"--wasm-max-mem-pages={launch.limits.memory_pages}",
            str(launch.workspace / _MODULES[0]),
            *map(str, (jco, launch.artifact_link, launch.folder)),
        ]

    def outcome(self, launch: CommandLaunch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        report = launch.folder / "report"
        said = json.loads(report.read_bytes()) if report.exists() else {}
        if said.get("kind") == "exited":
            ending = ended.ending("jco")
        else:
            ending = read_ending(said) or host_failed(f"jco ended with status {ended.status}")
        return ended.stdout, ended.stderr, ending


RUNTIME = Jco
