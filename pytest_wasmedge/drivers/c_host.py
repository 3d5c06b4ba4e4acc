"""Makes a program of an artifact that is C, with our host of WASI preview 1 in it (the folder preview1)."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.compiled import run_compiler
from pytest_wasmedge.model import ARGV0, Artifact, Invocation, Limits

#: Larger artifacts are compiled by tcc, if it is here: an optimising compiler would need five minutes for a Ruby.
OPTIMISED_BYTES = 128 << 10

_HOST = sorted(Path(__file__).with_name("preview1").glob("*.[ch]"))
_OPTIONS = (
    "-w",
    # Our host ends the program at a trap, and watches its stack and its memory.
    "-DWASM_RT_TRAP_HANDLER=host_trap",
    "-DWASM_RT_SKIP_SIGNAL_RECOVERY=1",
    "-DWASM_RT_NONCONFORMING_UNCHECKED_STACK_EXHAUSTION=1",
)
#: As WABT asks: a call that never returns has to run out of stack, and floats are as exact as WebAssembly's.
_EXACT = ("-std=gnu11", "-fno-optimize-sibling-calls", "-frounding-math", "-fsignaling-nans")
#: What tcc lacks, and our host has.
_LACKING = tuple(
    f"-D__builtin_{name}{size}=host_{name}{size}"
    for name in ("clz", "ctz", "popcount")
    for size in ("", "ll")
)
#: What the host has to know of a guest, by a word in its header.
_TOLD = {"-DHAS_MEMORY": " w2c_guest_memory(", "-DHAS_IMPORTS": "w2c_wasi__snapshot__preview1;"}


def settings(artifact: Artifact) -> str:
    """Return what a program depends on besides the C of the artifact: our host, and the compiler."""
    compiler, *options = _compiler(artifact)
    program = Path(compiler).resolve()
    host = hashlib.sha256(b"\0".join(path.read_bytes() for path in _HOST)).hexdigest()
    made = program.stat()
    return " ".join((host, str(program), str(made.st_size), str(made.st_mtime_ns), *options, *_OPTIONS))


def compile_program(
    path: Path, artifact: Artifact, workspace: Path, beside: Sequence[Path], problem: str
) -> None:
    """Compile the ``guest.c`` in the workspace; ``beside`` are the folders of the C that it needs.

    Raises HostStartError.
    """
    header = (workspace / "guest.h").read_text(encoding="utf-8")
    told = [option for option, word in _TOLD.items() if word in header]
    include = [f"-I{each}" for each in (workspace, *beside)]
    sources = [
        workspace / "guest.c",
        *(each for each in _HOST if each.suffix == ".c"),
        *beside[0].glob("*.c"),
    ]
    compiler = _compiler(artifact)
    argv = [*compiler, *_OPTIONS, *told, *include, *map(str, sources), "-o", "program", "-lm", "-lpthread"]
    env = {"PATH": os.defpath, "TMPDIR": str(workspace)}
    run_compiler(argv, env, workspace, f"{problem} with {compiler[0]}")
    shutil.copyfile(workspace / "program", path)
    path.chmod(0o700)


def command_line(program: Path, report: Path, limits: Limits, invocation: Invocation) -> list[str]:
    """Return the command line of an invocation: preview1/host.c reads it."""
    variables = [f"{name}={value}" for name, value in invocation.env.items()]
    folders = [each for name, folder in invocation.preopens.items() for each in (str(folder), name)]
    given = [
        str(limits.memory_pages << 16),
        str(len(variables)),
        *variables,
        str(len(folders) // 2),
        *folders,
    ]
    return [str(program), str(report), *given, ARGV0, *invocation.args]


def _compiler(artifact: Artifact) -> list[str]:
    """Return the C compiler for this artifact, with its options."""
    cc, tcc = shutil.which("cc"), shutil.which("tcc")
    optimises = artifact.size_bytes <= OPTIMISED_BYTES
    if cc and (optimises or not tcc):
        return [cc, "-O1" if optimises else "-O0", *_EXACT]
    return [tcc or "tcc", *_LACKING]
