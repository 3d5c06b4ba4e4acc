"""The artifact that does nothing: a runtime's time to start it is the floor."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.model import Artifact
from pytest_wasmedge.provision.files import keep

#: ``(module (memory (export "memory") 1) (func (export "_start")))``
FLOOR = bytes.fromhex(
    "0061736d01000000"  # magic and version
    "010401600000"  # one type: no parameters, no results
    "03020100"  # one function of it
    "0503010001"  # one page of memory
    "071302066d656d6f72790200065f73746172740000"  # memory and _start are exported
    "0a040102000b"  # the function returns at once
)


def floor_artifact(folder: Path) -> Artifact:
    """Return the artifact as a file in this folder, written if it is missing or another one. Raises OSError."""
    path = folder / f"{hashlib.sha256(FLOOR).hexdigest()[:16]}-floor.wasm"
    keep(path, FLOOR)
    return load_artifact(path, name="floor")
