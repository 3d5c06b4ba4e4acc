"""Puts our glue and the WASI shim into one folder that every JavaScript host can load."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from contextlib import suppress
from pathlib import Path

from pytest_wasmedge.drivers.target import TEMPLATES
from pytest_wasmedge.errors import RuntimeUnavailableError
from pytest_wasmedge.model import Artifact
from pytest_wasmedge.provision import install_command, installed
from pytest_wasmedge.provision.cache import folder, writing
from pytest_wasmedge.provision.digests import fault, keep_from_others

#: Our JavaScript in this package.
GLUE = Path(__file__).parents[1] / "runtimes" / "glue"
#: Our modules that a worker needs, besides the one that serves.
_WORKER = (
    "descriptors.mjs",
    "guest.mjs",
    "paths.mjs",
    "poll.mjs",
    "preview1.mjs",
    "streams.mjs",
    "tree.mjs",
    "wire.mjs",
)


def glue_folder() -> Path:
    """Return the folder with our modules and, in ``shim/``, the shim's; new content makes a new folder.

    One with other files than were written there is made anew.

    Raises RuntimeUnavailableError if the shim is not installed, ProvisionError if the cache cannot be used.
    """
    files = _files()
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    glue = folder("glue").resolve()
    place = glue / digest.hexdigest()[:16]
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    if any(fault(place / name, sha256) for name, sha256 in digests.items()):
        with tempfile.TemporaryDirectory(prefix=".", dir=glue, ignore_cleanup_errors=True) as work, writing():
            fresh = Path(work, "glue")
            for name, content in files.items():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                (fresh / name).write_bytes(content)
                keep_from_others(fresh / name)
            with suppress(FileNotFoundError):
                place.rename(Path(work, "damaged"))
            try:
                fresh.rename(place)
            except OSError:
                # Another process made it first: a folder that is not empty cannot be replaced.
                if not place.is_dir():
                    raise
    return place


def worker_modules() -> list[str]:
    """Return the names of a worker's modules, besides the one that serves."""
    return [*_WORKER, *(name for name in _files() if name.startswith("shim/"))]


def deployed(artifact: Artifact) -> dict[str, bytes]:
    """Return the modules that answer requests where they are deployed, with the shim's and its licenses, by path.

    Raises RuntimeUnavailableError, ProvisionError.
    """
    glue, shim = glue_folder(), installed("shim")
    assert shim
    modules = {name: (glue / name).read_bytes() for name in worker_modules()}
    licenses = {f"shim/{path.name}": path.read_bytes() for path in sorted(shim.glob("LICENSE*"))}
    return {"edge.mjs": (TEMPLATES / "edge.mjs").read_bytes(), **modules, **licenses}


def deployed_worker(artifact: Artifact) -> dict[str, bytes]:
    """Return the same for a worker, which cannot read the bytes of the compiled module, so it gets the digest."""
    return {"artifact.mjs": f'export const SHA256 = "{artifact.sha256}";\n'.encode(), **deployed(artifact)}


def deployed_with(artifact: Artifact, load: str) -> dict[str, bytes]:
    """Return the same with a module that has the digest, and loads the artifact's bytes as this JavaScript says."""
    text = f'export const SHA256 = "{artifact.sha256}";\nexport const bytes = () => {load};\n'
    return {"artifact.mjs": text.encode(), **deployed(artifact)}


def as_text(artifact: Artifact) -> str:
    """Return JavaScript that holds the artifact's bytes itself, for platforms that deploy modules and no other file."""
    text = base64.b64encode(artifact.path.read_bytes()).decode()
    older = "((text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0)))"
    return f'(Uint8Array.fromBase64 ?? {older})("{text}")'


def _files() -> dict[str, bytes]:
    shim = installed("shim")
    if shim is None:
        command = install_command("shim")
        raise RuntimeUnavailableError(f"the WASI shim is not installed; get it with `{command}`.")
    modules = {path.name: path.read_bytes() for path in sorted(GLUE.glob("*.mjs"))}
    shims = {f"shim/{path.name}": path.read_bytes() for path in sorted((shim / "dist").glob("*.js"))}
    # Without this, Node does not load .js files as ES modules.
    return {"package.json": b'{"type":"module"}\n', **modules, **shims}
