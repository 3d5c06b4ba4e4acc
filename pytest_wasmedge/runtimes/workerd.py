"""workerd, the program behind Cloudflare Workers: all invocations in one isolate, which only a kill can stop."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.program import Versions, first_match
from pytest_wasmedge.drivers.server import OwnGlueLaunch, ServerRuntime, ServingLaunch
from pytest_wasmedge.drivers.target import SECRET_VARIABLE, Target

_TEMPLATE = javascript.GLUE / "config.capnp"
#: An empty configuration, for `workerd bench`.
_NOTHING = javascript.GLUE / "nothing.capnp"
# With nothing to measure, `workerd bench` prints which V8 it has; older versions have no `bench`.
_TELL = '"$0" --version && { "$0" bench "$1" 2>&1 || true; }'


class Workerd(ServerRuntime):
    """``workerd serve`` with a configuration in the workspace, which the files that it embeds must be in, too."""

    name = "workerd"
    engine = "V8"
    groups = frozenset({"edge", "fast"})
    flags_at = 2
    capabilities = frozenset({"memory_limit", "preopens"})
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
        javascript.deployed_worker,
        "the limits are those of your machine; its config.capnp gives a guest 1 GiB of memory",
    )

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
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

    def greeting(self, launch: ServingLaunch) -> bytes:
        return b""

    def version_argv(self, executable: Path) -> Sequence[str]:
        return ["/bin/sh", "-c", _TELL, str(executable), str(_NOTHING)]

    def read_versions(self, said: str) -> Versions:
        v8 = re.search(r"^workerd .*, V8 (\d[\d.]*)", said, re.MULTILINE)
        return Versions(first_match(r"workerd (\d\S*)", said)[1], v8[1] if v8 else "")

    def own_argv(self, own: OwnGlueLaunch) -> Sequence[str]:
        # Its only socket is moved to a port that the system chooses.
        socket = _socket(own.entry.read_text(encoding="utf-8", errors="replace"))
        where = f"--socket-addr={socket}=127.0.0.1:0"
        return [str(own.executable), "serve", "--control-fd=1", where, *own.args, str(own.entry)]


def _socket(config: str) -> str:
    """Return the name of the only socket in a configuration. Raises ValueError if that is not found."""
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
    """Return a string of Cap'n Proto; for our names and secrets it is the same as in JSON."""
    return json.dumps(value)


RUNTIME = Workerd
