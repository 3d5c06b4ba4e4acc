"""The witness: a small guest of ours that asks WASI preview 1 directly, and tells what a host gives it.

`witness.wat` says what it can be asked.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.model import Artifact
from pytest_wasmedge.provision.files import keep


@functools.cache
def _wasm() -> bytes:
    import wasmtime

    text = Path(__file__).with_suffix(".wat").read_text(encoding="utf-8")
    return bytes(wasmtime.wat2wasm(text))


def witness_artifact(folder: Path) -> Artifact:
    """Return the witness as a file in this folder, written if it is missing or another one. Raises OSError."""
    data = _wasm()
    path = folder / f"{hashlib.sha256(data).hexdigest()[:16]}-witness.wasm"
    keep(path, data)
    return load_artifact(path, name="witness")
