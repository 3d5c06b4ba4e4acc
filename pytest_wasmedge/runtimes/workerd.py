"""workerd, the engine of Cloudflare Workers: all invocations in one isolate, which only a kill can stop."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.javascript import SECRET_VARIABLE, Target
from pytest_wasmedge.drivers.server import Launch, OwnLaunch, ServerRuntime
from pytest_wasmedge.drivers.versions import Versions, told

_TEMPLATE = javascript.GLUE / "config.capnp"
#: A configuration of nothing, for `workerd bench`.
_NOTHING = javascript.GLUE / "nothing.capnp"
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
    own_key = "config"
    export = Target(
        "workerd",
        ("worker.mjs", "config.capnp"),
        (),
        "workerd serve config.capnp",
        "workerd serve config.capnp --socket-addr=http=*:8080",
        f"start it with {SECRET_VARIABLE} in its environment",
        "workerd of its own has none: put a proxy with a time limit before it, or stop it with SIGKILL.",
        "the limits are those of your machine; its config.capnp gives a guest 1 GiB of memory",
    )

    def argv(self, launch: Launch) -> Sequence[str]:
        link = launch.workspace / "glue"
        link.unlink(missing_ok=True)
        link.symlink_to(javascript.glue_folder())
        modules = "\n".join(
            f"    (name = {_text(name)}, esModule = embed {_text(f'glue/{name}')}),"
            for name in ("workerd.mjs", *javascript.worker_modules())
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
        return ["/bin/sh", "-c", _TELL, str(executable), str(_NOTHING)]

    def read_versions(self, said: str) -> Versions:
        v8 = re.search(r"^workerd .*, V8 (\d[\d.]*)", said, re.MULTILINE)
        return Versions(told(r"workerd (\d\S*)", said)[1], v8[1] if v8 else "")

    def own_argv(self, own: OwnLaunch) -> Sequence[str]:
        # Its one socket is moved to a port of the system's choice.
        socket = _socket(own.entry.read_text(encoding="utf-8", errors="replace"))
        where = f"--socket-addr={socket}=127.0.0.1:0"
        return [str(own.executable), "serve", "--control-fd=1", where, *own.args, str(own.entry)]


def _socket(config: str) -> str:
    """Return the name of the socket that a configuration listens on. Raises ValueError."""
    without_comments = re.sub(r"#.*", "", config)
    sockets = re.search(r"\bsockets\s*=\s*\[(.*?)\]", without_comments, re.DOTALL)
    names: list[str] = re.findall(r'\(\s*name\s*=\s*"([^"]+)"', sockets[1]) if sockets else []
    if len(names) != 1:
        raise ValueError(
            f"has {len(names)} sockets that can be found ({', '.join(names) or 'none'}); "
            'give it one, as `sockets = [(name = "http", …)]`.'
        )
    return names[0]


def _text(value: str) -> str:
    """Quote for Cap'n Proto, whose strings are those of JSON as far as our names and secrets go."""
    return json.dumps(value)


RUNTIME = Workerd
