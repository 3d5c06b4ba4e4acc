"""Limits on the artifact's size, functions, memory and imports, and the check of them."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase

from pytest_wasmedge.artifacts.loading import inspect
from pytest_wasmedge.errors import ArtifactError
from pytest_wasmedge.model import Artifact

_SHOWN_IMPORTS = 5
_BYTES_OF = {"kB": 1000, "MB": 1000**2, "KiB": 1024, "MiB": 1024**2}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", re.ASCII)
_EXAMPLE = 'write bytes as an integer, or a string such as "20 MB" with kB, MB, KiB or MiB.'


@dataclass(frozen=True, slots=True)
class ArtifactLimit:
    """The most that is allowed, and where that is written: ``portability.toml:12``, or a preset with its source."""

    value: int
    origin: str


@dataclass(frozen=True, slots=True)
class ImportRule:
    """The imports that are allowed, as globs over ``module.name``."""

    globs: tuple[str, ...]
    origin: str


@dataclass(frozen=True, slots=True)
class ArtifactLimits:
    """Limits on an artifact; None for no limit.

    ``gzip_bytes`` limits the file compressed by gzip level 9 without a time stamp; ``memory_pages`` (64 KiB each)
    the minimum that the module declares; ``functions`` its own functions, without imported ones.
    """

    bytes: ArtifactLimit | None = None
    gzip_bytes: ArtifactLimit | None = None
    functions: ArtifactLimit | None = None
    memory_pages: ArtifactLimit | None = None
    imports: ImportRule | None = None


@dataclass(frozen=True, slots=True)
class Violation:
    """One limit that an artifact breaks; ``str()`` of it is one sentence."""

    what: str
    measured: str
    allowed: str
    origin: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}: {self.measured}, but {self.origin} allows {self.allowed}; {self.remedy}."


def check_artifact(artifact: Artifact, limits: ArtifactLimits) -> list[Violation]:
    """Return the limits that an artifact breaks. Raises ArtifactError if it cannot be read."""
    if limits == ArtifactLimits():
        return []
    try:
        data = artifact.path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{artifact.path} cannot be read ({error.strerror or error}) to check it against the contract. "
            "Build it again, or correct --wasm-artifact."
        ) from error
    module = inspect(data, str(artifact.path))
    gzip_bytes = gzip_size(data) if limits.gzip_bytes else 0
    memory_pages = module.memory_min_pages or 0
    smaller = "strip names and debug sections, optimise for size, or leave out what is not needed"
    fewer = "leave out what is not needed, or raise the limit if the growth is meant"
    less = "link with a smaller initial memory and stack, or snapshot a smaller heap"
    violations = [
        Violation(what, f"{measured:,} {unit}", f"{limit.value:,}", limit.origin, remedy)
        for what, measured, limit, unit, remedy in (
            ("size", len(data), limits.bytes, "bytes", smaller),
            ("gzip size", gzip_bytes, limits.gzip_bytes, "bytes", smaller),
            ("functions", module.function_count, limits.functions, "functions", fewer),
            ("declared minimum memory", memory_pages, limits.memory_pages, "pages of 64 KiB", less),
        )
        if limit is not None and measured > limit.value
    ]
    if limits.imports is not None:
        names = [f"{home}.{name}" for home, name, _ in module.imports]
        globs = limits.imports.globs
        wrong = [name for name in names if not any(fnmatchcase(name, glob) for glob in globs)]
        if wrong:
            more = len(wrong) - _SHOWN_IMPORTS
            shown = ", ".join(wrong[:_SHOWN_IMPORTS]) + (f" and {more} more" if more > 0 else "")
            allowed = f"only {', '.join(globs)}" if globs else "none"
            remedy = "build without what needs them, or allow them if every host provides them"
            violations.append(Violation("imports", shown, allowed, limits.imports.origin, remedy))
    return violations


def gzip_size(data: bytes) -> int:
    """Return the size after gzip level 9 without a time stamp, so that equal bytes have equal sizes."""
    return len(gzip.compress(data, 9, mtime=0))


def parse_size(value: object) -> int:
    """Return ``20000000``, ``"20 MB"`` or ``"5 MiB"`` in bytes, rounded down. Raises ValueError: what to write."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is no size; {_EXAMPLE}")
    number, unit = found.groups()
    if unit in _BYTES_OF:
        return int(Decimal(number) * _BYTES_OF[unit])
    meant = [each for each in _BYTES_OF if each.lower() == unit.lower()]
    if meant:
        raise ValueError(f'{value!r}: "{unit}" is no unit of size; did you mean "{number} {meant[0]}"?')
    raise ValueError(f"{value!r} has {f'the unknown unit {unit}' if unit else 'no unit'}; {_EXAMPLE}")
