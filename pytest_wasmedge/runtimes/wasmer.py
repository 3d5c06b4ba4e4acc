"""Wasmer through its Python SDK, in a process of its own: each invocation in a new sandbox."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pytest_wasmedge import drivers
from pytest_wasmedge.drivers.compiled import KEPT_BYTES, run_compiler
from pytest_wasmedge.drivers.process import Workspace
from pytest_wasmedge.drivers.server import Launch, ServerRuntime
from pytest_wasmedge.errors import ProvisionError, RuntimeUnavailableError
from pytest_wasmedge.model import Artifact, Host, Limits
from pytest_wasmedge.provision import Found, installed
from pytest_wasmedge.provision.cache import folder, keep_newest
from pytest_wasmedge.provision.versions import installed_version

# Not imported: it is a program, and brings an HTTP server.
_SERVER = Path(drivers.__file__).with_name("sdk_server.py")

# Where below its cache wasmer-sdk 0.5 keeps compiled code; a folder that is there is believed over this.
_CODE = "cache-v1/compiled/{machine}-{system}-unix/cranelift/cranelift-opts-rkyv-v24"


class Wasmer(ServerRuntime):
    """``python sdk_server.py serve``: the SDK is in our cache, not in the user's environment.

    It limits no memory. It tells every guest that the standard streams are terminals, and gives it an empty folder
    ``/`` of its own. It answers at the time limit, but a guest that only calculates runs on.
    """

    name = "wasmer"
    engine = "Cranelift"
    capabilities = frozenset({"concurrent"})
    cache_state = "code-cache"
    statuses = "the low 8 bits of an exit status are all that it passes on: its 0 may be a 256"
    tool = "wasmer"
    tools = ("wasmer",)
    stops_guests = False  # seen with wasmer-sdk 0.5.0
    # The first that takes a module from memory.
    minimum = (0, 3)
    version_words = ("version", "engine_version")

    def locate(self) -> Found | None:
        place = installed_version(self.tool, self.version) if self.version else installed(self.tool)
        return Found(place, "pytest-wasmedge install") if place else None

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        """Start a host; ``compile`` is among its phases if there was no compiled code of the artifact yet."""
        package = self.executable()
        kept = self._code(package, artifact)
        compile_ns = 0
        if not kept.exists():
            began_ns = time.perf_counter_ns()
            self._compile(package, artifact)
            compile_ns = time.perf_counter_ns() - began_ns
        with suppress(OSError):
            os.utime(kept)
        host = super().start(artifact, limits)
        if compile_ns:
            host.start_phases_ns = {**host.start_phases_ns, "compile": compile_ns}
        return host

    def kept_code(self, artifact: Artifact) -> Path | None:
        try:
            return self._code(self.executable(), artifact)
        except (ProvisionError, RuntimeUnavailableError):
            return None

    def argv(self, launch: Launch) -> Sequence[str]:
        return _command("serve", launch.executable, str(self._cache(launch.executable)))

    def version_argv(self, executable: Path) -> Sequence[str]:
        return _command("versions", executable)

    def _cache(self, package: Path) -> Path:
        """Return the folder for compiled code of this version, which its own names do not tell."""
        # All digits of the pin too, as in the folder's name: another library is another cache.
        place = folder("compiled") / package.name
        place.mkdir(mode=0o700, exist_ok=True)
        return place

    def _code(self, package: Path, artifact: Artifact) -> Path:
        cache = self._cache(package)
        usual = cache / _CODE.format(machine=platform.machine(), system=sys.platform)
        places = [*cache.glob("cache-v1/compiled/*/*/*"), usual]
        return places[0] / f"{artifact.sha256.upper()}.bin"

    def _compile(self, package: Path, artifact: Artifact) -> None:
        """Leave compiled code in the cache; by a process of its own, since that starts the guest, too."""
        code = self._code(package, artifact)
        with Workspace.create() as workspace:
            paths = (self._cache(package), artifact.path.absolute(), code)
            argv = _command("compile", package, *map(str, paths))
            run_compiler(self, argv, workspace.path, f"wasmer cannot compile {artifact.name}")
        keep_newest(code.parent.glob("*.bin"), most_bytes=KEPT_BYTES)


def _command(mode: str, package: Path, *rest: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(_SERVER), mode, str(package), *rest]


RUNTIME = Wasmer
