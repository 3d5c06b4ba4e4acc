"""The presets: limits that platforms publish, read from presets.toml."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pytest_wasmedge.contract.limits import ArtifactLimit, parse_size

#: The limits that are numbers: keys of ``[artifact]``, of presets, and fields of ArtifactLimits.
NUMBERS = ("bytes", "gzip_bytes", "functions", "memory_pages")


@dataclass(frozen=True, slots=True)
class Preset:
    """The limits of one platform; ``published`` quotes its page ``source``, as it was on the day ``read``."""

    name: str
    title: str
    source: str
    read: date
    published: str
    limits: Mapping[str, ArtifactLimit]


@functools.cache
def presets() -> Mapping[str, Preset]:
    """Return all presets by name."""
    table = tomllib.loads(Path(__file__).with_name("presets.toml").read_text("utf-8"))
    return MappingProxyType({name: _preset(name, entry) for name, entry in table.items()})


def _preset(name: str, entry: Mapping[str, Any]) -> Preset:
    title, source, read, published = (entry[key] for key in ("title", "source", "read", "published"))
    origin = f"preset {name} ({source}, read {read})"
    limits = {key: ArtifactLimit(parse_size(entry[key]), origin) for key in NUMBERS if key in entry}
    return Preset(name, title, source, read, published, MappingProxyType(limits))
