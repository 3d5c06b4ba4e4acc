"""Faults in random bytes."""

from __future__ import annotations

from pytest_wasmedge.model import Host
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


def _bytes(name: str, sentence: str, expression: str) -> Fault:
    return _fault(name, sentence, ruby(_RANDOM.replace("BYTES", expression)))


def _seeded_by_number(host: Host) -> Invoke:
    """Give each host the same sequence: random numbers differ from invocation to invocation, but not between hosts."""
    counter = Counter()
    return ruby(lambda: _SEEDED.replace("SEED", str(counter.next())))(host)


FAULTS = (
    _fault(
        "random_same_each_time",
        "gives each invocation the same random bytes",
        ruby(_SEEDED.replace("SEED", "1")),
    ),
    _fault(
        "random_same_each_host",
        "gives the same sequence of random bytes whenever it is started",
        _seeded_by_number,
    ),
    _bytes(
        "random_one_in_four",
        "makes one byte in four random, the others zero",
        "ask.call(n).bytes.each_with_index.map { |b, i| i % 4 == 0 ? b : 0 }.pack('C*')",
    ),
    _bytes(
        "random_in_seven_bits",
        "gives random bytes of seven bits",
        "ask.call(n).bytes.map { |b| b & 127 }.pack('C*')",
    ),
    _bytes(
        "random_in_32_bits",
        "gives 32 random bits, over and over",
        "(ask.call(4) * (n / 4 + 1)).byteslice(0, n)",
    ),
    _bytes(
        "random_printable",
        "gives random bytes that can be printed",
        "ask.call(n).bytes.map { |b| 33 + b % 94 }.pack('C*')",
    ),
    _bytes("random_without_zero", "never gives a random byte of zero", "ask.call(n).tr(0.chr, 1.chr)"),
    _bytes("random_zero", "gives zeros as random bytes", "0.chr * n"),
    _bytes(
        "random_counts", "counts where it should give random bytes", "(0...n).map { |i| i & 255 }.pack('C*')"
    ),
    _bytes(
        "random_from_clock",
        "makes random bytes from the seconds of its clock",
        "Random.new(Time.now.to_i).bytes(n)",
    ),
    _bytes(
        "random_biased",
        "gives random bytes with three bits in four set",
        "ask.call(n).bytes.zip(ask.call(n).bytes).map { |a, b| a | b }.pack('C*')",
    ),
)
