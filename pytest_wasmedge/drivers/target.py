"""A place to deploy an artifact to, as a runtime describes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.model import Artifact

#: The files of ours that are deployed as they are, or filled in.
TEMPLATES = Path(__file__).parents[1] / "runtimes" / "glue" / "export"
#: What we deploy reads its secret from this variable.
SECRET_VARIABLE = "PYTEST_WASMEDGE_SECRET"


@dataclass(frozen=True, slots=True)
class Target:
    """A place to deploy to: its files, its presets or why there are none, and its commands.

    ``files`` are templates of ours; ``beside`` returns what else goes into the folder, by path. Raises WasmEdgeError.
    ``code`` is the folder in it that the limits are about, if it is not the whole.
    """

    title: str
    files: tuple[str, ...]
    presets: tuple[str, ...]
    try_it: str
    deploy: str
    secret: str
    stops: str
    beside: Callable[[Artifact], Mapping[str, bytes]]
    no_limits: str = ""
    code: str = ""
