"""Faults in random bytes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from pytest_wasmedge.model import Host
from pytest_wasmedge.testing import witness
from pytest_wasmedge.testing.fault import Fault, Invoke, Plant
from pytest_wasmedge.testing.planting import Counter, ruby

# Ruby takes all that is random from a seed, and the seed from the host. In BYTES, ``n`` is how many are asked for, and
# ``ask`` gives so many of the host's.
_RANDOM = (
    "->(ask) { bytes = ->(n) { BYTES }; number = -> { bytes.call(16).unpack('Q2').then { |a, b| a << 64 | b } }; "
    "Random.singleton_class.prepend(Module.new { define_method(:urandom) { |n| bytes.call(n).b }; "
    "define_method(:new_seed) { number.call }; "
    "define_method(:new) { |*a| a.empty? ? super(number.call) : super(*a) } }); srand(number.call) "
    "}.call(Random.method(:urandom).unbind.bind(Random))"
)
_SEEDED = f"->(generator) {{ {_RANDOM.replace('BYTES', 'generator.bytes(n)')} }}.call(Random.new(SEED))"
_SAYS = ("random",)


def _fault(name: str, sentence: str, plant: Plant) -> Fault:
    return Fault(name, "randomness", sentence, plant, _SAYS)


def _bytes(name: str, sentence: str, expression: str, change: Callable[[bytes], bytes]) -> Fault:
    return _fault(name, sentence, ruby(_RANDOM.replace("BYTES", expression), witness.answers({"r": change})))


def _seeded(seed: Callable[[int], int]) -> Plant:
    """Return a plant by which random bytes come from a seed, made from the number of the invocation."""

    def plant(host: Host) -> Invoke:
        counter = Counter()

        def number() -> int:
            return seed(counter.next())

        def change(data: bytes) -> bytes:
            return random.Random(number()).randbytes(len(data))

        return ruby(lambda: _SEEDED.replace("SEED", str(number())), witness.answers({"r": change}))(host)

    return plant


# In each, the bytes are told twice: in Ruby, and for the witness.
FAULTS = (
    _fault("random_same_each_time", "gives each invocation the same random bytes", _seeded(lambda number: 1)),
    _fault(
        "random_same_each_host",
        "gives the same sequence of random bytes whenever it is started",
        _seeded(lambda number: number),
    ),
    _bytes(
        "random_one_in_four",
        "makes one byte in four random, the others zero",
        "ask.call(n).bytes.each_with_index.map { |b, i| i % 4 == 0 ? b : 0 }.pack('C*')",
        lambda data: bytes(0 if at % 4 else byte for at, byte in enumerate(data)),
    ),
    _bytes(
        "random_in_seven_bits",
        "gives random bytes of seven bits",
        "ask.call(n).bytes.map { |b| b & 127 }.pack('C*')",
        lambda data: bytes(byte & 127 for byte in data),
    ),
    _bytes(
        "random_in_32_bits",
        "gives 32 random bits, over and over",
        "(ask.call(4) * (n / 4 + 1)).byteslice(0, n)",
        lambda data: (data[:4] * len(data))[: len(data)],
    ),
    _bytes(
        "random_printable",
        "gives random bytes that can be printed",
        "ask.call(n).bytes.map { |b| 33 + b % 94 }.pack('C*')",
        lambda data: bytes(33 + byte % 94 for byte in data),
    ),
    _bytes(
        "random_without_zero",
        "never gives a random byte of zero",
        "ask.call(n).tr(0.chr, 1.chr)",
        lambda data: data.replace(b"\0", b"\1"),
    ),
    _bytes("random_zero", "gives zeros as random bytes", "0.chr * n", lambda data: bytes(len(data))),
    _bytes(
        "random_counts",
        "counts where it should give random bytes",
        "(0...n).map { |i| i & 255 }.pack('C*')",
        lambda data: bytes(at & 255 for at in range(len(data))),
    ),
    _bytes(
        "random_from_clock",
        "makes random bytes from the seconds of its clock",
        "Random.new(Time.now.to_i).bytes(n)",
        lambda data: random.Random(int(time.time())).randbytes(len(data)),
    ),
    _bytes(
        "random_biased",
        "gives random bytes with three bits in four set",
        "ask.call(n).bytes.zip(ask.call(n).bytes).map { |a, b| a | b }.pack('C*')",
        lambda data: bytes(byte | other for byte, other in zip(data, data[::-1], strict=True)),
    ),
)
