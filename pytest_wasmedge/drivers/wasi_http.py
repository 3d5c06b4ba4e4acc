"""Lifts an artifact to a component of wasi:http, and speaks with that component: its requests and responses."""

from __future__ import annotations

import functools
import hashlib
import struct
from collections import Counter
from pathlib import Path

from pytest_wasmedge.artifacts.loading import WASI, inspect
from pytest_wasmedge.drivers.http import SECRET_HEADER
from pytest_wasmedge.model import ARGV0, Invocation

#: What the server adds to each request, so that the component knows what to expect of a client.
EXPECTED_HEADER = "pytest-wasmedge-expected"

#: What the component answers when its own memory, to which the guest's limit applies too, cannot hold stdin.
NO_ROOM = 413

# The functions of preview 1 and their parameters, i for i32 and I for i64. All but proc_exit return an i32.
_SIGNATURES = """
    args_get ii  args_sizes_get ii  environ_get ii  environ_sizes_get ii  clock_res_get ii  clock_time_get iIi
    fd_advise iIIi  fd_allocate iII  fd_close i  fd_datasync i  fd_fdstat_get ii  fd_fdstat_set_flags ii
    fd_fdstat_set_rights iII  fd_filestat_get ii  fd_filestat_set_size iI  fd_filestat_set_times iIIi
    fd_pread iiiIi  fd_prestat_dir_name iii  fd_prestat_get ii  fd_pwrite iiiIi  fd_read iiii  fd_readdir iiiIi
    fd_renumber ii  fd_seek iIii  fd_sync i  fd_tell ii  fd_write iiii
    path_create_directory iii  path_filestat_get iiiii  path_filestat_set_times iiiiIIi  path_link iiiiiii
    path_open iiiiiIIii  path_readlink iiiiii  path_remove_directory iii  path_rename iiiiii
    path_symlink iiiii  path_unlink_file iii
    poll_oneoff iiii  proc_exit i  proc_raise i  random_get ii  sched_yield -
    sock_accept iii  sock_recv iiiiii  sock_send iiiii  sock_shutdown ii
"""
_TYPES = {"i": "i32", "I": "i64"}

#: The functions that always answer the same, other than badf: there are no files, and no signals.
_ANSWERS = {"sched_yield": 0, "proc_raise": 52}
_BADF = 8

_ITS_MEMORY = '(core instance $memory (export "memory" (memory $guest "memory")))'
_NO_MEMORY = "(core instance $memory (instantiate $no-memory))"

_CORE_MODULE_SECTION = 1
_IMPORT_SECTION = 2
_FRAME = struct.Struct("<BI")
_EXIT, _STDOUT = 0, 1


def signatures() -> dict[str, str]:
    """Return the parameters of each function of preview 1, ``i`` for i32 and ``I`` for i64."""
    words = _SIGNATURES.split()
    return {
        name: "" if params == "-" else params for name, params in zip(words[::2], words[1::2], strict=True)
    }


def fingerprint() -> str:
    """Return what changes when the component of an artifact may be another than it was."""
    return hashlib.sha256(component_wat(most_times=2).encode()).hexdigest()


@functools.cache
def component_wat(*, has_memory: bool = True, most_times: int = 1) -> str:
    """Return the component as text, with an empty module where the artifact comes.

    The artifact exports a memory, or not, and imports no function more than ``most_times``.
    """
    wat = Path(__file__).with_name("wasi_http.wat").read_text(encoding="utf-8")
    gates, answers = [], []
    for index, (name, letters) in enumerate(signatures().items()):
        params = f" (param {' '.join(_TYPES[letter] for letter in letters)})" if letters else ""
        result = "" if name == "proc_exit" else " (result i32)"
        given = "".join(f" (local.get {i})" for i in range(len(letters)))
        jump = f"(call_indirect{params}{result}{given} (i32.const {index}))"
        gates.append(f'    (func (export "{name}"){params}{result} {jump})')
        if f"(func ${name} " not in wat:
            answers.append(f"    (func ${name}{params}{result} (i32.const {_ANSWERS.get(name, _BADF)}))")
    pieces = {
        "EXPECTED": EXPECTED_HEADER,
        "EXPECTED_SIZE": str(len(EXPECTED_HEADER)),
        "SECRET": SECRET_HEADER,
        "SECRET_SIZE": str(len(SECRET_HEADER)),
        "PREVIEW1": " ".join(f'(with "{_module_name(n)}" (instance $gate))' for n in range(most_times)),
        "NO_ROOM": str(NO_ROOM),
        "COUNT": str(len(gates)),
        "GATES": "\n".join(gates),
        "ELEMENTS": " ".join(f"${name}" for name in signatures()),
        "ANSWERS": "\n".join(answers),
        "MEMORY": _ITS_MEMORY if has_memory else _NO_MEMORY,
    }
    for name, piece in pieces.items():
        wat = wat.replace(f"@{name}@", piece)
    return wat


def wrap(artifact: bytes) -> bytes:
    """Return the component that holds this artifact. Raises ArtifactError if the bytes are no module."""
    import wasmtime

    info = inspect(artifact)
    times = Counter(name for _, name, _ in info.imports)
    most_times = max(times.values(), default=1)
    module = artifact if most_times == 1 else imports_once(artifact)
    text = component_wat(has_memory=("memory", "memory") in info.exports, most_times=most_times)
    return _with_section(bytes(wasmtime.wat2wasm(text)), _CORE_MODULE_SECTION, module)


def imports_once(module: bytes) -> bytes:
    """Return the module with another module's name for what it imports again, which components do not allow.

    It imports functions of preview 1 only; all but its section of imports stays as it is.
    """
    _, at, end = _section(module, _IMPORT_SECTION)
    count, at = read_number(module, at)
    entries = bytearray(leb128(count))
    times: Counter[bytes] = Counter()
    while at < end:
        _, name_at = _name(module, at)
        name, kind_at = _name(module, name_at)
        _, next_at = read_number(module, kind_at + 1)
        entries += _text(_module_name(times[name]).encode()) + module[name_at:next_at]
        times[name] += 1
        at = next_at
    return _with_section(module, _IMPORT_SECTION, bytes(entries))


def _module_name(again: int) -> str:
    """Return where the artifact finds a function that it imports again."""
    return f"{WASI}#{again}" if again else WASI


def request_body(invocation: Invocation) -> bytes:
    """Return count and size of the arguments and of the environment, both, and stdin."""
    args = [ARGV0, *invocation.args]
    env = [f"{name}={value}" for name, value in invocation.env.items()]
    texts = [b"".join(text.encode() + b"\0" for text in group) for group in (args, env)]
    head = struct.pack("<4I", len(args), len(texts[0]), len(env), len(texts[1]))
    return b"".join((head, *texts, invocation.stdin))


class Heard:
    """What has come of a response: pieces of both streams, then the status; None until the guest has exited."""

    def __init__(self, output_bytes: int) -> None:
        self._most_bytes = output_bytes
        self._rest = bytearray()
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.status: int | None = None
        self.too_much = False

    def feed(self, data: bytes) -> None:
        """Take what came next; what is over the limit of both streams together is too much, and not kept."""
        self._rest += data
        at = 0
        while len(self._rest) - at >= _FRAME.size and not self.too_much:
            kind, number = _FRAME.unpack_from(self._rest, at)
            if kind == _EXIT:
                self.status = number
                at += _FRAME.size
                continue
            if len(self._rest) - at - _FRAME.size < number:
                break
            at += _FRAME.size
            room = self._most_bytes - len(self.stdout) - len(self.stderr)
            stream = self.stdout if kind == _STDOUT else self.stderr
            stream += self._rest[at : at + min(number, room)]
            self.too_much = number > room
            at += number
        del self._rest[:at]


def _section(data: bytes, kind: int) -> tuple[int, int, int]:
    """Return where the first section of this kind tells its size, and where its content starts and ends."""
    at = 8
    while True:
        size, start = read_number(data, at + 1)
        if data[at] == kind:
            return at + 1, start, start + size
        at = start + size


def _with_section(data: bytes, kind: int, content: bytes) -> bytes:
    """Return the module or component with other content in its first section of this kind."""
    size_at, _, end = _section(data, kind)
    return data[:size_at] + leb128(len(content)) + content + data[end:]


def _name(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the name at this place and where it ends."""
    size, start = read_number(data, at)
    return data[start : start + size], start + size


def _text(name: bytes) -> bytes:
    return leb128(len(name)) + name


def read_number(data: bytes, at: int) -> tuple[int, int]:
    """Return the LEB128 number at this place and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def leb128(value: int) -> bytes:
    """Return this number, not below 0, as LEB128."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
