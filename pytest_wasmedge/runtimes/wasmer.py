"""Wasmer through its Python SDK, in a process of its own: each invocation in a new sandbox."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge import drivers
from pytest_wasmedge.drivers.compiled import (
    KEPT_BYTES,
    compile_phase,
    digest_of,
    discard,
    is_ours,
    run_compiler,
    vouch,
)
from pytest_wasmedge.drivers.process import Workspace
from pytest_wasmedge.drivers.server import ServerHost, ServerRuntime, ServingLaunch
from pytest_wasmedge.errors import ProvisionError, RuntimeUnavailableError
from pytest_wasmedge.model import Artifact, Host, Invocation, Limits, Outcome
from pytest_wasmedge.provision import Found, installed
from pytest_wasmedge.provision.cache import folder, keep_newest
from pytest_wasmedge.provision.versions import installed_version

# Not imported, since it is a program.
_SERVER = Path(drivers.__file__).with_name("sdk_server.py")

# Where wasmer-sdk 0.5 keeps compiled code in its cache, if no folder of another version exists.
_CODE = "cache-v1/compiled/{machine}-{system}-unix/cranelift/cranelift-opts-rkyv-v24"


class Wasmer(ServerRuntime):
    """``python sdk_server.py serve``, with the SDK in our cache, not in the user's environment.

    Wasmer does not limit memory. Every guest sees its standard streams as terminals. It gets an empty folder ``/`` and
    can be granted no other: the SDK has no mounts, and reads back what was written to ``/workspace`` alone. It answers
    at the time limit, but a guest that only calculates runs on.
    """

    name = "wasmer"
    engine = "Cranelift"
    groups = frozenset({"engines"})
    capabilities = frozenset({"concurrent"})
    cache_state = "code-cache"
    statuses = "it passes on only the low 8 bits of an exit status: its 0 may be a 256"
    tool = "wasmer"
    tools = ("wasmer",)
    stops_guests = False  # seen with wasmer-sdk 0.5.0
    # The first that loads a module from memory.
    minimum = (0, 3)
    version_words = ("version", "engine_version")

    def locate(self) -> Found | None:
        place = installed_version(self.tool, self.version) if self.version else installed(self.tool)
        return Found(place, "pytest-wasmedge install") if place else None

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        """Start a host; its phases contain ``compile`` if the artifact had no compiled code yet."""
        package = self.executable()
        phases_ns = self.provide_code(package, artifact)
        host = WasmerHost(self, package, artifact, limits)
        host.start_phases_ns = {**host.start_phases_ns, **phases_ns}
        return host

    def provide_code(self, package: Path, artifact: Artifact) -> dict[str, int]:
        """Compile unless our code is there; return the phase ``compile`` in nanoseconds if that was done."""
        return compile_phase(self._code(package, artifact), lambda: self._compile(package, artifact))

    def kept_code(self, artifact: Artifact) -> Path | None:
        try:
            return self._code(self.executable(), artifact)
        except (ProvisionError, RuntimeUnavailableError):
            return None

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        return _command("serve", launch.executable, str(self._cache(launch.executable)))

    def version_argv(self, executable: Path) -> Sequence[str]:
        return _command("versions", executable)

    def _cache(self, package: Path) -> Path:
        """Return the folder for compiled code of this version, which the SDK's own file names do not contain."""
        # The package's folder is named after its version and digest: each library has its own cache.
        place = folder("compiled") / package.name
        place.mkdir(mode=0o700, exist_ok=True)
        return place

    def _code(self, package: Path, artifact: Artifact) -> Path:
        cache = self._cache(package)
        usual = cache / _CODE.format(machine=platform.machine(), system=sys.platform)
        place = next(cache.glob("cache-v1/compiled/*/*/*"), usual)
        return place / f"{artifact.sha256.upper()}.bin"

    def _compile(self, package: Path, artifact: Artifact) -> None:
        """Write compiled code to the cache, in another process, since this starts the guest, too."""
        code = self._code(package, artifact)
        discard(code)
        with Workspace() as workspace:
            paths = (self._cache(package), artifact.path.absolute(), code)
            argv = _command("compile", package, *map(str, paths))
            env = self.environment(workspace.path)
            try:
                run_compiler(argv, env, workspace.path, f"wasmer cannot compile {artifact.name}")
            except BaseException:
                # Code of an artifact that cannot be instantiated is there nevertheless.
                discard(self._code(package, artifact))
                raise
        # The name of the folder is known once there is code in it.
        code = self._code(package, artifact)
        vouch(code)
        keep_newest(code.parent.glob("*.bin"), most_bytes=KEPT_BYTES, beside=digest_of, but=code)


class WasmerHost(ServerHost):
    """A server whose SDK reads kept code only when a guest first needs it: so it is looked at before each guest."""

    runtime: Wasmer
    _code: Path | None = None

    def invoke(self, invocation: Invocation) -> Outcome:
        if not self._code or not is_ours(self._code):
            self.runtime.provide_code(self._executable, self.artifact)
            self._code = self.runtime.kept_code(self.artifact)
        return super().invoke(invocation)


def _command(mode: str, package: Path, *rest: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(_SERVER), mode, str(package), *rest]


RUNTIME = Wasmer
