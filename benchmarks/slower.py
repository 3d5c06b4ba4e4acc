"""Makes artifacts that are slower by a known time: `_start` first spins through a counted loop.

Counted, not timed: workerd's clock stands still while a guest runs.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pytest_wasmedge.artifacts.binary import Reader, encode_name, encode_number, sections
from pytest_wasmedge.artifacts.loading import inspect, load_artifact
from pytest_wasmedge.artifacts.sections import Export, exports
from pytest_wasmedge.errors import ArtifactError, LatencyError
from pytest_wasmedge.latency.sampling import refresh_code
from pytest_wasmedge.model import Artifact, Invocation, Limits, Runtime

_HEADER = b"\0asm\x01\0\0\0"
_FUNCTIONS, _EXPORTS, _CODE = 3, 7, 10

#: A module that does nothing: one function of no parameters and no results, exported as ``_start``.
NOTHING = (
    _HEADER
    + bytes([1, 4, 1, 0x60, 0, 0])
    + bytes([_FUNCTIONS, 2, 1, 0])
    + bytes([_EXPORTS, 10, 1, 6]) + b"_start" + bytes([0, 0])
    + bytes([_CODE, 4, 1, 2, 0, 0x0B])
)  # fmt: skip

# Two locals: 0 counts down, 1 is a number that each turn scrambles (xorshift), so that no compiler can leave
# the turns out. It is never 0, which no compiler knows: so its last value is needed, for the `unreachable`.
_LOCALS = bytes([1, 2, 0x7E])
_SCRAMBLE = b"".join(
    bytes([0x20, 1, 0x20, 1, 0x42, bits, shift, 0x85, 0x21, 1])
    for bits, shift in ((13, 0x86), (7, 0x88), (17, 0x86))
)
_LOOP = (
    bytes([0x02, 0x40, 0x03, 0x40])  # block, loop
    + bytes([0x20, 0, 0x50, 0x0D, 1])  # leave when local 0 is zero
    + _SCRAMBLE
    + bytes([0x20, 0, 0x42, 1, 0x7D, 0x21, 0])  # local 0 less one
    + bytes([0x0C, 0, 0x0B, 0x0B])  # again; end, end
    + bytes([0x20, 1, 0x50, 0x04, 0x40, 0x00, 0x0B])  # if local 1 is zero: unreachable
)

#: The first guess of a spin's cost; how often a calibration starts a host with and without spins: at least so
#: often, and for as long as this, but no more than that.
_GUESS_NS = 2.0
_STARTS, _LEAST_S, _MOST_STARTS = 12, 3.0, 300
_PASSES = 2


def slower(module: bytes, spins: int) -> bytes:
    """Return the module with a ``_start`` that spins so often and then calls the one that it had.

    The new function is the last one, so no index changes. Raises ArtifactError if it defines no ``_start``.
    """
    old = next((one.index for one in exports(module) if one.name == "_start" and one.kind == 0), None)
    imported = sum(kind == "function" for _, _, kind in inspect(module).imports)
    functions = next((content for kind, content in _contents(module) if kind == _FUNCTIONS), b"\0")
    types = list(_numbers(functions))[1:]
    if old is None or old < imported:
        raise ArtifactError(
            "the module defines no function that it exports as _start, so it cannot be made slower. "
            "Give a WASI preview 1 command."
        )
    new = imported + len(types)
    body = _LOCALS + b"\x42" + _signed(spins) + b"\x21\x00" + b"\x42\x01\x21\x01" + _LOOP
    body += b"\x10" + encode_number(old) + b"\x0b"
    out = bytearray(_HEADER)
    for kind, content in _contents(module):
        if kind == _FUNCTIONS:
            content = _appended(content, encode_number(types[old - imported]))
        elif kind == _CODE:
            content = _appended(content, encode_number(len(body)) + body)
        elif kind == _EXPORTS:
            entries = [replace(one, index=new) if one.name == "_start" else one for one in exports(module)]
            content = encode_number(len(entries)) + b"".join(map(_export, entries))
        out += bytes([kind]) + encode_number(len(content)) + content
    return bytes(out)


def calibrate(
    runtime: Runtime, wanted_ns: float, folder: Path, starts: int = _STARTS, least_s: float = _LEAST_S
) -> float:
    """Return what one spin costs on this runtime, in nanoseconds, when it spins for about the time wanted.

    It is taken from the first invocation of hosts that have just started, since that is where a cold start
    spins: engines that compile again what runs often would be faster later. Takes so many starts of each kind
    or more, as long as there is time. Raises LatencyError if spinning costs no time that can be seen.
    """
    per_spin_ns = _GUESS_NS
    nothing = _written(NOTHING, 0, folder)
    for _ in range(_PASSES):
        spins = max(1, round(wanted_ns / per_spin_ns))
        spinning = _written(NOTHING, spins, folder)
        try:
            base_ns, spinning_ns = _medians_ns(runtime, nothing, spinning, starts, least_s)
        finally:
            forget_code(runtime, spinning)
        if spinning_ns <= base_ns:
            raise LatencyError(
                f"{runtime.name}: {spins} spins took {spinning_ns / 1e6:.2f} ms, none {base_ns / 1e6:.2f}: "
                "lost in the noise. Let the machine rest and start again."
            )
        per_spin_ns = (spinning_ns - base_ns) / spins
    forget_code(runtime, nothing)
    return per_spin_ns


def _medians_ns(
    runtime: Runtime, nothing: Artifact, spinning: Artifact, starts: int, least_s: float
) -> tuple[float, float]:
    """Return the median of first invocations without spins, and with them; the two take turns."""
    until_s = time.monotonic() + least_s
    taken: tuple[list[int], list[int]] = ([], [])
    while len(taken[0]) < starts or (time.monotonic() < until_s and len(taken[0]) < _MOST_STARTS):
        for times, artifact in zip(taken, (nothing, spinning), strict=True):
            times.append(_first_invocation_ns(runtime, artifact))
    return statistics.median(taken[0]), statistics.median(taken[1])


def slowed(
    artifact: Artifact, runtime: Runtime, fraction: float, cold_median_ns: float, folder: Path
) -> tuple[Artifact, int]:
    """Return the artifact made slower by this fraction of its cold start on this runtime, and its spins.

    The file is written into ``folder`` and must stay there as long as it is used.
    """
    wanted_ns = fraction * cold_median_ns
    spins = round(wanted_ns / calibrate(runtime, wanted_ns, folder))
    return _written(artifact.path.read_bytes(), spins, folder, artifact.name), spins


def forget_code(runtime: Runtime, artifact: Artifact) -> None:
    """Delete the compiled code that the runtime keeps of this artifact: nobody will start it again."""
    if kept := runtime.kept_code(artifact):
        kept.unlink(missing_ok=True)


def write_anew(runtime: Runtime, artifact: Artifact) -> None:
    """Write the files that a start reads once more, with the same bytes.

    A file that was read from disk is mapped with more page faults than one that was just written: wasmtime
    took about a fifth longer to start the same code. The files of a fair pair are of one age.
    """
    refresh_code(runtime, artifact)
    part = artifact.path.with_suffix(".anew")
    shutil.copy2(artifact.path, part)
    part.replace(artifact.path)


def _written(module: bytes, spins: int, folder: Path, name: str = "nothing") -> Artifact:
    path = folder / f"{name}-{spins}-spins.wasm"
    path.write_bytes(slower(module, spins))
    return load_artifact(path)


def _first_invocation_ns(runtime: Runtime, artifact: Artifact) -> int:
    with runtime.start(artifact, Limits()) as host:
        began_ns = time.perf_counter_ns()
        outcome = host.invoke(Invocation())
        elapsed_ns = time.perf_counter_ns() - began_ns
    if not outcome.ending.ok:
        raise LatencyError(
            f"{runtime.name}: a module that only spins ended as {outcome.ending}: {outcome.ending.detail}. "
            "Run `pytest-wasmedge doctor`."
        )
    # Without what hands the invocation over, if the host can tell: that is noise here.
    return outcome.timings.phases_ns.get("run") or elapsed_ns


def _contents(module: bytes) -> Iterator[tuple[int, bytes]]:
    for number, start, end in sections(module, "the module"):
        yield number, module[start:end]


def _export(one: Export) -> bytes:
    return encode_name(one.name) + bytes([one.kind]) + encode_number(one.index)


def _appended(vector: bytes, entry: bytes) -> bytes:
    """Return the vector, its count first, with one more entry at its end."""
    reader = _reader(vector)
    return encode_number(reader.number() + 1) + vector[reader.at :] + entry


def _numbers(content: bytes) -> Iterator[int]:
    reader = _reader(content)
    while reader.at < len(content):
        yield reader.number()


def _reader(content: bytes) -> Reader:
    return Reader(content, 0, len(content), "function", "the module")


def _signed(value: int) -> bytes:
    """Encode a number that is not negative as signed LEB128: its last byte must not look negative."""
    encoded = encode_number(value)
    return encoded if encoded[-1] < 0x40 else encoded[:-1] + bytes([encoded[-1] | 0x80, 0])
