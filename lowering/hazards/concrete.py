"""Runs of a compiled kernel for given trip counts: no normal forms, no merging.

In: ``Code`` and trip counts, one entry per work item.  Out: whether the run meets a hazard, and with which
rows; the smallest trip counts that do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT
from lowering.hazards.happens_before import Hit
from lowering.hazards.instructions import PUSHES, Effect, RowCode
from lowering.hazards.log import HAZARD_LIMIT, At, Log
from lowering.hazards.run import Run
from lowering.hazards.state import State
from lowering.hazards.trips import Oracle, Trips, items_loop


def fails(code: Code, trips: Sequence[Trips], log: Log | None = None) -> bool:
    """Whether the run meets a hazard that stops it: the first, or those that fill ``log``."""
    state, oracle = State(code), Oracle(code, trips)
    run = Run(code, state, log)
    try:
        while (need := run.advance()) is not None:
            need.decide(code, state, need.answer(oracle, state))
    except Hit:
        return True
    return False


def logged(code: Code, trips: Sequence[Trips], limit: int = HAZARD_LIMIT) -> Log:
    """The run with its rows, and at most ``limit`` of its hazards."""
    log = Log(limit)
    fails(code, trips, log)
    return log


class Slack(Log):
    """Of every FIFO without free signals, how many slots a run has needed so far: one for each tile whose pop is
    not known to be complete when another one is pushed, and one for that."""

    def __init__(self, code: Code) -> None:
        super().__init__(limit=1)
        self.slots = {k: 1 for k, ring in enumerate(code.rings) if not ring.fifo.credit}

    def row(self, code: Code, state: State, row: RowCode, at: At, effect: Effect) -> None:
        k = row.ring
        if row.kind in PUSHES and k in self.slots:
            ring, clock, n = code.rings[k], state.clock[row.pipe], state.pushed[k]
            for back in range(self.slots[k], min(n, ring.fifo.depth) + 1):
                reads = state.reader[ring.first_range + (n - back) % ring.fifo.depth]
                if state.popped[k] <= n - back or any(clock[q] < r for q, r in reads):
                    self.slots[k] = back + 1


def fewest_slots(code: Code, trips: Sequence[Trips]) -> dict[str, int] | None:
    """By FIFO without free signals the fewest slots with which the run has no hazard; None if it has one with
    those that they have.

    What a push has waited for itself counts for nothing: the scalar unit, which issues it, knows as much.
    """
    slack = Slack(code)
    if fails(code, trips, slack) or slack.found:
        return None
    return {code.rings[k].fifo.name: n for k, n in slack.slots.items()}


def smallest(code: Code, limit: int, items: int = 3) -> tuple[int, ...] | None:
    """The smallest trip counts up to ``limit`` for at most so many work items that fail, or None."""
    has_items = items_loop(code) != ABSENT
    candidates = _sequences(limit, items) if has_items else [(n,) for n in range(limit + 1)]
    return next((trips for trips in candidates if fails(code, trips)), None)


def _sequences(limit: int, items: int) -> list[tuple[int, ...]]:
    """Trip count sequences, simplest first: () and all single counts, then pairs, then triples."""
    out: list[tuple[int, ...]] = [()]
    for n in range(1, items + 1):
        short = limit if n == 1 else min(limit, 4)
        level: list[tuple[int, ...]] = [()]
        for _ in range(n):
            level = [(*head, k) for head in level for k in range(short + 1)]
        out += sorted(level, key=lambda t: (sum(t), t))
    return out


def shrunk(code: Code, trips: Sequence[Mapping[str, int]]) -> tuple[Trips, ...]:
    """A failing run made smaller: fewer work items, then lower counts, as long as it fails."""
    now: list[dict[str, int]] = [dict(t) for t in trips]
    if not fails(code, now):
        return tuple(now)
    for k in reversed(range(len(now))):
        fewer = now[:k] + now[k + 1 :]
        if fails(code, fewer):
            now = fewer
    for k, item in enumerate(now):
        for name, count in item.items():
            for lower in range(count):
                less = [*now[:k], {**now[k], name: lower}, *now[k + 1 :]]
                if fails(code, less):
                    now = less
                    break
    return tuple(now)
