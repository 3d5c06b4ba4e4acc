"""The built-in artifact as it ships: compressed beside this file, unpacked once into a cache folder."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.errors import ArtifactError
from pytest_wasmedge.provision.files import whole
from pytest_wasmedge.provision.pins import Package

ARCHIVE = "ruby-worker.wasm.xz"
MANIFEST = "ruby-worker.json"

_SHIPPED = Path(__file__).parent
_REMEDY = "Install pytest-wasmedge again, or build the artifact yourself: pytest-wasmedge build."


@dataclass(frozen=True, slots=True)
class Manifest:
    """The shipped artifact: digest and size once unpacked, and the packages that it was made of or with."""

    sha256: str
    size_bytes: int
    variant: str
    ruby_version: str
    sources: Mapping[str, Package]


def manifest(shipped: Path = _SHIPPED) -> Manifest:
    """Return the manifest of the shipped artifact. Raises ArtifactError if it cannot be read."""
    path = shipped / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        sources = {name: Package(**fields) for name, fields in raw.pop("sources").items()}
        return Manifest(**raw, sources=sources)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"The manifest {path} cannot be read: {error}. {_REMEDY}") from error


def unpack(cache: Path, shipped: Path = _SHIPPED) -> Path:
    """Return the artifact as a file ``cache/<sha256>.wasm``, unpacked if that file is missing or damaged.

    Several processes may unpack at once: none of them ever sees half a file. Raises ArtifactError for a damaged
    package or a folder that cannot be written.
    """
    wanted = manifest(shipped)
    target = cache / f"{wanted.sha256}.wasm"
    with suppress(OSError), target.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == wanted.sha256:
            return target
    archive = shipped / ARCHIVE
    try:
        content = lzma.decompress(archive.read_bytes())
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise ArtifactError(f"{archive} cannot be unpacked: {error}. {_REMEDY}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != wanted.sha256:
        raise ArtifactError(
            f"{archive} unpacks to {len(content)} bytes with SHA-256 {found}, "
            f"expected {wanted.size_bytes} bytes with {wanted.sha256}. {_REMEDY}"
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with whole(target) as part:
            part.write_bytes(content)
    except OSError as error:
        raise ArtifactError(
            f"The built-in artifact ({len(content)} bytes) cannot be written to {cache}: {error}. "
            "Make room there, or let PYTEST_WASMEDGE_CACHE name a folder that you can write."
        ) from error
    return target
