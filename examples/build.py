"""`make examples`: builds each guest of this folder with the ordinary toolchain of its language.

    python -m examples.build [--strict] [NAME …]

Zig's C compiler, AssemblyScript and Gumbo's sources are pinned and fetched as everything else is (provision/pins.toml);
the compiler of Rust is the system's. A guest that cannot be built is left out, loudly; with --strict that is an error.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pytest_wasmedge.errors import ArtifactError, WasmEdgeError, did_you_mean
from pytest_wasmedge.provision import executable, install
from pytest_wasmedge.provision.cache import folder
from pytest_wasmedge.provision.pins import pin

#: The pinned tools that examples are built with; nothing else needs them.
TOOLS = ("zig", "assemblyscript", "gumbo", "cpython")
HERE = Path(__file__).parent
BUILT = HERE / "build"
#: The target's name since Rust 1.78, and before.
_RUST_TARGETS = ("wasm32-wasip1", "wasm32-wasi")
_RUST_REMEDY = (
    "`apt-get install rustc libstd-rust-dev-wasm32 lld` on Debian, `rustup target add wasm32-wasip1`"
)
_C_FLAGS = ("-O2", "-s", "-Wall", "-Wextra", "-Werror")


def c(source: str) -> Callable[[Path], None]:
    """Return what compiles one file of C for preview 1."""
    return lambda output: compile_c([HERE / source], output, "-target", "wasm32-wasi", *_C_FLAGS)


def html_parser(output: Path) -> None:
    """Compile the parser of HTML for preview 1."""
    compile_c(html_sources(), output, "-target", "wasm32-wasi", *html_flags())


def html_sources() -> list[Path]:
    """Return our program and the sources of Gumbo."""
    return [HERE / "html-parser" / "outline.c", *sorted(_gumbo().glob("*.c"))]


def html_flags() -> tuple[str, ...]:
    """Return the options for them: warnings are off, since most of it is not ours."""
    return "-O2", "-s", "-w", f"-I{_gumbo()}"


def _gumbo() -> Path:
    return (install("gumbo") / pin("gumbo").entry).parent


def compile_c(sources: Sequence[Path], output: Path, *options: str) -> None:
    """Compile with Zig's C compiler, for this machine unless the options name another target. Raises WasmEdgeError."""
    zig = install("zig") / pin("zig").entry
    # Where it keeps the C library that it has compiled, which takes 20 s.
    kept = folder("compiled") / "zig"
    env = {"ZIG_GLOBAL_CACHE_DIR": str(kept), "ZIG_LOCAL_CACHE_DIR": str(kept), "HOME": str(kept)}
    _run([str(zig), "cc", *options, *map(str, sources), "-o", str(output)], env)


def rust(source: str) -> Callable[[Path], None]:
    """Return what compiles one file of Rust for preview 1."""
    return lambda output: compile_rust(HERE / source, output, *rust_for_wasi())


def rust_for_wasi() -> tuple[str, str]:
    """Return a compiler of Rust that has a library for preview 1, and the target's name. Raises ArtifactError."""
    found = dict.fromkeys(filter(None, (shutil.which("rustc"), shutil.which("rustc", path="/usr/bin"))))
    for compiler in found:
        for target in _RUST_TARGETS:
            asked = [compiler, "--print", "target-libdir", "--target", target]
            said = subprocess.run(asked, capture_output=True, text=True, check=False)
            if said.returncode == 0 and any(Path(said.stdout.strip()).glob("libstd-*")):
                return compiler, target
    tried = f"{' and '.join(found)} has none" if found else "there is no rustc on PATH"
    raise ArtifactError(f"Rust's library for {_RUST_TARGETS[0]} is needed, and {tried}: {_RUST_REMEDY}.")


def compile_rust(source: Path, output: Path, compiler: str, target: str = "") -> None:
    """Compile one file of Rust, for this machine without a target. Raises ArtifactError."""
    options = ["-O", "-Clto", "-Cpanic=abort", "-Cstrip=symbols", *(["--target", target] if target else [])]
    _run([compiler, *options, str(source), "-o", str(output)])


def assemblyscript(source: str) -> Callable[[Path], None]:
    """Return what compiles one file of AssemblyScript to a command of preview 1."""

    def compile_it(output: Path) -> None:
        compiler = install("assemblyscript") / pin("assemblyscript").entry
        options = ["-O", "--runtime=stub", f"--use=abort={Path(source).with_suffix('')}/abort"]
        _run([str(executable("node")), str(compiler), source, *options, f"--outFile={output}"])

    return compile_it


def wat(source: str) -> Callable[[Path], None]:
    """Return what assembles a text module."""

    def assemble(output: Path) -> None:
        from wasmtime import wat2wasm

        output.write_bytes(wat2wasm((HERE / source).read_text(encoding="utf-8")))

    return assemble


def cpython(output: Path) -> None:
    """Copy the interpreter, which a registry has as it is; we build nothing."""
    shutil.copyfile(install("cpython") / pin("cpython").entry, output)


RECIPES: Mapping[str, Callable[[Path], None]] = {
    "hello-wat": wat("hello-wat/hello.wat"),
    "hello-c": c("hello-c/hello.c"),
    "hello-rust": rust("hello-rust/hello.rs"),
    "hello-assemblyscript": assemblyscript("hello-assemblyscript/hello.ts"),
    "echo": c("echo/echo.c"),
    "html-parser": html_parser,
    "cpython": cpython,
}


def build(name: str) -> Path:
    """Build one example and return its artifact. Raises WasmEdgeError if its toolchain is missing or fails."""
    BUILT.mkdir(exist_ok=True)
    place, part = BUILT / f"{name}.wasm", BUILT / f"{name}.part.wasm"
    # One of an earlier build is none of this.
    place.unlink(missing_ok=True)
    try:
        RECIPES[name](part)
        return part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def _run(argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        argv, cwd=HERE, env=os.environ | (env or {}), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or "nothing"
        raise ArtifactError(f"`{' '.join(argv)}` ended with status {done.returncode}, saying: {said}")


def main(argv: Sequence[str] | None = None) -> int:
    """Build the examples that are named, or all; 1 if one is missing under --strict or was named."""
    parser = argparse.ArgumentParser(prog="python -m examples.build", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(RECIPES)} (default: all)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if any cannot be built")
    options = parser.parse_args(argv)
    for name in options.names:
        if name not in RECIPES:
            hint = did_you_mean(name, list(RECIPES))
            parser.error(f"no example is called {name!r}.{hint} There are: {', '.join(RECIPES)}.")
    missing = False
    for name in options.names or RECIPES:
        try:
            built = build(name)
        except WasmEdgeError as error:
            missing = True
            sys.stderr.write(f"{name}: NOT BUILT: {error}\n")
        else:
            sys.stdout.write(f"{name}: {built.stat().st_size:,} bytes\n")
    return int(missing and bool(options.strict or options.names))


if __name__ == "__main__":
    sys.exit(main())
