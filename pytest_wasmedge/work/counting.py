"""Counts what an artifact does: by a copy of it that counts, in an engine of this process that counts fuel."""

from __future__ import annotations

import struct
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_wasmedge.artifacts.binary import KINDS
from pytest_wasmedge.artifacts.counting import (
    COUNT_BYTES,
    COUNTS,
    ENTRY_FUEL,
    GATE,
    Function,
    Standing,
    functions,
    gate_texts,
    import_fuel,
    standing,
    starts_by_itself,
)
from pytest_wasmedge.artifacts.sections import imports
from pytest_wasmedge.artifacts.wasi import WASI
from pytest_wasmedge.errors import ArtifactError, UnsupportedError
from pytest_wasmedge.model import Artifact, Invocation, Limits
from pytest_wasmedge.portability.compare import key_of
from pytest_wasmedge.portability.language import RUBY
from pytest_wasmedge.runtimes.wasmtime import Wasmtime, WasmtimeHost
from pytest_wasmedge.work.counts import JUDGED, CountedRun, Work, apart

if TYPE_CHECKING:
    import wasmtime

_PAGE_BYTES = 1 << 16
#: A guest that has not ended by then is told as one that does not end. It takes about five seconds.
FUEL_LIMIT = 4_000_000_000
#: Fuel decides, not time; but a guest that sleeps uses none.
_LIMITS = Limits(timeout_s=600.0)
#: How often a guest is run to see whether it varies, for the range if it does, and where only a range that is no
#: accident may be red: one of ten runs lies beyond all of ten others by chance once in 184,756 times.
TWICE, RANGE, SURE = 2, 3, 10


def unit() -> str:
    """Return what fuel is counted in: the engine with its version."""
    return f"{Wasmtime.name} {Wasmtime().probe().version}"


class CountingHost(WasmtimeHost):
    """Runs the counting copy. `count` runs a guest once and tells its counts."""

    counting = True

    def __init__(self, artifact: Artifact, fuel_limit: int = FUEL_LIMIT) -> None:
        self._fuel_limit = fuel_limit
        self._bytes = artifact.path.read_bytes()
        self._imports = imports(self._bytes)
        self._starts_by_itself = starts_by_itself(self._bytes)
        self._counting = threading.Lock()
        self._counted: CountedRun | None = None
        self._seen: _Seen | None = None
        self._stop_at = fuel_limit
        self._stack: list[Function] = []
        #: The guest's memory at its beginning, which is the same each time.
        self._filled: bytes | None = None
        #: The fuel of the last run that was counted, with that of our counting.
        self.spent = 0
        super().__init__(Wasmtime(), artifact, _LIMITS)

    @cached_property
    def functions(self) -> list[Function]:
        """The functions of the artifact, in their order."""
        return functions(self._bytes)

    @cached_property
    def smallest(self) -> Invocation:
        """The smallest program that this guest can run."""
        return Invocation(RUBY.smallest if RUBY.is_spoken_by(self) else b"")

    def count(self, invocation: Invocation) -> CountedRun:
        """Run the guest once. Raises UnsupportedError for what this engine cannot give."""
        with self._counting:
            self._counted = None
            self._seen = None
            outcome = self.invoke(replace(invocation, timeout_s=_LIMITS.timeout_s))
            if self._counted is None:
                raise UnsupportedError(
                    f"the guest was not counted: {outcome.ending} ({outcome.ending.detail})"
                )
            return replace(
                self._counted,
                ending=outcome.ending,
                out_of_fuel=outcome.ending.detail.endswith("out_of_fuel"),
            )

    def _link(self, module: wasmtime.Module) -> None:
        import wasmtime

        self._module = module
        self._linker = wasmtime.Linker(self._engine)
        self._define_wasi(self._linker)
        # Its imports are found now, as in a host that does not count.
        self._ready = self._linker.instantiate_pre(module)
        self._gates: tuple[wasmtime.Module, wasmtime.Module] | None = None
        memories = [each for each in module.exports if isinstance(each.type, wasmtime.MemoryType)]
        plain = [each.name for each in memories if each.name == "memory"]
        functions_alone = all(KINDS[one.kind] == "function" for one in self._imports)
        if self._imports and functions_alone and plain and not self._starts_by_itself:
            # What cannot go through the gate is not counted.
            with suppress(ArtifactError, wasmtime.WasmtimeError):
                texts = gate_texts(self._imports, "memory")
                first, second = (wasmtime.Module(self._engine, text) for text in texts)
                self._gates = first, second

    def _instance(self, store: wasmtime.Store) -> wasmtime.Instance:
        import wasmtime

        store.set_fuel(self._stop_at if self._starts_by_itself else self._fuel_limit)
        self._seen = seen = _Seen()
        if self._gates is None:
            seen.guest = self._ready.instantiate(store)
        else:
            first, second = self._gates
            seen.gate = gate = wasmtime.Instance(store, first, []).exports(store)
            seen.guest = wasmtime.Instance(
                store, self._module, [gate[str(i)] for i in range(len(self._imports))]
            )
            given = [self._linker.get(store, one.module, one.name) for one in self._imports]
            wasmtime.Instance(store, second, [*given, seen.guest.exports(store)["memory"], gate["table"]])
        if not self._starts_by_itself:
            # Memory and tables were filled meanwhile, which costs fuel, too, and is not the guest's work.
            store.set_fuel(self._stop_at)
        memory = seen.guest.exports(store).get("memory")
        if isinstance(memory, wasmtime.Memory):
            seen.pages = memory.size(store)
            if self._filled is None:
                self._filled = bytes(memory.read(store))
        return seen.guest

    def stack_at(self, invocation: Invocation, spent: int) -> list[Function]:
        """Return what runs when so much has been spent, innermost first; at most twenty functions are told.

        Empty if the guest has ended by then.
        """
        with self._counting:
            self._stack = []
            self._stop_at = spent
            try:
                self.invoke(replace(invocation, timeout_s=_LIMITS.timeout_s))
            finally:
                self._stop_at = self._fuel_limit
            return self._stack

    def _inspect(self, store: wasmtime.Store, why: Exception | None) -> None:
        import wasmtime

        seen = self._seen
        if seen is None or seen.guest is None:
            return
        if self._stop_at != self._fuel_limit:
            if isinstance(why, wasmtime.Trap) and why.trap_code is wasmtime.TrapCode.OUT_OF_FUEL:
                imported = sum(KINDS[one.kind] == "function" for one in self._imports)
                frames = [each.func_index - imported for each in why.frames if each.module_name != GATE]
                self._stack = [self.functions[each] for each in frames]
            return
        self.spent = self._fuel_limit - store.get_fuel()
        exported = seen.guest.exports(store)
        memory, plain = exported[COUNTS], exported.get("memory")
        assert isinstance(memory, wasmtime.Memory)
        calls = struct.unpack(
            f"<{len(self.functions)}Q", memory.read(store, 0, len(self.functions) * COUNT_BYTES)
        )
        fuel = self._fuel_limit - store.get_fuel() - ENTRY_FUEL * sum(calls)
        wasi: Counter[str] | None = None if any(one.module == WASI for one in self._imports) else Counter()
        if seen.gate is not None:
            counts: list[Any] = [seen.gate[f"count{index}"] for index in range(len(self._imports))]
            called = [(one, count.value(store)) for one, count in zip(self._imports, counts, strict=True)]
            fuel -= sum(number * import_fuel(len(one.params)) for one, number in called)
            wasi = Counter()
            for one, number in called:
                wasi[one.name] += number
        grown = changed = None
        if seen.pages is not None and isinstance(plain, wasmtime.Memory):
            grown = plain.size(store) - seen.pages
            changed = _changed(self._filled or b"", plain, store)
        self._counted = CountedRun(
            # A guest that traps has not paid for its last instructions yet.
            max(0, fuel),
            calls,
            sum(each.code_bytes for each, number in zip(self.functions, calls, strict=True) if number),
            grown,
            changed,
            None if wasi is None else {name: number for name, number in sorted(wasi.items()) if number},
        )

    def close(self) -> None:
        super().close()
        self._linker.close()
        self._module.close()


def _changed(before: bytes, memory: wasmtime.Memory, store: wasmtime.Store) -> int:
    """Return how many pages differ; memory that grew began with zeros."""
    # Page by page: a copy of all of it may be gigabytes.
    nothing = bytes(_PAGE_BYTES)
    pages = range(0, memory.size(store) * _PAGE_BYTES, _PAGE_BYTES)
    return sum(
        (before[at : at + _PAGE_BYTES] or nothing) != memory.read(store, at, at + _PAGE_BYTES) for at in pages
    )


@dataclass(slots=True)
class _Seen:
    """What a run leaves to be looked at: the guest, its pages at the beginning, the gate of its imports."""

    guest: wasmtime.Instance | None = None
    pages: int | None = None
    gate: Any = None


class CountedArtifact:
    """The work of one artifact: that of its start, by the names of `Work`, and ``of`` any invocation.

    Each invocation is run twice, and a third time if both differ; nothing is run before it is asked for. Raises
    HostStartError for an artifact that this engine does not take.
    """

    def __init__(self, artifact: Artifact, fuel_limit: int = FUEL_LIMIT) -> None:
        self.artifact = artifact
        self._fuel_limit = fuel_limit
        self._runs: dict[object, list[CountedRun]] = {}

    @cached_property
    def host(self) -> CountingHost:
        """The host that counts, started when first asked for."""
        return CountingHost(self.artifact, self._fuel_limit)

    @cached_property
    def smallest(self) -> Invocation:
        """The smallest program that this guest can run."""
        return self.host.smallest

    @cached_property
    def start(self) -> Work:
        """The work of the smallest program, from the first instruction to the end."""
        return self.of_invocation(self.smallest)

    @cached_property
    def file(self) -> Standing:
        """What stands in the file: functions, code_bytes, data_bytes, memory_pages."""
        return standing(self.artifact.path.read_bytes())

    def of(
        self, source: str | bytes = b"", *, args: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> Work:
        """Return the work of one program, as `host.run` takes it."""
        stdin = source.encode() if isinstance(source, str) else source
        return self.of_invocation(Invocation(stdin, tuple(args), dict(env or {})))

    def of_invocation(self, invocation: Invocation) -> Work:
        """Return the work of one invocation, with its range if it varies."""
        work = self.runs(invocation, TWICE)
        return self.runs(invocation, RANGE) if work.varies else work

    def runs(self, invocation: Invocation, number: int) -> Work:
        """Return the work of so many runs, or of more that were made before."""
        made: list[CountedRun] = []
        if not invocation.preopens:
            made = self._runs.setdefault(key_of(invocation), [])
        # A run that was stopped at the limit says enough.
        while len(made) < number and not (made and made[-1].out_of_fuel):
            made.append(self.host.count(invocation))
        return Work(tuple(made))

    @property
    def fuel(self) -> int:
        """The fuel of the start."""
        return self.start.fuel

    @property
    def functions(self) -> int:
        """How many functions were executed by the end of the start."""
        return self.start.functions

    @property
    def code_bytes(self) -> int:
        """The bytes of their code."""
        return self.start.code_bytes

    @property
    def pages_grown(self) -> int:
        """By how many pages of 64 KiB the memory grew in the start."""
        return self.start.pages_grown

    @property
    def pages_changed(self) -> int:
        """How many pages of 64 KiB the start changed."""
        return self.start.pages_changed

    @property
    def wasi(self) -> dict[str, int]:
        """How often the start called each function of WASI."""
        return self.start.wasi

    def calls_of_start(self) -> Counter[str]:
        """Return how often each function was called in the first run of the start, by name."""
        found: Counter[str] = Counter()
        for function, number in zip(self.host.functions, self.start.runs[0].calls, strict=True):
            found[function.name] += number
        return found

    def __repr__(self) -> str:
        return f"the work of {self.artifact.name}"

    def close(self) -> None:
        """Close the host, if there is one."""
        if "host" in self.__dict__:
            self.host.close()


def compared(head: CountedArtifact, baseline: CountedArtifact, invocation: Invocation) -> tuple[Work, Work]:
    """Return the work of both in one invocation, run as often as it takes to know whether they differ.

    Once, if both count the same; else twice, to see whether the guest varies; and if it does, more often, up to a range
    that lies beyond the other's by no accident.
    """
    works = head.runs(invocation, 1), baseline.runs(invocation, 1)
    for number in (TWICE, RANGE, SURE):
        one, other = (work.counts for work in works)
        settled = number > TWICE and not any(work.varies for work in works)
        if settled or all(
            not apart(one[name], other[name]) for name in JUDGED if name in one and name in other
        ):
            break
        works = head.runs(invocation, number), baseline.runs(invocation, number)
    return works
