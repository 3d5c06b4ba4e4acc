"""Wraps an artifact in a component of wasi:http, and writes its requests and reads its responses."""

from __future__ import annotations

import functools
import hashlib
import re
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path

from pytest_wasmedge.artifacts.binary import with_section
from pytest_wasmedge.artifacts.loading import inspect
from pytest_wasmedge.artifacts.sections import imports, with_imports
from pytest_wasmedge.artifacts.wasi import SIGNATURES, WASI
from pytest_wasmedge.drivers import wasi_files
from pytest_wasmedge.drivers.http import SECRET_HEADER
from pytest_wasmedge.drivers.wasi_files import TYPES
from pytest_wasmedge.model import ARGV0, Invocation

#: The server adds this header to each request; the component expects its value as the client's secret.
EXPECTED_HEADER = "pytest-wasmedge-expected"

#: The component's answer when stdin is too long for its own memory, which has the guest's limit, too.
NO_ROOM = 413

#: The component's answer when a copy of a folder is not where the request says.
NO_FOLDER = 409

_ITS_MEMORY = '(core instance $memory (export "memory" (memory $guest "memory")))'
_NO_MEMORY = "(core instance $memory (instantiate $no-memory))"

_CORE_MODULE_SECTION = 1
_FRAME = struct.Struct("<BI")
_EXIT, _STDOUT = 0, 1


def fingerprint() -> str:
    """Return a digest that changes when our component changes."""
    return hashlib.sha256(component_wat(most_times=2).encode()).hexdigest()


@functools.cache
def component_wat(*, has_memory: bool = True, most_times: int = 1, proposals: tuple[str, ...] = ()) -> str:
    """Return the component as text, with an empty module in the place of the artifact.

    It fits an artifact that exports a memory, or not, imports each function at most ``most_times``, and has a memory of
    the kind that these proposals allow.
    """
    wat = Path(__file__).with_name("wasi_http.wat").read_text(encoding="utf-8")
    wat = wat.replace(
        "@FILES@", Path(__file__).with_name("wasi_files.wat").read_text(encoding="utf-8").rstrip()
    )
    gates = []
    for index, (name, letters) in enumerate(SIGNATURES.items()):
        params = f" (param {' '.join(TYPES[letter] for letter in letters)})" if letters else ""
        result = "" if name == "proc_exit" else " (result i32)"
        given = "".join(f" (local.get {i})" for i in range(len(letters)))
        jump = f"(call_indirect{params}{result}{given} (i32.const {index}))"
        gates.append(f'    (func (export "{name}"){params}{result} {jump})')
    pieces = {
        "EXPECTED": EXPECTED_HEADER,
        "EXPECTED_SIZE": str(len(EXPECTED_HEADER)),
        "SECRET": SECRET_HEADER,
        "SECRET_SIZE": str(len(SECRET_HEADER)),
        "PREVIEW1": " ".join(f'(with "{_module_name(n)}" (instance $gate))' for n in range(most_times)),
        "NO_ROOM": str(NO_ROOM),
        "COUNT": str(len(gates)),
        "GATES": "\n".join(gates),
        "ELEMENTS": " ".join(f"${name}" for name in SIGNATURES),
        "NO_FOLDER": str(NO_FOLDER),
        **wasi_files.declarations(),
        "MEMORY": _ITS_MEMORY if has_memory else _NO_MEMORY,
        "MEMORY_TYPE": " ".join(
            (
                *(["i64"] if "64-bit memory" in proposals else []),
                *(["0", "65536", "shared"] if "threads" in proposals else ["0"]),
                *(["(pagesize 1)"] if "custom page sizes" in proposals else []),
            )
        ),
    }
    for name, piece in pieces.items():
        wat = wat.replace(f"@{name}@", piece)
    return _with_wide_addresses(wat) if "64-bit memory" in proposals else wat


def _with_wide_addresses(wat: str) -> str:
    """Return the component's text with 64-bit addresses wherever it reads or writes the artifact's memory."""
    # Which operands are addresses, or sizes as wide as one.
    wide = {"memory.copy $guest": (0,), "memory.copy $own": (1,), "memory.fill $guest": (0, 2)}
    uses = r"\((memory\.(?:copy|fill) \$\w+|[if]\d+\.(?:load|store)\w*)(?: \$(?:guest|own))?(?: offset=\d+)? "
    # From the end, so that an operand that has such a use itself is changed before it is wrapped.
    for use in reversed([each for each in re.finditer(uses, wat) if "$guest" in each[0]]):
        operands, at = [], use.end()
        for _ in range(3 if use[1].startswith("memory.") else 1):
            end = _end_of_operand(wat, at)
            operands.append((at, end))
            at = end + len(wat[end:]) - len(wat[end:].lstrip())
        for index in reversed(wide.get(use[1], (0,))):
            start, end = operands[index]
            wat = f"{wat[:start]}(i64.extend_i32_u {wat[start:end]}){wat[end:]}"
    return wat


def _end_of_operand(wat: str, start: int) -> int:
    """Return where an operand in parentheses ends."""
    depth = 0
    for at in range(start, len(wat)):
        depth += {"(": 1, ")": -1}.get(wat[at], 0)
        if not depth:
            return at + 1
    raise ValueError(f"no operand at {wat[start : start + 20]!r}")


def wrap(artifact: bytes, proposals: tuple[str, ...] = ()) -> bytes:
    """Return the component around this artifact, which needs these proposals.

    Raises ArtifactError if the bytes are no module.
    """
    import wasmtime

    info = inspect(artifact)
    times = Counter(name for _, name, _ in info.imports)
    most_times = max(times.values(), default=1)
    module = artifact if most_times == 1 else imports_once(artifact)
    has_memory = ("memory", "memory") in info.exports
    text = component_wat(has_memory=has_memory, most_times=most_times, proposals=proposals)
    return with_section(bytes(wasmtime.wat2wasm(text)), _CORE_MODULE_SECTION, module)


def imports_once(module: bytes) -> bytes:
    """Return the module with new names for functions that it imports again, which components do not allow.

    All its imports have to be functions of preview 1. Its other sections stay as they are.
    """
    times: Counter[str] = Counter()
    entries = []
    for one in imports(module, typed=False):
        entries.append(replace(one, module=_module_name(times[one.name])))
        times[one.name] += 1
    return with_imports(module, entries)


def _module_name(again: int) -> str:
    """Return the name of the module for the n-th import of the same function."""
    return f"{WASI}#{again}" if again else WASI


def request_body(invocation: Invocation) -> bytes:
    """Return count and size of the arguments, of the environment and of the folders, then all three, then stdin.

    The folders are copies in the one that the server has, and are named by their last two parts there.
    """
    args = [ARGV0, *invocation.args]
    env = [f"{name}={value}" for name, value in invocation.env.items()]
    folders = [f"{copy.parent.name}/{copy.name}\0{path}" for path, copy in invocation.preopens.items()]
    groups = (args, env, folders)
    texts = [b"".join(text.encode() + b"\0" for text in group) for group in groups]
    head = struct.pack("<6I", *(n for pair in zip(groups, texts, strict=True) for n in map(len, pair)))
    return b"".join((head, *texts, invocation.stdin))


class Heard:
    """The part of a response that has come: both streams, then the status; None until the guest has exited."""

    def __init__(self, output_bytes: int) -> None:
        self._most_bytes = output_bytes
        self._rest = bytearray()
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.status: int | None = None
        self.too_much = False

    def feed(self, data: bytes) -> None:
        """Add the next bytes; output over the limit of both streams together is not kept."""
        rest = self._rest
        rest += data
        while len(rest) >= _FRAME.size and not self.too_much:
            kind, number = _FRAME.unpack_from(rest)
            end = _FRAME.size + (0 if kind == _EXIT else number)
            if len(rest) < end:
                return
            if kind == _EXIT:
                self.status = number
            else:
                stream = self.stdout if kind == _STDOUT else self.stderr
                room = self._most_bytes - len(self.stdout) - len(self.stderr)
                stream += rest[_FRAME.size : min(end, _FRAME.size + room)]
                self.too_much = number > room
            del rest[:end]
