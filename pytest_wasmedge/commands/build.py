"""``pytest-wasmedge build``: builds the built-in artifact, or a variant, from its pinned parts."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.artifacts.recipe import Tools, build, variants
from pytest_wasmedge.commands.console import Subparsers, open_console, progress_on
from pytest_wasmedge.commands.doctor import size_text
from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import build_tools


def add_to(commands: Subparsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "build",
        help="build the built-in Ruby artifact from its pinned parts",
        description="Build the built-in artifact, or a variant of it, from its pinned parts; the build tools are "
        "installed first. You do not need this to run the suite: the artifact ships with the package.",
    )
    parser.add_argument(
        "--variant",
        choices=variants(),
        default="wizer",
        help="wizer: pre-initialised, as shipped (default); raw: not pre-initialised; "
        "O2, Oz: raw, through wasm-opt; with a plus: both, in that order (O2+wizer: optimised, then "
        "pre-initialised); stdlib: pre-initialised, with Ruby's standard library",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="the file to write (default: ruby-worker.wasm or ruby-worker-VARIANT.wasm in this folder)",
    )
    parser.set_defaults(action=run)


def run(options: argparse.Namespace) -> int:
    """Build, and return the exit status. Raises WasmEdgeError."""
    output: Path | None = options.output
    folder = output.parent if output else Path()
    if not folder.is_dir() or (output and output.is_dir()):
        raise ProvisionError(f"--output {output} is no place for a file; name the .wasm file to write.")
    console = open_console()
    # Beside the output, so that the finished artifact is moved there in one step.
    with tempfile.TemporaryDirectory(prefix=".pytest-wasmedge-", dir=folder) as work:
        with progress_on(console) as progress:
            tools = Tools(**build_tools(progress))
            built = build(options.variant, Path(work), tools, progress)
        artifact = load_artifact(built)
        place = built.replace(output or folder / built.name)
    console.print(f"{place}: {size_text(artifact.size_bytes)}, sha256 {artifact.sha256}", style="green")
    return 0
