"""wasmtime through its Python bindings: the engine runs in this process, with nothing else to install."""

from __future__ import annotations

import ctypes
import errno
import importlib.metadata
import os
import struct
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_wasmedge.artifacts.counting import WAY, counting_copy
from pytest_wasmedge.artifacts.wasi import WASI
from pytest_wasmedge.drivers.compiled import (
    RefusedError,
    compiled,
    discard,
    place_of,
    renewing,
    run_compiler,
)
from pytest_wasmedge.drivers.inprocess import InProcessHost, Run, Ticker, ticks
from pytest_wasmedge.drivers.memory_files import AVAILABLE, MemoryFiles
from pytest_wasmedge.drivers.process import Workspace
from pytest_wasmedge.errors import HostStartError, ProvisionError, UnsupportedError
from pytest_wasmedge.model import (
    ARGV0,
    Artifact,
    Availability,
    Ending,
    Host,
    Limits,
    Runtime,
    exited,
    host_failed,
    out_of_memory,
    timed_out,
    trapped,
)

if TYPE_CHECKING:
    import wasmtime

#: Error numbers of WASI preview 1.
_EFAULT, _EINVAL = 21, 28
#: Records of ``poll_oneoff`` in WASI preview 1: user data, type, and of a clock its number, timeout and flags; and user
#: data and type. A guest may pass so many of the former at once.
_SUBSCRIPTION, _EVENT = struct.Struct("<8sB7xI4xQ8xB7x"), struct.Struct("<8s2xB21x")
_SUBSCRIPTIONS = 1024
#: Artifacts from this size on are compiled in another process.
_LARGE_BYTES = 1 << 20


class Wasmtime(Runtime):
    """The wasmtime engine as a library. Compiled code is kept, since compiling Ruby takes 10-23 s."""

    name = "wasmtime"
    engine = "Cranelift"
    groups = frozenset({"engines", "fast"})
    statuses = "it refuses an exit status above 125: a guest that ends with one has failed there"
    highest_status = 125
    capabilities = frozenset({"memory_limit", "preopens", "concurrent"})
    cache_state = "code-cache"

    def probe(self) -> Availability:
        try:
            version = importlib.metadata.version("wasmtime")
        except importlib.metadata.PackageNotFoundError:
            reason, install = "the Python package wasmtime is missing", "pip install wasmtime"
            return Availability(False, reason=reason, install=install)
        return Availability(True, version, version, path="Python package")

    def at(self, version: str) -> Runtime:
        raise UnsupportedError(
            f"{self.name}@{version}: {self.name} runs in this process, in the version of this Python environment "
            f"({self.probe().version or 'none'}). Run pytest in an environment with another one, or ask for another "
            "runtime of the same engine that is a program."
        )

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return WasmtimeHost(self, artifact, limits)

    def kept_code(self, artifact: Artifact) -> Path | None:
        version = self.probe().version
        try:
            return place_of(artifact, *_key(version, artifact)) if version else None
        except ProvisionError:
            return None

    def compile_beside(self, artifact: Artifact, path: Path, *, counting: bool = False) -> None:
        """Compile in another process, which gives its memory back: Ruby takes 740 MB. Raises HostStartError."""
        script = f"import sys; from {__name__} import compile_file; compile_file(*sys.argv[1:], counting={counting})"
        argv = [sys.executable, "-c", script, str(artifact.path.absolute()), str(path), *artifact.proposals]
        # It imports from the same folders as this one.
        env = {"PYTHONPATH": os.pathsep.join(sys.path)}
        with Workspace() as workspace:
            run_compiler(argv, env, workspace.path, f"wasmtime cannot compile {artifact.name}")


class WasmtimeHost(InProcessHost):
    """One engine with one compiled module; each invocation gets its own store, and so its own memory.

    The phases of its start are ``load`` (engine, code from disk, linking), and ``compile`` if it was compiled. A
    subclass that is ``counting`` runs a copy that counts (artifacts/counting.py), with fuel, under a key of its own.
    """

    counting = False

    def __init__(self, runtime: Wasmtime, artifact: Artifact, limits: Limits) -> None:
        import wasmtime

        super().__init__()
        self.runtime, self.artifact, self.limits = runtime, artifact, limits
        phases_ns = {}
        began_ns = time.perf_counter_ns()
        self._engine = _engine(artifact.proposals, counting=self.counting)

        def compile_to(path: Path) -> None:
            compile_began_ns = time.perf_counter_ns()
            if artifact.size_bytes < _LARGE_BYTES:
                compile_file(artifact.path, path, *artifact.proposals, counting=self.counting)
            else:
                runtime.compile_beside(artifact, path, counting=self.counting)
            phases_ns["compile"] = time.perf_counter_ns() - compile_began_ns

        version = importlib.metadata.version("wasmtime")
        key = _key(version, artifact, counting=self.counting)

        def load() -> wasmtime.Module:
            code = compiled(artifact, *key, compile_to)
            try:
                return wasmtime.Module.deserialize_file(self._engine, str(code))
            except wasmtime.WasmtimeError as error:
                raise RefusedError(" ".join(str(error).split())) from error

        try:
            module = renewing(
                load, lambda: discard(place_of(artifact, *key)), f"wasmtime {version}", artifact
            )
            self._link(module)
        except wasmtime.WasmtimeError as error:
            raise HostStartError(
                f"wasmtime {version} cannot load {artifact.name}: {_lines(error)[0]}. "
                "A validator takes the file: try another version of this runtime, or build the file otherwise."
            ) from error
        phases_ns["load"] = time.perf_counter_ns() - began_ns - phases_ns.get("compile", 0)
        self.start_phases_ns = phases_ns
        self._collecting: dict[int, MemoryFiles] = {}
        self._ticker = Ticker(self._tick)

    def _link(self, module: wasmtime.Module) -> None:
        """Make the module ready to be instantiated."""
        import wasmtime

        with module, wasmtime.Linker(self._engine) as linker:
            self._define_wasi(linker)
            self._ready = linker.instantiate_pre(module)

    def _define_wasi(self, linker: wasmtime.Linker) -> None:
        import wasmtime

        linker.define_wasi()
        # Replaces wasmtime's poll_oneoff, which blocks in the host, where no epoch can end it.
        i32 = wasmtime.ValType.i32()
        signature = wasmtime.FuncType([i32] * 4, [i32])
        linker.allow_shadowing = True
        linker.define_func(WASI, "poll_oneoff", signature, self._poll_oneoff, access_caller=True)

    def _instance(self, store: wasmtime.Store) -> wasmtime.Instance:
        """Return a fresh instance of the guest."""
        instance: wasmtime.Instance = self._ready.instantiate(store)
        return instance

    def _inspect(self, store: wasmtime.Store, why: Exception | None) -> None:
        """Look at a guest that has ended, while its store is there, and at the exception that ended it."""

    def _tick(self) -> None:
        self._engine.increment_epoch()
        for files in list(self._collecting.values()):
            files.check()

    def _execute(self, run: Run) -> Ending:
        if not AVAILABLE:
            return self._run(run)
        try:
            run.files = files = MemoryFiles(self.limits.output_bytes)
        except OSError as error:
            return host_failed(
                f"wasmtime: no files in memory for the guest's output: {error}; "
                "let this process have more open files (ulimit -n), or run fewer guests at once"
            )
        self._collecting[id(run)] = files
        try:
            ending = self._run(run)
            run.keep(*files.read())
            return ending
        finally:
            del self._collecting[id(run)]
            files.close()

    def _run(self, run: Run) -> Ending:
        import wasmtime

        config = self._wasi_config(run)
        # The store holds the run for the functions that the guest calls.
        store = wasmtime.Store(self._engine, run)
        why: Exception | None = None
        try:
            store.set_wasi(config)
            if self.limits.memory_bytes:
                store.set_limits(memory_size=self.limits.memory_bytes)
            run.clock_zero_ns = time.monotonic_ns()
            with self._ticker:
                store.set_epoch_deadline(ticks(run.timeout_s))
                began_ns = time.perf_counter_ns()
                instance = self._instance(store)
                start: Any = instance.exports(store)["_start"]
                run.phases_ns["instantiate"] = time.perf_counter_ns() - began_ns
                began_ns = time.perf_counter_ns()
                try:
                    start(store)
                finally:
                    run.phases_ns["run"] = time.perf_counter_ns() - began_ns
            ending = exited(0)
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            ending, why = _ending(error), error
        finally:
            self._inspect(store, why)
            store.close()
        return timed_out("wasmtime: asleep at its time limit") if run.overslept else ending

    def _wasi_config(self, run: Run) -> wasmtime.WasiConfig:
        import wasmtime

        config = wasmtime.WasiConfig()
        config.argv = [ARGV0, *run.invocation.args]
        config.env = list(run.invocation.env.items())
        for guest_path, folder in run.invocation.preopens.items():
            config.preopen_dir(str(folder), guest_path)
        _set_stdin(config, run.invocation.stdin)
        if run.files:
            try:
                config.stdout_file, config.stderr_file = run.files.paths
            except wasmtime.WasmtimeError as error:
                # It opens files of ours, which are there: it can lack a descriptor only, and does not say so.
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from error
        else:
            # A call of Python for each write: it is ten times slower.
            config.stdout_custom = lambda data: None if run.write(run.stdout, data) else -errno.EIO
            config.stderr_custom = lambda data: None if run.write(run.stderr, data) else -errno.EIO
        return config

    def _poll_oneoff(self, caller: Any, subscriptions: int, events: int, count: int, result: int) -> int:
        """Sleep for the shortest clock subscription, but never past the deadline.

        The layouts are from the witx of WASI preview 1. Descriptors are always ready: all of stdin is available, stdout
        and stderr never block. This must not raise: the bindings keep an exception in one place for all threads, so
        that it could be raised in another guest's run.
        """
        import wasmtime

        run: Run = wasmtime.Store.data(caller)  # type: ignore[assignment]
        memory = caller.get("memory")
        if not isinstance(memory, wasmtime.Memory) or not 0 < count <= _SUBSCRIPTIONS:
            return _EINVAL
        subscriptions, events, result = (each & 0xFFFFFFFF for each in (subscriptions, events, result))
        end = subscriptions + _SUBSCRIPTION.size * count
        if max(end, events + _EVENT.size * count, result + 4) > memory.data_len(caller):
            return _EFAULT
        clocks: list[tuple[int, bytes]] = []
        ready: list[tuple[bytes, int]] = []
        records = _SUBSCRIPTION.iter_unpack(memory.read(caller, subscriptions, end))
        for userdata, tag, clock, wait_ns, flags in records:
            if tag:
                ready.append((userdata, tag))
                continue
            if flags & 1:  # a point in time, by the guest's clock: wasmtime's monotonic clock starts at 0
                now_ns = time.monotonic_ns() - run.clock_zero_ns if clock else time.time_ns()
                wait_ns = max(0, wait_ns - now_ns)
            clocks.append((wait_ns, userdata))
        if not ready:
            shortest_ns = min(wait_ns for wait_ns, _ in clocks)
            _sleep(run, shortest_ns / 1e9)
            ready = [(userdata, 0) for wait_ns, userdata in clocks if wait_ns == shortest_ns]
        happened = b"".join(_EVENT.pack(userdata, tag) for userdata, tag in ready)
        memory.write(caller, happened, events)
        memory.write(caller, len(ready).to_bytes(4, "little"), result)
        return 0

    def _stop_guest(self, run: Run) -> None:
        run.stopping.set()
        for _ in range(ticks(run.timeout_s)):
            self._engine.increment_epoch()

    def close(self) -> None:
        super().close()
        self._ticker.close()
        # Frees the compiled code (60 MB for Ruby) now, not when this host is garbage collected.
        self._ready.close()


def _engine(proposals: Collection[str], *, counting: bool = False) -> wasmtime.Engine:
    import wasmtime

    config = wasmtime.Config()
    config.epoch_interruption = True
    if counting:
        config.consume_fuel = True
        # Where functions count, each takes more of the stack: they get twice the usual 512 KiB.
        config.max_wasm_stack = 1 << 20
    # wasmtime has these proposals, but disables them by default.
    config.shared_memory = config.wasm_custom_page_sizes = bool(proposals)
    return wasmtime.Engine(config)


def compile_file(artifact: str | Path, path: str | Path, *proposals: str, counting: bool = False) -> None:
    """Write an artifact's compiled code, or that of its counting copy, to a file. Raises wasmtime.WasmtimeError."""
    import wasmtime

    engine = _engine(proposals, counting=counting)
    if counting:
        module = wasmtime.Module(engine, counting_copy(Path(artifact).read_bytes()))
    else:
        module = wasmtime.Module.from_file(engine, artifact)
    Path(path).write_bytes(module.serialize())


def _sleep(run: Run, duration_s: float) -> None:
    """Sleep, at most until the deadline; a guest that it wakes has ended, though it may run on to its epoch."""
    left_s = run.deadline_s - time.monotonic()
    if run.stopping.wait(max(0.0, min(duration_s, left_s))) or duration_s > left_s:
        run.overslept = True
        if run.files:
            run.files.end()


def _key(version: str, artifact: Artifact, *, counting: bool = False) -> tuple[str, str]:
    """Return engine and settings, which name the compiled code."""
    settings = ", ".join(("epoch-interruption", *((WAY,) if counting else ()), *artifact.proposals))
    return f"wasmtime-py {version}", settings


def _set_stdin(config: wasmtime.WasiConfig, stdin: bytes) -> None:
    """Give the guest these bytes. The bindings have this function of the C API, but no property for it yet."""
    from wasmtime import _ffi

    vector = _ffi.wasm_byte_vec_t()
    data = (ctypes.c_ubyte * len(stdin)).from_buffer_copy(stdin) if stdin else (ctypes.c_ubyte * 1)()
    _ffi.wasm_byte_vec_new(ctypes.byref(vector), len(stdin), data)
    _ffi.wasi_config_set_stdin_bytes(config.ptr(), ctypes.byref(vector))


def _lines(error: Exception) -> list[str]:
    """Return the lines of the message, at least one."""
    return (str(error).strip() or type(error).__name__).splitlines()


def _ending(error: Exception) -> Ending:
    """Return the ending that an exception of the bindings means."""
    import wasmtime

    if isinstance(error, wasmtime.ExitTrap):
        return exited(error.code)
    if isinstance(error, wasmtime.Trap):
        if error.trap_code is wasmtime.TrapCode.INTERRUPT:
            return timed_out("wasmtime: interrupt")
        name = error.trap_code.name.lower() if error.trap_code else _lines(error)[0]
        return trapped(f"wasmtime: {name}")
    text = str(error)
    kind = host_failed
    if "memory minimum size" in text or "failed to allocate" in text:
        kind = out_of_memory
    elif "Pointer out of bounds" in text:
        # A pointer that the guest passed to WASI is its own fault, as if it had used the pointer itself.
        kind = trapped
    return kind(f"wasmtime: {_lines(error)[-1].strip()}")


RUNTIME = Wasmtime
