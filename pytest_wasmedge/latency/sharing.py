"""Shares one budget among gates that compare several runtimes with a baseline. Independent of hosts and clocks."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.latency.gate import FIRST_LOOK, Gate, T, Watch, unwatched

#: The part of the time that is left for which further looks are planned.
_PLANNED = 0.9


def in_rounds(gates: Sequence[Gate[T]], budget_s: float, watch: Watch = unwatched) -> None:
    """Give all gates a verdict within the budget that they share.

    At first they draw by turns, each for an equal part of half the budget. Then the next draw is that of the gate which
    will be decided soonest: so most get a verdict, and one that seems slower is looked at before all that seem equal.
    Only looks count that were planned after the first pairs, so it costs no error to draw where something seems to be
    found. What cannot pay for its next look is left undecided. A draw that raises ends its own gate only. ``watch`` is
    told how many gates have their verdict.
    """
    scouting_s = budget_s / 2 / max(1, len(gates))
    while True:
        waiting = [gate for gate in gates if gate.verdict is None]
        spent_s = sum(gate.elapsed_s for gate in gates)
        left_s = budget_s - spent_s
        watch(len(gates) - len(waiting), len(gates), spent_s, left_s)
        able = [gate for gate in waiting if len(gates) == 1 or gate.next_look_s <= left_s]
        if not able or left_s <= 0:
            break
        scouts = [gate for gate in able if gate.elapsed_s < scouting_s and gate.drawn < FIRST_LOOK]
        if scouts:
            gate = min(scouts, key=lambda each: each.drawn)
        else:
            gate = able[0] if len(able) == 1 else min(able, key=lambda each: each.urgency)
        try:
            # A look that is planned for the last second may come too late.
            gate.advance(gate.elapsed_s + _PLANNED * left_s, fair_s=budget_s / len(gates))
        except WasmEdgeError as error:
            gate.break_off(error)
    for gate in waiting:
        # One alone drew until its time was up, whatever it drew.
        gate.give_up() if len(gates) == 1 else gate.leave()
