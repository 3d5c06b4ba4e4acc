"""Puts our glue and the WASI shim together in one folder that every JavaScript host can load as it is."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.errors import RuntimeUnavailableError
from pytest_wasmedge.provision import install_command, installed
from pytest_wasmedge.provision.cache import folder

#: Our JavaScript, as it ships.
GLUE = Path(__file__).parents[1] / "runtimes" / "glue"
#: Where deployed glue finds its secret.
SECRET_VARIABLE = "PYTEST_WASMEDGE_SECRET"
#: What a worker needs of ours, beside the module that serves.
_WORKER = ("guest.mjs", "wire.mjs")


@dataclass(frozen=True, slots=True)
class Target:
    """A place to deploy our glue to: its files, its published limits or why there are none, its commands."""

    title: str
    files: tuple[str, ...]
    presets: tuple[str, ...]
    try_it: str
    deploy: str
    secret: str
    stops: str
    no_limits: str = ""


def glue_folder() -> Path:
    """Return the folder with our modules and, in ``shim/``, the shim's; made when its content is new.

    Raises RuntimeUnavailableError if the shim is not installed, ProvisionError if the cache cannot be used.
    """
    files = _files()
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    glue = folder("glue").resolve()
    place = glue / digest.hexdigest()[:16]
    if not place.is_dir():
        work = Path(tempfile.mkdtemp(prefix=".", dir=glue))
        try:
            for name, content in files.items():
                (work / name).parent.mkdir(exist_ok=True)
                (work / name).write_bytes(content)
            work.rename(place)
        except OSError:
            # Another process was faster: a folder that is not empty cannot be replaced.
            if not place.is_dir():
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return place


def worker_modules() -> list[str]:
    """Return the names of the modules that a worker is made of, beside the one that serves."""
    return [*_WORKER, *(name for name in _files() if name.startswith("shim/"))]


def _files() -> dict[str, bytes]:
    shim = installed("shim")
    if shim is None:
        raise RuntimeUnavailableError(
            f"the WASI shim is not installed; get it with `{install_command('shim')}`."
        )
    ours = {path.name: path.read_bytes() for path in sorted(GLUE.glob("*.mjs"))}
    theirs = {f"shim/{path.name}": path.read_bytes() for path in sorted((shim / "dist").glob("*.js"))}
    # Node takes a .js file for an ES module only where this says so.
    return {"package.json": b'{"type":"module"}\n', **ours, **theirs}
