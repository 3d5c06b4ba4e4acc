"""Limits on the artifact's size, functions, memory and imports, and the check of them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pytest_wasmedge.artifacts.loading import inspect
from pytest_wasmedge.errors import ArtifactError
from pytest_wasmedge.model import Artifact

_SHOWN_IMPORTS = 5


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
    return list(_violations(data, limits, str(artifact.path)))


def gzip_size(data: bytes) -> int:
    """Return the size after gzip level 9 without a time stamp, so that equal bytes have equal sizes."""
    return len(gzip.compress(data, 9, mtime=0))


def _violations(data: bytes, limits: ArtifactLimits, called: str) -> Iterator[Violation]:
    smaller = "strip names and debug sections, optimise for size, or leave out what is not needed"
    yield from _above("size", len(data), limits.bytes, "bytes", smaller)
    if limits.gzip_bytes is not None:
        yield from _above("gzip size", gzip_size(data), limits.gzip_bytes, "bytes", smaller)
    if limits.functions is None and limits.memory_pages is None and limits.imports is None:
        return
    module = inspect(data, called)
    yield from _above(
        "functions",
        module.function_count,
        limits.functions,
        "functions",
        "leave out what is not needed, or raise the limit if the growth is meant",
    )
    yield from _above(
        "declared minimum memory",
        module.memory_min_pages or 0,
        limits.memory_pages,
        "pages of 64 KiB",
        "link with a smaller initial memory and stack, or snapshot a smaller heap",
    )
    if limits.imports is not None:
        names = [f"{home}.{name}" for home, name, _ in module.imports]
        yield from _not_allowed(names, limits.imports)


def _above(
    what: str, measured: int, limit: ArtifactLimit | None, unit: str, remedy: str
) -> Iterator[Violation]:
    if limit is not None and measured > limit.value:
        yield Violation(what, f"{measured:,} {unit}", f"{limit.value:,}", limit.origin, remedy)


def _not_allowed(names: list[str], rule: ImportRule) -> Iterator[Violation]:
    wrong = [name for name in names if not any(fnmatchcase(name, glob) for glob in rule.globs)]
    if wrong:
        more = len(wrong) - _SHOWN_IMPORTS
        shown = ", ".join(wrong[:_SHOWN_IMPORTS]) + (f" and {more} more" if more > 0 else "")
        allowed = f"only {', '.join(rule.globs)}" if rule.globs else "none"
        remedy = "build without what needs them, or allow them if every host provides them"
        yield Violation("imports", shown, allowed, rule.origin, remedy)
