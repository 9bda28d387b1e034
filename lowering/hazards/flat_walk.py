"""How the stages of a flat loop (``docs/language.md``) walk through its positions.

In: the stages of a core and what is decided.  Out: every stage at its next position, or a decision
to take: does position ``p`` exist, is it the first of an item, is there an item ``w``?
Everything else follows: a position is the last of its item if the next one is a first, or does not
exist.

A stage that has no row beside the inner loop, and whose rows go by the number of the position
alone, need not know where items begin: it goes *by position* and asks only whether that exists, the
others go *by item*.  Stages that run ahead mostly go by position, which keeps few items undecided at a
time.
"""

from __future__ import annotations

from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT, UNKNOWN
from lowering.hazards.decisions import (
    ItemExists,
    OneMoreStep,
    PositionExists,
    StartsItem,
    Undecided,
)
from lowering.hazards.instructions import Edge, Flat, Stage
from lowering.hazards.state import ENDED, State

STAYS, GOES_ON, NEXT_ITEM, ENDS = range(4)
"""What the next step of a core is to a stage: nothing, the next position of the item or the first of the
next one, or that all positions are behind it."""


class FlatWalk:
    """Moves the stages of ``state``.  Its methods raise ``Undecided`` where a decision is missing."""

    def __init__(self, code: Code, state: State) -> None:
        self.code, self.state = code, state

    def advance(self, ins: Flat) -> bool:
        """Moves every stage to its next position; False if all are behind the last one."""
        step, wait = self.state.step, self.state.wait
        while True:
            over = True
            moves = [self._next(stage, ins.loop) for stage in ins.stages]
            for stage, move in zip(ins.stages, moves, strict=True):
                k = stage.cursor
                if wait[k]:
                    wait[k] -= 1
                if move != STAYS:
                    self._move(stage, ins.loop, move)
                over &= step[k][stage.own] == ENDED
            if not over:
                return True
            if not self._begin(ins):
                break
        for stage in ins.stages:
            for x in (ins.loop, stage.inner, stage.empty):
                if x != ABSENT:
                    step[stage.cursor][x] = -1
        return False

    def _move(self, stage: Stage, outer: int, move: int) -> None:
        k, inner, own = stage.cursor, stage.inner, stage.own
        step, total = self.state.step[k], self.state.total[k]
        if move == ENDS:  # all its steps are behind it: rings turn on from there
            total[own] += step[own] + 1 if self.state.trips[k][own] else 0
            step[own] = ENDED
        elif move == NEXT_ITEM:
            total[inner] += max(step[inner] + 1, 0)
            step[inner] = 0
            step[outer] += 1
        elif move == GOES_ON:
            step[own] += 1

    def _begin(self, ins: Flat) -> bool:
        """All stages are behind an item whose inner loop is empty.  They begin with the next one, its
        one position by itself, or with the positions of all other items; False: those are over."""
        state, empty = self.state, ins.stages[0].empty
        e = state.step[ins.stages[0].cursor][empty] if empty != ABSENT else ENDED
        if e == ENDED:
            return False
        least, exact = state.decided.get((empty, 0), (0, False))
        if not exact and e + 1 >= least:
            raise Undecided(OneMoreStep(empty, 0, e + 1, 0))
        more = e + 1 < least
        for stage in ins.stages:
            k, step = stage.cursor, state.step[stage.cursor]
            state.wait[k] = stage.delay + 1
            step[empty], step[ins.loop] = (e + 1, e + 1) if more else (ENDED, e)
            step[stage.inner] = 0 if more else -1
            state.trips[k][stage.inner] = 0 if more else UNKNOWN
            state.entry[k][empty] = int(not more)
        if all(state.entry[k][empty] for k in self.code.loops[empty].cursors):
            del state.decided[empty, 0]
        return True

    # positions

    def _next(self, stage: Stage, outer: int) -> int:
        """Where a stage goes."""
        state, k = self.state, stage.cursor
        if state.wait[k] > 1 or state.step[k][stage.own] == ENDED:
            return STAYS
        if stage.empty != ABSENT and state.step[k][stage.empty] != ENDED:
            return STAYS if state.wait[k] else ENDS
        if stage.inner == ABSENT:
            return self._next_item(stage, outer)
        p = state.total[k][stage.inner] + state.step[k][stage.inner] + 1
        if not self._exists(stage, outer, p):
            return ENDS
        if stage.by_position or not self._is_first(stage, outer, p):
            return GOES_ON
        return NEXT_ITEM

    def _next_item(self, stage: Stage, outer: int) -> int:
        """A core without rows in the inner loop has one position per item."""
        items, w = self.state.items[stage.group], self.state.step[stage.cursor][outer] + 1
        if w < items.begun:
            return GOES_ON
        if items.closed or self.state.flat[outer].closed:
            return ENDS
        raise Undecided(ItemExists(outer, stage.group, w))

    def _exists(self, stage: Stage, outer: int, p: int) -> bool:
        """Whether there is a position ``p``; ``stage`` is right before it."""
        flat = self.state.flat[outer]
        if p < flat.promised or flat.closed:
            return p < flat.promised
        if stage.by_position or not self._surely_exists(stage, outer, p):
            raise Undecided(PositionExists(outer, p))
        self.state.flat[outer] = flat._replace(promised=p + 1)
        return True

    def _surely_exists(self, stage: Stage, outer: int, p: int) -> bool:
        """The item that the stage is in goes on, or another one is known to come."""
        item = self.state.step[stage.cursor][outer]
        goes_on = p > 0 and self._ends(stage) is False
        return goes_on or item + 1 < self.state.items[stage.group].begun

    def _ends(self, stage: Stage) -> bool | None:
        """Whether a stage is at the last position of its item, as far as the trip count tells."""
        done = self.state.step[stage.cursor][stage.inner] + 1
        return self.code.ends(self.code.loops[stage.inner], done)

    def _is_first(self, stage: Stage, outer: int, p: int) -> bool:
        """Whether position ``p``, which exists, is the first of its item; ``stage`` is right before it."""
        items = self.state.items[stage.group]
        if p < items.known:
            return p in items.firsts
        w = self.state.step[stage.cursor][outer] + 1
        forced = True if p == 0 else self._ends(stage)
        if forced is None and w >= items.begun and items.closed:
            forced = False
        if forced is None:
            raise Undecided(StartsItem(outer, stage.group, p, w))
        self.state.items[stage.group] = items.noted(p, w, forced)
        return forced

    def at_edge(self, ins: Edge) -> bool:
        """Whether a stage is at a position, the first or the last one of an item if it has to be that."""
        state, stage, k = self.state, ins.stage, ins.stage.cursor
        at = state.step[k][stage.own]
        if ins.first is None:
            return 0 <= at < state.trips[k][stage.own]
        if state.wait[k] or at == ENDED:
            return False
        if stage.inner == ABSENT or not state.trips[k][stage.inner]:
            return True
        if ins.first:
            return not at
        p = state.total[k][stage.inner] + at + 1
        return not self._exists(stage, ins.loop, p) or self._is_first(stage, ins.loop, p)
