"""How the stages of a flat loop walk through its positions (``pto/ir.py``), for the hazard checker.

In: the stages of a core and what is decided.  Out: every stage at its next position, or a decision
to take: does position ``p`` exist, is it the first of an item, is there an item ``w``?
Everything else follows: a position is the last of its item if the next one is a first, or does not
exist.

A stage that has no row beside the inner loop, and whose rows go by the number of the position
alone, need not know where items begin: it is *blind* and asks only whether its position exists.
Stages that run ahead mostly are, which keeps few items undecided at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lowering.hazards.counters import ABSENT, UNKNOWN

if TYPE_CHECKING:
    from lowering.hazards.code import Code
    from lowering.hazards.instructions import Instruction
    from lowering.hazards.state import Need, State

ENDED = -2
"""The iteration of a stage behind the last position."""

MORE, FIRST, ITEM = "more", "first", "item"
"""Decisions: position p exists; position p is the first of its item; item w exists."""


@dataclass(frozen=True, slots=True)
class Course:
    """What is decided of one run of a flat loop.

    Of positions below ``known`` it is decided whether they are first, ``firsts`` are those that
    matter still.  Positions below ``promised`` exist, and no others if it is ``closed``; so with
    ``items`` and ``items_closed``.
    """

    known: int = 0
    firsts: tuple[int, ...] = ()
    promised: int = 0
    closed: bool = False
    items: int = 0
    items_closed: bool = False


class Walk:
    """What ``Run`` does at the heads and edges of flat loops."""

    code: Code
    state: State
    needs: list[Need | None]

    def start(self, ins: Instruction) -> None:
        """Enters a flat loop: every stage waits as long as it is behind the first one, once the
        items with an empty inner loop are done."""
        _, delays, outer, empty = ins
        for k, delay in delays:
            self.state.wait[k] = delay + 1 if empty == ABSENT else 0
        inside = [
            self.code.loops[inner] for _, inner, _ in self.code.flats[outer] if inner != ABSENT
        ]
        never = any(x.constant is not None and x.constant <= 0 for x in inside)
        self.state.course.setdefault(outer, Course(closed=never, items_closed=never))

    def flat(self, c: int, ins: Instruction) -> int:
        """At the head of a flat loop: 1 every stage moves to its next position, 2 all are at the
        end, 0 wait for a decision."""
        state, (_, outer, inner, empty, delays, blind, _) = self.state, ins
        if empty != ABSENT and (way := self._empty_item(c, ins)) < 2:
            return way
        ways = []
        for k, _ in delays:
            way = self._next(c, k, outer, inner, k in blind)
            if way < 0:
                return 0
            ways.append(way)
        at = inner if inner != ABSENT else outer
        for (k, _), way in zip(delays, ways, strict=True):
            state.wait[k] = max(state.wait[k] - 1, 0)
            if way == ENDS:  # all its steps are behind it: rings turn on from there
                state.total[k][at] += max(state.step[k][at] + 1, 0)
                state.step[k][at] = ENDED
            elif way == NEW and inner != ABSENT:
                state.total[k][inner] += max(state.step[k][inner] + 1, 0)
                state.step[k][inner] = 0
                state.step[k][outer] += 1
            elif way != STAYS:
                state.step[k][at] += 1
        if any(state.step[k][at] != ENDED for k, _ in delays):
            return 1
        for k, _ in delays:
            for x in (outer, inner, empty):
                if x != ABSENT:
                    state.step[k][x] = -1
        return 2

    def _empty_item(self, c: int, ins: Instruction) -> int:
        """1 the next stage is at an item whose inner loop is empty, 2 there is none left, 0 wait for
        a decision."""
        state, (_, outer, inner, empty, delays, _, _) = self.state, ins
        stages = [k for k, _ in delays]
        lead, e = stages[0], state.step[stages[0]][empty]
        if e == ENDED:
            return 2
        if e >= 0 and state.wait[stages[-1]]:  # the stages of an item run one behind the other
            at = next(n for n, k in enumerate(stages) if not state.wait[k])
            state.wait[stages[at]], state.wait[stages[at + 1]] = 1, 0
            return 1
        least, exact = state.decided.get((empty, 0), (0, False))
        if not exact and e + 1 >= least:
            self.needs[c] = ("loop", empty, 0, e + 1, 0)
            return 0
        more = e + 1 < least
        for k, delay in delays:
            state.wait[k] = int(k != lead) if more else delay + 1
            state.step[k][empty] = e + 1 if more else ENDED
            state.step[k][outer] = e + 1 if more else e
            state.step[k][inner] = 0 if more else -1
            state.trips[k][inner] = 0 if more else UNKNOWN
            state.entry[k][empty] = int(not more)
        if all(state.entry[k][empty] for k in self.code.loops[empty].cursors):
            del state.decided[empty, 0]
        return 1 if more else 2

    def _next(self, c: int, k: int, outer: int, inner: int, blind: bool) -> int:
        """Where stage ``k`` goes: ``STAYS``, ``GOES_ON``, ``NEW`` item, ``ENDS``; -1: a decision
        is missing."""
        state = self.state
        if state.wait[k] > 1 or state.step[k][inner if inner != ABSENT else outer] == ENDED:
            return STAYS
        if inner == ABSENT:
            return self._next_item(c, k, outer)
        p = state.total[k][inner] + state.step[k][inner] + 1
        exists = self._exists(c, k, outer, inner, p, blind)
        if exists is None:
            return -1
        if not exists:
            return ENDS
        if blind:
            return GOES_ON
        first = self._is_first(c, k, outer, inner, p)
        return -1 if first is None else NEW if first else GOES_ON

    def _next_item(self, c: int, k: int, outer: int) -> int:
        """A core without rows in the inner loop has one position per item."""
        course, w = self.state.course[outer], self.state.step[k][outer] + 1
        if w < course.items:
            return GOES_ON
        if course.items_closed or course.closed:
            return ENDS
        self.needs[c] = (ITEM, outer, w, 0, 0)
        return -1

    def _exists(self, c: int, k: int, outer: int, inner: int, p: int, blind: bool) -> bool | None:
        course = self.state.course[outer]
        if p < course.promised or course.closed:
            return p < course.promised
        inside = not blind and p > 0 and self._ends(k, inner) is False
        if inside or (not blind and self.state.step[k][outer] + 1 < course.items):
            self.state.course[outer] = replace(course, promised=p + 1)
            return True
        self.needs[c] = (MORE, outer, p, 0, 0)
        return None

    def _ends(self, k: int, inner: int) -> bool | None:
        """Whether stage ``k`` is at the last position of its item, as far as the trip count tells."""
        return self.code.ends(self.code.loops[inner], self.state.step[k][inner] + 1)

    def _is_first(self, c: int, k: int, outer: int, inner: int, p: int) -> bool | None:
        """Whether position ``p``, which exists, is the first of its item; ``k`` is right before it."""
        state, course = self.state, self.state.course[outer]
        if p < course.known:
            return p in course.firsts
        w = state.step[k][outer] + 1
        forced = True if p == 0 else self._ends(k, inner)
        if forced is None and w >= course.items and course.items_closed:
            forced = False
        if forced is None:
            self.needs[c] = (FIRST, outer, p, 0, w)
            return None
        state.course[outer] = noted(course, p, w, forced)
        return forced

    def edge(self, c: int, ins: Instruction) -> int:
        """1 if a stage is at the first (last) position of an item, 2 if not, 0: wait for it."""
        state, (_, k, outer, inner, first, _) = self.state, ins
        at = state.step[k][inner if inner != ABSENT else outer]
        if state.wait[k] or at == ENDED:
            return 2
        if inner == ABSENT or not state.trips[k][inner]:
            return 1
        if first:
            return 2 if at else 1
        p = state.total[k][inner] + at + 1
        exists = self._exists(c, k, outer, inner, p, False)
        if not exists:
            return 0 if exists is None else 1
        starts = self._is_first(c, k, outer, inner, p)
        return 0 if starts is None else 1 if starts else 2


STAYS, GOES_ON, NEW, ENDS = range(4)


def noted(course: Course, p: int, w: int, first: bool) -> Course:
    """``course`` with position ``p``, the next after those known, decided; it begins item ``w``."""
    if not first:
        return replace(course, known=p + 1)
    items = max(course.items, w + 1)
    return replace(course, known=p + 1, firsts=(*course.firsts, p), items=items)


def decided(course: Course, need: Need, choice: bool) -> Course:
    """``course`` after a decision."""
    kind, _, at, _, w = need
    if kind == MORE:
        return replace(course, promised=at + choice, closed=not choice)
    if kind == ITEM:
        return replace(course, items=at + choice, items_closed=not choice)
    return noted(course, at, w, choice)
