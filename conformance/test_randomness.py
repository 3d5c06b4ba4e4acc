"""Random bytes are random: fresh in each invocation and on each host, and every bit of them."""

from __future__ import annotations

import zlib
from collections import Counter

import pytest

from conformance.asking import ANYTHING, Asking
from pytest_wasmedge.model import Host, Limits, Runtime
from pytest_wasmedge.plugin.session import WasmSession

COUNT = 32768
#: Of so many fair bits, each of the eight is set in half of the bytes; eight standard deviations off is no chance.
SET_MIN, SET_MAX = 0.478, 0.522


@pytest.mark.parametrize("expression", ["rand(1 << 60)", "Random.new_seed", "Random.urandom(8).unpack1('Q')"])
def test_randomness_is_fresh(run: Asking, expression: str) -> None:
    """Random numbers differ from invocation to invocation, also in a pre-initialised artifact."""
    source = f"p {expression}\n".encode()
    outcomes = [run(source, ANYTHING) for _ in range(3)]
    if len({outcome.stdout for outcome in outcomes}) != 3:
        run.fail("the same random number in two of three invocations: a seed is fixed", outcomes[-1], source)


def test_randomness_of_two_hosts(wasm_host: Host, own_runtime: Runtime, ruby: Host) -> None:
    """The first random numbers of two started hosts differ."""
    source = b"p Random.new_seed, rand(1 << 60), Random.urandom(8)\n"
    told = []
    for _ in range(2):
        with own_runtime.start(wasm_host.artifact, wasm_host.limits) as host:
            told.append(Asking(host)(source, ANYTHING, data=True))
    for first, second in zip(*(each.stdout.splitlines() for each in told), strict=True):
        if first == second:
            Asking(wasm_host).fail(
                "two hosts start with the same random numbers: a seed is fixed", told[1], source
            )


def test_random_bytes_of_two_hosts(own_runtime: Runtime, wasm_session: WasmSession) -> None:
    """So do the first random bytes that two hosts give to a guest of any kind."""
    told = []
    for _ in range(2):
        with own_runtime.start(wasm_session.witness_pool().artifact, Limits()) as host:
            asking = Asking(host)
            told.append(asking(b"random 16\n", ANYTHING, data=True))
    if told[0].stdout == told[1].stdout:
        asking.fail("two hosts start with the same random bytes: a seed is fixed", told[1], b"random 16\n")


def test_random_bytes_of_any_guest(ask: Asking) -> None:
    """Random bytes have all values, every bit of them is set in half of them, and they do not repeat."""
    request = b"random %d\n" % COUNT
    first, second = (ask(request, ANYTHING, data=True) for _ in range(2))
    for outcome in (first, second):
        _check_random(ask, outcome.stdout, request)
    blocks = Counter(_blocks(first.stdout) + _blocks(second.stdout))
    if blocks.most_common(1)[0][1] > 1:
        ask.fail("random bytes repeat: 16 of them came twice", second, request)


def test_urandom_is_random(run: Asking) -> None:
    """So have those that a program of Ruby gets."""
    source = b"$stdout.binmode.write Random.urandom(%d)\n" % COUNT
    _check_random(run, run(source, ANYTHING, data=True).stdout, source)


def _check_random(ask: Asking, data: bytes, request: bytes) -> None:
    problem = ""
    if len(data) != COUNT:
        problem = f"{len(data)} random bytes came, where {COUNT} were asked for"
    elif missing := 256 - len(set(data)):
        problem = f"random bytes never have {missing} of 256 values"
    elif off := [bit for bit in range(8) if not SET_MIN <= _share(data, bit) <= SET_MAX]:
        problem = (
            f"random bytes are not random in bit {off[0]}: it is set in {_share(data, off[0]):.1%} of them"
        )
    elif len(packed := zlib.compress(data, 9)) < COUNT:
        problem = f"random bytes can be packed into {len(packed)} bytes: they follow a rule"
    elif uneven := [lane for lane in range(8) if len(set(data[lane::8])) < 240]:
        problem = f"of every eighth random byte, from the {uneven[0]}. on, few values come"
    if problem:
        ask.fail(problem, stdin=request)


def _share(data: bytes, bit: int) -> float:
    return sum(byte >> bit & 1 for byte in data) / len(data)


def _blocks(data: bytes) -> list[bytes]:
    return [data[at : at + 16] for at in range(0, len(data), 16)]
