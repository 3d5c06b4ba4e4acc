"""What is run and what is done to its hosts, all of it decided by a seed; no clock and no machine has a say in it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pytest_wasmedge.model import Ending, Invocation, Limits, Runtime, exited, host_failed, timed_out, trapped
from tests.actor import act

ProgramName = Literal["actor", "ruby", "witness"]
FaultKind = Literal["kill", "stop", "pause"]
When = Literal["before", "during", "after"]

ROUND_LARGEST = 4
#: How many invocations a host has before it is closed; a quiet one has a quarter of all.
SESSION = 100
#: What only loops ends soon at this limit. Everything else has the host's own, which a busy machine keeps, too; it is
#: short only where a stopped process would make us wait for all of it.
_LOOPS_S, _STOPPED_S = 0.3, 0.5
_LASTS_MS = 60
#: The share of rounds with a fault, and what there is.
_FAULTY = 0.07
_KINDS: dict[FaultKind, int] = {"kill": 70, "pause": 24, "stop": 6}

LIMITS: dict[ProgramName, Limits] = {
    "actor": Limits(memory_bytes=64 << 20, output_bytes=1 << 20),
    "witness": Limits(memory_bytes=64 << 20, output_bytes=1 << 20),
    "ruby": Limits(output_bytes=1 << 20),
}


@dataclass(frozen=True)
class Case:
    """An invocation and its known outcome.

    A stdout of None is not known; one of a guest that is ``cut`` off is known as far as it comes.
    """

    name: str
    invocation: Invocation
    ending: Ending
    stdout: bytes | None = b""
    stderr: bytes = b""
    cut: bool = False


@dataclass(frozen=True)
class Fault:
    """What is done to a process of the host, ``before``, ``during`` or ``after`` a round.

    ``child`` says which of the processes below the host's own it is, as a share of their list; None for the host's own.
    One that is paused goes on after ``pause_s``; one that is stopped does not. ``delay_s`` is from the round's start.
    """

    kind: FaultKind
    when: When
    child: float | None
    delay_s: float
    pause_s: float


@dataclass(frozen=True)
class Round:
    """Invocations that are under way together, each in a thread of its own, and at most one fault."""

    cases: tuple[Case, ...]
    fault: Fault | None = None


@dataclass(frozen=True)
class Session:
    """So many invocations of one host; in a ``quiet`` one nothing replaces its process: its memory can be watched."""

    runtime: Runtime
    program: ProgramName
    quiet: bool
    invocations: int
    seed: str

    def rounds(self) -> Iterator[Round]:
        """Yield the rounds, which the seed decides; kept, those of a whole run would be a gigabyte."""
        rng, left = random.Random(self.seed), self.invocations
        while left:
            size = min(left, rng.choices(range(1, ROUND_LARGEST + 1), (40, 25, 15, 20))[0])
            left -= size
            cases = [_case(rng, self) for _ in range(size)]
            fault = None if self.quiet or rng.random() >= _FAULTY else _fault(rng, self.program == "actor")
            if fault and fault.when == "during" and self.program == "actor":
                # So that there is something to fall into.
                cases[0] = _asked("sleeps", act("sleeps", _LASTS_MS), exited(0), b"rested")
            if fault and fault.kind == "stop":
                cases = [_shortened(case) for case in cases]
            yield Round(tuple(cases), fault)


def plan(seed: int, runtimes: Sequence[Runtime], invocations: int, session: int = SESSION) -> list[Session]:
    """Return the sessions of so many invocations, alike on every runtime; what one does no other one changes."""
    share, more = divmod(invocations, len(runtimes))
    by_runtime = [
        _sessions(seed, runtime, share + (index < more), session) for index, runtime in enumerate(runtimes)
    ]
    # In turns, so that each third of the run is like the others.
    placed = [((index + 0.5) / len(each), one) for each in by_runtime for index, one in enumerate(each)]
    return [one for _, one in sorted(placed, key=lambda pair: pair[0])]


def _sessions(seed: int, runtime: Runtime, invocations: int, most: int) -> list[Session]:
    # A quarter of all goes to one quiet session: memory is judged by the medians of its thirds.
    quiet = invocations // 4
    sizes = [most] * ((invocations - quiet) // most)
    if rest := invocations - quiet - sum(sizes):
        sizes.append(rest)
    called = f"{seed} {runtime.name}"
    made = [
        Session(runtime, _program(number), False, size, f"{called} {number}")
        for number, size in enumerate(sizes)
    ]
    if quiet:
        place = random.Random(called).randint(0, len(made))
        made.insert(place, Session(runtime, "actor", True, quiet, f"{called} quiet"))
    return made


def _program(number: int) -> ProgramName:
    return "ruby" if number % 5 == 3 else "witness" if number % 5 == 1 else "actor"


def _shortened(case: Case) -> Case:
    invocation = case.invocation
    return replace(
        case, invocation=replace(invocation, timeout_s=min(invocation.timeout_s or _STOPPED_S, _STOPPED_S))
    )


def _fault(rng: random.Random, can_last: bool) -> Fault:
    kind = rng.choices(list(_KINDS), list(_KINDS.values()))[0]
    when: When = rng.choice(("before", "during", "after"))
    # One that is stopped after all have answered would keep the next round until its limit, which is long.
    if kind == "stop" and (when == "after" or not can_last):
        when = "before"
    return Fault(
        kind,
        when,
        rng.random() if rng.random() < 0.4 else None,
        rng.choice((0.0, rng.uniform(0, 0.005), rng.uniform(0, 0.8e-3 * _LASTS_MS))),
        rng.uniform(0.02, 0.3),
    )


# -- cases

Make = Callable[[random.Random], Case]


def _asked(
    name: str,
    stdin: bytes | str,
    ending: Ending,
    stdout: bytes | None = b"",
    stderr: bytes = b"",
    *,
    args: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
    loops: bool = False,
) -> Case:
    given = stdin.encode() if isinstance(stdin, str) else stdin
    invocation = Invocation(given, args, env or {}, timeout_s=_LOOPS_S if loops else None)
    return Case(name, invocation, ending, stdout, stderr, cut=loops)


def _unlike(rng: random.Random, most_bytes: int) -> bytes:
    """Return bytes that no other case has, unless they are few."""
    return rng.randbytes(
        rng.choice((rng.randint(0, 64), rng.randint(64, 4096), rng.randint(4096, most_bytes)))
    )


def _echoes(rng: random.Random) -> Case:
    both, payload = rng.randrange(2), _unlike(rng, 200_000)
    return _asked("echoes", act("echoes", both, rest=payload), exited(0), payload, payload * both)


def _exits(rng: random.Random) -> Case:
    status = rng.randint(1, 125)
    return _asked("exits", act("exits", status), exited(status))


def _sleeps(rng: random.Random) -> Case:
    return _asked("sleeps", act("sleeps", rng.randint(5, 40)), exited(0), b"rested")


def _pours(rng: random.Random) -> Case:
    out, err = rng.randint(1, 7), rng.randint(1, 7)
    return _asked("pours", act("pours", out, err), exited(0), b"o" * (out << 16), b"e" * (err << 16))


def _arguments(rng: random.Random) -> Case:
    args = tuple(_unlike(rng, 5000).hex() for _ in range(rng.randint(0, 3)))
    told = b"".join(each.encode() + b"\0" for each in ("artifact.wasm", *args))
    return _asked("arguments", act("arguments"), exited(0), told, args=args)


def _environment(rng: random.Random) -> Case:
    value = _unlike(rng, 5000).hex()
    return _asked(
        "environment", act("environment"), exited(0), f"MARK={value}\0".encode(), env={"MARK": value}
    )


def _always(case: Case) -> Make:
    return lambda rng: case


#: What leaves a host as it was: these make up a quiet session.
_MILD: dict[Make, float] = {
    _echoes: 45,
    _exits: 10,
    _sleeps: 12,
    _pours: 3,
    _arguments: 4,
    _environment: 4,
    _always(_asked("returns", act("returns"), exited(0))): 4,
    _always(_asked("leaves", act("leaves"), exited(0), bytes(8))): 5,
    _always(_asked("unreachable", act("unreachable"), trapped())): 5,
    _always(_asked("division", act("division"), trapped())): 3,
}
_GROWS: dict[Make, float] = {_always(_asked("grows", act("grows"), exited(7))): 1}
_WILD: dict[Make, float] = {
    _always(_asked("stack", act("stack"), trapped())): 0.5,
    _always(_asked("spins", act("spins"), timed_out(), loops=True)): 1,
    _always(_asked("writes_and_spins", act("writes_and_spins"), timed_out(), b"before", loops=True)): 1,
    _always(_asked("floods", act("floods"), host_failed("output limit"), None)): 0.5,
}


def _witness_echoes(rng: random.Random) -> Case:
    payload = b"\xef\xbb\xbf" + _unlike(rng, 50_000)
    return _asked("witness echoes", payload, exited(0), payload, payload)


def _witness_quits(rng: random.Random) -> Case:
    status, payload = rng.randint(0, 125), _unlike(rng, 5000)
    return _asked("witness quits", b"quit %d\n" % status + payload, exited(status), payload, payload)


def _witness_traps(rng: random.Random) -> Case:
    payload = _unlike(rng, 5000)
    return _asked("witness traps", b"trap\n" + payload, trapped(), payload, payload)


_WITNESS: dict[Make, float] = {_witness_echoes: 60, _witness_quits: 25, _witness_traps: 15}


def _sums(rng: random.Random) -> Case:
    last = rng.randint(1, 10**9)
    return _asked("ruby sums", f"puts (1..{last}).sum", exited(0), b"%d\n" % (last * (last + 1) // 2))


def _fills(rng: random.Random) -> Case:
    mark, count = rng.randbytes(4).hex(), rng.randint(1, 2000)
    source = f"$stdout.write('{mark}' * {count}); $stderr.write('{mark}'); exit {count % 100}"
    return _asked("ruby fills", source, exited(count % 100), mark.encode() * count, mark.encode())


_RUBY: dict[Make, float] = {
    _sums: 60,
    _fills: 38,
    _always(_asked("ruby loops", "loop {}", timed_out(), loops=True)): 1,
}


def _case(rng: random.Random, session: Session) -> Case:
    makes = {"ruby": _RUBY, "witness": _WITNESS, "actor": _MILD}[session.program]
    if session.program == "actor" and not session.quiet:
        limited = "memory_limit" in session.runtime.capabilities
        makes = makes | _WILD | (_GROWS if limited else {})
    return rng.choices(list(makes), list(makes.values()))[0](rng)
