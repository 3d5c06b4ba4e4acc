"""Builds the built-in artifact: merges ruby.wasm with the driver, takes a snapshot, optimises."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from pytest_wasmedge.artifacts import sections
from pytest_wasmedge.artifacts.driver import (
    CALLED_FIRST,
    CALLED_LAST,
    FOREIGN,
    INITIALIZE,
    INTERPOSED,
    START,
    driver_wat,
    stub_wat,
)
from pytest_wasmedge.artifacts.wasi import WASI
from pytest_wasmedge.errors import ArtifactError
from pytest_wasmedge.provision.pins import pin

#: raw: Ruby starts in each invocation. wizer: Ruby was started at build time. stdlib: wizer with the standard library.
#: O2, Oz: raw, optimised for speed or size. With a plus: both steps, in the order of the name.
Variant = Literal["raw", "wizer", "O2", "Oz", "O2+wizer", "Oz+wizer", "wizer+O2", "wizer+Oz", "stdlib"]

# With all features, binaryen writes compact imports, which wasmtime refuses.
_FEATURES = (
    "--enable-bulk-memory",
    "--enable-bulk-memory-opt",
    "--enable-mutable-globals",
    "--enable-sign-ext",
    "--enable-nontrapping-float-to-int",
    "--enable-multivalue",
)

# Ruby looks at its standard streams when it starts: those that are not inherited are always the same.
_SNAPSHOT = ("--allow-wasi", "--inherit-stdio=false", "--inherit-env=false", "--init-func", INITIALIZE)


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the pinned tools are: ``node`` and ``wizer`` are programs, the others unpacked npm packages."""

    node: Path
    binaryen: Path
    wizer: Path
    ruby: Path


def variants() -> tuple[Variant, ...]:
    """Return the names that `build` takes."""
    return get_args(Variant)


def fingerprint(variant: str) -> str:
    """Return 16 hex digits that change with anything a build of this variant depends on. Raises ArtifactError."""
    made_of = [pin(name).folder_name for name in ("binaryen", "wizer", "ruby")]
    made_of += [variant, *_steps(variant), *_FEATURES, *_SNAPSHOT, driver_wat()]
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]


def build(variant: str, into: Path, tools: Tools, progress: Callable[[str], None]) -> Path:
    """Build one variant as ``into/ruby-worker[-variant].wasm``: in 10 to 60 s, or minutes with the optimiser.

    Raises ArtifactError for an unknown variant, a tool that is missing or fails, and unexpected imports or exports.
    """
    steps = _steps(variant)
    for name, path in asdict(tools).items():
        if not path.exists():
            raise ArtifactError(
                f"the build needs {name} at {path}, which does not exist; run pytest-wasmedge install."
            )
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=into) as folder:
        scratch = Path(folder)
        progress("merging Ruby and the driver")
        module = _merge(scratch, tools, "ruby+stdlib.wasm" if variant == "stdlib" else "ruby.wasm")
        if "wizer" not in steps:
            _trim(module, frozenset({"memory", START}))
        for step in steps:
            if step == "wizer":
                progress("starting Ruby and taking a snapshot")
                module = _snapshot(scratch, module, tools)
            else:
                progress(f"optimising with wasm-opt -{step}, which takes some minutes")
                module = _optimise(scratch, module, tools, step)
        _check(module)
        suffix = "" if variant == "wizer" else f"-{variant}"
        return module.replace(into / f"ruby-worker{suffix}.wasm")


def _steps(variant: str) -> list[str]:
    """Return the steps after the merge: wizer, O2, Oz. Raises ArtifactError for an unknown variant."""
    if variant not in variants():
        raise ArtifactError(f"no variant {variant!r}; there are: {', '.join(variants())}.")
    if variant == "stdlib":
        return ["wizer"]
    return [] if variant == "raw" else variant.split("+")


def _merge(scratch: Path, tools: Tools, package_file: str) -> Path:
    from wasmtime import wat2wasm

    original = (tools.ruby / "dist" / package_file).read_bytes()
    ruby = scratch / "ruby.wasm"
    ruby.write_bytes(sections.redirect_imports(original, WASI, INTERPOSED, "driver"))
    pairs = [str(ruby), "ruby"]
    functions = sections.imports(original)
    texts = {name: stub_wat(one for one in functions if one.module == name) for name in FOREIGN}
    for name, text in {**texts, "driver": driver_wat()}.items():
        part = scratch / f"{name}.wasm"
        part.write_bytes(wat2wasm(text))
        pairs += [str(part), name]
    merged = scratch / "merged.wasm"
    _run([str(tools.node), str(tools.binaryen / "bin" / "wasm-merge"), *_FEATURES, *pairs, "-o", str(merged)])
    module = merged.read_bytes()
    for name, called in CALLED_FIRST.items():
        module = sections.with_call_before(module, name, called)
    for name, called in CALLED_LAST.items():
        module = sections.with_call_after(module, name, called)
    merged.write_bytes(module)
    _trim(merged, frozenset({"memory", START, INITIALIZE}))
    return merged


def _snapshot(scratch: Path, module: Path, tools: Tools) -> Path:
    snapshot = scratch / "snapshot.wasm"
    _run([str(tools.wizer), *_SNAPSHOT, str(module), "-o", str(snapshot)])
    return snapshot


def _optimise(scratch: Path, module: Path, tools: Tools, level: str) -> Path:
    optimised = scratch / "optimised.wasm"
    wasm_opt = [str(tools.node), str(tools.binaryen / "bin" / "wasm-opt"), f"-{level}", *_FEATURES]
    _run([*wasm_opt, str(module), "-o", str(optimised)])
    return optimised


def _trim(module: Path, names: frozenset[str]) -> None:
    module.write_bytes(sections.keep_exports(module.read_bytes(), names))


def _check(module: Path) -> None:
    content = module.read_bytes()
    foreign = sorted({one.module for one in sections.imports(content)} - {WASI})
    names = {one.name for one in sections.exports(content)}
    if foreign or names != {"memory", START}:
        raise ArtifactError(
            f"the build gave a module that imports from {foreign or WASI} and exports {sorted(names)}, "
            f"expected WASI imports only and the exports memory and {START}; "
            "check that the tools are the pinned ones (pytest-wasmedge install)."
        )


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode("utf-8", "backslashreplace").strip()
        log = "\n".join(said.splitlines()[-20:])
        raise ArtifactError(
            f"the build step failed with status {done.returncode}: {' '.join(argv)}\n{log}\n"
            "Run pytest-wasmedge install to get the pinned tools again."
        )
