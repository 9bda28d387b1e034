"""Runs of a compiled kernel for given trip counts: no normal forms, no merging.

In: ``Code`` and trip counts, one entry per work item.  Out: whether the run meets a hazard, and with which
rows; the smallest trip counts that do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT
from lowering.hazards.happens_before import Hit
from lowering.hazards.log import HAZARD_LIMIT, Log
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
