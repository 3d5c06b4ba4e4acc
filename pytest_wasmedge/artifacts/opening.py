"""Opens an artifact by its path or name. Imported at every pytest start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_wasmedge.model import Artifact

BUILTIN_ARTIFACT = "ruby-worker"


def open_artifact(spec: str, relative_to: Path) -> Artifact:
    """Return the artifact that ``spec`` names: a file, or the built-in one. Raises ArtifactError, ProvisionError."""
    # Imported here, because plugin.options imports this module for the name alone.
    from pytest_wasmedge.artifacts.loading import load_artifact
    from pytest_wasmedge.errors import ArtifactError

    if spec == BUILTIN_ARTIFACT:
        from pytest_wasmedge.artifacts.embedded import unpack
        from pytest_wasmedge.provision.cache import folder

        return load_artifact(unpack(folder("artifacts")), name=BUILTIN_ARTIFACT, builtin=True)
    path = relative_to / spec
    if not path.exists() and "/" not in spec and not spec.endswith(".wasm"):
        raise ArtifactError(
            f"there is no built-in artifact and no file {spec!r}. Give the path of a .wasm file, "
            f"or {BUILTIN_ARTIFACT} for the built-in Ruby."
        )
    return load_artifact(path)
