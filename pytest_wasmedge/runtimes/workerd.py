"""workerd, the engine of Cloudflare Workers: all invocations in one isolate, which only a kill can stop."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.server import Launch, ServerRuntime
from pytest_wasmedge.drivers.versions import Versions, told

_TEMPLATE = javascript.GLUE / "config.capnp"
# Of nothing to measure it says which V8 it has; older ones know no `bench`.
_TELL = '"$0" --version && { "$0" bench "$1" 2>&1 || true; }'


class Workerd(ServerRuntime):
    """``workerd serve`` with a configuration in the workspace, where embedded files must lie beside it."""

    name = "workerd"
    engine = "V8"
    capabilities = frozenset({"memory_limit"})
    tool = "workerd"
    tools = ("workerd", "shim")
    limits_itself = False

    def missing(self) -> str:
        return javascript.missing()

    def argv(self, launch: Launch) -> Sequence[str]:
        link = launch.workspace / "glue"
        link.unlink(missing_ok=True)
        link.symlink_to(javascript.glue_folder())
        modules = "\n".join(
            f"    (name = {_text(name)}, esModule = embed {_text(f'glue/{name}')}),"
            for name in javascript.worker_modules()
        )
        config = launch.workspace / "config.capnp"
        config.write_text(
            Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
                modules=modules,
                memory_pages=launch.limits.memory_pages,
                secret=_text(launch.secret),
                output_bytes=launch.limits.output_bytes,
            ),
            encoding="utf-8",
        )
        return [str(launch.executable), "serve", "--control-fd=1", str(config)]

    def greeting(self, launch: Launch) -> bytes:
        return b""

    def version_argv(self, executable: Path) -> Sequence[str]:
        return ["/bin/sh", "-c", _TELL, str(executable), str(javascript.NOTHING)]

    def read_versions(self, said: str) -> Versions:
        v8 = re.search(r"^workerd .*, V8 (\d[\d.]*)", said, re.MULTILINE)
        return Versions(told(r"workerd (\d\S*)", said)[1], v8[1] if v8 else "")


def _text(value: str) -> str:
    """Quote for Cap'n Proto, whose strings are those of JSON as far as our names and secrets go."""
    return json.dumps(value)


RUNTIME = Workerd
