"""Wasmer through its Python SDK, in a process of its own: each invocation in a new sandbox."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pytest_wasmedge.drivers.process import Workspace, spawn, stop
from pytest_wasmedge.drivers.server import Launch, ServerRuntime
from pytest_wasmedge.drivers.versions import Versions
from pytest_wasmedge.errors import HostStartError, ProvisionError, RuntimeUnavailableError
from pytest_wasmedge.model import Artifact, Host, Limits
from pytest_wasmedge.provision import Found, install_command, installed
from pytest_wasmedge.provision.cache import folder
from pytest_wasmedge.provision.versions import installed_version

# Not imported: it is a program, and brings an HTTP server.
_SERVER = Path(__file__).with_name("glue") / "wasmer_server.py"

#: One compiled Ruby is about 86 MB; older ones go when there are more than this.
KEPT_FILES = 40

# Where below its cache wasmer-sdk 0.5 keeps compiled code; a folder that is there is believed over this.
_CODE = "cache-v1/compiled/{machine}-{system}-unix/cranelift/cranelift-opts-rkyv-v24"


class Wasmer(ServerRuntime):
    """``python wasmer_server.py serve``: the SDK is in our cache, not in the user's environment.

    It limits no memory. It tells every guest that the standard streams are terminals, and gives it an empty folder
    ``/`` of its own. It answers at the time limit, but a guest that only calculates runs on.
    """

    name = "wasmer"
    engine = "Cranelift"
    capabilities = frozenset({"concurrent"})
    cache_state = "code-cache"
    tool = "wasmer"
    tools = ("wasmer",)
    stops_guests = False  # seen with wasmer-sdk 0.5.0
    # The first that takes a module from memory.
    minimum = (0, 3)

    def locate(self) -> Found | None:
        place = installed_version(self.tool, self.version) if self.version else installed(self.tool)
        return Found(place, "pytest-wasmedge install") if place else None

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        """Start a host; ``compile`` is among its phases if there was no compiled code of the artifact yet."""
        package = self._package()
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
            return self._code(self._package(), artifact)
        except (ProvisionError, RuntimeUnavailableError):
            return None

    def argv(self, launch: Launch) -> Sequence[str]:
        return _command("serve", launch.executable, str(self._cache(launch.executable)))

    def version_argv(self, executable: Path) -> Sequence[str]:
        return _command("versions", executable)

    def read_versions(self, said: str) -> Versions:
        told = json.loads(said)
        return Versions(told["wasmer"], told["cranelift"])

    def _package(self) -> Path:
        found = self.locate()
        if found is None:
            raise RuntimeUnavailableError(
                f"{self.name} cannot start: no {self.tool} found; get it with `{install_command(self.name)}`."
            )
        return found.path

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
        with Workspace.create() as workspace:
            process = spawn(
                _command("compile", package, str(self._cache(package)), str(artifact.path.absolute())),
                env=self.environment(workspace.path),
                cwd=workspace.path,
                stderr=subprocess.PIPE,
            )
            try:
                _, stderr = process.communicate()
            finally:
                stop(process)
        if process.returncode:
            said = " ".join(stderr.decode("utf-8", "backslashreplace").split()) or "no message"
            raise HostStartError(
                f"wasmer cannot compile {artifact.name}: {said[-500:]}. "
                "Check the file with `wasm-tools validate`, or build it again."
            )
        newest_first = sorted(
            self._code(package, artifact).parent.glob("*.bin"),
            key=lambda file: file.stat().st_mtime,
            reverse=True,
        )
        for stale in newest_first[KEPT_FILES:]:
            stale.unlink(missing_ok=True)


def _command(mode: str, package: Path, *rest: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(_SERVER), mode, str(package), *rest]


RUNTIME = Wasmer
