"""Faults in clocks, and in sleeping."""

from __future__ import annotations

from pytest_wasmedge.model import Host
from pytest_wasmedge.testing import witness
from pytest_wasmedge.testing.fault import Fault, Invoke
from pytest_wasmedge.testing.planting import ruby

_CLOCK = ("clock", "time")
# Ruby asks the clock in several ways. In NEW, ``ns`` is what the clock says in nanoseconds, ``first`` what it said at
# first. ``ask`` is the method as it was.
_REALTIME = (
    "->(ask, change) { now = -> { change.call(ask.call(Process::CLOCK_REALTIME, :nanosecond)) }; "
    "Time.singleton_class.prepend(Module.new { "
    "define_method(:now) { |**o| Time.at(0, now.call, :nsec, **o) }; "
    "define_method(:new) { |*a, **o| a.empty? ? Time.at(0, now.call, :nsec, **o) : super(*a, **o) } }); "
    "Process.singleton_class.prepend(Module.new { define_method(:clock_gettime) { |id, unit = :float_second| "
    "id == Process::CLOCK_REALTIME ? UNIT.call(now.call, unit) : super(id, unit) } }) "
    "}.call(Process.method(:clock_gettime).unbind.bind(Process), ->(first) { ->(ns) { NEW } }"
    ".call(Process.clock_gettime(Process::CLOCK_REALTIME, :nanosecond)))"
)
_MONOTONIC = (
    "->(ask, change) { now = -> { change.call(ask.call(Process::CLOCK_MONOTONIC, :nanosecond)) }; "
    "Process.singleton_class.prepend(Module.new { define_method(:clock_gettime) { |id, unit = :float_second| "
    "id == Process::CLOCK_MONOTONIC ? UNIT.call(now.call, unit) : super(id, unit) } }) "
    "}.call(Process.method(:clock_gettime).unbind.bind(Process), ->(first) { ->(ns) { NEW } }"
    ".call(Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)))"
)
_UNIT = (
    "->(ns, unit) { { nanosecond: ns, microsecond: ns / 1000, millisecond: ns / 1_000_000, second: ns / 1_000_000_000, "
    "float_second: ns / 1e9, float_millisecond: ns / 1e6, float_microsecond: ns / 1e3 }.fetch(unit) }"
)

# Ruby's sleep is a private method of all objects, and one of Kernel's own. Nobody may get a new ancestor by it:
# programs print them.
_SLEEP = (
    "->(ask) { nap = ->(*a) { a.empty? ? ask.call : ask.call(a[0] * FACTOR) }; "
    "Kernel.module_eval { define_method(:sleep, &nap); private :sleep }; "
    "Kernel.define_singleton_method(:sleep, &nap) }.call(Kernel.method(:sleep).unbind.bind(Kernel))"
)
_ZONE = (
    "->(ask) { Time.singleton_class.prepend(Module.new { "
    "define_method(:now) { |**o| o.empty? ? ask.call.localtime('+02:00') : ask.call(**o) } }) "
    "}.call(Time.method(:now).unbind.bind(Time))"
)


_S_NS = 10**9


def _wall(name: str, sentence: str, new: str, tell: witness.Tell) -> Fault:
    line = _REALTIME.replace("NEW", new).replace("UNIT", _UNIT)
    return Fault(name, "clocks", sentence, ruby(line, witness.clock(0, tell)), _CLOCK)


def _monotonic(name: str, sentence: str, new: str, tell: witness.Tell) -> Fault:
    line = _MONOTONIC.replace("NEW", new).replace("UNIT", _UNIT)
    return Fault(name, "clocks", sentence, ruby(line, witness.clock(1, tell)), _CLOCK)


def _sleep(name: str, sentence: str, factor: float) -> Fault:
    plant = ruby(_SLEEP.replace("FACTOR", str(factor)), witness.sleep(factor))
    return Fault(name, "clocks", sentence, plant, ("sleep", "slept"))


def _no_zone(host: Host) -> Invoke:
    """WASI has no zones: only a language can tell one."""
    return host.invoke


# In each, what the clock says is told twice: in Ruby, and for the witness.
FAULTS = (
    _wall(
        "clock_an_hour_ahead",
        "has a clock that is an hour ahead",
        "ns + 3600 * 1_000_000_000",
        lambda now, first: now + 3600 * _S_NS,
    ),
    _wall(
        "clock_a_day_ahead",
        "has a clock that is a day ahead",
        "ns + 86_400 * 1_000_000_000",
        lambda now, first: now + 86_400 * _S_NS,
    ),
    _wall(
        "clock_five_seconds_behind",
        "has a clock that is five seconds behind",
        "ns - 5_000_000_000",
        lambda now, first: now - 5 * _S_NS,
    ),
    _wall(
        "clock_in_seconds",
        "has a clock that tells whole seconds",
        "ns / 1_000_000_000 * 1_000_000_000",
        lambda now, first: now // _S_NS * _S_NS,
    ),
    _wall(
        "clock_in_hundredths",
        "has a clock that tells hundredths of a second",
        "ns / 10_000_000 * 10_000_000",
        lambda now, first: now // 10**7 * 10**7,
    ),
    _wall(
        "clock_from_epoch",
        "has a clock that starts at the epoch",
        "ns - first",
        lambda now, first: now - first,
    ),
    _wall("clock_frozen", "has a clock that stands still", "first", lambda now, first: first),
    _wall(
        "clock_of_2000",
        "has a clock that stands still at the year 2000",
        "946_684_800 * 1_000_000_000",
        lambda now, first: 946_684_800 * _S_NS,
    ),
    _wall(
        "clock_too_fast",
        "has a clock that is twice as fast",
        "first + 2 * (ns - first)",
        lambda now, first: 2 * now - first,
    ),
    _wall(
        "clock_going_back",
        "has a clock that goes back",
        "first - (ns - first)",
        lambda now, first: 2 * first - now,
    ),
    _wall(
        "clock_in_ms",
        "has a clock that tells milliseconds as nanoseconds",
        "ns / 1_000_000",
        lambda now, first: now // 10**6,
    ),
    _monotonic(
        "monotonic_in_us",
        "has a monotonic clock that tells microseconds as nanoseconds",
        "ns / 1000",
        lambda now, first: now // 1000,
    ),
    _monotonic(
        "monotonic_in_ms",
        "has a monotonic clock that tells milliseconds as nanoseconds",
        "ns / 1_000_000",
        lambda now, first: now // 10**6,
    ),
    _monotonic(
        "monotonic_going_back",
        "has a monotonic clock that goes back",
        "first - (ns - first)",
        lambda now, first: 2 * first - now,
    ),
    _monotonic(
        "monotonic_frozen", "has a monotonic clock that stands still", "first", lambda now, first: first
    ),
    _monotonic(
        "monotonic_too_fast",
        "has a monotonic clock that is twice as fast",
        "first + 2 * (ns - first)",
        lambda now, first: 2 * now - first,
    ),
    _monotonic(
        "monotonic_in_seconds",
        "has a monotonic clock that tells whole seconds",
        "ns / 1_000_000_000 * 1_000_000_000",
        lambda now, first: now // _S_NS * _S_NS,
    ),
    Fault(
        "clock_in_local_zone",
        "clocks",
        "tells the time of its own zone in the place of UTC",
        ruby(_ZONE, _no_zone),
        ("zone", "utc", "time"),
    ),
    _sleep("sleep_returns_at_once", "lets a sleep return at once", 0),
    _sleep("sleep_returns_after_half", "lets a sleep return after half its time", 0.5),
    _sleep("sleep_takes_twice", "lets a sleep take twice its time", 2),
)
