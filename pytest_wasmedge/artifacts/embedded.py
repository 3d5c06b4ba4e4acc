"""The built-in artifact as it ships: compressed beside this file, unpacked once into a cache folder."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.errors import ArtifactError
from pytest_wasmedge.provision.files import whole

ARCHIVE = "ruby-worker.wasm.xz"
MANIFEST = "ruby-worker.json"

_SHIPPED = Path(__file__).parent
_REMEDY = "Install pytest-wasmedge again, or build the artifact yourself: pytest-wasmedge build."


@dataclass(frozen=True, slots=True)
class Source:
    """A package that the artifact was made of or with; ``digest`` is npm's integrity or ``sha256:HEX``."""

    package: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the shipped artifact is: its digest and size, unpacked, and all that went into it."""

    sha256: str
    size_bytes: int
    variant: str
    ruby_version: str
    sources: Mapping[str, Source]


def manifest(shipped: Path = _SHIPPED) -> Manifest:
    """Return the manifest of the shipped artifact. Raises ArtifactError if it cannot be read."""
    path = shipped / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        sources = {name: Source(**fields) for name, fields in raw.pop("sources").items()}
        return Manifest(**raw, sources=sources)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"The manifest {path} cannot be read: {error}. {_REMEDY}") from error


def unpack(cache: Path, shipped: Path = _SHIPPED) -> Path:
    """Return the artifact as a file ``cache/<sha256>.wasm``, unpacked if it is not there or not intact.

    Several processes may do this at once: each writes a file of its own and renames it, so that the name
    always stands for whole bytes. Raises ArtifactError for a damaged package or an unusable folder.
    """
    wanted = manifest(shipped)
    target = cache / f"{wanted.sha256}.wasm"
    if _digest(target) == wanted.sha256:
        return target
    content = _decompressed(shipped / ARCHIVE)
    found = hashlib.sha256(content).hexdigest()
    if found != wanted.sha256:
        raise ArtifactError(
            f"{shipped / ARCHIVE} unpacks to {len(content)} bytes with SHA-256 {found}, "
            f"expected {wanted.size_bytes} bytes with {wanted.sha256}. {_REMEDY}"
        )
    _write(target, content)
    return target


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _decompressed(archive: Path) -> bytes:
    try:
        return lzma.decompress(archive.read_bytes())
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise ArtifactError(f"{archive} cannot be unpacked: {error}. {_REMEDY}") from error


def _write(target: Path, content: bytes) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole(target) as part:
            part.write_bytes(content)
    except OSError as error:
        raise ArtifactError(
            f"The built-in artifact ({len(content)} bytes) cannot be written to {target.parent}: {error}. "
            "Make room there, or let PYTEST_WASMEDGE_CACHE name a folder that you can write."
        ) from error
