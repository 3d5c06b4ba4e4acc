"""Builds the shipped artifact anew, in a checkout: ``python -m pytest_wasmedge.artifacts.publish``."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import lzma
import re
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from pytest_wasmedge.artifacts.embedded import ARCHIVE, MANIFEST
from pytest_wasmedge.artifacts.recipe import Tools, build
from pytest_wasmedge.errors import ArtifactError
from pytest_wasmedge.provision import BUILD_TOOLS, build_tools
from pytest_wasmedge.provision.pins import Package, pin

#: The licences of everything inside the artifact; shipped beside it.
NOTICE = "ruby-worker.NOTICE.txt"

_NOTICE_HEAD = """\
ruby-worker.wasm is CRuby compiled to WebAssembly by the ruby.wasm project (npm package @ruby/4.0-wasm-wasi),
merged with a driver of pytest-wasmedge (driver.wat, boot.rb) and started once before it was saved.
The original distributions: https://github.com/ruby/ruby.wasm and https://www.ruby-lang.org/
What follows are LICENSE and NOTICE of that package, unchanged.
"""


def publish(artifact: Path, variant: str, sources: dict[str, dict[str, str]], ruby: Path, into: Path) -> None:
    """Write archive, manifest and licences of a built artifact into a folder; ``ruby`` is its npm package."""
    content = artifact.read_bytes()
    version = re.search(rb"ruby (\d+\.\d+\.\d+) \(", content)
    if version is None:
        raise ArtifactError(f"{artifact} names no Ruby version; publish an artifact that this recipe built.")
    manifest = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        "variant": variant,
        "ruby_version": version[1].decode(),
        "sources": sources,
    }
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    (into / ARCHIVE).write_bytes(lzma.compress(content, filters=filters))
    (into / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    licences = [(ruby / "dist" / name).read_text(encoding="utf-8").strip() for name in ("LICENSE", "NOTICE")]
    (into / NOTICE).write_text("\n\n".join([_NOTICE_HEAD, *licences]) + "\n", encoding="utf-8")


def main() -> None:
    """Build the default variant with the pinned tools and write it beside this file."""

    show = functools.partial(print, file=sys.stderr)
    tools = Tools(**build_tools(show))
    pins = map(pin, BUILD_TOOLS)
    sources = {one.name: asdict(Package(one.package, one.version, one.digest)) for one in pins}
    # pip has installed wat2wasm as a dependency; only its version is known.
    sources["wat2wasm"] = asdict(Package("wasmtime", importlib.metadata.version("wasmtime"), ""))
    with tempfile.TemporaryDirectory(prefix="publish-") as folder:
        artifact = build("wizer", Path(folder), tools, show)
        show("compressing")
        publish(artifact, "wizer", sources, tools.ruby, Path(__file__).parent)


if __name__ == "__main__":
    main()
