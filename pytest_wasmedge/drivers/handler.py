"""A function for AWS Lambda: runs artifact.wasm for each request to its URL, on wasmtime, in a fresh instance.

In the plain contract, the body of a POST is stdin, and the body of the answer is stdout. With the header
`pytest-wasmedge-wire: 1`, request and answer have the framed format of pytest-wasmedge.

`python handler.py` compiles artifact.wasm into artifact.cwasm anew: for another version of wasmtime, another processor.
"""

from __future__ import annotations

import base64
import errno
import hmac
import json
import os
import platform
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import wasmtime

HERE = Path(__file__).parent
SECRET = os.environ.get("PYTEST_WASMEDGE_SECRET")
#: The most that a guest may write to both streams. Lambda takes answers of 6 MB, and ours are in Base64.
OUTPUT_BYTES = int(os.environ.get("PYTEST_WASMEDGE_OUTPUT_BYTES", 4_500_000))
#: A guest gets no more memory than the function has; Lambda says how much, in MB.
MEMORY_BYTES = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 0)) << 20
#: With less room than this for a guest's folders, what it left there may have been cut short.
FULL_BYTES = 64 << 10

NUMBER_HEADER = "pytest-wasmedge-invocation"
WIRE_HEADER, WIRE_VERSION = "pytest-wasmedge-wire", "1"
ARTIFACT_HEADER = "x-pytest-wasmedge-artifact"
ENDING_HEADER = "pytest-wasmedge-ending"


def make_engine() -> wasmtime.Engine:
    """Return the engine that compiles the artifact, and runs it."""
    config = wasmtime.Config()
    # For every processor of this kind, not for the very one that compiles.
    config.target = f"{platform.machine()}-unknown-linux-gnu"
    # wasmtime has these proposals, but disables them by default.
    config.shared_memory = config.wasm_custom_page_sizes = True
    return wasmtime.Engine(config)


def compile_file(artifact: str | Path, code: str | Path) -> None:
    """Write the artifact's compiled code to a file. Raises wasmtime.WasmtimeError."""
    Path(code).write_bytes(wasmtime.Module.from_file(make_engine(), artifact).serialize())


class RefusedError(Exception):
    """artifact.cwasm is of another wasmtime, for another kind of processor, or damaged."""


#: A folder for a guest: its path there, and path, content and time of each entry, parents first. The content is a
#: file's bytes, a link's target, or None for a folder; the time is in nanoseconds, as text.
Folder = tuple[str, list[tuple[str, bytes | str | None, str]]]


def make_folder(folder: Path, entries: Sequence[tuple[str, bytes | str | None, str]]) -> None:
    """Make a folder of what a request says. Raises ValueError for a path that does not lead into it."""
    folders = {Path()}
    folder.mkdir()
    for path, content, _ in entries:
        place = Path(path)
        # A link is no folder here, so none leads out.
        if place.parent not in folders or place.name in ("", "..") or str(place) != path:
            raise ValueError(f"{path!r} is no path in a folder")
        if content is None:
            (folder / place).mkdir()
            folders.add(place)
        elif isinstance(content, str):
            (folder / place).symlink_to(content)
        else:
            (folder / place).write_bytes(content)
    # Once everything is in its folder, since that changes the folder's time.
    for path, _, modified_ns in entries:
        os.utime(folder / path, ns=(int(modified_ns), int(modified_ns)), follow_symlinks=False)


def walk(root: Path, folder: Path) -> Iterator[tuple[str, bytes | str | None]]:
    """Yield path and content of all that is in a folder, as `Folder` has it. Follows no link."""
    for path in sorted(folder.iterdir()):
        name, mode = path.relative_to(root).as_posix(), path.lstat().st_mode
        if stat.S_ISLNK(mode):
            yield name, str(path.readlink())
        elif stat.S_ISDIR(mode):
            yield name, None
            yield from walk(root, path)
        else:
            yield name, path.read_bytes()


class Guests:
    """Holds the compiled artifact and runs it, each time in a store of its own."""

    def __init__(self) -> None:
        self._engine = make_engine()
        try:
            module = wasmtime.Module.deserialize_file(self._engine, str(HERE / "artifact.cwasm"))
        except wasmtime.WasmtimeError as error:
            raise RefusedError(f"{error}. Compile the artifact anew: python handler.py") from error
        with module, wasmtime.Linker(self._engine) as linker:
            linker.define_wasi()
            self._ready = linker.instantiate_pre(module)
        self.sha256 = (HERE / "artifact.sha256").read_text("ascii").split()[0]
        self.started = 0

    def run(
        self,
        stdin: bytes,
        args: Sequence[str] = (),
        env: Sequence[Sequence[str]] = (),
        folders: Sequence[Folder] = (),
    ) -> Result:
        """Run the guest to its end; only the function's time limit stops one that does not end.

        Folders are made for this guest alone. Raises ValueError for one that cannot be made.
        """
        self.started += 1
        result = Result()
        file = os.memfd_create("stdin")
        with ExitStack() as undo:
            undo.callback(os.close, file)
            with open(file, "wb", closefd=False) as content:
                content.write(stdin)
            config = wasmtime.WasiConfig()
            config.argv = ["artifact.wasm", *args]
            config.env = env
            made: list[tuple[str, Path]] = []
            if folders:
                place = undo.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
                made = [(each[0], Path(place, str(number))) for number, each in enumerate(folders)]
                for (guest_path, folder), (_, entries) in zip(made, folders, strict=True):
                    make_folder(folder, entries)
                    config.preopen_dir(str(folder), guest_path)
            config.stdin_file = f"/proc/self/fd/{file}"
            config.stdout_custom, config.stderr_custom = (result.keep(each) for each in result.streams)
            with wasmtime.Store(self._engine) as store:
                store.set_wasi(config)
                if MEMORY_BYTES:
                    store.set_limits(memory_size=MEMORY_BYTES)
                result.end(lambda: self._run(store, result.phases_ns))
            result.take_folders(made)
        return result

    def _run(self, store: wasmtime.Store, phases_ns: dict[str, int]) -> None:
        began_ns = time.perf_counter_ns()
        instance = self._ready.instantiate(store)
        start: Any = instance.exports(store)["_start"]
        phases_ns["instantiate"] = time.perf_counter_ns() - began_ns
        began_ns = time.perf_counter_ns()
        try:
            start(store)
        finally:
            phases_ns["run"] = time.perf_counter_ns() - began_ns


class Result:
    """What came of one invocation: both streams, folders, the ending, and how long its phases took."""

    def __init__(self) -> None:
        self.streams = (bytearray(), bytearray())
        self.folders: list[tuple[str, list[tuple[str, bytes | str | None]]]] = []
        self.ending: dict[str, Any] = {"kind": "exited", "status": 0, "detail": ""}
        self.phases_ns: dict[str, int] = {}
        self._left = OUTPUT_BYTES

    def keep(self, stream: bytearray) -> Callable[[bytes], int | None]:
        """Return what the engine calls with each write; it is told of an error once there is too much."""

        def write(data: bytes) -> int | None:
            self._left -= len(data)
            if self._left < 0:
                return -errno.EIO
            stream.extend(data)
            return None

        return write

    def end(self, run: Callable[[], None]) -> None:
        """Run the guest and note how it ended."""
        try:
            run()
        except wasmtime.ExitTrap as error:
            self.ending["status"] = error.code
        except wasmtime.Trap as error:
            self._ended("trapped", error.trap_code.name.lower() if error.trap_code else str(error))
        except wasmtime.WasmtimeError as error:
            text, kind = str(error), "host_failed"
            if "memory minimum size" in text or "failed to allocate" in text:
                kind = "out_of_memory"
            elif "Pointer out of bounds" in text:
                # A pointer that the guest passed to WASI is its own fault, as if it had used the pointer itself.
                kind = "trapped"
            self._ended(kind, text.strip().splitlines()[-1])
        if self._left < 0:
            self._ended("host_failed", f"output limit of {OUTPUT_BYTES} bytes reached")

    def take_folders(self, made: Sequence[tuple[str, Path]]) -> None:
        """Keep what the guest left in its folders; one that it removed is not there."""
        if made:
            disk = os.statvfs(made[0][1].parent)
            if disk.f_bfree * disk.f_frsize < FULL_BYTES:
                # The guest may have left more, or asked for more.
                self._ended("host_failed", "no room is left for a guest's folders")
                return
        for guest_path, folder in made:
            if not folder.is_dir():
                continue
            # Sizes first: a file may have grown beyond what we can hold.
            files = (each for each in folder.rglob("*") if stat.S_ISREG(each.lstat().st_mode))
            self._left -= sum(each.lstat().st_size for each in files)
            if self._left < 0:
                self.folders.clear()
                self._ended("host_failed", f"output limit of {OUTPUT_BYTES} bytes reached in folders")
                return
            self.folders.append((guest_path, list(walk(folder, folder))))

    def _ended(self, kind: str, detail: str) -> None:
        self.ending = {"kind": kind, "status": None, "detail": " ".join(detail.split())}

    def framed(self, number: int) -> bytes:
        """Return the whole outcome: one line of JSON, then both streams."""
        stdout, stderr = self.streams
        head = {
            "stdout_bytes": len(stdout),
            "stderr_bytes": len(stderr),
            "ending": self.ending,
            "invocation": number,
            "phases_ns": self.phases_ns,
            "files": [
                (name, [(path, len(what) if isinstance(what, bytes) else what) for path, what in entries])
                for name, entries in self.folders
            ],
        }
        contents = [what for _, entries in self.folders for _, what in entries if isinstance(what, bytes)]
        return b"".join((json.dumps(head).encode(), b"\n", stdout, stderr, *contents))


def read_invocation(body: bytes) -> tuple[bytes, list[str], list[tuple[str, str]], list[Folder]]:
    """Return stdin, arguments, variables and folders of a framed request. Raises ValueError, LookupError, TypeError."""
    line, _, rest = body.partition(b"\n")
    head = json.loads(line)
    folders: list[Folder] = []
    for guest_path, described in head.get("folders", ()):
        entries = []
        for path, what, modified_ns in described:
            content = what
            if isinstance(what, int):
                content, rest = rest[:what], rest[what:]
            entries.append((path, content, modified_ns))
        folders.append((guest_path, entries))
    return rest, list(head["args"]), [(str(name), str(value)) for name, value in head["env"]], folders


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answer one request to the function's URL: an event of payload format 2.0."""
    try:
        method, headers = event["requestContext"]["http"]["method"], event["headers"]
        content = event.get("body") or ""
        body = base64.b64decode(content) if event.get("isBase64Encoded") else content.encode()
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"the event is no request to a function URL (payload format 2.0): {error!r} is missing. "
            "Give the function a URL, and send a POST there."
        ) from error
    # Nobody can use a function whose secret is empty.
    given = headers.get("authorization", "").encode()
    if SECRET is not None and not (SECRET and hmac.compare_digest(given, f"Bearer {SECRET}".encode())):
        text = "this function has a secret: send it as `Authorization: Bearer SECRET`"
        return _say(401, text, {"www-authenticate": "Bearer"})
    wire = headers.get(WIRE_HEADER)
    marks = {ARTIFACT_HEADER: GUESTS.sha256, **({} if wire is None else {WIRE_HEADER: WIRE_VERSION})}
    if method != "POST":
        return _say(405, "send a POST: its body is the program's stdin", {**marks, "allow": "POST"})
    if wire is None:
        result = GUESTS.run(body)
    else:
        try:
            if wire != WIRE_VERSION:
                raise ValueError(f"this function speaks version {WIRE_VERSION}")
            result = GUESTS.run(*read_invocation(body))
        except (ValueError, LookupError, TypeError, OSError) as error:
            return _say(400, f"no framed invocation: {error}", marks)
    marks |= {NUMBER_HEADER: str(GUESTS.started), "x-content-type-options": "nosniff"}
    if wire is not None:
        return _answer(200, result.framed(GUESTS.started), marks)
    # Status and header say how the guest ended; the body has no place for that.
    ending = result.ending
    if ending["kind"] != "exited":
        return _say(500, f"{ending['kind']}: {ending['detail']}", {**marks, ENDING_HEADER: ending["kind"]})
    return _answer(200, result.streams[0], {**marks, ENDING_HEADER: f"exited({ending['status']})"})


def _say(status: int, text: str, headers: dict[str, str]) -> dict[str, Any]:
    return _answer(status, f"{text}\n".encode(), {"content-type": "text/plain", **headers})


def _answer(status: int, body: bytes | bytearray, headers: dict[str, str]) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"content-type": "application/octet-stream", **headers},
        "body": base64.b64encode(body).decode("ascii"),
        "isBase64Encoded": True,
    }


if __name__ == "__main__":
    compile_file(*(sys.argv[1:] or (HERE / "artifact.wasm", HERE / "artifact.cwasm")))
else:
    # While Lambda starts the environment, before there is a request.
    GUESTS = Guests()
