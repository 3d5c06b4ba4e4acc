"""``pytest-wasmedge export``: writes a folder to deploy, with our glue, the WASI shim and the artifact."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from pytest_wasmedge import __version__
from pytest_wasmedge.artifacts.loading import inspect
from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.commands.console import Subparsers, open_console, progress_on, show
from pytest_wasmedge.contract.limits import gzip_size
from pytest_wasmedge.contract.presets import presets
from pytest_wasmedge.drivers.serving import ServingRuntime
from pytest_wasmedge.drivers.target import TEMPLATES, Target
from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.model import Artifact
from pytest_wasmedge.portability.excerpt import aligned
from pytest_wasmedge.provision import Progress
from pytest_wasmedge.provision.files import write_all
from pytest_wasmedge.provision.room import reason
from pytest_wasmedge.runtimes import builtin_runtimes

_NOTICE = Path(__file__).parents[1] / "artifacts" / "ruby-worker.NOTICE.txt"
#: The file that marks a folder as an export, and lists what was written there.
MARKER = ".pytest-wasmedge-export.json"

# The platforms allow this many characters in the name of a worker.
_NAME_CHARACTERS = 54


class ExportError(WasmEdgeError):
    """The folder cannot be written."""


def targets() -> dict[str, Target]:
    """Return the places to deploy to, by the name of the runtime that describes them."""
    runtimes = (each for each in builtin_runtimes() if isinstance(each, ServingRuntime))
    return {each.name: each.export for each in runtimes if each.export}


@dataclass(frozen=True, slots=True)
class Exported:
    """A folder that was written, with the paths of its files."""

    target: Target
    folder: Path
    artifact: Artifact
    paths: tuple[str, ...]
    memory_pages: int

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return the bytes of each file, and its bytes under gzip level 9, which takes a while."""
        contents = {path: (self.folder / path).read_bytes() for path in self.paths}
        return {path: (len(content), gzip_size(content)) for path, content in contents.items()}


def export(
    name: str,
    artifact: Artifact,
    output: Path | None = None,
    *,
    force: bool = False,
    progress: Progress = lambda _: None,
) -> Exported:
    """Write the folder for this target; the default is ``ARTIFACT-TARGET`` in the current folder.

    An earlier export is updated, and other files in its folder stay. Raises ExportError, unless ``force``, for a
    folder that is not an earlier export or was changed since; RuntimeUnavailableError without the shim.
    """
    target = targets()[name]
    folder = output or Path(f"{_worker_name(artifact)}-{name}")
    files = _files(name, target, artifact)
    marker = {
        "target": name,
        "pytest_wasmedge": __version__,
        "artifact_sha256": artifact.sha256,
        "files": {path: hashlib.sha256(content).hexdigest() for path, content in files.items()},
    }
    try:
        before = _written_before(folder)
        if not force:
            _check_free(folder, before)
        progress(f"writing {folder}")
        _write(folder, files, marker, before or {})
    except OSError as error:
        problem = reason(error, folder.parent)
        raise ExportError(f"{folder} cannot be written ({problem}): give another --output.") from error
    module = inspect(files["artifact.wasm"], str(artifact.path))
    return Exported(target, folder, artifact, tuple(files), module.memory_min_pages or 0)


def lines(exported: Exported) -> Iterator[tuple[str, str]]:
    """Yield the lines of the report with their styles."""
    target, artifact = exported.target, exported.artifact
    yield f"{exported.folder}: {artifact.name} for {target.title}, sha256 {artifact.sha256}", "bold"
    sizes = exported.sizes()
    code = _together(each for path, each in sizes.items() if path.startswith(target.code))
    sizes["all together"] = _together(list(sizes.values()))
    if target.code:
        sizes[f"of that {target.code}"] = code
    rows = [("file", "bytes", "gzip"), *((path, *(f"{each:,}" for each in sizes[path])) for path in sizes)]
    yield from ((f"  {line}", "") for line in aligned(rows, "<>>"))
    yield from _limits(exported, *code)
    secret = target.secret.replace("`", "")
    yield f"Anyone who knows its URL can run programs there, until you set a secret: {secret}.", "yellow"
    yield "Next:", "bold"
    for command in (
        f"cd {shlex.quote(str(exported.folder))}",
        target.try_it,
        target.deploy,
        f"curl --data-binary @{_input(artifact)} URL",
        "PYTEST_WASMEDGE_REMOTE_TOKEN=SECRET pytest --wasm-remote=URL --wasm-artifact=artifact.wasm --wasm-conformance",
    ):
        yield f"  {command}", ""


def _together(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    size, small = (sum(column) for column in zip(*sizes, strict=True))
    return size, small


def _input(artifact: Artifact) -> str:
    """Return the name of a file that this guest could be sent: we know only what the built-in one reads."""
    return "program.rb" if artifact.builtin else "input"


def _limits(exported: Exported, total_bytes: int, gzip_bytes: int) -> Iterator[tuple[str, str]]:
    if not exported.target.presets:
        yield f"{exported.target.title}: {exported.target.no_limits}.", ""
    measured = {
        "bytes": (total_bytes, "bytes"),
        "gzip_bytes": (gzip_bytes, "bytes under gzip"),
        "memory_pages": (exported.memory_pages, "pages of memory that it declares"),
    }
    for name in exported.target.presets:
        preset = presets()[name]
        over = any(measured[key][0] > limit.value for key, limit in preset.limits.items())
        parts = [
            f"{measured[key][0]:,} of {limit.value:,} {measured[key][1]}"
            for key, limit in preset.limits.items()
        ]
        verdict = "OVER ITS LIMITS" if over else "within its limits"
        yield (
            f"{preset.title}: {verdict}: {'; '.join(parts)} ({preset.source}, read {preset.read})",
            "red" if over else "green",
        )


def _files(name: str, target: Target, artifact: Artifact) -> dict[str, bytes]:
    """Return the content of each file, by its path in the folder."""
    artifact.verify()
    beside = target.beside(artifact)
    # A configuration that lists modules begins with the one that serves.
    modules = [path for path in (*target.files, *beside) if path.endswith((".mjs", ".js"))]
    words = {
        "name": _worker_name(artifact),
        "artifact": artifact.name,
        "sha256": artifact.sha256,
        "target": name,
        "input": _input(artifact),
        "version": __version__,
        "modules": "\n".join(
            f"    (name = {json.dumps(module)}, esModule = embed {json.dumps(module)})," for module in modules
        ),
        **{field: getattr(target, field) for field in ("title", "try_it", "deploy", "secret", "stops")},
    }
    files = {"artifact.wasm": artifact.path.read_bytes()}
    for path in (*target.files, "README.md"):
        text = (TEMPLATES / path).read_text(encoding="utf-8")
        # Not in programs, where a dollar sign is just a character.
        filled = Template(text).substitute(words) if path.endswith((".md", ".jsonc", ".capnp")) else text
        files[path] = filled.encode()
    files |= beside
    if artifact.builtin:
        files["artifact.NOTICE.txt"] = _NOTICE.read_bytes()
    return files


def _worker_name(artifact: Artifact) -> str:
    """Return the artifact's name in the characters that the name of a worker may have: a-z, 0-9 and -."""
    name = re.sub(r"[^a-z0-9]+", "-", artifact.name.lower().removesuffix(".wasm"))
    return name[:_NAME_CHARACTERS].strip("-") or "artifact"


def _written_before(folder: Path) -> dict[str, str] | None:
    """Return the digests of the files that an earlier export wrote; None without one."""
    try:
        files = json.loads((folder / MARKER).read_bytes())["files"]
    except (FileNotFoundError, ValueError, TypeError, LookupError):
        return None
    inside = isinstance(files, dict) and all(
        isinstance(digest, str) and ".." not in Path(path).parts and not Path(path).is_absolute()
        for path, digest in files.items()
    )
    return files if inside else None


def _check_free(folder: Path, before: Mapping[str, str] | None) -> None:
    """Raise ExportError if writing there would overwrite files of the user."""
    if before is None and folder.exists() and any(folder.iterdir()):
        raise ExportError(
            f"{folder} exists and is not an earlier export: give another --output, or --force to write into it."
        )
    digests = {folder / path: digest for path, digest in (before or {}).items()}
    changed = [
        str(path.relative_to(folder))
        for path, digest in digests.items()
        if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() != digest
    ]
    if changed:
        raise ExportError(
            f"{folder}: {', '.join(sorted(changed))} changed since the last export: give another --output, "
            "or --force to lose the changes."
        )


def _write(
    folder: Path, files: dict[str, bytes], marker: Mapping[str, object], before: Iterable[str]
) -> None:
    """Write the files and the marker, and remove those of an earlier export that are no longer part of it."""
    new = not folder.exists()
    try:
        written = {**files, MARKER: json.dumps(marker, indent=2).encode() + b"\n"}
        write_all({folder / path: content for path, content in written.items()})
        for path in set(before) - files.keys():
            (folder / path).unlink(missing_ok=True)
    except BaseException:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def add_to(commands: Subparsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "export",
        help="write a folder that can be deployed as it is, with an artifact and our glue",
        description="Write a folder that can be deployed as it is, and compare it with the platform's published "
        "limits. Deployed, it takes stdin as the body of a POST request and answers with stdout; "
        "`pytest --wasm-remote=URL` tests it. Other files in the folder stay.",
    )
    parser.add_argument("target", choices=tuple(targets()), help="where to deploy to")
    parser.add_argument("--artifact", metavar="PATH", help="the .wasm file (default: the built-in Ruby)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="the folder (default: ./ARTIFACT-TARGET)")
    parser.add_argument("--force", action="store_true", help="also write into a folder with other content")
    parser.set_defaults(action=run)


def run(options: argparse.Namespace) -> int:
    """Write the folder, and return the exit status. Raises WasmEdgeError."""
    artifact = open_artifact(options.artifact or BUILTIN_ARTIFACT, Path.cwd())
    console = open_console()
    with progress_on(console) as progress:
        exported = export(options.target, artifact, options.output, force=options.force, progress=progress)
        progress("compressing, to know the size")
        told = list(lines(exported))
    show(told, console)
    return 0
