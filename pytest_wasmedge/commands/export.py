"""Writes folders that can be deployed as they are: our glue, the WASI shim and the artifact, and how they stand."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from pytest_wasmedge import __version__
from pytest_wasmedge.artifacts.loading import inspect
from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.commands.console import Subparsers, open_console, progress_on
from pytest_wasmedge.contract.limits import gzip_size
from pytest_wasmedge.contract.presets import presets
from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.javascript import Target
from pytest_wasmedge.drivers.server import ServerRuntime
from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.model import Artifact
from pytest_wasmedge.portability.excerpt import aligned
from pytest_wasmedge.provision import installed
from pytest_wasmedge.runtimes import builtin_runtimes

_TEMPLATES = javascript.GLUE / "export"
_NOTICE = Path(__file__).parents[1] / "artifacts" / "ruby-worker.NOTICE.txt"
#: Says that a folder is an export, and what we wrote there.
MARKER = ".pytest-wasmedge-export.json"

# What the platforms allow in the name of a worker.
_NAME_CHARACTERS = 54


class ExportError(WasmEdgeError):
    """A folder cannot be written as asked."""


def targets() -> dict[str, Target]:
    """Return the places to deploy to, by the runtimes that say so."""
    runtimes = (each for each in builtin_runtimes() if isinstance(each, ServerRuntime))
    return {each.name: each.export for each in runtimes if each.export}


@dataclass(frozen=True, slots=True)
class Exported:
    """A folder that was written. ``sizes`` are each file's bytes, and its bytes under gzip level 9."""

    target: Target
    folder: Path
    artifact: Artifact
    sizes: Mapping[str, tuple[int, int]]
    memory_pages: int


def export(
    name: str,
    artifact: Artifact,
    output: Path | None = None,
    *,
    force: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write the folder for this target; the default one is ``ARTIFACT-TARGET`` in the current folder.

    An earlier export is brought up to date, whatever else is in its folder stays. Raises ExportError for a folder
    that is not an earlier export, or was changed since, unless ``force``; RuntimeUnavailableError without the shim.
    """
    target = targets()[name]
    folder = output or Path(f"{_worker_name(artifact)}-{name}")
    files = _files(name, target, artifact)
    try:
        before = _written_before(folder)
        if not force:
            _check_free(folder, before)
        progress(f"writing {folder}")
        _write(folder, files, before or {}, name, artifact)
    except OSError as error:
        raise ExportError(
            f"{folder} cannot be written ({error.strerror or error}): give another --output."
        ) from error
    progress("compressing, to know the size")
    sizes = {path: (len(content), gzip_size(content)) for path, content in files.items()}
    module = inspect(files["artifact.wasm"], str(artifact.path))
    return Exported(target, folder, artifact, sizes, module.memory_min_pages or 0)


def lines(exported: Exported) -> Iterator[tuple[str, str]]:
    """Yield the lines of the report, and the style of each."""
    target, artifact = exported.target, exported.artifact
    yield f"{exported.folder}: {artifact.name} for {target.title}, sha256 {artifact.sha256}", "bold"
    total = tuple(sum(column) for column in zip(*exported.sizes.values(), strict=True))
    sizes = {**exported.sizes, "all together": total}
    rows = [
        ("file", "bytes", "gzip"),
        *((path, f"{size:,}", f"{small:,}") for path, (size, small) in sizes.items()),
    ]
    yield from ((f"  {line}", "") for line in aligned(rows, "<>>"))
    yield from _limits(exported, *total)
    yield (
        f"Open to everybody: whoever knows its URL can run programs there, until there is a secret: "
        f"{target.secret.replace('`', '')}.",
        "yellow",
    )
    yield "Next:", "bold"
    yield f"  cd {shlex.quote(str(exported.folder))}", ""
    yield f"  {target.try_it}", ""
    yield f"  {target.deploy}", ""
    yield "  curl --data-binary @program.rb URL", ""
    yield (
        "  PYTEST_WASMEDGE_REMOTE_TOKEN=SECRET pytest --wasm-remote=URL --wasm-artifact=artifact.wasm "
        "--wasm-conformance",
        "",
    )


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
        parts, over = [], False
        for key, limit in preset.limits.items():
            value, unit = measured[key]
            over = over or value > limit.value
            parts.append(f"{value:,} of {limit.value:,} {unit}")
        verdict = "OVER ITS LIMITS" if over else "within its limits"
        yield (
            f"{preset.title}: {verdict}: {'; '.join(parts)} ({preset.source}, read {preset.read})",
            "red" if over else "green",
        )


# -- what is written -----------------------------------------------------------------------------------------


def _files(name: str, target: Target, artifact: Artifact) -> dict[str, bytes]:
    """Return the content of each file, by its path in the folder."""
    glue = javascript.glue_folder()
    modules = ["edge.mjs", *javascript.worker_modules()]
    # Where the bytes of a compiled module cannot be read, its digest must be told.
    told = {"artifact.mjs": f'export const SHA256 = "{artifact.sha256}";\n'.encode()}
    if "worker.mjs" in target.files:
        modules = ["worker.mjs", *told, *modules]
    words = {
        "name": _worker_name(artifact),
        "artifact": artifact.name,
        "sha256": artifact.sha256,
        "target": name,
        "version": __version__,
        "modules": "\n".join(
            f"    (name = {json.dumps(module)}, esModule = embed {json.dumps(module)})," for module in modules
        ),
        **{field: getattr(target, field) for field in ("title", "try_it", "deploy", "secret", "stops")},
    }
    artifact.verify()
    files = {"artifact.wasm": artifact.path.read_bytes()}
    for path in (*target.files, "README.md"):
        text = (_TEMPLATES / path).read_text(encoding="utf-8")
        # A dollar stands for itself in JavaScript.
        filled = Template(text).substitute(words) if path.endswith((".md", ".jsonc", ".capnp")) else text
        files[path] = filled.encode()
    for path in modules:
        place = _TEMPLATES if (_TEMPLATES / path).exists() else glue
        files[path] = told.get(path) or (place / path).read_bytes()
    shim = installed("shim")
    assert shim
    files |= {f"shim/{path.name}": path.read_bytes() for path in sorted(shim.glob("LICENSE*"))}
    if artifact.builtin:
        files["artifact.NOTICE.txt"] = _NOTICE.read_bytes()
    return files


def _worker_name(artifact: Artifact) -> str:
    """Return the artifact's name in what may be the name of a worker: a-z, 0-9 and -."""
    name = re.sub(r"[^a-z0-9]+", "-", artifact.name.lower().removesuffix(".wasm"))
    return name[:_NAME_CHARACTERS].strip("-") or "artifact"


# -- the folder ----------------------------------------------------------------------------------------------


def _written_before(folder: Path) -> dict[str, str] | None:
    """Return the digests of what an earlier export wrote there; None if there was none."""
    try:
        told = json.loads((folder / MARKER).read_bytes())
        files = told["files"]
    except (FileNotFoundError, ValueError, TypeError, LookupError):
        return None
    inside = isinstance(files, dict) and all(
        isinstance(digest, str) and ".." not in Path(path).parts and not Path(path).is_absolute()
        for path, digest in files.items()
    )
    return files if inside else None


def _check_free(folder: Path, before: Mapping[str, str] | None) -> None:
    """Raise ExportError if writing there would take something that is not ours."""
    if before is None:
        if folder.exists() and any(folder.iterdir()):
            raise ExportError(
                f"{folder} is there and not an earlier export: give another --output, or --force to write into it."
            )
        return
    changed = [
        path
        for path, digest in before.items()
        if (folder / path).exists() and hashlib.sha256((folder / path).read_bytes()).hexdigest() != digest
    ]
    if changed:
        raise ExportError(
            f"{folder}: {', '.join(sorted(changed))} changed since the last export: give another --output, "
            "or --force to lose the changes."
        )


def _write(
    folder: Path, files: Mapping[str, bytes], before: Mapping[str, str], name: str, artifact: Artifact
) -> None:
    marker = {
        "target": name,
        "pytest_wasmedge": __version__,
        "artifact_sha256": artifact.sha256,
        "files": {path: hashlib.sha256(content).hexdigest() for path, content in files.items()},
    }
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    # Complete before anything there changes: a full disk or Ctrl-C leaves what was.
    work = Path(tempfile.mkdtemp(prefix=".pytest-wasmedge-", dir=folder))
    try:
        for path, content in {**files, MARKER: json.dumps(marker, indent=2).encode() + b"\n"}.items():
            (work / path).parent.mkdir(exist_ok=True)
            (work / path).write_bytes(content)
        for path in before:
            if path not in files:
                (folder / path).unlink(missing_ok=True)
        for path in (*files, MARKER):
            (folder / path).parent.mkdir(exist_ok=True)
            (work / path).replace(folder / path)
    except BaseException:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def add_to(commands: Subparsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "export",
        help="write a folder with our glue and an artifact that can be deployed as it is",
        description="Write a folder that can be deployed as it is, and say how it stands against the platform's "
        "published limits. Deployed, it takes stdin as the body of a POST and answers stdout; "
        "`pytest --wasm-remote=URL` checks all of it. Other files in the folder stay.",
    )
    parser.add_argument("target", choices=tuple(targets()), help="where to deploy to")
    parser.add_argument("--artifact", metavar="PATH", help="the .wasm file (default: the built-in Ruby)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="the folder (default: ./ARTIFACT-TARGET)")
    parser.add_argument("--force", action="store_true", help="also write into what is not an earlier export")
    parser.set_defaults(action=run)


def run(options: argparse.Namespace) -> int:
    """Do it and return the exit status. Raises WasmEdgeError."""
    artifact = open_artifact(options.artifact or BUILTIN_ARTIFACT, Path.cwd())
    console = open_console()
    with progress_on(console) as progress:
        exported = export(options.target, artifact, options.output, force=options.force, progress=progress)
    for line, style in lines(exported):
        console.print(line, style=style, markup=False)
    return 0
